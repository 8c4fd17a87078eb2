"""The live page's tail against a real broker: committed signals only, and no trace of it on the cluster."""

from __future__ import annotations

import time

import pytest
from cli_samples import as_line, signal
from confluent_kafka.admin import AdminClient
from conftest import Topics
from talking import PATIENCE_S, Sent, send, settings

from dataflows.watch.memory import TOPICS, Message
from dataflows.watch.tails import GROUP, KafkaTail
from state.settings import ConfigError


def read_until(tail: KafkaTail, count: int) -> list[Message]:
    found: list[Message] = []
    deadline_s = time.monotonic() + PATIENCE_S
    while len(found) < count and time.monotonic() < deadline_s:
        found += tail.read(0.2)
    return found + tail.read(0.5)


def said(number: int) -> bytes:
    return as_line(signal(id=f"{number:032x}"))


def test_committed_signals_are_shown_and_nothing_is_left_on_the_cluster(
    kafka: str, topics: Topics, admin: AdminClient
) -> None:
    names = {topic: topics.create(topic, 2) for topic in TOPICS if topic != "detector_errors"}
    ours = settings(kafka, topic_prefix=f"{topics.prefix}.", group_id=f"{topics.prefix}-workers")
    anomalies = names["signals.anomaly"]
    send(kafka, [Sent(anomalies, n % 2, said(n)) for n in range(4)], f"{topics.prefix}-a")
    send(kafka, [Sent(anomalies, 0, said(99))], f"{topics.prefix}-b", commit=False)
    send(kafka, [Sent(names["profiles"], 1, b'{"customer_id":"c-1"}')])
    tail = KafkaTail(ours, from_now=False)
    found = read_until(tail, 5)
    assert sorted(value for topic, value in found if topic == "signals.anomaly") == [said(n) for n in range(4)]
    assert [value for topic, value in found if topic == "profiles"] == [b'{"customer_id":"c-1"}']
    send(kafka, [Sent(names["signals.alert"], 1, said(5))], f"{topics.prefix}-a")
    assert read_until(tail, 1) == [("signals.alert", said(5))]
    tail.close()
    groups = {group.group_id for group in admin.list_consumer_groups(request_timeout=10).result().valid}
    assert not groups & {GROUP, ours.group_id}


def test_from_now_leaves_out_what_was_said_before(kafka: str, topics: Topics) -> None:
    names = {topic: topics.create(topic, 1) for topic in TOPICS}
    send(kafka, [Sent(names["signals.anomaly"], 0, said(1))], f"{topics.prefix}-a")
    tail = KafkaTail(settings(kafka, topic_prefix=f"{topics.prefix}."), from_now=True)
    assert tail.read(1.0) == []  # its place at the end is known by now
    send(kafka, [Sent(names["signals.anomaly"], 0, said(2))], f"{topics.prefix}-a")
    assert read_until(tail, 1) == [("signals.anomaly", said(2))]
    tail.close()


def test_missing_topics_are_told_at_the_start(kafka: str, topics: Topics) -> None:
    with pytest.raises(ConfigError, match=r"no topic .*signals\.anomaly"):
        KafkaTail(settings(kafka, topic_prefix=f"{topics.prefix}."), from_now=False)
