"""Tails of the output topics, read-only: of the embedded log by its committed lengths, of Kafka read-committed and without a group.

A tail takes no lock, commits no offset and asks nothing of a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, KafkaError, KafkaException, TopicPartition

from dataflows.commands.run_folder import LINE_BYTES_MAX, committed_bytes, partitions
from dataflows.files.sink import deletion_line
from dataflows.kafka.client import consumer, partition_counts, required_partitions
from dataflows.watch.memory import ERRORS, PROFILES, TOPICS, Message
from state.settings import ConfigError, KafkaSettings

CHUNK_BYTES = 1 << 20
MESSAGES_MAX = 1_000
GROUP = "segone-watch"
"""The client library asks for a name; no such group is ever joined."""


class LogReplaced(Exception):
    """The log is another one than before: everything read so far is void, the next read starts at its beginning."""


class Tail(Protocol):
    """`trouble` says why nothing comes, or is empty."""

    trouble: str

    def read(self, timeout_s: float) -> list[Message]:
        """The next messages, at once if there are any, else after waiting; empty if nothing came. Raises LogReplaced."""

    def close(self) -> None: ...


class FileTail:
    """The output folder of a run. Files that appear later are found. `from_now`: only what is committed from now on."""

    def __init__(self, run: Path, *, from_now: bool) -> None:
        self.trouble = ""
        self._run = run
        self._positions: dict[Path, int] = {}
        if from_now:
            self._positions = {path: _end(path) for topic in TOPICS for _, path in partitions(run, topic)}

    def read(self, timeout_s: float) -> list[Message]:
        """Does not wait: whoever calls sleeps between empty answers."""
        found: list[Message] = []
        for topic in TOPICS:
            for _, path in partitions(self._run, topic):
                found += self._read_file(topic, path)
        return found

    def _read_file(self, topic: str, path: Path) -> list[Message]:
        position, end = self._positions.get(path, 0), _end(path)
        if end < position:
            self._positions.clear()
            raise LogReplaced
        if end == position:
            return []
        with path.open("rb") as file:
            file.seek(position)
            chunk = file.read(min(end - position, CHUNK_BYTES))
            while b"\n" not in chunk and len(chunk) < min(end - position, LINE_BYTES_MAX):
                more = file.read(CHUNK_BYTES)
                if not more:  # the note promises more than there is: a copy that was cut off
                    break
                chunk += more
        complete = chunk.rfind(b"\n") + 1
        if not complete and len(chunk) >= LINE_BYTES_MAX:
            raise ConfigError(f"{path}: a line longer than {LINE_BYTES_MAX} bytes; this is no output of segone")
        self._positions[path] = position + complete
        return [(topic, line) for line in chunk[:complete].split(b"\n") if line.strip()]

    def close(self) -> None:
        """Nothing is held open."""


def _end(path: Path) -> int:
    """Up to where readers may look."""
    committed = committed_bytes(path)
    return path.stat().st_size if committed is None else committed


class KafkaTail:
    """All partitions of the output topics, from their beginning or from now. Raises ConfigError or BrokerUnavailable at the start."""

    def __init__(self, settings: KafkaSettings, *, from_now: bool) -> None:
        self.trouble = ""
        self._prefix_length = len(settings.topic_prefix)
        own = msgspec.structs.replace(settings, group_id=GROUP)
        wanted = [own.topic_prefix + topic for topic in TOPICS if topic not in (PROFILES, ERRORS)]
        counts = required_partitions(own, wanted) | _present(own, (PROFILES, ERRORS))
        self._consumer = consumer(own, {"isolation.level": "read_committed"}, error_cb=self._on_error)
        start = OFFSET_END if from_now else OFFSET_BEGINNING
        self._consumer.assign(
            [TopicPartition(topic, p, start) for topic, count in counts.items() for p in range(count)]
        )

    def read(self, timeout_s: float) -> list[Message]:
        found: list[Message] = []
        try:
            messages = self._consumer.consume(MESSAGES_MAX, timeout_s)
        except KafkaException as failure:
            self._on_error(failure.args[0])
            return found
        for message in messages:
            error = message.error()
            if error is not None:
                self._on_error(error)
                continue
            self.trouble = ""
            value = message.value()
            if value is None:  # a tombstone
                value = deletion_line(message.key() or b"")
            found.append((message.topic()[self._prefix_length :], value))
        return found

    def close(self) -> None:
        self._consumer.close()

    def _on_error(self, error: KafkaError) -> None:
        self.trouble = f"Kafka: {error.str()}"


def _present(settings: KafkaSettings, topics: Sequence[str]) -> dict[str, int]:
    """Partition counts of those topics that there are."""
    known = partition_counts(settings)
    names = [settings.topic_prefix + topic for topic in topics]
    return {name: known[name] for name in names if name in known}
