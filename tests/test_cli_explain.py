"""`segone explain`: the numbers as written, what they add up to, and nothing that a terminal would obey."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from cli_samples import as_line, reason, signal, transaction, write_log, write_signals
from hypothesis import given
from hypothesis import strategies as st

from dataflows.cli import main
from dataflows.commands.past import BLOCKS, sparkline


def explained(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["explain", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_everything_a_signal_says_is_shown_with_exact_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_signals(tmp_path, signal(counterfactual={"amount": "10.00"}, model="m@7"))
    code, out, err = explained(capsys, tmp_path, "a" * 32)
    assert (code, err) == (0, "")
    for part in (
        "OPEN anomaly.geo at 2025-03-04T12:34:56.000000Z about customer c-1: because SPEED_IMPOSSIBLE; because COUNTRY_NEW.",
        "0.5 (link logit; not calibrated",
        "adds up: sigmoid(base + Σ contributions) is 0.5, the score",
        '"km":7210.123456789012',
        "6008.3",
        "80.0",
        "transactions t-1, t-0",
        "window 24h: from 2025-03-03T12:34:56Z to 2025-03-04T12:34:56Z",
        '{"amount":"10.00"}',
        '{"merchant_fraud_rate_30d":0.012}',
        "detector geo@1, model m@7, config sha256:c0ffee",
        '{"topic":"in.transactions","event_id":"t-1"}',
        "signals.anomaly partition 0 offset 0",
    ):
        assert part in out


def test_bars_are_in_proportion_to_the_contributions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_signals(tmp_path, signal(score_base=-4.0, reasons=[reason("A", 6.0), reason("B", -2.0)]))
    _, out, _ = explained(capsys, tmp_path, "a" * 32)
    bars = [len(line.split()[-1]) for line in out.splitlines() if line.startswith(("base ", "A ", "B "))]
    assert bars == [13, 20, 7]


def test_parts_that_do_not_make_the_score_are_told_and_end_with_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_signals(tmp_path, signal(score=0.5 + 2e-9))
    code, out, err = explained(capsys, tmp_path, "a" * 32)
    assert code == 1
    assert "WRONG: sigmoid(base + Σ contributions) is 0.5, not the score" in out
    assert "its parts do not add up to its score" in err
    write_signals(tmp_path, signal(score=0.5 + 0.5e-9))
    assert explained(capsys, tmp_path, "a" * 32)[0] == 0


def test_a_missing_part_of_a_linked_score_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_signals(tmp_path, signal(score_base=0.0, reasons=[reason("A", None)]))  # what is there does make the score
    assert explained(capsys, tmp_path, "a" * 32)[0] == 1


def test_the_identity_link_is_a_plain_sum(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_signals(tmp_path, signal(score_link="identity", score_base=0.25, reasons=[reason("A", 0.25)]))
    code, out, _ = explained(capsys, tmp_path, "a" * 32)
    assert code == 0
    assert "identity(base + Σ contributions) is 0.5, the score" in out


def test_extreme_log_odds_do_not_overflow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_signals(tmp_path, signal(score=0.0, score_base=-2000.0))
    assert explained(capsys, tmp_path, "a" * 32)[0] == 0


def test_the_whole_episode_is_shown_whichever_revision_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    retraction = signal(
        id="b" * 32,
        state="RETRACT",
        revision=2,
        retracts="a" * 32,
        event_time="2025-03-05T00:00:00.000000Z",
        score_link="none",
        score_base=None,
        reasons=[reason("REVERSED", None)],
    )
    other = signal(id="c" * 32, episode="t-9")
    write_signals(tmp_path, retraction, other)
    write_signals(tmp_path, signal(), partition=1)
    for asked in ("a" * 32, "b" * 32):
        code, out, _ = explained(capsys, tmp_path, asked)
        assert code == 0
        opened, taken_back = out.index("revision 1 OPEN"), out.index("revision 2 RETRACT")
        assert opened < taken_back
        assert "It was RETRACTED" in out
        assert "there is no sum to check" in out
        assert "t-9" not in out
        code, out, _ = explained(capsys, tmp_path, asked, "--json")
        assert [json.loads(line) for line in out.splitlines()] == [signal(), retraction]


def test_a_customer_is_shown_in_order_of_time_over_all_topics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    churn = signal(id="d" * 32, type="intent.churn", event_time="2025-01-01T00:00:00.000000Z")
    write_signals(tmp_path, signal(), signal(id="e" * 32, customer_id="c-10"))
    write_signals(tmp_path, churn, topic="signals.intent")
    code, out, _ = explained(capsys, tmp_path, "--customer", "c-1", "--json")
    assert (code, [json.loads(line)["id"] for line in out.splitlines()]) == (0, ["d" * 32, "a" * 32])
    code, out, _ = explained(capsys, tmp_path, "--customer", "c-1", "--limit", "1")
    assert code == 0
    assert "signals about customer c-1: 2" in out
    assert "1 older episodes are not explained here" in out
    assert out.index("intent.churn") < out.index("anomaly.geo")
    assert "e" * 32 not in out


def test_what_is_not_there_ends_with_1_and_says_how_much_was_searched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_signals(tmp_path, signal(), signal(id="b" * 32))
    code, out, err = explained(capsys, tmp_path, "f" * 32)
    assert (code, out) == (1, "")
    assert f"no signal with the id {'f' * 32} among the 2 signals there" in err
    code, out, err = explained(capsys, tmp_path, "--customer", "c-9\x1b[2J", "--json")
    assert (code, out) == (1, "")
    assert r"about customer c-9\x1b[2J among the 2 signals" in err
    assert "no signal about customer  among" in explained(capsys, tmp_path, "--customer", "")[2]


def test_nothing_in_the_data_reaches_the_terminal_as_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b]0;owned\x07\x9b31m\r\n[bold red]x[/] :skull: \u202egnp.exe"
    hostile = signal(
        type=evil,
        customer_id=evil,
        state=evil,
        severity=evil,
        detector=evil,
        episode=evil,
        details={evil: evil},
        inputs={evil: evil},
        trigger={"topic": evil},
        evidence={"transaction_ids": [evil], "windows": [{"name": evil, "from": evil, "to": evil}, evil]},
        reasons=[reason(evil, 1.0, text=evil, feature=evil, value=evil, baseline=[evil]), reason("B", 0.5)],
    )
    write_signals(tmp_path, hostile)
    for arguments in (("a" * 32,), ("--customer", evil)):
        code, out, err = explained(capsys, tmp_path, *arguments)
        assert code == 0
        assert all(c.isprintable() or c == "\n" for c in out + err)
        assert "[bold red]x[/] :skull:" in out.replace("\n", "")


@pytest.mark.parametrize("arguments", [(), ("a", "--customer", "c-1")])
def test_neither_or_both_of_id_and_customer_is_wrong_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    assert explained(capsys, tmp_path, *arguments)[0] == 2


def test_a_folder_that_is_no_run_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_signals(tmp_path / "out", signal())
    code, _, err = explained(capsys, tmp_path / "none", "a")
    assert code == 2
    assert "none: there is no such folder; RUN is the output folder" in err
    code, _, err = explained(capsys, tmp_path, "a")
    assert code == 2
    assert f"did you mean {tmp_path / 'out'}?" in err


@pytest.mark.parametrize("wrong", [{"id": 3}, signal(event_time="soon")])
def test_a_line_that_is_no_signal_is_told_by_file_and_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], wrong: dict[str, Any]
) -> None:
    path = write_signals(tmp_path, signal(), wrong)
    code, _, err = explained(capsys, tmp_path, "f" * 32)
    assert code == 2
    assert f"{path}:2: not a signal" in err


def test_nothing_beyond_the_committed_length_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_signals(tmp_path, signal())
    with path.open("ab") as file:
        file.write(json.dumps(signal(id="b" * 32)).encode() + b'\n{"id":')
    assert explained(capsys, tmp_path, "b" * 32)[0] == 1
    path.with_suffix(".committed").unlink()
    assert explained(capsys, tmp_path, "b" * 32)[0] == 0  # where nothing is noted all whole lines count
    path.with_suffix(".committed").write_text("soon")
    code, _, err = explained(capsys, tmp_path, "b" * 32)
    assert code == 2
    assert "0.committed: must hold the committed length in bytes" in err


def test_the_evidence_is_shown_with_its_amounts_and_the_past_as_a_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bought = [transaction(1, number, merchant_name="Corner \x1b[31mshop") for number in range(40)]
    write_log(tmp_path / "in", "in.transactions", [("c-1", as_line(each)) for each in bought])
    evidence = {"transaction_ids": ["t-1-3", "t-1-2", "t-gone"], "windows": []}
    write_signals(tmp_path / "run", signal(evidence=evidence, event_time="2025-01-20T00:00:00.000000Z"))
    arguments = (tmp_path / "run", "a" * 32, "--events", tmp_path / "in")
    code, out, _ = explained(capsys, *arguments)
    assert code == 0
    rows = [line.split() for line in out.splitlines() if line.startswith("t-1-")]
    assert [(row[0], row[2]) for row in rows] == [(f"t-1-{n}", f"-{bought[n]['amount']}") for n in (2, 3)]
    assert r"Corner \x1b[31mshop" in out
    # Two purchases a day since the first of January, 19 days before: the first of the weeks is not whole.
    sums = [sum(float(each["amount"]) for each in bought[first:last]) for first, last in ((0, 10), (10, 24), (24, 38))]
    line = next(line for line in out.splitlines() if line.startswith("history"))
    assert f"spending of 3 weeks until then, at most {max(sums):.2f} EUR a week" in line
    assert sparkline([round(100 * each) for each in sums]) in line
    _, out, _ = explained(capsys, *arguments, "--without-events")
    assert "history" not in out


@given(st.lists(st.integers(0, 10**15), min_size=1))
def test_a_line_of_blocks_is_as_high_as_its_values(values: list[int]) -> None:
    heights = [BLOCKS.index(block) for block in sparkline(values)]
    assert len(heights) == len(values)
    for (one, height), (other, other_height) in itertools.pairwise(sorted(zip(values, heights, strict=True))):
        assert one <= other
        assert height <= other_height
    assert max(values) == 0 or max(heights) == len(BLOCKS) - 1
