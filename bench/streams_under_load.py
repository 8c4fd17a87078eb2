"""A seeded input that is fed to the embedded log or to Kafka while workers read it, and are killed.

What a worker says depends on the order of arrival, so a feeder must not leave that to chance: it writes in bursts in which
each customer has records in one topic only, with a pause after each. Then no record is passed by a later one of the same
customer in another topic, however unluckily a reader looks. Rates of the market concern all customers: they have bursts of their own.
No burst lies in two buckets of what is learned across customers: a record that another topic's record of the next day has passed by would
count as the next day's.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka import Message as KafkaMessage

from dataflows.files.sink import ALL_TOPICS
from simulation.runs import Message
from simulation.settings import Dirt, WorldSettings
from simulation.world import stream
from state.business_days import DAY_US
from state.digest import partition_of
from state.events import BROADCAST, TOPICS
from state.records import Output

PARTITIONS = 4
BURST_PAUSE_S_MIN = 0.12
"""Longer than a reader needs to look at all topics once."""

DELIVERY_TIMEOUT_S = 120.0

Burst = list[Message]


def world(customers: int, days: int, seed: int, records: int) -> list[Message]:
    """The first `records` of a synthetic bank, dirt included, in the order of arrival."""
    dirt = Dirt(disorder=0.08, duplicates=0.05, reversals=0.04, malformed=0.02)
    settings = WorldSettings(customers=customers, days=days, seed=seed, partitions=PARTITIONS, dirt=dirt)
    return list(islice(stream(settings), records))


def bursts(messages: Iterable[Message]) -> Iterator[Burst]:
    """Cuts the stream before each record of a customer that changes topic, before and after rates of the market, and at midnight."""
    topics: dict[bytes, str] = {}
    burst: Burst = []
    for message in messages:
        broadcast = bool(burst) and (message.topic in BROADCAST) != (burst[-1].topic in BROADCAST)
        midnight = bool(burst) and message.arrival_us // DAY_US != burst[-1].arrival_us // DAY_US
        if broadcast or midnight or topics.get(message.key, message.topic) != message.topic:
            yield burst
            burst, topics = [], {}
        topics[message.key] = message.topic
        burst.append(message)
    if burst:
        yield burst


class FileLog:
    """Appends bursts to an embedded log: whole lines, one write for each file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        for topic in TOPICS:
            (folder / topic).mkdir(parents=True, exist_ok=True)
            for partition in range(PARTITIONS):
                (folder / topic / f"{partition}.jsonl").touch()

    def write(self, burst: Burst) -> None:
        lines: dict[Path, list[bytes]] = {}
        for message in burst:
            path = self._folder / message.topic / f"{partition_of(message.key, PARTITIONS)}.jsonl"
            lines.setdefault(path, []).append(message.value + b"\n")
        for path, values in lines.items():
            file = os.open(path, os.O_WRONLY | os.O_APPEND)
            try:
                data = b"".join(values)
                if os.write(file, data) != len(data):
                    raise OSError(f"{path}: a line was cut (disk full?)")
            finally:
                os.close(file)


class KafkaLog:
    """Sends bursts to Kafka; each is delivered before `write` returns. An idempotent producer: nothing twice, in order."""

    def __init__(self, bootstrap: str, counts: dict[str, int]) -> None:
        self.sent = 0
        self._counts = counts
        self._failures: list[str] = []
        timeout_ms = int(DELIVERY_TIMEOUT_S * 1000)
        properties = {"enable.idempotence": True, "linger.ms": 1, "message.timeout.ms": timeout_ms, "log_level": 0}
        self._producer = Producer({"bootstrap.servers": bootstrap, **properties})

    def write(self, burst: Burst) -> None:
        for message in burst:
            self._producer.produce(
                message.topic,
                message.value,
                message.key,
                partition_of(message.key, self._counts[message.topic]),
                on_delivery=self._delivered,
                timestamp=message.arrival_us // 1000,
            )
            self._producer.poll(0)
        left = self._producer.flush(DELIVERY_TIMEOUT_S + 5)
        if left or self._failures:
            raise OSError(f"feeding Kafka: {left + len(self._failures)} records not delivered {self._failures[:1]}")

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        if error is None:
            self.sent += 1
        else:
            self._failures.append(error.str())


class Feeder(threading.Thread):
    """Writes bursts with pauses between them, so that all takes about `over_s`.

    `finish` ends the pauses. It is for when no worker reads: then everything is there before the next one looks.
    """

    def __init__(self, feed: list[Burst], write: Callable[[Burst], None], over_s: float) -> None:
        super().__init__(daemon=True)
        self.fed = 0
        self.failure: BaseException | None = None
        self._bursts = feed
        self._write = write
        self._pause_s = max(BURST_PAUSE_S_MIN, over_s / len(feed))
        self._hurrying = threading.Event()

    def run(self) -> None:
        try:
            for burst in self._bursts:
                began_s = time.monotonic()
                self._write(burst)
                self.fed += len(burst)
                took_s = time.monotonic() - began_s
                self._hurrying.wait(max(BURST_PAUSE_S_MIN, self._pause_s - took_s))
        except BaseException as error:  # noqa: BLE001  (told by whoever waits for this thread)
            self.failure = error

    def finish(self) -> None:
        """Waits for the end, without pauses; raises what went wrong. No worker may be reading."""
        self._hurrying.set()
        self.join()
        if self.failure is not None:
            raise self.failure


class KafkaReader(threading.Thread):
    """A read-committed reader of all output topics that looks on while workers and brokers are killed."""

    def __init__(self, bootstrap: str) -> None:
        super().__init__(daemon=True)
        self.read: list[Output] = []
        self._brokers = bootstrap
        self._ended = threading.Event()

    def run(self) -> None:
        reader = _reader(self._brokers)
        while not self._ended.is_set():
            self.read += _outputs(reader.consume(1000, 0.1))
        reader.close()

    def finish(self, count: int, patience_s: float = 20.0) -> list[Output]:
        """What it has read, after waiting for it to come to `count` outputs."""
        give_up_s = time.monotonic() + patience_s
        while len(self.read) < count and time.monotonic() < give_up_s:
            time.sleep(0.05)
        self._ended.set()
        self.join()
        return self.read


def outputs_on_kafka(bootstrap: str) -> list[Output]:
    """Everything that a read-committed reader sees now in the output topics, from the beginning."""
    reader = _reader(bootstrap)
    found = list(_outputs(_to_the_end(reader)))
    reader.close()
    return found


def records_on_kafka(bootstrap: str) -> list[Message]:
    """What the input topics hold, each partition in its order."""
    reader = _reader(bootstrap, TOPICS)
    found = [message for message in _to_the_end(reader) if message.error() is None]
    reader.close()
    found.sort(key=lambda message: (message.topic(), message.partition(), message.offset()))
    return [Message(m.topic(), m.key() or b"", m.value() or b"", m.timestamp()[1] * 1000) for m in found]


def _to_the_end(reader: Consumer) -> Iterator[KafkaMessage]:
    """Everything that is there now."""
    ended: set[tuple[str, int]] = set()
    give_up_s = time.monotonic() + DELIVERY_TIMEOUT_S
    while len(ended) < len(reader.assignment()):
        if time.monotonic() > give_up_s:
            raise TimeoutError("the topics could not be read to their end")
        messages = reader.consume(1000, 0.1)
        ended |= {(m.topic(), m.partition()) for m in messages if m.error() and _at_end(m.error())}
        yield from messages


def _reader(bootstrap: str, topics: Iterable[str] = ALL_TOPICS) -> Consumer:
    fixed = {"isolation.level": "read_committed", "auto.offset.reset": "earliest", "enable.partition.eof": True}
    reader = Consumer({"bootstrap.servers": bootstrap, "group.id": "onlooker", "log_level": 0, **fixed})
    known = reader.list_topics(timeout=10).topics
    reader.assign([TopicPartition(topic, number, 0) for topic in topics for number in known[topic].partitions])
    return reader


def _outputs(messages: Iterable[KafkaMessage]) -> Iterator[Output]:
    for message in messages:
        if message.error() is None:
            headers = tuple((name, value) for name, value in message.headers() or ())
            yield Output(message.topic(), message.key() or b"", message.value(), b"", headers)


def _at_end(error: KafkaError) -> bool:
    return bool(error.code() == KafkaError._PARTITION_EOF)
