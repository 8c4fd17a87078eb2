"""Dead letters on Kafka: read from the `….dlq` topics up to their present ends, and sent back in transactions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from dataflows.commands.letters import Letter
from dataflows.commands.redrive import Accepted
from dataflows.kafka.client import (
    Address,
    KafkaRefused,
    consumer,
    insist,
    partition_counts,
    producer,
    required_partitions,
    unavailable,
)
from dataflows.kafka.publisher import OMITTED_HEADER
from operators.dead_letter import TOPIC_SUFFIX, WHOLE_HEADER
from state.digest import partition_of
from state.settings import KafkaSettings
from state.whole_numbers import whole_number

READ_MAX = 500
READ_WAIT_S = 0.05
"""A call for messages returns after this even if fewer have come, and even at the end of a partition."""
PARTITION_EOF = KafkaError._PARTITION_EOF


def read_kafka_letters(
    settings: KafkaSettings, prefix: str, topics: Iterable[str], code: str | None
) -> Iterator[Letter]:
    """The letters about records of `topics` that are there now, in order within each partition.

    Raises BrokerUnavailable if nothing comes for `broker_timeout_s`.
    """
    present = partition_counts(settings)
    names = {prefix + topic + TOPIC_SUFFIX: topic for topic in topics}
    places = [TopicPartition(name, each) for name in names for each in range(present.get(name, 0))]
    reader = consumer(settings, {"auto.offset.reset": "earliest", "enable.partition.eof": True})
    try:
        for message in _messages(settings, reader, places):
            letter = letter_of(names[message.topic()], message)
            if code is None or letter.code == code:
                yield letter
    finally:
        reader.close()


def _messages(settings: KafkaSettings, reader: Any, places: list[TopicPartition]) -> Iterator[Message]:
    """All partitions, each from its first message to the end that it has now."""
    ends: dict[Address, int] = {}
    for place in places:
        first, end = insist(
            settings,
            partial(reader.get_watermark_offsets, place, settings.start_timeout_s),
            "asking how many dead letters there are",
        )
        if first < end:
            ends[place.topic, place.partition] = end
            place.offset = first
    reader.assign([place for place in places if (place.topic, place.partition) in ends])
    heard_s = time.monotonic()
    while ends:
        messages = reader.consume(READ_MAX, READ_WAIT_S)
        if messages:
            heard_s = time.monotonic()
        elif time.monotonic() - heard_s > settings.broker_timeout_s:
            raise unavailable(settings, settings.broker_timeout_s, "reading dead letters")
        for message in messages:
            address, error = (message.topic(), message.partition()), message.error()
            end = ends.get(address, 0)
            if error is None and message.offset() < end:
                yield message
            if (error is None and message.offset() >= end - 1) or (error and error.code() == PARTITION_EOF):
                ends.pop(address, None)
            elif error is not None and not error.retriable():
                raise KafkaRefused(f"{address[0]}/{address[1]}: cannot be read: {error.str()}")


def letter_of(topic: str, message: Message) -> Letter:
    """A dead letter about a record of `topic`. Of one that was too large for its dead letter nothing is left but the length."""
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in message.headers() or ()}

    def number(name: str) -> int:
        return whole_number(headers.get(name, "")) or 0

    return Letter(
        (topic + TOPIC_SUFFIX, message.partition(), message.offset()),
        headers.get("dlq.code", ""),
        headers.get("dlq.path", ""),
        headers.get("dlq.message", ""),
        topic,
        number("dlq.partition"),
        number("dlq.offset"),
        headers.get("dlq.arrived_at", ""),
        message.value() or b"",
        number(WHOLE_HEADER) or number(OMITTED_HEADER),
    )


class KafkaTarget:
    """The input topics. A batch is one transaction: all of it is there, or nothing."""

    def __init__(self, settings: KafkaSettings, prefix: str, topics: Sequence[str]) -> None:
        self._settings = settings
        self._prefix = prefix
        self._counts = required_partitions(settings, [prefix + topic for topic in topics])
        self._producer: Any = None

    def arrival_us(self, topic: str, body: object) -> int:
        """What is sent to Kafka arrives now."""
        return int(time.time() * 1e6)

    def takes(self, value: bytes) -> bool:
        return True

    def send(self, batch: Sequence[Accepted]) -> None:
        """One transaction. Raises BrokerUnavailable or KafkaRefused; then readers of committed messages see nothing of it, or (if only the
        answer to the commit was lost) all of it."""
        timeout_s = self._settings.broker_timeout_s
        if self._producer is None:  # only now: it ends the transactions of any other redrive
            self._producer = producer(self._settings, f"{self._settings.transactional_id}-redrive", {})
            self._insist(lambda: self._producer.init_transactions(self._settings.start_timeout_s))
        self._insist(self._producer.begin_transaction)
        for record in batch:
            topic = self._prefix + record.topic
            partition = partition_of(record.key, self._counts[topic])
            self._producer.produce(topic, record.value, record.key or None, partition)
        self._insist(lambda: self._producer.commit_transaction(timeout_s))

    def _insist(self, call: Callable[[], object]) -> None:
        try:
            call()
        except KafkaException as error:
            reason: KafkaError = error.args[0]
            if reason.code() in (KafkaError._TIMED_OUT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
                raise unavailable(self._settings, self._settings.broker_timeout_s, "sending letters again") from error
            raise KafkaRefused(f"Kafka does not take the letters: {reason.str()}") from error
