"""The real worker's processes on the embedded log: stopped, killed, one of them or all, started twice, and what is left."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
from bytewax.recovery import init_db_dir
from said import Said, differences, in_files
from worker_process import PATIENCE_S, SMALL_STEPS, CommittedReader, WorkerProcess, append, worker_on

from dataflows.files.sink import ALL_TOPICS, FileSinkPartition, OutputFailed, read_committed, write_committed
from dataflows.state_note import prepare_state
from simulation.settings import WorldSettings
from simulation.world import stream
from state.events import TOPICS
from state.settings import ConfigError
from state.settings_reading import load_settings

RECORDS, SEED = 2500, 11

DEFAULTS = load_settings(environment={})
SETTINGS = f"""\
{SMALL_STEPS}[detectors.transaction]
threshold = 0.02
"""


class Bank(NamedTuple):
    """An input folder, settings that make small steps, and what an undisturbed run says of it."""

    events: Path
    config: Path
    reference: Said


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Bank:
    folder = tmp_path_factory.mktemp("bank")
    config, events = folder / "settings.toml", folder / "events"
    config.write_text(SETTINGS)
    for topic in TOPICS:
        (events / topic).mkdir(parents=True)
    for message in islice(stream(WorldSettings(customers=12, days=90, seed=SEED)), RECORDS):
        append(events, message)
    undisturbed = worker_on(folder, config, events)
    assert undisturbed.run() == 0, undisturbed.told()
    reference = in_files(folder / "out")
    assert {place.topic for place in reference} >= {"scores", "signals.anomaly", "in.transactions.dlq"}
    return Bank(events, config, reference)


@pytest.fixture
def worker(bank: Bank, tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker that waits for more at the end of the input; ends with the test."""
    made = worker_on(tmp_path, bank.config, bank.events, "--follow")
    yield made
    made.end()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "waited too long"
        time.sleep(0.01)


def something_is_committed(output: Path) -> bool:
    return any(read_committed(path) for path in output.glob("*/*.jsonl"))


def assert_the_rest_makes_it_whole(bank: Bank, folder: Path) -> None:
    """A bounded run of one process reads what is left; then all is there once."""
    rest = worker_on(folder, bank.config, bank.events)
    assert rest.run() == 0, rest.told()
    assert differences(bank.reference, in_files(folder / "out")).first == []


@pytest.mark.parametrize(("number", "processes"), [(signal.SIGTERM, 1), (signal.SIGINT, 2), (signal.SIGTERM, 5)])
def test_a_stop_by_signal_ends_with_0_and_loses_and_repeats_nothing(
    bank: Bank, worker: WorkerProcess, tmp_path: Path, number: signal.Signals, processes: int
) -> None:
    worker.start(processes)
    wait_until(lambda: something_is_committed(tmp_path / "out"))
    assert worker.stop(number) == 0, worker.told()
    for topic in ALL_TOPICS:
        for path in (tmp_path / "out" / topic).glob("*.jsonl"):
            assert read_committed(path) == path.stat().st_size, path
    assert_the_rest_makes_it_whole(bank, tmp_path)


def test_a_stop_asked_for_while_a_cluster_starts_is_heard(bank: Bank, worker: WorkerProcess, tmp_path: Path) -> None:
    worker.start(2)
    wait_until(lambda: len(worker.children()) == 2)
    assert worker.stop() == 0, worker.told()
    assert_the_rest_makes_it_whole(bank, tmp_path)


def test_kill_9_of_one_process_ends_the_cluster_with_1_and_a_restart_heals(
    bank: Bank, worker: WorkerProcess, tmp_path: Path
) -> None:
    worker.start(2)
    wait_until(lambda: something_is_committed(tmp_path / "out"))
    assert worker.kill_child(1)
    assert worker.wait() == 1
    assert "start again to go on" in worker.told()
    assert_the_rest_makes_it_whole(bank, tmp_path)


def test_processes_end_with_their_supervisor_and_the_next_start_waits_for_them(
    bank: Bank, worker: WorkerProcess, tmp_path: Path
) -> None:
    worker.start(2)
    wait_until(lambda: something_is_committed(tmp_path / "out"))
    children = worker.children()
    worker.kill_supervisor()
    assert_the_rest_makes_it_whole(bank, tmp_path)
    assert not any(Path(f"/proc/{pid}/cmdline").exists() for pid in children)


def test_a_second_worker_on_the_same_state_is_refused_and_does_no_harm(
    bank: Bank, worker: WorkerProcess, tmp_path: Path
) -> None:
    worker.start()
    wait_until(lambda: something_is_committed(tmp_path / "out"))
    second = worker_on(tmp_path, bank.config, bank.events)
    assert second.run(timeout_s=20) == 1
    assert "in use by process" in second.told()
    assert worker.stop() == 0
    assert_the_rest_makes_it_whole(bank, tmp_path)


def test_kill_9_again_and_again_takes_back_nothing_that_a_reader_of_committed_bytes_has_seen(
    bank: Bank, worker: WorkerProcess, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEGONE_TEST_SEED", "1"))
    print(f"SEGONE_TEST_SEED={seed}")
    rng = random.Random(seed)
    reader = CommittedReader(tmp_path / "out")
    reader.start()
    for processes in (1, 2, 1):
        worker.start(processes)
        seen = reader.seen_bytes
        give_up_s = time.monotonic() + 5  # nothing more comes when all has been read
        while reader.seen_bytes == seen and time.monotonic() < give_up_s:
            time.sleep(0.01)
        time.sleep(rng.uniform(0.0, 0.15))
        worker.kill()
    assert_the_rest_makes_it_whole(bank, tmp_path)
    assert reader.finish() == []


@pytest.mark.parametrize("finding", ["is shorter now", "is gone", "holds other records now"])
def test_an_input_that_is_not_what_was_read_of_it_ends_the_worker_and_nothing_is_passed_over(
    bank: Bank, tmp_path: Path, finding: str
) -> None:
    events = tmp_path / "events"
    shutil.copytree(bank.events, events)
    worker = worker_on(tmp_path, bank.config, events)
    assert worker.run() == 0, worker.told()
    path = events / "in.transactions" / "1.jsonl"
    whole = path.read_bytes()
    if finding == "is gone":
        path.unlink()
    elif finding == "is shorter now":
        path.write_bytes(whole[: len(whole) // 2])
    else:
        path.write_bytes(whole.replace(b'"customer_id":"', b'"customer_id":"x') + whole)
    assert worker.run() == 1
    assert f"{path}: {finding}, and {len(whole)} bytes of it were read before" in worker.told().splitlines()[-1]
    path.write_bytes(whole)
    assert worker.run() == 0, worker.told()
    assert differences(bank.reference, in_files(tmp_path / "out")).first == []


def test_an_input_that_shrinks_while_it_is_followed_ends_the_worker(bank: Bank, tmp_path: Path) -> None:
    events = tmp_path / "events"
    shutil.copytree(bank.events, events)
    worker = worker_on(tmp_path, bank.config, events, "--follow")
    worker.start()
    try:
        wait_until(lambda: something_is_committed(tmp_path / "out"))
        (events / "in.transactions" / "1.jsonl").write_bytes(b"")
        assert worker.wait() == 1
    finally:
        worker.end()
    assert "is shorter now" in worker.told().splitlines()[-1]


def test_a_state_folder_whose_making_was_killed_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "recovery.new").mkdir()
    init_db_dir(tmp_path / "recovery.new", 2)
    (tmp_path / "recovery.new" / "part-1.sqlite3").unlink()
    assert prepare_state(tmp_path, DEFAULTS)
    assert [path.name for path in (tmp_path / "recovery").glob("*.sqlite3")] == ["part-0.sqlite3"]
    assert not prepare_state(tmp_path, DEFAULTS)


def test_a_recovery_folder_without_a_note_beside_it_is_taken_as_it_is(tmp_path: Path) -> None:
    assert prepare_state(tmp_path, DEFAULTS)
    before = (tmp_path / "recovery" / "part-0.sqlite3").read_bytes()
    (tmp_path / "segone.json").unlink()
    assert prepare_state(tmp_path, DEFAULTS)
    assert (tmp_path / "recovery" / "part-0.sqlite3").read_bytes() == before


def test_output_that_readers_have_seen_is_not_cut_off_by_an_older_state_folder(tmp_path: Path) -> None:
    path = tmp_path / "scores" / "0.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"{}\n{}\n")
    write_committed(path, 6)
    with pytest.raises(OutputFailed, match="readers have been shown 6 bytes, the recovery folder knows of 3 only"):
        FileSinkPartition(tmp_path, 0, b'{"scores":3}', power_safe=False)
    assert (path.stat().st_size, read_committed(path)) == (6, 6)


@pytest.mark.parametrize("noted", [True, False])
def test_a_new_state_neither_appends_to_nor_cuts_off_what_an_earlier_run_wrote(
    bank: Bank, tmp_path: Path, noted: bool
) -> None:
    path = tmp_path / "out" / "scores" / "0.jsonl"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'{"customer_id":"c-1"}\n')
    if noted:
        write_committed(path, path.stat().st_size)
    worker = worker_on(tmp_path, bank.config, bank.events)
    for _ in range(2):  # whoever restarts what has failed tries again
        assert worker.run() == 2
        assert "holds signals of an earlier run whose state is not in" in worker.told().splitlines()[-1]
    prepare_state(tmp_path / "out" / ".segone", load_settings(bank.config, environment={}))  # as `segone init` does
    assert worker.run() == 1
    assert f"{path}: holds output of an earlier run whose state is not this one" in worker.told().splitlines()[-1]
    assert path.read_bytes() == b'{"customer_id":"c-1"}\n'


def test_a_state_folder_with_another_shard_count_is_refused(tmp_path: Path) -> None:
    prepare_state(tmp_path, DEFAULTS)
    note = tmp_path / "segone.json"
    note.write_bytes(note.read_bytes().replace(b"64", b"32"))
    with pytest.raises(ConfigError, match="shards is 32"):
        prepare_state(tmp_path, DEFAULTS)
