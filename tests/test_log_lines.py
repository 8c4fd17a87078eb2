"""What a worker tells: JSON lines without customers or secrets, and of a cluster's end the cause."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from cli_samples import as_line, transaction, write_log
from worker_process import PATIENCE_S, WorkerProcess

from dataflows.commands.run import _tell_end
from dataflows.files.sink import read_committed
from dataflows.log_lines import configure, where
from state.settings import LogsSettings
from state.settings_reading import load_settings
from state.settings_shown import MASK, changed, shown

MARK = "MARKED-PERSON"


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def wait_until(condition: Callable[[], bool]) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_s, "waited too long"
        time.sleep(0.02)


@pytest.fixture
def logs_as_before() -> Iterator[None]:
    """configure() replaces the root logger's handlers; other tests find those that they had."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[WorkerProcess]:
    """A worker on marked customers that waits for more, and tells in JSON: its standard error is a file."""
    records = [transaction(c, n) | {"description": f"{MARK} rent"} for c in range(4) for n in range(60)]
    customers = [f"{MARK}-{body['customer_id']}" for body in records]
    bodies = [body | {"customer_id": customer} for body, customer in zip(records, customers, strict=True)]
    broken = ("c-0", b'{"customer_id": "' + MARK.encode() + b'", "amount": ')
    written = [(c, as_line(body)) for c, body in zip(customers, bodies, strict=True)]
    write_log(tmp_path / "in", "in.transactions", [*written, broken])
    (tmp_path / "segone.toml").write_text(
        "[log]\npartitions = 2\nfollow = true\n[shard]\ncount = 4\n[state]\ncheckpoint_interval_ms = 100\n"
        "[knowledge]\nenabled = false\n"  # nothing to keep pace with: all is read before the first checkpoint
    )
    made = WorkerProcess(
        tmp_path / "worker.log",
        *(
            "--config",
            str(tmp_path / "segone.toml"),
            "--input",
            str(tmp_path / "in"),
            "--output",
            str(tmp_path / "out"),
        ),
    )
    yield made
    made.end()


def something_is_committed(output: Path) -> bool:
    return any(read_committed(path) for path in output.glob("*/*.jsonl"))


def test_a_worker_tells_its_life_in_json_lines_and_names_no_customer(worker: WorkerProcess, tmp_path: Path) -> None:
    worker.start()
    wait_until(lambda: something_is_committed(tmp_path / "out"))
    assert worker.stop() == 0, worker.told()
    told = worker.told(100_000)
    assert MARK not in told
    first, stopping, ended = lines_of(told)
    assert (first["event"], first["level"], first["config"]["shard"]["count"]) == ("started", "info", 4)
    assert stopping["event"] == "stopping"
    assert (ended["event"], ended["stopped"], ended["read"], ended["dead_letter"]) == ("ended", True, 241, 1)
    assert {"time", "level", "event", "logger"} <= ended.keys()


def test_processes_of_a_cluster_do_not_tell_a_difference_that_is_none(worker: WorkerProcess, tmp_path: Path) -> None:
    """What one process read may have ended in another one: to read less what ended here is no number of records."""
    worker.start(2)
    wait_until(lambda: something_is_committed(tmp_path / "out"))
    assert worker.stop() == 0, worker.told()
    ended = [line for line in lines_of(worker.told(100_000)) if line["event"] == "ended"]
    assert [line["read"] >= 0 and "in_flight" not in line for line in ended] == [True, True]
    assert sum(line["read"] for line in ended) == sum(
        line[outcome] for line in ended for outcome in ("applied", "duplicate", "late", "dead_letter")
    )


def test_the_end_of_a_cluster_names_the_process_that_was_killed(worker: WorkerProcess, tmp_path: Path) -> None:
    worker.start(2)
    wait_until(lambda: something_is_committed(tmp_path / "out"))
    assert worker.kill_child(1)
    assert worker.wait() == 1
    told = worker.told(100_000)
    assert lines_of(told)[-1]["cause"] == "process 1 was killed by SIGKILL"
    assert "panic" not in told
    peers = [line for line in lines_of(told) if line["event"] == "stopped"]
    assert [(line["process"], line["level"]) for line in peers] in (
        [],
        [(0, "warning")],
    )  # or it was ended before it noticed


def test_the_end_of_a_cluster_names_the_cause_that_a_process_told(worker: WorkerProcess, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores").touch()  # no folder can be there: what a process writes fails
    worker.start(2)
    assert worker.wait() == 1
    last = lines_of(worker.told(100_000))[-1]
    assert last["event"] == "cluster ended"
    assert "/scores" in last["cause"] and "process " in last["cause"]
    assert "another process" not in last["cause"]


def test_of_a_bug_kinds_and_places_are_told_and_never_the_words_of_the_error(
    capsys: pytest.CaptureFixture[str], logs_as_before: None
) -> None:
    configure(LogsSettings(format="json"))
    try:
        try:
            {}[MARK]
        except KeyError as error:
            raise RuntimeError(f"in the engine, of {MARK}") from error
    except RuntimeError as error:
        _tell_end(error, 0)
        assert where(error).startswith("KeyError at test_log_lines.py:")
    told = capsys.readouterr().err
    assert "RuntimeError at test_log_lines.py:" in lines_of(told)[0]["error"]
    assert MARK not in told


def test_levels_below_the_configured_one_are_silent_and_lines_of_libraries_are_json_too(
    capsys: pytest.CaptureFixture[str], logs_as_before: None
) -> None:
    configure(LogsSettings(level="warning", format="json"), process=3)
    structlog.get_logger("segone.test").info("unheard")
    logging.getLogger("segone.kafka").warning("transaction %s is tried again", "segone-0")
    assert [(line["event"], line["process"], line["level"]) for line in lines_of(capsys.readouterr().err)] == [
        ("transaction segone-0 is tried again", 3, "warning")
    ]
    configure(LogsSettings(format="console"))
    structlog.get_logger("segone.test").info("for people", reason="they read")
    assert "for people" in (line := capsys.readouterr().err) and not line.startswith("{")


def test_secrets_are_masked_by_name_and_those_from_files_whatever_their_name(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden-0")
    names = ("sasl.password", "ssl.key.password", "ssl.keystore.location", "sasl.oauthbearer.client.secret", "a.token")
    toml = "".join(f'"{name}" = "hidden-{number}"\n' for number, name in enumerate(names, 1))
    path = tmp_path / "segone.toml"
    path.write_text(
        f'[log]\nkind = "kafka"\n[kafka.client]\n{toml}"sasl.username_file" = "{tmp_path}/secret"\n"client.id" = "seen"\n'
    )
    settings = load_settings(path, {})
    assert settings.kafka.client["sasl.username"] == "hidden-0"
    for tables in (shown(settings), changed(settings, load_settings(environment={}))):
        assert "hidden" not in json.dumps(tables)
        client = tables["kafka"]["client"]
        assert client["client.id"] == "seen"
        assert {client[name] for name in (*names, "sasl.username")} == {MASK}
