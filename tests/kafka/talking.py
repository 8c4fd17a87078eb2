"""Talking to Kafka and to our source and sink as the tests do: write, read what a read-committed reader sees, drain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from dataflows.batches import RecordBatch
from dataflows.kafka.source import KafkaPartition
from state.settings import KafkaSettings

PATIENCE_S = 30.0
"""No test waits longer for anything; a test that does has failed."""


class Sent(NamedTuple):
    """A message for `send`; arrival in milliseconds since 1970."""

    topic: str
    partition: int
    value: bytes | None
    key: bytes | None = b"c-1"
    arrival_ms: int = 1_000


class Seen(NamedTuple):
    """A message as a read-committed reader sees it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]


def settings(kafka: str, **changes: Any) -> KafkaSettings:
    """Settings for tests: two sink partitions, short patience with a silent broker."""
    usual = {"sink_partitions": 2, "start_timeout_s": 10.0, "broker_timeout_s": 20.0}
    return KafkaSettings(bootstrap_servers=kafka, **(usual | changes))


def send(kafka: str, messages: Iterable[Sent], transactional_id: str | None = None, commit: bool = True) -> None:
    """Write messages, each of them delivered; in one transaction if an id is given."""
    failures: list[KafkaError] = []
    properties: dict[str, Any] = {"bootstrap.servers": kafka}
    producer = Producer(properties | ({"transactional.id": transactional_id} if transactional_id else {}))
    if transactional_id:
        producer.init_transactions(PATIENCE_S)
        producer.begin_transaction()
    for each in messages:
        producer.produce(
            each.topic,
            each.value,
            each.key,
            each.partition,
            timestamp=each.arrival_ms,
            on_delivery=lambda error, _message: failures.append(error) if error else None,
        )
        producer.poll(0)
    producer.flush(PATIENCE_S)
    if transactional_id:
        producer.commit_transaction() if commit else producer.abort_transaction()
    assert not failures, failures


def committed(kafka: str, topic: str, partitions: int) -> list[Seen]:
    """Everything that a read-committed reader sees now in a topic."""
    reader = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "tests",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
        }
    )
    reader.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    seen, at_end, deadline_s = [], set(), time.monotonic() + PATIENCE_S
    while len(at_end) < partitions:
        assert time.monotonic() < deadline_s, f"{topic} could not be read to its end"
        for message in reader.consume(1000, 0.1):
            if message.error() is not None:
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                at_end.add(message.partition())
                continue
            headers = dict(message.headers() or ())
            seen.append(Seen(message.partition(), message.offset(), message.key(), message.value(), headers))
    reader.close()
    return seen


def drain(part: KafkaPartition) -> list[RecordBatch]:
    """All batches of a bounded partition."""
    batches: list[RecordBatch] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        try:
            batches += part.next_batch()
        except StopIteration:
            return batches
    raise AssertionError(f"the partition did not end; it gave {sum(len(batch.records) for batch in batches)} records")


def poll_until(part: KafkaPartition, enough: Callable[[list[RecordBatch]], bool]) -> list[RecordBatch]:
    """Batches of an unbounded partition until they are `enough`."""
    batches: list[RecordBatch] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while not enough(batches):
        assert time.monotonic() < deadline_s, f"not enough: {batches[-3:]}"
        batches += part.next_batch()
        time.sleep(0.001)
    return batches
