"""A line too long to be a record: one dead letter that keeps its beginning, in bounded memory, the same in run and replay."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import orjson
import pytest
from cli_samples import as_line, transaction

from dataflows.cli import main
from dataflows.files.long_line import CHUNK_BYTES, LINE_BYTES_MAX
from dataflows.files.partitions import count_partitions
from dataflows.files.source import TopicFile
from dataflows.history.lines import lines_of
from dataflows.history.ordered import open_history
from state.records import Record

TOPIC = "in.transactions"
FIRST, LAST = as_line(transaction(1, 1)), as_line(transaction(1, 2))
BLANK = FIRST + b" " * (3 * LINE_BYTES_MAX)
"""Its beginning is a record that could be applied."""


def file_of(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "events" / TOPIC / "0.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def topic_file(path: Path, position: int = 0, offset: int = 0, arrival_us: int = 0) -> TopicFile:
    return TopicFile(TOPIC, path, TOPIC, 0, position, offset, arrival_us)


def handed_on(file: TopicFile, *, follow: bool = False) -> list[tuple[Record, int, int]]:
    found: list[tuple[Record, int, int]] = []
    while file.fill(follow=follow):
        found += file.ready
        file.ready.clear()
    return found


def told(record: Record) -> tuple[int, bytes, int]:
    return record.offset, record.value, record.whole_bytes


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\n" + LAST, b"\n" + LAST + b"\n", b""])
@pytest.mark.parametrize("length", [LINE_BYTES_MAX - 1, LINE_BYTES_MAX, LINE_BYTES_MAX + 1, 5 * LINE_BYTES_MAX + 7])
def test_a_long_line_is_one_record_wherever_it_ends_and_the_next_is_whole(
    tmp_path: Path, length: int, end: bytes
) -> None:
    path = file_of(tmp_path, FIRST + b"\n\n" + b"x" * length + end)
    records = [record for record, *_ in handed_on(topic_file(path))]
    raw = length + end.startswith(b"\r")
    cut = b"x" * min(length, LINE_BYTES_MAX), raw if raw > LINE_BYTES_MAX else 0
    assert [told(record) for record in records] == [(0, FIRST, 0), (2, *cut), *[(3, LAST, 0)][: LAST in end]]
    assert records[1].arrival_us == records[0].arrival_us
    with open_history(path.parent.parent, None, None, None) as history:
        replayed = [record for batch in history.records() for record in batch]
    assert [(told(each), each.arrival_us) for each in replayed] == [(told(each), each.arrival_us) for each in records]


def test_a_restart_anywhere_reads_on_with_the_same_records(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"\n".join([FIRST, BLANK, LAST, BLANK, BLANK, b"", LAST]))
    all_of_them = handed_on(topic_file(path))
    assert [record.offset for record, *_ in all_of_them] == [0, 1, 2, 3, 4, 6]
    for number, (record, position, offset) in enumerate(all_of_them):
        assert handed_on(topic_file(path, position, offset, record.arrival_us)) == all_of_them[number + 1 :]


def test_a_long_line_that_is_still_being_written_is_none_yet(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"")
    file = topic_file(path)
    with path.open("ab") as writer:
        for _ in range(8):
            writer.write(b"x" * (LINE_BYTES_MAX // 2))
            writer.flush()
            assert handed_on(file, follow=True) == []
            assert (file.position, file.offset) == (0, 0)
        writer.write(b"\n" + LAST + b"\n")
    (cut, position, _), (last, *_) = handed_on(file, follow=True)
    assert told(cut) == (0, b"x" * LINE_BYTES_MAX, 4 * LINE_BYTES_MAX)
    assert (position, told(last)) == (4 * LINE_BYTES_MAX + 1, (1, LAST, 0))


def test_a_long_line_that_its_writer_begins_anew_is_looked_through_anew(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"x" * (4 * LINE_BYTES_MAX))
    file = topic_file(path)
    assert handed_on(file, follow=True) == []
    path.write_bytes(b"y" * (2 * LINE_BYTES_MAX) + b"\n" + LAST + b"\n")
    assert [record.whole_bytes for record, *_ in handed_on(file, follow=True)] == [2 * LINE_BYTES_MAX, 0]


@pytest.mark.parametrize("committed", [3 * LINE_BYTES_MAX, 4 * LINE_BYTES_MAX + 1])
def test_of_a_long_line_only_what_is_committed_counts(tmp_path: Path, committed: int) -> None:
    path = file_of(tmp_path, b"x" * (4 * LINE_BYTES_MAX) + b"\n" + LAST + b"\n")
    path.with_suffix(".committed").write_text(str(committed))
    expected = [(0, b"x" * LINE_BYTES_MAX, min(committed, 4 * LINE_BYTES_MAX))]
    assert [told(record) for record, *_ in handed_on(topic_file(path))] == expected
    assert [(line.row, line.text, line.whole_bytes) for line in lines_of(path)] == expected
    assert len(handed_on(topic_file(path), follow=True)) == (committed > 4 * LINE_BYTES_MAX)


def test_a_note_that_tells_less_while_a_long_line_is_read_lets_nothing_in_beyond_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = file_of(tmp_path, b"x" * (2 * CHUNK_BYTES) + b"\n" + LAST + b"\n")
    file = topic_file(path)
    limits = iter([CHUNK_BYTES, 0, 0])
    monkeypatch.setattr(file, "_limit", lambda bytes_max: min(bytes_max, next(limits)))
    assert handed_on(file, follow=True) == []


def test_a_long_line_takes_no_memory_of_its_length(tmp_path: Path) -> None:
    path = file_of(tmp_path, b"")
    with path.open("r+b") as file:
        file.truncate(200 << 20)
        file.seek(0, 2)
        file.write(b"\n" + LAST + b"\n")
    other = tmp_path / "events" / "in.accounts"
    other.mkdir()
    (other / "1.jsonl").touch()  # of another count: the start looks into the files
    tracemalloc.start()
    try:
        read = topic_file(path)
        assert [(record.offset, record.whole_bytes) for record, *_ in handed_on(read)] == [(0, 200 << 20), (1, 0)]
        assert [line.whole_bytes for line in lines_of(path)] == [200 << 20, 0]
        assert count_partitions(tmp_path / "events") == 2
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 8 * LINE_BYTES_MAX


def test_any_number_of_empty_lines_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dataflows.files.source.CHUNK_BYTES", 16)
    path = file_of(tmp_path, b"\n" * 100_000 + b"{}\n")
    assert [told(record) for record, *_ in handed_on(topic_file(path))] == [(100_000, b"{}", 0)]


def letters(run: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in (run / f"{TOPIC}.dlq" / "0.jsonl").read_bytes().splitlines()]


def test_run_and_replay_write_the_same_letter_and_a_redrive_does_not_send_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = file_of(tmp_path, b"\n".join([FIRST, BLANK, LAST]) + b"\n").parent.parent
    run, replay = tmp_path / "run", tmp_path / "replay"
    config = tmp_path / "config.toml"
    config.write_text(f'[state]\ndir = "{tmp_path}/state"\n[log]\npartitions = 1\n')
    assert main(["run", "--config", str(config), "--input", str(events), "--output", str(run)]) == 0
    assert "read 3 = applied 2 + duplicate 0 + late 0 + dead letters 1" in capsys.readouterr().out
    assert main(["replay", str(events), "--config", str(config), "--out", str(replay)]) == 0
    assert "read 3 = applied 2 + duplicate 0 + late 0 + dead letters 1" in capsys.readouterr().out
    (letter,) = letters(run)
    assert letters(replay) == [letter]
    assert (letter["code"], letter["offset"], letter["original_bytes"]) == ("record.too_large", 1, len(BLANK))
    assert letter["original"].encode() == BLANK[:LINE_BYTES_MAX]
    assert f"it has {len(BLANK)}, of which the first {LINE_BYTES_MAX} are kept" in letter["message"]

    back, edited = tmp_path / "back", tmp_path / "edited"
    assert main(["dlq", "redrive", str(run), "--to", str(back), "--partitions", "1"]) == 0
    out = capsys.readouterr().out
    assert "0 sent\n1 stay: in.transactions record.too_large" in out
    assert "1 of those that stay hold only the beginning of their record" in out
    assert main(["dlq", "redrive", str(run), "--export", str(edited)]) == 0
    assert "1 hold only the beginning of their record and were left out" in capsys.readouterr().out
    assert edited.read_bytes() == b""
    assert main(["dlq", "list", str(run), "--json"]) == 0
    assert orjson.loads(capsys.readouterr().out)["original_bytes"] == len(BLANK)
    assert not list(back.glob("*/*.jsonl"))


def test_a_beginning_that_could_be_applied_is_not_redriven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    topic = tmp_path / "run" / f"{TOPIC}.dlq"
    topic.mkdir(parents=True)
    letter = {"code": "record.too_large", "path": "$", "message": "", "topic": TOPIC, "partition": 0, "offset": 0}
    (topic / "0.jsonl").write_bytes(as_line(letter | {"original": FIRST.decode(), "original_bytes": 9_999_999}) + b"\n")
    back = tmp_path / "back"
    assert main(["dlq", "redrive", str(topic.parent), "--to", str(back), "--partitions", "1"]) == 0
    assert "1 stay: in.transactions record.too_large" in capsys.readouterr().out
    assert not list(back.glob("*/*.jsonl"))
