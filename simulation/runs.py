"""Sorting more than fits into memory: sorted runs on disk, merged as they are read.

A line of a run is `arrival (16 digits) topic (1 digit) key TAB value`, so comparing bytes is comparing (arrival, topic,
key, value), and any number of runs merges into the same sequence.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from simulation.life import TOPICS

MERGE_MAX = 100
"""Runs merged at once: below every system's limit of open files."""

BLOCK_BYTES = 1 << 16
TOPIC_AT, KEY_AT = 16, 17
ZERO = ord("0")


class Message(NamedTuple):
    """A record of the synthetic bank as it goes into a log."""

    topic: str
    key: bytes
    value: bytes
    arrival_us: int


def run_line(arrival_us: int, topic: int, key: str, value: str) -> bytes:
    """`value` may hold lone surrogates \\udc80 to \\udcff: bytes that aren't UTF-8."""
    return f"{arrival_us:016d}{topic}{key}\t{value}\n".encode("utf-8", "surrogateescape")


def write_run(path: Path, lines: list[bytes]) -> None:
    lines.sort()
    with path.open("wb") as file:
        file.writelines(lines)


def merged(paths: list[Path]) -> Iterator[bytes]:
    """The lines of all runs in order; never more than MERGE_MAX files open."""
    level = 0
    while len(paths) > MERGE_MAX:
        level += 1
        paths = [
            combine(paths[i : i + MERGE_MAX], paths[0].with_name(f"merged-{level}-{i}"))
            for i in range(0, len(paths), MERGE_MAX)
        ]
    return merge(paths)


def combine(paths: list[Path], into: Path) -> Path:
    """Merges runs into one and removes them."""
    with into.open("wb") as file:
        file.writelines(merge(paths))
    for path in paths:
        path.unlink()
    return into


def merge(paths: list[Path]) -> Iterator[bytes]:
    """A merge by blocks: whatever lies below the smallest end of all blocks read can be sorted and handed out. Sorting runs
    that are in order already is what Python's sort does best: a quarter of the time of a heap."""
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("rb")) for path in paths]
        blocks: list[list[bytes]] = [[] for _ in files]
        while True:
            for index, file in enumerate(files):
                if not blocks[index]:
                    blocks[index] = file.readlines(BLOCK_BYTES)
            ends = [block[-1] for block in blocks if block]
            if not ends:
                return
            limit = min(ends)
            ready: list[bytes] = []
            for index, block in enumerate(blocks):
                count = bisect_right(block, limit)
                ready += block[:count]
                blocks[index] = block[count:]
            ready.sort()
            yield from ready


def messages(lines: Iterable[bytes]) -> Iterator[Message]:
    for line in lines:
        tab = line.index(b"\t")
        yield Message(TOPICS[line[TOPIC_AT] - ZERO], line[KEY_AT:tab], line[tab + 1 : -1], int(line[:TOPIC_AT]))
