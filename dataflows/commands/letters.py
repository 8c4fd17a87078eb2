"""Dead letters read back from a run: where each lies, what was wrong, and the original bytes."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from dataflows.commands.run_folder import Line, read_topic
from operators.dead_letter import TOPIC_SUFFIX
from state.settings import ConfigError


class Letter(NamedTuple):
    """A dead letter. (`topic`, `partition`, `offset`) is where the record was read, `place` = (dead-letter topic,
    partition, offset) where the letter lies; `original` are the record's bytes, or the first of `original_bytes` (perhaps none of
    them) if these are not 0."""

    place: tuple[str, int, int]
    code: str
    path: str
    message: str
    topic: str
    partition: int
    offset: int
    arrived_at: str
    original: bytes
    original_bytes: int = 0

    @property
    def position(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


_Number = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class _LetterLine(msgspec.Struct, frozen=True):
    """A letter's line in a file (CONTRACTS, section 2)."""

    code: str
    path: str
    message: str
    topic: str
    partition: _Number
    offset: _Number
    arrived_at: str = ""
    original: str | None = None
    original_base64: str | None = None
    original_bytes: _Number = 0

    def bytes_of_original(self) -> bytes:
        """Raises ValueError if neither form is there, or the base64 is none."""
        if self.original is not None:
            return self.original.encode()
        if self.original_base64 is None:
            raise ValueError("it has neither original nor original_base64")
        return b64decode(self.original_base64, validate=True)


def read_letters(run: Path, topics: Iterable[str], code: str | None) -> Iterator[Letter]:
    """The letters of a run folder about records of `topics`, in the order of topic, partition and offset; all codes, or one."""
    for topic in topics:
        for line in read_topic(run, topic + TOPIC_SUFFIX):
            letter = _letter(topic + TOPIC_SUFFIX, line)
            if code is None or letter.code == code:
                yield letter


def _letter(dead_topic: str, line: Line) -> Letter:
    try:
        read = msgspec.json.decode(line.value, type=_LetterLine)
        original = read.bytes_of_original()
    except ValueError as error:  # msgspec's and base64's errors are ValueErrors, too
        raise ConfigError(
            f"{line.place}: not a dead letter ({error}); RUN must be an output folder of segone"
        ) from error
    return Letter(
        (dead_topic, line.partition, line.offset),
        read.code,
        read.path,
        read.message,
        read.topic,
        read.partition,
        read.offset,
        read.arrived_at,
        original,
        read.original_bytes,
    )
