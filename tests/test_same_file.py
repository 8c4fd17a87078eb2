"""A file of the input that is another one now, at least as long as what was read: seen at a restart and when it is replaced meanwhile."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Event

import orjson
import pytest
from cli_samples import as_line, transaction

from dataflows.files.source import FilePartition, InputFailed
from dataflows.knowledge.pacing import Pace

LINES = [as_line(transaction(1, number)) + b"\n" for number in range(12)]
OTHERS = [as_line(transaction(2, number)) + b"\n" for number in range(20)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "in.transactions" / "0.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"".join(LINES[:6]))
    return path


def reading(path: Path, resume: bytes | None = None) -> FilePartition:
    return FilePartition(path.parents[1], 0, 1, resume, 100, True, 0.01, Event(), Pace.free())


def offsets(part: FilePartition) -> list[int]:
    return [record.offset for batch in part.next_batch() for record in batch.records]


def position_after_all(path: Path) -> bytes:
    part = reading(path)
    assert offsets(part) == [0, 1, 2, 3, 4, 5]
    return part.snapshot()


def test_another_file_is_refused_at_a_restart_and_one_that_has_grown_is_read_on(path: Path) -> None:
    position = position_after_all(path)
    path.write_bytes(b"".join(LINES))
    assert offsets(reading(path, position)) == [6, 7, 8, 9, 10, 11]
    path.write_bytes(b"".join(OTHERS))
    with pytest.raises(InputFailed, match=f"^{re.escape(str(path))}: holds other records now, and "):
        reading(path, position).next_batch()


def test_a_start_that_reads_nothing_leaves_the_doubt_to_the_next(path: Path) -> None:
    position = position_after_all(path)
    path.write_bytes(b"".join(OTHERS))
    position = reading(path, position).snapshot()
    with pytest.raises(InputFailed, match="holds other records now"):
        reading(path, position).next_batch()


def test_a_file_put_in_place_of_one_that_is_followed_is_read_on_only_if_it_begins_as_that_did(path: Path) -> None:
    part = reading(path)
    assert offsets(part) == [0, 1, 2, 3, 4, 5]
    part.snapshot()
    for lines, found in ((LINES[:8], [6, 7]), (OTHERS, None)):
        new = path.with_name("new")
        new.write_bytes(b"".join(lines))
        new.replace(path)
        if found is None:
            with pytest.raises(InputFailed, match="holds other records now"):
                part.next_batch()
        else:
            assert offsets(part) == found
            part.snapshot()


def test_a_position_of_a_release_that_noted_no_tails_goes_on_and_is_noted_with_one(path: Path) -> None:
    state = orjson.loads(position_after_all(path))
    tails = state.pop("tails")
    part = reading(path, orjson.dumps(state))
    assert offsets(part) == []
    assert orjson.loads(part.snapshot())["tails"] == tails == {"in.transactions": tails["in.transactions"]}
