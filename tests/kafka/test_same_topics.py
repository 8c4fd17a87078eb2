"""An input topic that is not the one that was read before: deleted and made anew under its name, or with more partitions."""

from __future__ import annotations

import time

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic
from conftest import Topics
from talking import PATIENCE_S, Sent, drain, poll_until, send, settings

from dataflows.kafka.client import KafkaRefused
from dataflows.kafka.source import KafkaInput, KafkaPartition

FOREVER = 1_000_000


def bounded(kafka: str, topic: str, resume: bytes | None = None, accept: bool = False) -> KafkaPartition:
    source = KafkaInput(settings(kafka, accept_other_topics=accept), [topic], end_at_high_watermark=True)
    return source.build_part("read", "0", resume)


def make_anew(admin: AdminClient, topic: str) -> None:
    admin.delete_topics([topic])[topic].result(30)
    give_up_s = time.monotonic() + PATIENCE_S
    while True:  # it is deleted a moment after that is answered
        try:
            admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])[topic].result(30)
            return
        except KafkaException:
            assert time.monotonic() < give_up_s
            time.sleep(0.05)


def offsets_of(part: KafkaPartition) -> list[int]:
    return [record.offset for batch in drain(part) for record in batch.records]


def test_a_topic_made_anew_and_longer_than_the_position_is_refused_unless_it_is_accepted(
    kafka: str, topics: Topics, admin: AdminClient
) -> None:
    topic = topics.create("in", 1)
    send(kafka, [Sent(topic, 0, b"old") for _ in range(3)])
    part = bounded(kafka, topic)
    assert offsets_of(part) == [0, 1, 2]
    position = part.snapshot()
    assert offsets_of(bounded(kafka, topic, position)) == []
    make_anew(admin, topic)
    send(kafka, [Sent(topic, 0, b"new") for _ in range(5)])
    with pytest.raises(KafkaRefused, match=rf"{topic}/0: was made anew since it was read up to offset 3 .*Nothing was"):
        bounded(kafka, topic, position)
    moved = bounded(kafka, topic, position, accept=True)
    assert offsets_of(moved) == [3, 4]
    assert offsets_of(bounded(kafka, topic, moved.snapshot())) == [], "accepted once and for all"


def test_a_position_of_a_release_that_noted_no_ids_goes_on(kafka: str, topics: Topics) -> None:
    topic = topics.create("in", 1)
    send(kafka, [Sent(topic, 0, b"%d" % n) for n in range(5)])
    assert offsets_of(bounded(kafka, topic, msgspec.json.encode({f"{topic}/0": (3, 1_000_000)}))) == [3, 4]


def test_a_topic_made_anew_while_it_is_read_ends_the_worker(
    kafka: str, topics: Topics, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.kafka.same_topics.LOOK_INTERVAL_S", 0.1)
    topic = topics.create("in", 1)
    send(kafka, [Sent(topic, 0, b"old") for _ in range(3)])
    part = KafkaInput(settings(kafka), [topic]).build_part("read", "0", None)
    poll_until(part, lambda batches: sum(len(batch.records) for batch in batches) == 3)
    make_anew(admin, topic)
    send(kafka, [Sent(topic, 0, b"new") for _ in range(5)])
    with pytest.raises(KafkaRefused, match=f"{topic}: was deleted and made anew while it was read"):
        poll_until(part, lambda batches: len(batches) == FOREVER)


def test_partitions_added_while_a_topic_is_read_end_the_worker(
    kafka: str, topics: Topics, admin: AdminClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.kafka.same_topics.LOOK_INTERVAL_S", 0.1)
    topic = topics.create("in", 1)
    part = KafkaInput(settings(kafka), [topic]).build_part("read", "0", None)
    poll_until(part, lambda batches: any(batch.caught_up for batch in batches))
    admin.create_partitions([NewPartitions(topic, 2)])[topic].result(30)
    with pytest.raises(KafkaRefused, match=f"{topic}: has 2 partitions now, and had 1 when this run began"):
        poll_until(part, lambda batches: len(batches) == FOREVER)
