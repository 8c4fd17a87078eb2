"""Topics in canonical form: their files, an index of where each line lies and when it arrived, and the lines' records."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from dataflows.files.long_line import LINE_BYTES_MAX, skip_line
from dataflows.files.partitions import passed_over
from dataflows.history.mapping import file_sql, nearest
from operators.dead_letter import TOPIC_SUFFIX
from operators.decode import arrival_of, parse_json
from state.committed import DamagedNoteError, committed_length, note_of
from state.events import TOPICS
from state.records import Record
from state.settings import ConfigError
from state.whole_numbers import whole_number

_OPEN_FILES_MAX = 128
_COLUMNS = ("arrival", "topic_order", "file_rank", "row_number", "partition", "position", "length", "whole_bytes")


class SourceFile(NamedTuple):
    """A file of a topic: its rank by name within the topic and the partition that stands for it in dead letters."""

    path: Path
    topic_order: int
    file_rank: int
    partition: int


def topic_files(data: Path) -> list[SourceFile]:
    """The files of a folder in canonical form, topic by topic in the contract's order. Raises ConfigError if none."""
    if not data.is_dir():
        raise ConfigError(
            f"{data}: is a file; give a folder of topics, or say with --mapping how its rows become events"
        )
    for path in data.glob("in.*"):
        topic = path.name if path.is_dir() else path.name.removesuffix(".jsonl")
        # Dead letters are of a run that wrote to the folder it read.
        if topic not in TOPICS and not topic.endswith(TOPIC_SUFFIX):
            raise ConfigError(f"{path}: unknown topic {topic!r}; {nearest(topic, TOPICS)}")
    found: list[SourceFile] = []
    for topic_order, topic in enumerate(TOPICS):
        unread = passed_over(data / topic, (".jsonl", ".parquet"))
        if unread is not None:
            raise ConfigError(
                f"{unread}: only {topic}/*.jsonl and {topic}/*.parquet are read; unpack, convert or move it, or read it by --mapping"
            )
        paths = [data / f"{topic}.jsonl", *(data / topic).glob("[!.]*.jsonl"), *(data / topic).glob("[!.]*.parquet")]
        paths = sorted((path for path in paths if path.is_file()), key=lambda path: path.relative_to(data).as_posix())
        partitions = _partitions(paths)
        found += [SourceFile(path, topic_order, rank, partitions[path]) for rank, path in enumerate(paths)]
    if not found:
        inner = next((path for path in sorted(data.glob("*/in.*"))), None)
        hint = f"did you mean {inner.parent}?" if inner else "or say with --mapping how its tables become events"
        raise ConfigError(f"{data}: holds no topic (such as in.transactions/*.jsonl or in.transactions.jsonl); {hint}")
    return found


def _partitions(paths: list[Path]) -> dict[Path, int]:
    """The number that a file's name is, else the lowest that no other file of the topic has."""
    named: dict[int, Path] = {}
    for path in paths:
        number = whole_number(path.stem)
        if number is not None:
            named.setdefault(number, path)
    partitions = {path: number for number, path in named.items()}
    free = (number for number in range(len(paths) + len(named)) if number not in named)
    return partitions | {path: next(free) for path in paths if path not in partitions}


def index_lines(db: duckdb.DuckDBPyConnection, files: Sequence[SourceFile], folder: Path) -> None:
    """Makes the table `lines` of all lines that are not empty: (arrival, topic_order, file_rank, row_number, partition,
    position, length, whole_bytes). A line without a readable arrival arrived with the one before it, or at 0."""
    copy = folder / "lines.csv"
    with copy.open("w", encoding="ascii") as index:
        for file in files:
            topic, arrival_us = TOPICS[file.topic_order], 0
            for row, position, line, whole_bytes in lines_of(file.path):
                arrived_us = None if whole_bytes else arrival_of(topic, _parsed(line))
                arrival_us = arrival_us if arrived_us is None else arrived_us
                index.write(
                    f"{arrival_us},{file.topic_order},{file.file_rank},{row},{file.partition},{position},{len(line)},{whole_bytes}\n"
                )
    columns = dict.fromkeys(_COLUMNS, "BIGINT")
    db.execute(
        f"CREATE TABLE lines AS FROM read_csv({file_sql(copy)}, columns = {columns}, header = false,"
        " auto_detect = false, delim = ',')"
    )
    copy.unlink()


class Lines:
    """Reads the indexed lines. At most 128 files are open at a time."""

    def __init__(self, files: Sequence[SourceFile]) -> None:
        self._paths = {(file.topic_order, file.file_rank): file.path for file in files}
        self._open: OrderedDict[tuple[int, int], int] = OrderedDict()

    def record(self, row: tuple[Any, ...]) -> Record:
        """The record at a row (arrival, topic_order, file_rank, row_number, partition, query, position, length, whole_bytes)."""
        arrival_us, topic_order, file_rank, offset, partition, _, position, length, whole_bytes = row
        line = os.pread(self._descriptor((topic_order, file_rank)), length, position)
        body = None if whole_bytes else _parsed(line)
        customer_id = body.get("customer_id") if isinstance(body, dict) else None
        key = customer_id.encode() if isinstance(customer_id, str) else None
        return Record(TOPICS[topic_order], partition, offset, arrival_us, key, line, body, whole_bytes)

    def close(self) -> None:
        """Closes the files."""
        while self._open:
            os.close(self._open.popitem()[1])

    def _descriptor(self, file: tuple[int, int]) -> int:
        descriptor = self._open.get(file)
        if descriptor is None:
            if len(self._open) >= _OPEN_FILES_MAX:
                os.close(self._open.popitem(last=False)[1])
            descriptor = self._open[file] = os.open(self._paths[file], os.O_RDONLY)
        return descriptor


class Line(NamedTuple):
    """A line without its end. `whole_bytes` is 0, or the length of a line so long that `text` is its beginning only."""

    row: int
    position: int
    text: bytes
    whole_bytes: int


def lines_of(path: Path) -> Iterator[Line]:
    """The lines that are not empty, up to what is committed: numbers from 0, positions in bytes."""
    end = _committed(path)
    position = row = 0
    with path.open("rb") as file:
        most = LINE_BYTES_MAX + 1
        while line := file.readline(most if end is None else max(0, min(most, end - position))):
            length = len(line)
            if length == most and not line.endswith(b"\n"):
                left, ended = skip_line(file, None if end is None else end - position - length)
                length += left
                file.seek(position + length)
                yield Line(row, position, line[:LINE_BYTES_MAX], length - ended)
            elif text := line.rstrip(b"\r\n"):
                yield Line(row, position, text, 0)
            position += length
            row += 1


def _committed(path: Path) -> int | None:
    """How much of an embedded log's file counts, in bytes; None: all of it."""
    try:
        return committed_length(path)
    except DamagedNoteError as error:
        raise ConfigError(f"{note_of(path)}: holds no length in bytes; remove it if the log has no writer") from error


def _parsed(line: bytes) -> object:
    """The line's JSON, None if it is none: then the decoder looks at the bytes itself and says what is wrong."""
    try:
        return parse_json(line)
    except ValueError:
        return None
