"""The production code lives through any crash between any two steps as if nothing had happened. docs/testing.md."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from faults import ALL_POINTS, Crash
from life import Life, Readers

FAST = Path("/dev/shm")
POINT_SEEDS = 40
POINT_DEATHS = 2


def live(seed: int, point: str | None = None) -> Life:
    folder = Path(tempfile.mkdtemp(prefix="segone-crash-", dir=FAST if FAST.is_dir() else None))
    life = Life(seed, folder, point)
    try:
        life.live_it()
    except (Exception, Crash) as error:
        where = f" -k {point}" if point else ""
        error.add_note(f"again: pytest tests/crash{where} --crash-seed {seed}\nlived so far: {life.trace}")
        raise
    finally:
        life.disk.release()
        shutil.rmtree(folder)
    return life


def test_lives_with_many_deaths_say_what_an_undisturbed_one_says(crash_seeds):
    for seed in crash_seeds:
        live(seed)


@pytest.mark.parametrize("point", ALL_POINTS)
def test_a_death_at_each_named_point_is_reached_and_survived(point, request):
    only = request.config.getoption("--crash-seed")
    deaths = 0
    for seed in range(POINT_SEEDS) if only is None else [only]:
        deaths += point in live(seed, point).deaths
        if deaths == POINT_DEATHS:
            break
    if only is not None and not deaths:
        pytest.skip(
            f"the life of seed {only} never comes to {point}; without --crash-seed, seeds that do are looked for"
        )
    assert deaths, f"no seed out of {POINT_SEEDS} comes to {point}"


def test_a_seed_always_lives_the_same_life():
    for seed in range(5):
        assert live(seed).trace == live(seed).trace


def test_the_readers_notice_what_is_taken_back(tmp_path):
    path = tmp_path / "scores" / "0.jsonl"
    path.parent.mkdir()
    readers = Readers(tmp_path)
    for text, committed in ((b"one\ntwo\n", 8), (b"one\ntwo\nthree\n", 14)):
        path.write_bytes(text)
        path.with_suffix(".committed").write_text(str(committed))
        readers.look_at_all()
    path.write_bytes(b"one\nTWO\nthree\n")
    with pytest.raises(AssertionError, match="has changed"):
        readers.look_at_all()
    path.with_suffix(".committed").write_text("8")
    with pytest.raises(AssertionError, match="readers saw 14 bytes, now 8"):
        readers.look_at_all()
