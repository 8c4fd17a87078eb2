"""Real processes, really killed: kill -9 at random moments, and os._exit at named points."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from state.store import DiskStore
from state.store_check import verify_shard

# The child counts: customer n % 50 gets the value n. After each checkpoint it writes token and n to a journal, which
# stands for the engine's recovery: complete lines are committed checkpoints, and the child waits for nothing.
CHILD = """
import os, sys
from pathlib import Path
from state.store import DiskStore

directory, durability, count, point, passes = sys.argv[1:]
passes = int(passes)

def crash_point(name):
    global passes
    if name == point:
        passes -= 1
        if passes == 0:
            os._exit(77)

journal = Path(directory) / "journal"
lines = journal.read_text().splitlines() if journal.exists() else []
store = DiskStore.open(Path(directory), 0, durability, segment_bytes=20_000, crash_point=crash_point)
token, number = (bytes.fromhex(lines[-1].split()[0]), int(lines[-1].split()[1])) if lines else (None, 0)
meta = store.restore(token)
assert meta == (b"%d" % number if lines else None), (meta, number)
end = number + int(count)
with journal.open("a") as committed:
    while number < end:
        for _ in range(20):
            number += 1
            store.put("c-%d" % (number % 50), b"%d" % number * 30, number)
        token = store.checkpoint(b"%d" % number)
        committed.write(f"{token.hex()} {number}\\n")
        committed.flush()
        store.proven()
        store.write_behind(7 if number % 3 else 100)
store.close()
"""


def child(directory: Path, durability: str, count: int, point: str = "", passes: int = 0) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", CHILD, str(directory), durability, str(count), point, str(passes)]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


def compare_with_journal(directory: Path) -> int:
    """Restores at the last committed line and checks every customer; returns how far the child had come."""
    journal = directory / "journal"
    text = journal.read_text() if journal.exists() else ""
    journal.write_text(text[: text.rfind("\n") + 1])
    lines = journal.read_text().splitlines()
    token, number = (bytes.fromhex(lines[-1].split()[0]), int(lines[-1].split()[1])) if lines else (None, 0)
    with closing(DiskStore.open(directory, 0, segment_bytes=20_000)) as store:
        store.restore(token)
        newest = {f"c-{n % 50}": n for n in range(max(1, number - 49), number + 1)}
        assert {name: store.get(name) for name in newest} == {name: b"%d" % n * 30 for name, n in newest.items()}
        assert store.timers_until(number + 100) == sorted((n, name) for name, n in newest.items())
        assert sorted(store.customers()) == sorted(newest)
    assert verify_shard(directory, 0).findings == ()
    return number


@pytest.mark.parametrize("durability", ["process", "power"])
def test_kill_9_at_random_moments_loses_nothing_committed(tmp_path, durability):
    seed = int(os.environ.get("SEGONE_SEED", "20261122"))
    print(f"SEGONE_SEED={seed}")
    chance = random.Random(f"{seed} {durability}")
    kills = int(os.environ.get("SEGONE_KILLS", "12"))
    reached = [0]
    while (
        len(reached) <= kills or reached[-1] <= reached[1]
    ):  # a busy machine may kill the first ones before they begin
        assert len(reached) < 20 * kills, "the child never comes to anything"
        process = child(tmp_path, durability, 10**9)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=chance.uniform(0.15, 0.5))
        process.kill()
        _, errors = process.communicate()
        assert errors == ""
        reached.append(compare_with_journal(tmp_path))
        assert reached[-1] >= reached[-2]


@pytest.mark.parametrize(
    "point",
    ["log.segment_created", "log.segment_begun", "log.piece_written", "log.fsynced", "log.checkpoint_written",
     "table.before_commit", "table.committed", "log.before_unlink", "log.unlinked"],
)  # fmt: skip
def test_a_process_that_ends_at_a_named_point_loses_nothing_committed(tmp_path, point):
    for passes in (1, 2, 3):
        process = child(tmp_path, "power", 3000, point, passes)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 77, errors
        compare_with_journal(tmp_path)
    process = child(tmp_path, "power", 200)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert compare_with_journal(tmp_path) >= 200
