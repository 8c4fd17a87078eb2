"""`segone score` from outside: folders in, tables, files and exit codes out."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from simulation import scorecard_command
from simulation.scorecard_truth import parse_time

TRUTH = [
    {"kind": "medical_surge", "customer_id": "c-1", "start": "2024-08-01T00:00:00Z", "end": None},
    {
        "kind": "decoy",
        "customer_id": "c-2",
        "start": "2024-09-01",
        "end": "2024-09-05",
        "detail": {"for": "medical_surge", "variant": "dental"},
    },
    {"kind": "compromised_merchant", "customer_id": None, "start": "2024-08-01T00:00:00+02:00"},
    {"kind": "lottery_win", "customer_id": "c-1", "start": "2024-08-01T00:00:00", "detail": None},
]
WORLD = {"start": "2024-01-01T00:00:00Z", "end": "2024-12-31T00:00:00Z", "customers": 4}


def signal(number: int, time: str, customer_id: str = "c-1", **fields: Any) -> dict[str, Any]:
    body = {
        "id": f"{number:032x}",
        "type": "anomaly.category_surge",
        "customer_id": customer_id,
        "event_time": time,
        "state": "OPEN",
        "retracts": None,
        "score": 0.9,
        "calibrated": True,
        "details": {"category": "medical", "observed": 7, "usual": 1.5},
        "trigger": {"topic": "in.transactions", "event_id": f"t-{number}"},
    }
    return body | fields


def lines(*bodies: object) -> bytes:
    return b"".join(json.dumps(body).encode() + b"\n" for body in bodies)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    run, truth = tmp_path / "run", tmp_path / "truth"
    (run / "signals.anomaly").mkdir(parents=True)
    truth.mkdir()
    (truth / "truth.jsonl").write_bytes(lines(*TRUTH))
    (truth / "world.json").write_text(json.dumps(WORLD))
    (run / "signals.anomaly" / "0.jsonl").write_bytes(lines(signal(1, "2024-08-11T00:00:00Z")))
    return run, truth


def scored(run: Path, truth: Path, *options: str) -> tuple[int, dict[str, Any]]:
    parser = argparse.ArgumentParser()
    scorecard_command.add_arguments(parser)
    out = run.parent / "card.json"
    code = scorecard_command.run(parser.parse_args([str(run), "--truth", str(truth), "--json", str(out), *options]))
    return code, json.loads(out.read_bytes()) if out.exists() else {}


def surge(card: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in card["signals"] if one["type"] == "anomaly.category_surge")
    return found


def test_a_hit_is_reported_on_the_terminal_in_json_and_in_markdown(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    markdown = folders[0].parent / "card.md"
    code, card = scored(*folders, "--markdown", str(markdown))
    assert code == 0
    half = surge(card)["second_half"]
    assert (half["cases"], half["hits"], half["false_alarms"], half["days"]["p50"]) == (1, 1, 0, 10.0)
    assert surge(card)["calibration"]["expected_error"] == pytest.approx(0.1)
    assert card["customers"] == 4
    assert card["ignored_kinds"] == {"lottery_win": 1}
    printed = capsys.readouterr().out
    assert "anomaly.category_surge" in printed
    assert max(len(line) for line in printed.splitlines()) <= 80
    assert "| anomaly.category_surge | 1 | 1 | 1.000" in markdown.read_text()
    assert "| anomaly.null (floor) | 0 | 0 | – | – | – | 0.000" in markdown.read_text()


def test_the_same_folders_give_the_same_bytes(folders: tuple[Path, Path]) -> None:
    assert scored(*folders) == scored(*folders)


def test_a_retracted_alarm_is_no_alarm_wherever_the_retraction_stands(folders: tuple[Path, Path]) -> None:
    opened = signal(1, "2024-08-11T00:00:00Z")
    taken_back = signal(2, "2024-08-12T00:00:00Z", state="RETRACT", retracts=opened["id"], revision=2)
    (folders[0] / "signals.anomaly" / "0.jsonl").write_bytes(lines(taken_back))
    (folders[0] / "signals.anomaly" / "1.jsonl").write_bytes(lines(opened, signal(3, "2024-11-30T00:00:00Z")))
    half = surge(scored(*folders)[1])["second_half"]
    assert (half["alarms"], half["hits"], half["false_alarms"]) == (1, 0, 1)


def test_updates_and_closes_are_no_alarms(folders: tuple[Path, Path]) -> None:
    later = [signal(n, "2024-11-30T00:00:00Z", state=state) for n, state in ((2, "UPDATE"), (3, "CLOSE"))]
    (folders[0] / "signals.anomaly" / "0.jsonl").write_bytes(lines(*later))
    assert surge(scored(*folders)[1])["second_half"]["alarms"] == 0


def test_nothing_beyond_the_committed_length_is_read(folders: tuple[Path, Path]) -> None:
    partition = folders[0] / "signals.anomaly" / "0.jsonl"
    committed = partition.read_bytes()
    partition.write_bytes(committed + lines(signal(2, "2024-11-30T00:00:00Z")) + b'{"torn')
    partition.with_suffix(".committed").write_text(f"{len(committed)}\n")
    assert surge(scored(*folders)[1])["second_half"]["alarms"] == 1
    partition.with_suffix(".committed").write_text("0")
    assert surge(scored(*folders)[1])["second_half"]["alarms"] == 0


def test_a_torn_last_line_is_left_out_and_told(folders: tuple[Path, Path]) -> None:
    partition = folders[0] / "signals.anomaly" / "0.jsonl"
    partition.write_bytes(partition.read_bytes().replace(b"\n", b"\r\n") + b'\n{"type":"anomaly.cat')
    code, card = scored(*folders)
    assert code == 0
    assert surge(card)["second_half"]["alarms"] == 1
    assert [note for note in card["notes"] if "torn" in note] == [
        f"{partition}: its last line is torn and was left out"
    ]


def test_without_a_world_the_scores_tell_period_and_customers(folders: tuple[Path, Path]) -> None:
    run, truth = folders
    (truth / "world.json").unlink()
    (run / "scores").mkdir()
    times = (("c-1", "2024-01-01T00:00:00Z"), ("c-2", "2024-03-01T00:00:00Z"), ("c-1", "2024-12-30T23:59:59.999999Z"))
    scores = [{"transaction_id": "t", "customer_id": c, "event_time": t, "score": 0.1, "model": "m"} for c, t in times]
    (run / "scores" / "0.jsonl").write_bytes(lines(*scores))
    card = scored(run, truth)[1]
    assert parse_time(card["period_start"]) == parse_time("2024-01-01T00:00:00Z")
    assert parse_time(card["period_end"]) == parse_time("2024-12-31T00:00:00Z")
    assert card["customers"] == 2
    assert surge(card)["cold_start"]["customers"] == 2


def test_without_world_and_scores_the_signals_tell_the_period(folders: tuple[Path, Path]) -> None:
    run, truth = folders
    (truth / "world.json").unlink()
    first = signal(2, "2024-01-01T00:00:00Z", "c-3")
    (run / "signals.anomaly" / "1.jsonl").write_bytes(lines(first, signal(3, "2024-12-30T00:00:00Z", "c-3")))
    card = scored(run, truth)[1]
    assert parse_time(card["period_start"]) == parse_time("2024-01-01T00:00:00Z")
    assert card["customers"] == 3
    assert any("taken from the signals" in note for note in card["notes"])


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", "unexpected end"),
        (b"[]", "not a JSON object"),
        (b'{"customer_id": "c-1", "start": "2024-01-01"}', "kind is missing"),
        (b'{"kind": "churn", "customer_id": "c-1"}', "start is missing"),
        (b'{"kind": "churn", "customer_id": "c-1", "start": "soon"}', "'soon'"),
        (b'{"kind": "churn", "customer_id": "c-1", "start": "2024-01-01", "end": 5}', "got 5"),
    ],
)
def test_a_malformed_truth_line_ends_with_2_and_names_file_and_line(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], line: bytes, says: str
) -> None:
    path = folders[1] / "truth.jsonl"
    path.write_bytes(path.read_bytes() + line + b"\n")
    assert scored(*folders)[0] == 2
    message = capsys.readouterr().err
    assert f"{path}:5: not a case of truth: " in message
    assert says in message


def _spoil_run(run: Path, _: Path) -> str:
    (run / "signals.anomaly" / "0.jsonl").unlink()
    (run / "signals.anomaly").rmdir()
    return "neither signals.* nor scores"


def test_a_run_that_said_nothing_is_a_run(folders: tuple[Path, Path]) -> None:
    _spoil_run(*folders)
    (folders[0] / "run.json").write_text("{}")
    code, card = scored(*folders)
    assert (code, surge(card)["second_half"]["cases"], surge(card)["second_half"]["alarms"]) == (0, 1, 0)


def _spoil_truth(_: Path, truth: Path) -> str:
    (truth / "truth.jsonl").unlink()
    return "truth.jsonl: no such file. --truth names the folder"


def _spoil_world(_: Path, truth: Path) -> str:
    (truth / "world.json").write_text('{"start": "yesterday"}')
    return "world.json: Invalid isoformat string: 'yesterday'"


def _spoil_signal(run: Path, _: Path) -> str:
    (run / "signals.anomaly" / "0.jsonl").write_bytes(lines(signal(1, "2024-08-11T00:00:00Z"), {"type": 3}))
    return "0.jsonl:2: not a signal"


def _spoil_length(run: Path, _: Path) -> str:
    (run / "signals.anomaly" / "0.committed").write_text("lots")
    return "0.committed: expected the committed length in bytes, found 'lots'"


def _spoil_period(run: Path, truth: Path) -> str:
    (truth / "world.json").unlink()
    (truth / "truth.jsonl").write_bytes(b"")
    (run / "signals.anomaly" / "0.jsonl").write_bytes(b"")
    return "the period is unknown or empty"


def _spoil_customers(_: Path, truth: Path) -> str:
    (truth / "world.json").write_text(json.dumps(WORLD | {"customers": 1e30}))
    return "world.json: customers must be from 0 to 10,000,000,000"


def _spoil_days(_: Path, truth: Path) -> str:
    (truth / "world.json").write_text('{"start": "2024-01-01", "days": 1e18}')
    return "world.json: the period ends after the year 9999"


def _spoil_details(run: Path, _: Path) -> str:
    body = lines(signal(1, "2024-08-11T00:00:00Z")).replace(b"1.5", b"1e999")
    (run / "signals.anomaly" / "0.jsonl").write_bytes(body)
    return "signal 00000000000000000000000000000001: its details cannot be read"


SPOILERS = (
    _spoil_run,
    _spoil_truth,
    _spoil_world,
    _spoil_signal,
    _spoil_length,
    _spoil_period,
    _spoil_customers,
    _spoil_days,
    _spoil_details,
)


@pytest.mark.parametrize("spoil", SPOILERS)
def test_wrong_input_ends_with_2_and_says_what_is_wrong(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str], spoil: Callable[[Path, Path], str]
) -> None:
    says = spoil(*folders)
    assert scored(*folders)[0] == 2
    assert says in capsys.readouterr().err


def test_what_truth_and_signals_say_moves_no_cursor_and_breaks_no_table(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run, truth = folders
    evil, markdown = "\x1b[2J\nfoul\u202e", run.parent / "card.md"
    cases: list[dict[str, Any]] = [{"kind": evil, "customer_id": "c-1", "start": "2024-08-01"}, *TRUTH]
    cases.append(TRUTH[1] | {"detail": {"for": "medical_surge", "variant": evil}})
    (truth / "truth.jsonl").write_bytes(lines(*cases))
    (truth / "consents.jsonl").write_bytes(b"\n")
    (run / "signals.anomaly" / "1.jsonl").write_bytes(lines(signal(2, "2024-08-11T00:00:00Z", type=evil)))
    assert scored(*folders, "--markdown", str(markdown))[0] == 0
    for text in (capsys.readouterr().out, markdown.read_text()):
        assert "\x1b" not in text and "\u202e" not in text and "\nfoul" not in text
        assert "\\x1b[2J\\nfoul\\u202e" in text


@pytest.mark.parametrize(
    "options", [("--resamples", "-1"), ("--seed", "-1"), ("--seed", str(10**40)), ("--markdown", "/nowhere/at/all.md")]
)
def test_wrong_options_end_with_2(folders: tuple[Path, Path], options: tuple[str, str]) -> None:
    assert scored(*folders, *options)[0] == 2


def test_a_missing_run_folder_ends_with_2(folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert scored(folders[0] / "nothing", folders[1])[0] == 2
    assert "nothing: no such folder. RUN is the output folder" in capsys.readouterr().err
