"""What `segone run` says when its state can't be used, and that nothing is lost once the cause is mended."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import lmdb
import pytest
from bytewax.recovery import InconsistentPartitionsError, MissingPartitionsError, NoPartitionsError
from said import Said, differences, in_files
from worker_process import ROOT, SMALL_STEPS, append, worker_on

from dataflows.failures import foreseen
from simulation.settings import WorldSettings
from simulation.world import stream
from state.store import shard_folder, shards_in
from state.store_table import FILE_NAME, FORMAT_VERSION

RECORDS, SEED = 3_600, 31
KNOWLEDGE_OFF = "[knowledge]\nenabled = false\n"
PROFILES_OFF = "[profiles]\nenabled = false\n"
"""At the end of input they would touch every customer: all would be in the redo log, none in the tables alone."""


class Bank(NamedTuple):
    """An input, its earlier half, what an undisturbed run says of all, and what a run over the half leaves behind."""

    events: Path
    half: Path
    config: Path
    reference: Said
    stopped: Path


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = tmp_path_factory.mktemp("bank")
    events, half, config = folder / "events", folder / "half", folder / "settings.toml"
    # So many checkpoints that customers are in the tables however quick the machine is.
    config.write_text(
        SMALL_STEPS.replace("checkpoint_interval_ms = 100", "checkpoint_interval_ms = 50")
        + KNOWLEDGE_OFF
        + PROFILES_OFF
    )
    world = (one for one in stream(WorldSettings(customers=9, days=200, seed=SEED)) if one.topic == "in.transactions")
    for number, message in enumerate(islice(world, RECORDS)):
        append(events, message)
        if number < RECORDS // 2:
            append(half, message)
    first = worker_on(folder / "stopped", config, half)
    assert first.run() == 0, first.told()
    undisturbed = worker_on(folder / "undisturbed", config, events)
    assert undisturbed.run() == 0, undisturbed.told()
    return Bank(events, half, config, in_files(folder / "undisturbed" / "out"), folder / "stopped" / "out")


@pytest.fixture
def output(bank: Bank, tmp_path: Path) -> Path:
    """The output and the state of a worker that has read the first half."""
    shutil.copytree(bank.stopped, tmp_path / "out")
    return tmp_path / "out"


def tables(output: Path) -> list[Path]:
    state = output / ".segone"
    return [shard_folder(state, shard) / FILE_NAME for shard in shards_in(state)]


def refused(bank: Bank, folder: Path) -> str:
    """A run that ends with 1; the last line that it told."""
    worker = worker_on(folder, bank.config, bank.events)
    assert worker.run() == 1, worker.told()
    return worker.told().strip().splitlines()[-1]


def assert_nothing_is_lost(bank: Bank, folder: Path) -> None:
    worker = worker_on(folder, bank.config, bank.events)
    assert worker.run() == 0, worker.told()
    result = differences(bank.reference, in_files(folder / "out"))
    assert result.none, result


@contextmanager
def mended(paths: list[Path]) -> Iterator[None]:
    """Afterwards the files are what they were."""
    before = {path: path.read_bytes() for path in paths}
    yield
    for path, data in before.items():
        path.write_bytes(data)


def test_a_damaged_table_is_named_with_what_to_do(bank: Bank, output: Path, tmp_path: Path) -> None:
    with mended(tables(output)):
        for table in tables(output):
            table.write_bytes(b"rubbish!" * (table.stat().st_size // 8))
        said = refused(bank, tmp_path)
        assert f"{FILE_NAME}: cannot be used" in said
        assert "`segone state verify`; restore the state folder together with the recovery folder from a backup" in said
    assert_nothing_is_lost(bank, tmp_path)


def test_damaged_bytes_of_a_customer_are_found_before_they_are_used(bank: Bank, output: Path, tmp_path: Path) -> None:
    with mended(tables(output)):
        for table in tables(output):
            data = bytearray(table.read_bytes())
            with lmdb.open(str(table), subdir=False, lock=False, max_dbs=5, readonly=True) as env, env.begin() as txn:
                values = [bytes(value) for _, value in txn.cursor(env.open_db(b"customers", txn))]
            for value in values:
                at = data.find(value[:64])
                while at >= 0:  # of every copy of it that lies in the file
                    data[at + 40] ^= 1
                    at = data.find(value[:64], at + 1)
            table.write_bytes(data)
        said = refused(bank, tmp_path)
        assert "the record with key digest" in said and "is damaged (crc32 differs)" in said
        listed = subprocess.run(
            [sys.executable, "-m", "dataflows.cli", "state", "verify", str(output / ".segone")],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert listed.returncode == 1 and "crc32 differs" in listed.stdout + listed.stderr
    assert_nothing_is_lost(bank, tmp_path)


def test_a_recovery_folder_that_is_not_whole_is_named_with_what_to_do(bank: Bank, output: Path, tmp_path: Path) -> None:
    recovery = output / ".segone" / "recovery"
    recovery.rename(tmp_path / "elsewhere")
    assert "the recovery folder ([state] dir, recovery/) is not whole" in refused(bank, tmp_path)
    recovery.mkdir()
    assert "the recovery folder ([state] dir, recovery/) is not whole" in refused(bank, tmp_path)
    recovery.rmdir()
    (tmp_path / "elsewhere").rename(recovery)
    assert_nothing_is_lost(bank, tmp_path)


def test_a_worker_takes_as_many_open_files_as_it_may_have(bank: Bank, output: Path, tmp_path: Path) -> None:
    arguments = ["run", "--config", str(bank.config), "--input", str(bank.events), "--output", str(output)]
    script = 'ulimit -Sn 32; exec "$@"'
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "dataflows.cli", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert_nothing_is_lost(bank, tmp_path)


@pytest.mark.parametrize("kind", [NoPartitionsError, MissingPartitionsError, InconsistentPartitionsError])
def test_the_engines_words_about_its_recovery_folder_are_no_bug_of_ours(kind: type[Exception]) -> None:
    said = foreseen(kind("partition 1 is older"))
    assert said is not None and "is not whole (partition 1 is older). Put back what is gone" in said


def test_a_store_of_a_newer_version_is_refused(bank: Bank, output: Path, tmp_path: Path) -> None:
    with mended(tables(output)):
        for table in tables(output):
            with lmdb.open(str(table), subdir=False, lock=False, max_dbs=5) as env, env.begin(write=True) as txn:
                about = env.open_db(b"about", txn)
                found = txn.get(b"format", db=about)
                txn.put(b"format", (FORMAT_VERSION + 1).to_bytes(2, "little") + found[2:], db=about)
        assert "written by a newer version of segone" in refused(bank, tmp_path)
    assert_nothing_is_lost(bank, tmp_path)


@pytest.mark.parametrize("readable", [False, True], ids=["no access", "read only"])
def test_a_state_folder_without_permission_is_named(bank: Bank, output: Path, tmp_path: Path, readable: bool) -> None:
    state = output / ".segone"
    paths = [*sorted(state.rglob("*"), reverse=True), state] if readable else [state]
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod((0o500 if path.is_dir() else 0o400) if readable else 0)
    arguments = ["run", "--config", str(bank.config), "--input", str(bank.events), "--output", str(output)]
    run = [sys.executable, "-m", "dataflows.cli", *arguments]
    # Nothing is denied to root while it has the capabilities 1 and 2, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
    script = "import ctypes, os, sys; [ctypes.CDLL(None).prctl(24, one, 0, 0, 0) for one in (1, 2)]; os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", script, *run], cwd=ROOT, capture_output=True, text=True, check=False)
    for path in reversed(paths):
        path.chmod(modes[path])
    told = done.stderr.strip().splitlines()[-1]
    assert done.returncode in (1, 2), done.stderr
    assert str(state) in told and "ermission" in told and "Traceback" not in done.stderr, done.stderr
    assert_nothing_is_lost(bank, tmp_path)


@pytest.mark.parametrize("room_kb", [1, 4, 16])
def test_a_full_disk_ends_the_worker_and_says_to_free_space(
    bank: Bank, output: Path, tmp_path: Path, room_kb: int
) -> None:
    """No file may grow beyond `room_kb`, as far as the kernel is concerned."""
    arguments = ["run", "--config", str(bank.config), "--input", str(bank.events), "--output", str(output)]
    run = [sys.executable, "-m", "dataflows.cli", *arguments]
    script = f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({room_kb * 1024},) * 2)\n"
    script += "os.execv(sys.argv[1], sys.argv[1:])"
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, *run], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    told = done.stderr.strip().splitlines()[-1]
    assert done.returncode in (1, 2), done.stderr
    assert "space" in told and "Traceback" not in done.stderr, told
    assert_nothing_is_lost(bank, tmp_path)
