"""The input folder of the embedded log before anything is read: how many partitions it has, and that all data in it will be read."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

import orjson

from operators.dead_letter import TOPIC_SUFFIX
from state.committed import DamagedNoteError, committed_length, note_of
from state.digest import partition_of
from state.events import BROADCAST, TOPICS
from state.settings import PARTITIONS_MAX, ConfigError

SAMPLE_BYTES = 1 << 20
SAMPLE_LINES = 1000
_EVENTS = re.compile(r"\.(jsonl|ndjson|csv|tsv|parquet|avro|orc)(\.(gz|bz2|xz|zst|zip))?$", re.IGNORECASE)
REPLAY_READS = "or let `segone replay` read it"


def count_partitions(folder: Path) -> int:
    """How many partitions an input folder has; checks that the same customer is in the same partition of every topic.

    Raises ConfigError for a folder that is none, and for data in it that a worker would pass over.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"{folder}: no such folder (log.input, --input); `segone simulate` makes one, or `segone replay` reads other forms"
        )
    for path in _listed(folder):
        if path.match("in.*"):
            _check_topic(path)
    counts: dict[str, int] = {}
    for topic in TOPICS:
        numbers = [_number(path) for path in _listed(folder / topic) if path.match("[!.]*.jsonl")]
        if numbers:
            counts[topic] = max(numbers) + 1
    if not counts:
        raise ConfigError(f"{folder}: holds no <topic>/<partition>.jsonl; topics are {', '.join(TOPICS)}")
    partitions = max(counts.values())
    for topic, count in counts.items():
        if count != partitions and topic not in BROADCAST:
            _check_keys(folder, topic, count, partitions)
    return partitions


def _listed(folder: Path) -> list[Path]:
    """What a folder holds, in order; nothing if there is none. An OSError where it may not be looked into: `glob` would find nothing."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _check_topic(path: Path) -> None:
    """What is beside the topics, or in one, and looks like events must not be passed over in silence."""
    topic = path.name.removesuffix(".jsonl")
    if topic.endswith(TOPIC_SUFFIX):  # of a run that writes to the folder that it reads
        return
    if topic not in TOPICS:
        close = get_close_matches(topic, TOPICS, n=1)
        hint = f"did you mean {close[0]}?" if close else f"topics are {', '.join(TOPICS)}"
        raise ConfigError(f"{path}: unknown topic {topic!r}; {hint}")
    if path.name != topic:
        raise ConfigError(f"{path}: a worker reads {topic}/<partition>.jsonl; move it there, {REPLAY_READS}")
    inner = passed_over(path, (".jsonl",))
    if inner is not None:
        hint = f", {REPLAY_READS}" if inner.suffix == ".parquet" and inner.parent == path else ""
        raise ConfigError(f"{inner}: a worker reads plain JSON Lines only; unpack or convert it{hint}")


def passed_over(topic: Path, read: tuple[str, ...]) -> Path | None:
    """A file in a topic's folder, or below it, that by its name holds events and is not of a kind that is read: those that lie in
    the folder itself and end in one of `read`."""
    for path in sorted(topic.rglob("[!.]*")):
        if _EVENTS.search(path.name) and not (path.parent == topic and path.name.endswith(read)) and path.is_file():
            return path
    return None


def _number(path: Path) -> int:
    """The partition that a file is named by, written as the log writes it; its note of what is committed must be readable."""
    stem = path.stem
    if not (stem.isascii() and stem.isdigit() and str(int(stem)) == stem):
        raise ConfigError(
            f"{path}: the name is no partition number (0.jsonl, 1.jsonl, …), so it would not be read; rename it, {REPLAY_READS}"
        )
    if int(stem) >= PARTITIONS_MAX:
        raise ConfigError(f"{path}: partition numbers end at {PARTITIONS_MAX - 1}; rename it, {REPLAY_READS}")
    if not path.is_file():  # a pipe would be waited for in silence, and for ever
        raise ConfigError(
            f"{path}: is no regular file (or a link to nothing), so it can't be read; put a file there, or remove it"
        )
    try:
        committed_length(path)
    except DamagedNoteError as error:
        raise ConfigError(
            f"{note_of(path)}: holds no length in bytes; restore it, or remove it if the log has no writer"
        ) from error
    return int(stem)


def _check_keys(folder: Path, topic: str, count: int, partitions: int) -> None:
    """A topic whose last partitions are empty may have no files for them: then its keys still fall where they should."""
    for partition in range(count):
        path = folder / topic / f"{partition}.jsonl"
        if not path.exists():
            continue
        with path.open("rb") as file:
            # Not readlines: a line may be as long as its file.
            for line in file.read(SAMPLE_BYTES).split(b"\n")[:SAMPLE_LINES]:
                try:
                    customer_id = orjson.loads(line)["customer_id"]
                    wrong = partition_of(customer_id.encode(), partitions) != partition
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
                if wrong:
                    raise ConfigError(
                        f"{folder / topic}: has {count} partitions where other topics have {partitions}; topics with customers must be "
                        "co-partitioned (the same customer in the same partition): write them with the same partition count"
                    )
