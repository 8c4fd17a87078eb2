"""Sending dead letters again: each original is decoded anew, and what is accepted now goes back to its topic, byte for byte.

A batch is written and synced, then noted. A crash in between leaves written what is not noted: the next redrive sends that
batch (BATCH_LETTERS at most) again, and the engine counts its events as duplicates. A crash in the middle of a write leaves
a line without end, which the next redrive ends: one more dead letter, none lost.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from dataflows.commands.letters import Letter
from dataflows.commands.redriven import Redriven
from dataflows.commands.run_folder import LINE_BYTES_MAX, committed_bytes
from dataflows.files.partitions import count_partitions
from dataflows.files.sink import write_committed
from operators.decode import Decoder, Rejection, arrival_of, parse_json
from state.digest import partition_of
from state.events import TOPICS
from state.records import Record
from state.settings import PARTITIONS_MAX, ConfigError

BATCH_LETTERS = 500


class Accepted(NamedTuple):
    """A record that is good now: the key is the customer's id."""

    topic: str
    key: bytes
    value: bytes


class Target(Protocol):
    """Where records go. `arrival_us` is when a record sent there now will have arrived (None: unknown)."""

    def arrival_us(self, topic: str, body: object) -> int | None: ...
    def takes(self, value: bytes) -> bool: ...
    def send(self, batch: Sequence[Accepted]) -> None:
        """Returns when the whole batch is safe."""


class FileTarget:
    """An embedded log. Its partition count is what the folder has, else what is given."""

    def __init__(self, folder: Path, partitions: int | None) -> None:
        self._folder = folder
        there = any(path for topic in TOPICS for path in (folder / topic).glob("*.jsonl"))
        found = count_partitions(folder) if there else None
        if found is None and partitions is None:
            raise ConfigError(f"{folder}: has no partitions yet; say with --partitions how many it is to have")
        if found is not None and partitions not in (None, found):
            raise ConfigError(f"--partitions {partitions}: {folder} has {found}; leave the flag out")
        self.partitions = found or partitions or 0
        if not 1 <= self.partitions <= PARTITIONS_MAX:
            raise ConfigError(f"--partitions {partitions}: give 1 or more, at most {PARTITIONS_MAX}")

    def arrival_us(self, topic: str, body: object) -> int | None:
        return arrival_of(topic, body)

    def takes(self, value: bytes) -> bool:
        """A line can't hold a line feed."""
        return b"\n" not in value

    def send(self, batch: Sequence[Accepted]) -> None:
        by_file: dict[Path, list[bytes]] = {}
        for record in batch:
            folder = self._folder / record.topic
            if not folder.is_dir():
                folder.mkdir(parents=True)
                for partition in range(self.partitions):  # all of them, so that the count can be seen
                    (folder / f"{partition}.jsonl").touch()
            path = folder / f"{partition_of(record.key, self.partitions)}.jsonl"
            by_file.setdefault(path, []).append(record.value + b"\n")
        for path, lines in by_file.items():
            _append(path, b"".join(lines))


def _append(path: Path, data: bytes) -> None:
    with path.open("ab+") as file:
        length = file.seek(0, os.SEEK_END)
        committed = committed_bytes(path)
        if committed is not None and committed != length:
            raise ConfigError(
                f"{path}: holds {length} bytes, of which {committed} are committed: a writer is at work, or has crashed; "
                "wait for it, or start it again and let it end"
            )
        if length:
            file.seek(length - 1)
            if file.read(1) != b"\n":
                data = b"\n" + data
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if committed is not None:
        write_committed(path, length + len(data))


class Tally:
    """How the letters of one redrive ended."""

    def __init__(self) -> None:
        self.sent = 0
        self.sent_before = 0
        self.unfit = 0
        """Accepted, but the target can't take the bytes."""
        self.refused: Counter[tuple[str, str]] = Counter()
        """Still refused, by (topic, code)."""
        self.cut = 0
        """Of these, letters that hold only the beginning of their record."""


def decode_again(decoder: Decoder, target: Target, letter: Letter) -> Accepted | Rejection:
    """What the present code and settings make of the original of a letter."""
    try:
        body: object = parse_json(letter.original)
    except ValueError:
        body = None
    arrival_us = target.arrival_us(letter.topic, body) if letter.topic in TOPICS else None
    record = Record(
        letter.topic,
        letter.partition,
        letter.offset,
        arrival_us or 0,
        None,
        letter.original,
        body,
        letter.original_bytes,  # a cut one is refused, whatever its beginning looks like
    )
    event = decoder.decode(record)
    if isinstance(event, Rejection):
        return event
    return Accepted(letter.topic, event.customer_id.encode("utf-8", "surrogatepass"), letter.original)


def redrive(
    letters: Iterable[Letter], decoder: Decoder, target: Target, notes: Redriven, *, again: bool, dry_run: bool
) -> Tally:
    """Sends what is accepted now and was not sent before (with `again`: that too); with `dry_run` only counts."""
    tally = Tally()
    good = _good(letters, decoder, target, notes, again, tally)
    while batch := list(islice(good, BATCH_LETTERS)):
        if not dry_run:
            target.send([accepted for _, accepted in batch])
            notes.add(letter for letter, _ in batch)
        tally.sent += len(batch)
    return tally


def _good(
    letters: Iterable[Letter], decoder: Decoder, target: Target, notes: Redriven, again: bool, tally: Tally
) -> Iterator[tuple[Letter, Accepted]]:
    for letter in letters:
        if not again and letter in notes:
            tally.sent_before += 1
            continue
        decoded = decode_again(decoder, target, letter)
        if isinstance(decoded, Rejection):
            tally.refused[letter.topic, decoded.code] += 1
            tally.cut += letter.original_bytes > 0
        elif not target.takes(letter.original):
            tally.unfit += 1
        else:
            yield letter, decoded


def lines_of(path: Path, topic: str) -> Iterator[Letter]:
    """The lines of a file of edited originals, as letters without a history; empty lines are left out."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path given with --import") from error
    with file:
        number = 0
        while line := file.readline(LINE_BYTES_MAX + 1):
            number += 1
            if len(line) > LINE_BYTES_MAX:
                raise ConfigError(f"{path}:{number}: longer than {LINE_BYTES_MAX} bytes; nothing was sent")
            if value := line.rstrip(b"\r\n"):
                yield Letter(("", 0, number), "", "", "", topic, 0, number, "", value)


def refused_lines(path: Path, topic: str, decoder: Decoder, target: Target) -> Iterator[tuple[int, Rejection]]:
    """Line number and reason of each line that would be a dead letter again."""
    for letter in lines_of(path, topic):
        decoded = decode_again(decoder, target, letter)
        if isinstance(decoded, Rejection):
            yield letter.offset, decoded


def send_lines(path: Path, topic: str, decoder: Decoder, target: Target) -> int:
    """Sends all lines of a file that `refused_lines` has found to be good; returns how many."""
    sent = 0
    lines = lines_of(path, topic)
    while letters := list(islice(lines, BATCH_LETTERS)):
        batch = []
        for letter in letters:
            decoded = decode_again(decoder, target, letter)
            if isinstance(decoded, Rejection):
                raise ConfigError(
                    f"{path}:{letter.offset}: has changed while it was sent; {sent} lines before were sent"
                )
            batch.append(decoded)
        target.send(batch)
        sent += len(batch)
    return sent
