"""`segone dlq`: what was refused is shown safely, and goes back once, byte for byte, when it is good."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest
from cli_samples import as_line, transaction, write_committed_lines
from hypothesis import given
from hypothesis import strategies as st

from dataflows.cli import main
from dataflows.commands import redrive
from dataflows.commands.letter_list import view
from dataflows.commands.redriven import Offsets, Redriven
from dataflows.kafka.letters import letter_of
from state.digest import partition_of

PARTITIONS = 3


def letter(original: bytes, offset: int = 0, **changes: Any) -> bytes:
    body: dict[str, Any] = {
        "code": "amount.format",
        "path": "$.amount",
        "message": "not an unsigned decimal",
        "topic": "in.transactions",
        "partition": 0,
        "offset": offset,
        "arrived_at": "2025-03-04T12:34:56.000000Z",
    }
    try:
        body["original"] = original.decode()
    except UnicodeDecodeError:
        body["original_base64"] = b64encode(original).decode()
    return as_line(body | changes)


def good(number: int) -> bytes:
    return as_line(transaction(number, number, merchant_name="Žižkov \t  7"))


def bad(number: int) -> bytes:
    return as_line(transaction(number, number, amount="1,50"))


def run_with(tmp_path: Path, *originals: bytes) -> Path:
    """A run with these letters about transactions."""
    lines = [letter(original, offset) for offset, original in enumerate(originals)]
    write_committed_lines(tmp_path / "run" / "in.transactions.dlq" / "0.jsonl", lines)
    return tmp_path / "run"


def sent(folder: Path, topic: str = "in.transactions") -> list[bytes]:
    """All lines of a topic of an embedded log; each must lie in its customer's partition."""
    found = []
    for path in sorted((folder / topic).glob("*.jsonl")):
        for line in path.read_bytes().split(b"\n")[:-1]:
            found.append(line)
            assert partition_of(json.loads(line)["customer_id"].encode(), PARTITIONS) == int(path.stem)
    return found


def dlq(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["dlq", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def redriven(capsys: pytest.CaptureFixture[str], run: Path, *arguments: str | Path) -> str:
    to = run.parent / "back"
    code, out, err = dlq(
        capsys, "redrive", run, "--to", to, *(() if to.exists() else ("--partitions", "3")), *arguments
    )
    assert (code, err) == (0, "")
    return out


# ---- list


def test_the_list_counts_by_code_and_topic_and_shows_the_letters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, bad(1), bad(2))
    other = letter(b"\xff{", 5, code="json.malformed", topic="in.labels", path="$")
    write_committed_lines(run / "in.labels.dlq" / "2.jsonl", [other])
    code, out, _ = dlq(capsys, "list", run)
    assert code == 0
    assert "dead letters: 3" in out
    assert any(line.split()[:4] == ["in.transactions", "amount.format", "2", "0"] for line in out.splitlines())
    assert any(line.split()[:4] == ["in.labels", "json.malformed", "1", "0"] for line in out.splitlines())
    assert "in.transactions/0/1  amount.format at $.amount: not an unsigned decimal" in out
    assert r"\xff{" in out
    code, out, _ = dlq(capsys, "list", run, "--topic", "in.labels")
    assert "dead letters: 1" in out
    code, out, _ = dlq(capsys, "list", run, "--code", "amount.format", "--limit", "1")
    assert "dead letters: 2" in out
    assert out.count("$.amount:") == 1
    assert "1 more" in out


def test_the_json_list_is_the_letters_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, bad(1), b"\xff")
    _, out, _ = dlq(capsys, "list", run, "--json")
    first, second = (json.loads(line) for line in out.splitlines())
    assert first == json.loads(letter(bad(1))) | {"redriven": False}
    assert second["original_base64"] == b64encode(b"\xff").decode()
    _, out, _ = dlq(capsys, "list", run, "--json", "--limit", "1")
    assert len(out.splitlines()) == 1


def test_nothing_in_a_letter_reaches_the_terminal_as_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, b"\x1b[2J\x9b31m\r[red]")
    evil = letter(b"{", code="\x1b[31m", path="\x1b[31m", message="\x07[bold]", topic="\x1b")
    write_committed_lines(run / "in.labels.dlq" / "0.jsonl", [evil])
    code, out, _ = dlq(capsys, "list", run)
    assert code == 0
    assert all(c.isprintable() or c == "\n" for c in out)


@given(st.binary(max_size=2000))
def test_the_view_of_any_original_is_short_and_harmless(original: bytes) -> None:
    shown = view(original)
    assert shown.isprintable()
    assert len(shown) < 300


def test_a_letter_is_as_long_as_its_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, b"\0" * 3_000_000, bad(1))  # 18 MB as JSON
    code, out, err = dlq(capsys, "list", run)
    assert (code, err) == (0, "")
    assert "in.transactions/0/1" in out


def test_a_run_that_wrote_nothing_but_its_note_has_no_letters(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text('{"events": "/nowhere"}')
    assert dlq(capsys, "list", tmp_path) == (0, "dead letters: 0\n", "")


def test_a_run_without_letters_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_committed_lines(tmp_path / "scores" / "0.jsonl", [])
    code, out, _ = dlq(capsys, "list", tmp_path)
    assert (code, out) == (0, "dead letters: 0\n")


# ---- redrive


def test_what_is_good_now_goes_back_byte_for_byte_and_the_rest_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    originals = [good(1), bad(2), good(3), b"\xff", good(4) + b"\r", b"{"]
    run = run_with(tmp_path, *originals)
    out = redriven(capsys, run)
    assert sorted(sent(tmp_path / "back")) == sorted([originals[0], originals[2], originals[4]])
    assert "3 sent" in out
    assert "1 stay: in.transactions amount.format" in out
    assert "2 stay: in.transactions json.malformed" in out


def test_a_second_redrive_sends_nothing_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, *(good(n) if n % 3 else bad(n) for n in range(20)))
    redriven(capsys, run)
    before = sent(tmp_path / "back")
    out = redriven(capsys, run)
    assert sent(tmp_path / "back") == before
    assert "0 sent\n13 sent by an earlier redrive" in out
    _, out, _ = dlq(capsys, "list", run, "--json")
    assert [json.loads(line)["redriven"] for line in out.splitlines()] == [bool(n % 3) for n in range(20)]
    redriven(capsys, run, "--all")
    assert sorted(sent(tmp_path / "back")) == sorted(before * 2)


def test_letters_that_come_after_a_redrive_are_sent_by_the_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, good(1))
    redriven(capsys, run)
    run_with(tmp_path, good(1), good(2))
    redriven(capsys, run)
    assert sorted(sent(tmp_path / "back")) == sorted([good(1), good(2)])


def test_a_dry_run_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, good(1), bad(2))
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    assert "1 would be sent" in redriven(capsys, run, "--dry-run")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_code_and_topic_choose_what_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, good(1))
    label = as_line({"customer_id": "c-1", "labelled_at": "2025-01-01T00:00:00Z", "label": "fraud"})
    write_committed_lines(run / "in.labels.dlq" / "0.jsonl", [letter(label, topic="in.labels", code="field.value")])
    assert "0 sent" in redriven(capsys, run, "--code", "json.malformed")
    assert "1 sent" in redriven(capsys, run, "--topic", "in.labels.dlq")
    assert (sent(tmp_path / "back", "in.labels"), sent(tmp_path / "back")) == ([label], [])
    assert "1 sent\n1 sent by an earlier redrive" in redriven(capsys, run)


class Killed(BaseException):
    """Nobody catches it, as nobody catches a kill."""


def test_a_crash_after_sending_and_before_noting_sends_one_batch_again_and_loses_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redrive, "BATCH_LETTERS", 4)
    originals = [good(n) for n in range(10)]
    run = run_with(tmp_path, *originals)
    noted = Redriven.add
    calls = 0

    def crash_at_the_second(self: Redriven, letters: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise Killed
        noted(self, letters)

    monkeypatch.setattr(Redriven, "add", crash_at_the_second)
    with pytest.raises(Killed):
        dlq(capsys, "redrive", run, "--to", tmp_path / "back", "--partitions", "3")
    monkeypatch.setattr(Redriven, "add", noted)
    redriven(capsys, run)
    assert sorted(sent(tmp_path / "back")) == sorted(originals + originals[4:8])


def test_a_torn_end_of_the_target_is_ended_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, good(1))
    folder = tmp_path / "back" / "in.transactions"
    folder.mkdir(parents=True)
    for partition in range(PARTITIONS):
        (folder / f"{partition}.jsonl").write_bytes(b'{"torn')
    redriven(capsys, run)
    assert b'{"torn\n' + good(1) + b"\n" in [path.read_bytes() for path in folder.glob("*.jsonl")]


def test_a_committed_length_moves_with_what_is_sent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, good(1))
    for partition in range(PARTITIONS):
        write_committed_lines(tmp_path / "back" / "in.transactions" / f"{partition}.jsonl", [good(9)])
    redriven(capsys, run)
    paths = list((tmp_path / "back" / "in.transactions").glob("*.jsonl"))
    assert len(paths) == PARTITIONS
    assert good(1) + b"\n" in b"".join(path.read_bytes() for path in paths)
    for path in paths:
        assert int(path.with_suffix(".committed").read_text()) == path.stat().st_size


def test_a_target_that_somebody_is_writing_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, good(1))
    for partition in range(PARTITIONS):
        path = write_committed_lines(tmp_path / "back" / "in.transactions" / f"{partition}.jsonl", [good(9)])
        path.with_suffix(".committed").write_text("3")
    code, _, err = dlq(capsys, "redrive", run, "--to", tmp_path / "back")
    assert code == 2
    assert "a writer is at work, or has crashed" in err
    assert not list(run.rglob("*.redriven"))


def test_an_original_with_a_line_feed_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, json.dumps(transaction(1, 1), indent=1).encode())
    assert "0 sent\n1 would be accepted, but hold a line feed" in redriven(capsys, run)


def test_a_redrive_at_work_keeps_a_second_one_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, good(1))
    with Redriven(run).held():
        code, _, err = dlq(capsys, "redrive", run, "--to", tmp_path / "back", "--partitions", "3")
    assert code == 2
    assert "another redrive is at work here" in err


# ---- edited lines


def test_exported_originals_can_be_edited_and_imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = run_with(tmp_path, bad(1), bad(2)), tmp_path / "edited.jsonl"
    code, _, _ = dlq(capsys, "redrive", run, "--export", file)
    assert (code, file.read_bytes()) == (0, bad(1) + b"\n" + bad(2) + b"\n")
    arguments = ("redrive", run, "--import", file, "--topic", "in.transactions", "--to", tmp_path / "back")
    file.write_bytes(file.read_bytes().replace(b"1,50", b"1.50", 1))
    code, out, err = dlq(capsys, *arguments, "--partitions", "3")
    assert (code, out) == (1, "")
    assert f"{file}:2: amount.format at $.amount" in err
    assert "nothing was sent" in err
    assert sent(tmp_path / "back") == []
    file.write_bytes(file.read_bytes().replace(b"1,50", b"1.50"))
    code, out, _ = dlq(capsys, *arguments, "--partitions", "3")
    assert (code, out) == (0, "2 lines sent to in.transactions\n")
    assert sorted(sent(tmp_path / "back")) == sorted(file.read_bytes().splitlines())


def test_originals_of_several_topics_are_not_mixed_in_one_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_with(tmp_path, bad(1))
    write_committed_lines(run / "in.labels.dlq" / "0.jsonl", [letter(b"{", topic="in.labels")])
    code, _, err = dlq(capsys, "redrive", run, "--export", tmp_path / "edited")
    assert code == 2
    assert "several topics (in.labels, in.transactions); give --topic T" in err


def test_what_has_no_value_or_lost_it_is_not_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, file = run_with(tmp_path, bad(1)), tmp_path / "edited.jsonl"
    write_committed_lines(run / "in.transactions.dlq" / "1.jsonl", [letter(b""), letter(b"", 1, original_bytes=70_000)])
    code, out, _ = dlq(capsys, "redrive", run, "--export", file)
    assert (code, file.read_bytes()) == (0, bad(1) + b"\n")
    assert "1 have no value and were left out" in out
    assert "1 hold only the beginning of their record and were left out" in out


class Message:
    """What is used of a message of the Kafka client."""

    def __init__(self, value: bytes | None, *headers: tuple[str, bytes]) -> None:
        self._value, self._headers = value, list(headers)

    def value(self) -> bytes | None:
        return self._value

    def headers(self) -> list[tuple[str, bytes]]:
        return self._headers

    def partition(self) -> int:
        return 2

    def offset(self) -> int:
        return 7


def test_a_letter_in_kafka_whose_value_its_topic_had_no_room_for_is_known_as_one_that_is_not_whole() -> None:
    code = ("dlq.code", b"record.too_large")
    omitted = letter_of("in.labels", Message(b"", code, ("segone-value-omitted", b"70000")))
    assert (omitted.original, omitted.original_bytes, omitted.code) == (b"", 70_000, "record.too_large")
    assert letter_of("in.labels", Message(None, code)).original_bytes == 0


# ---- wrong use


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("list", "{tmp}/none"), "none: there is no such folder; RUN is the output folder"),
        (("list",), "RUN: name the output folder of a run"),
        (("list", "{run}", "--topic", "in.transaction"), "no such input topic; did you mean in.transactions"),
        (("list", "{run}", "--code", "amount.formt"), "no such code; did you mean amount.format"),
        (("list", "{run}", "--limit", "-1"), "--limit -1: give 0 or more"),
        (("redrive", "{run}"), "--to: name the embedded log"),
        (("redrive", "{run}", "--to", "{tmp}/new"), "new: has no partitions yet; say with --partitions"),
        (("redrive", "{run}", "--to", "{tmp}/new", "--partitions", "0"), "--partitions 0: give 1 or more"),
        (("redrive", "{run}", "--to", "{tmp}/new", "--partitions", "3", "--import", "x"), "say with --topic T"),
        (
            (
                "redrive",
                "{run}",
                "--to",
                "{tmp}/new",
                "--partitions",
                "3",
                "--import",
                "{tmp}/x",
                "--topic",
                "in.labels",
            ),
            "x: cannot be read (No such file or directory)",
        ),
    ],
)
def test_wrong_use_ends_with_2_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], says: str
) -> None:
    run = run_with(tmp_path, good(1))
    code, _, err = dlq(capsys, *(each.format(tmp=tmp_path, run=run) for each in arguments))
    assert code == 2
    assert says in err


def test_a_line_that_is_no_letter_is_told_by_file_and_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (b'{"code":"x"}', as_line({k: v for k, v in json.loads(letter(b"{")).items() if k != "original"})):
        path = write_committed_lines(tmp_path / "in.labels.dlq" / "0.jsonl", [letter(b"{"), line])
        code, _, err = dlq(capsys, "list", tmp_path)
        assert code == 2
        assert f"{path}:2: not a dead letter" in err


# ---- the note


@given(st.lists(st.integers(0, 40), max_size=60))
def test_offsets_hold_exactly_what_was_added_as_ranges_that_do_not_touch(added: list[int]) -> None:
    offsets = Offsets([])
    for offset in added:
        offsets.add(offset)
    assert {offset for offset in range(42) if offset in offsets} == set(added)
    flat = [bound for pair in offsets.ranges for bound in pair]
    assert flat == sorted(flat)
    assert all(later[0] > earlier[1] + 1 for earlier, later in zip(offsets.ranges, offsets.ranges[1:], strict=False))


@pytest.mark.parametrize("offset", [-1, 2**63, 10**30])
def test_a_letter_from_no_possible_place_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], offset: int
) -> None:
    write_committed_lines(tmp_path / "run" / "in.transactions.dlq" / "0.jsonl", [letter(b"{", offset)])
    code, _, err = dlq(capsys, "list", tmp_path / "run", "--json")
    assert (code, "not a dead letter" in err) == (2, True)


def test_a_committed_length_of_thousands_of_digits_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_with(tmp_path, bad(1))
    (run / "in.transactions.dlq" / "0.committed").write_text("9" * 5000)
    code, _, err = dlq(capsys, "list", run)
    assert (code, "must hold the committed length in bytes" in err) == (2, True)


@pytest.mark.parametrize("note", [b'{"sent": 3}', b'{"\xff": []}'])
def test_a_damaged_note_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], note: bytes) -> None:
    run = run_with(tmp_path, good(1))
    (run / "in.transactions.dlq" / "0.redriven").write_bytes(note)
    code, _, err = dlq(capsys, "list", run)
    assert code == 2
    assert "0.redriven: is damaged" in err
