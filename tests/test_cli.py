"""The command line's manners: help that teaches, exit codes, one line per error, and no traceback for what a person can mend."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest
from cli_samples import ODD, ROOT, as_line, segone, signal, transaction, write_log, write_signals

from dataflows.cli import COMMANDS, main
from dataflows.commands import explain
from dataflows.commands.replay import time_argument
from dataflows.files.sink import read_committed

CUSTOMERS, PURCHASES = 3, 60


@pytest.fixture(scope="module")
def bank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small bank whose events have been run: `in`, and `out` with an odd purchase of each customer and three dead letters."""
    folder = tmp_path_factory.mktemp("bank")
    events = [(f"c-{c}", as_line(transaction(c, n))) for n in range(PURCHASES) for c in range(CUSTOMERS)]
    broken = [("c-0", as_line(transaction(0, 99, amount="1,5"))), ("c-1", b'{"torn'), ("c-2", b"\xff")]
    write_log(folder / "in", "in.transactions", events + broken)
    assert main(["run", "--input", str(folder / "in"), "--output", str(folder / "out")]) == 0
    return folder


def test_help_lists_every_command_in_a_line_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert all(any(line.split()[:1] == [name] for line in out.splitlines()) for name in COMMANDS)
    assert out.count("\n  segone ") == 2


@pytest.mark.parametrize("name", ["run", "explain", "check", "init", "dlq"])
def test_help_of_a_command_describes_every_flag_and_gives_examples(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    out = capsys.readouterr().out
    assert ended.value.code == 0
    assert f"\n  segone {name} " in out
    assert "Settings: config/default.toml" in out


@pytest.mark.parametrize("arguments", [[], ["rum"], ["explain"], ["dlq"], ["dlq", "list", "x", "--limit", "many"]])
def test_wrong_use_ends_with_2(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: segone" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", "--process-id", "0", "--addresses", "here"), "--addresses: 'here' is no HOST:PORT"),
        (("run", "--process-id", "0", "--addresses", ""), "--addresses: '' is no HOST:PORT"),
        (("run", "--process-id", "0", "--addresses", "a:1;b:70000"), "--addresses: 'b:70000' is no HOST:PORT"),
        (("run", "--process-id", "2", "--addresses", "a:1;b:2"), "--process-id 2: --addresses names 2, so give 0 to 1"),
        (("run", "--process-id", "-1", "--addresses", "a:1;b:2"), "--process-id -1: --addresses names 2"),
        (("replay", "x", "--out", "y", "--from", "2025-02-01", "--to", "2025-02-01"), "nothing lies between them"),
    ],
)
def test_values_that_cannot_go_together_are_told(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    assert main(arguments) == 2
    assert says in capsys.readouterr().err


def test_what_a_run_said_can_be_explained(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["explain", str(bank / "out"), "--customer", "c-1"])
    out = capsys.readouterr().out
    assert code == 0
    assert "adds up: sigmoid(base + Σ contributions)" in out
    assert f"t-1-{ODD}" in out


def test_what_a_run_refused_goes_back_after_the_fix(bank: Path, tmp_path: Path) -> None:
    run, edited = str(bank / "out"), tmp_path / "edited.jsonl"
    assert main(["dlq", "redrive", run, "--code", "amount.format", "--export", str(edited)]) == 0
    edited.write_bytes(edited.read_bytes().replace(b"1,5", b"1.5"))
    again = ["--import", str(edited), "--topic", "in.transactions", "--to", str(tmp_path / "in"), "--partitions", "2"]
    assert main(["dlq", "redrive", run, *again]) == 0
    ended = segone("run", "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert ended.returncode == 0
    assert "read 1 = applied 1 + duplicate 0 + late 0 + dead letters 0" in ended.stdout


def test_a_run_and_a_replay_tell_at_their_end_what_they_mended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bodies = [transaction(0, 1), transaction(0, 2, channel="pigeon"), transaction(0, 3, channel="owl", mcc="x")]
    write_log(tmp_path / "in", "in.transactions", [("c-0", as_line(body)) for body in bodies])
    assert main(["run", "--input", str(tmp_path / "in"), "--output", str(tmp_path / "run")]) == 0
    assert main(["replay", str(tmp_path / "in"), "--out", str(tmp_path / "replay")]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mended")]
    assert told == ["mended: channel.unknown 2, mcc.malformed 1 (docs/dead-letters.md)"] * 2


def test_a_time_on_the_command_line_is_exact_to_the_microsecond() -> None:
    assert time_argument("--from", "1978-09-30T11:10:42.282797") == 276_001_842_282_797, "seconds in a float end in 796"
    assert time_argument("--to", "1978-09-30T13:10:42.282797+02:00") == 276_001_842_282_797


def test_a_reader_that_goes_away_is_no_error_worth_a_word(tmp_path: Path) -> None:
    write_signals(tmp_path, *(signal(id=f"{n:032x}") for n in range(5_000)))
    command = [sys.executable, "-m", "dataflows.cli", "explain", str(tmp_path), "--customer", "c-1", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline().startswith(b'{"id": "0000')
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 1


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_closed_standard_streams_are_no_reason_to_fail(bank: Path, tmp_path: Path, closed: str) -> None:
    command = [sys.executable, "-m", "dataflows.cli", "run", "--input", str(bank / "in"), "--output", str(tmp_path)]
    ended = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}', "sh", *command], cwd=ROOT, capture_output=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert sum(map(read_committed, (tmp_path / "scores").glob("*.jsonl"))) > 0


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_outputs_are_no_error(tmp_path: Path, closed: str) -> None:
    write_signals(tmp_path, signal())
    listed = f"{sys.executable} -m dataflows.cli explain {tmp_path} --customer c-1 --without-events"
    done = subprocess.run(["sh", "-c", f"{listed} {closed}"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_terminal_without_unicode_gets_escapes_and_no_traceback(bank: Path) -> None:
    ended = segone("explain", bank / "out", "--customer", "c-1", PYTHONIOENCODING="ascii")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert r"\u03a3" in ended.stdout


@pytest.mark.parametrize("command", ["run", "check", "init"])
def test_an_unknown_key_ends_every_command_with_2_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    config = tmp_path / "bank.toml"
    config.write_text("[log]\nfolow = true")
    assert main([command, "--config", str(config)]) == 2
    expected = f"segone {command}: {config}:[log] folow: no such setting; did you mean 'follow'?\n"
    assert capsys.readouterr().err == expected


def test_a_missing_input_ends_with_2_and_says_what_would_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--input", str(tmp_path / "none"), "--output", str(tmp_path / "out")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"segone run: {tmp_path / 'none'}: no such folder (log.input, --input)")
    assert len(err.splitlines()) == 1


def test_an_output_that_cannot_be_written_ends_with_1_and_one_line_at_the_end(bank: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scores").touch()  # a file where a folder must be
    ended = segone("run", "--input", bank / "in", "--output", tmp_path / "out")
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"segone run: {tmp_path / 'out' / 'scores'}")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EIO])
def test_an_unexpected_failure_of_the_system_is_one_line_and_a_traceback_only_on_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(_: object) -> int:
        raise OSError(number, "the disk says no", "/a/file")

    monkeypatch.setattr(explain, "run", fail)
    assert main(["explain", str(tmp_path), "x"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("segone explain: /a/file: the disk says no; see to")
    assert len(err.splitlines()) == 1
    monkeypatch.setenv("SEGONE_DEBUG", "1")
    assert main(["explain", str(tmp_path), "x"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_of_ours_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> int:
        raise AssertionError("this cannot be")

    monkeypatch.setattr(explain, "run", fail)
    with pytest.raises(AssertionError, match="this cannot be"):
        main(["explain", str(tmp_path), "x"])
