"""A RUN folder: the output topics of a run as an embedded log, read line by line up to what is committed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from dataflows.files.sink import ALL_TOPICS
from operators.dead_letter import TOPIC_SUFFIX
from state.committed import DamagedNoteError, committed_length, note_of
from state.settings import ConfigError
from state.whole_numbers import whole_number

LINE_BYTES_MAX = 16 << 20
"""Longer lines are refused: nothing that segone says comes near, and memory stays bounded. A dead letter holds its record whole, as
the worker held it: it has no limit."""


class Line(NamedTuple):
    """A line of an output topic. `offset` counts lines from 0; `value` comes without its line end."""

    path: Path
    partition: int
    offset: int
    value: bytes

    @property
    def place(self) -> str:
        """file:line, counted from 1, as editors do."""
        return f"{self.path}:{self.offset + 1}"


def require_run(run: Path) -> None:
    """Raises ConfigError if `run` is no output folder of segone. One that says where its events are is one, even if it said nothing."""
    if not run.is_dir():
        raise ConfigError(
            f"{run}: there is no such folder; RUN is the output folder of `segone run` or `segone replay`"
        )
    if not any((run / topic).is_dir() for topic in ALL_TOPICS) and not (run / RUN_NOTE).is_file():
        inner = next((path.parent for topic in ALL_TOPICS for path in sorted(run.glob(f"*/{topic}"))), None)
        hint = f"did you mean {inner}?" if inner else "RUN is the output folder of `segone run` or `segone replay`"
        raise ConfigError(f"{run}: holds none of the output topics ({', '.join(ALL_TOPICS[:4])}, …); {hint}")


def partitions(run: Path, topic: str) -> list[tuple[int, Path]]:
    """The partitions of a topic by number; none if the run wrote nothing to it."""
    found = [(whole_number(path.stem), path) for path in (run / topic).glob("*.jsonl")]
    return sorted((number, path) for number, path in found if number is not None)


def read_topic(run: Path, topic: str) -> Iterator[Line]:
    """The committed lines of all partitions of a topic, partition by partition."""
    for partition, path in partitions(run, topic):
        yield from read_partition(path, partition)


def read_partition(path: Path, partition: int) -> Iterator[Line]:
    """The committed lines of one file, one in memory at a time; empty lines have an offset, but are no records.

    Where no committed length is noted the whole file counts, except for a last line without a line end: that is a torn one.
    Raises ConfigError for a damaged note or, but for dead letters, a line beyond LINE_BYTES_MAX.
    """
    end = committed_bytes(path)
    bounded = not path.parent.name.endswith(TOPIC_SUFFIX)
    position = offset = 0
    with path.open("rb") as file:
        while line := file.readline(LINE_BYTES_MAX + 1 if bounded else -1):
            if bounded and len(line) > LINE_BYTES_MAX:
                raise ConfigError(
                    f"{path}:{offset + 1}: longer than {LINE_BYTES_MAX} bytes; this is no output of segone"
                )
            position += len(line)
            if position > end if end is not None else not line.endswith(b"\n"):
                return
            value = line.rstrip(b"\r\n")
            if value:
                yield Line(path, partition, offset, value)
            offset += 1


def committed_bytes(path: Path) -> int | None:
    """How much of a file readers may trust; None if nothing is noted beside it. Raises ConfigError for a damaged note."""
    try:
        return committed_length(path)
    except DamagedNoteError as error:
        raise ConfigError(
            f"{note_of(path)}: must hold the committed length in bytes; restore it, or start the worker again"
        ) from error


class RunNote(msgspec.Struct, frozen=True, kw_only=True):
    """What a run leaves in RUN/run.json for those who look at it later: where its events are, as absolute paths."""

    events: str
    mapping: str | None = None


RUN_NOTE = "run.json"


def write_run_note(run: Path, events: Path, mapping: Path | None = None) -> None:
    """Replaces the note atomically: a report may be reading."""
    note = RunNote(events=str(events.resolve()), mapping=str(mapping.resolve()) if mapping is not None else None)
    draft = run / f"{RUN_NOTE}.new"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
    draft.replace(run / RUN_NOTE)


def read_run_note(run: Path) -> RunNote | None:
    """None if the run left none. Raises ConfigError for a damaged one."""
    path = run / RUN_NOTE
    try:
        return msgspec.json.decode(path.read_bytes(), type=RunNote)
    except FileNotFoundError:
        return None
    except ValueError as error:  # msgspec's errors are ValueErrors; of bytes that are no UTF-8 it lets Python's own out
        raise ConfigError(f"{path}: is damaged ({error}); delete it, and name the events with --events DIR") from error
