"""The broker dies: for a while, and for good. Each death serves the source and the sink, since a restart takes seconds."""

from __future__ import annotations

from collections import Counter

import pytest
from broker import Broker
from conftest import Topics
from talking import Sent, committed, poll_until, send, settings

from dataflows.batches import OutputBatch
from dataflows.kafka.client import BrokerUnavailable
from dataflows.kafka.sink import KafkaOutput
from dataflows.kafka.source import KafkaInput
from dataflows.kafka.tail import ID_HEADER
from state.records import Output

PARTITIONS = 2


def outputs(topic: str, ids: range) -> list[OutputBatch]:
    return [OutputBatch([Output(topic, b"c-%d" % n, b"{}", b"%d" % n) for n in ids], proof=True)]


def times_seen(kafka: str, topic: str) -> Counter[int]:
    return Counter(int(seen.headers[ID_HEADER]) for seen in committed(kafka, topic, PARTITIONS))


def test_a_broker_that_comes_back_neither_loses_nor_repeats_what_is_read_and_written(
    mortal_broker: Broker, topics: Topics
) -> None:
    kafka = mortal_broker.bootstrap
    read, written = topics.create("in", 1), topics.create("out", PARTITIONS)
    usual = settings(  # a broker may take half a minute to be back on a busy machine
        kafka, batch_records_max=50, broker_timeout_s=90.0, sink_partitions=1, transactional_id=topics.prefix
    )
    send(kafka, [Sent(read, 0, b"%d" % n) for n in range(500)])
    reader = KafkaInput(usual, [read]).build_part("read", "0", None)
    writer = KafkaOutput(usual, [written]).build_part("write", "0000", None)
    batches = poll_until(reader, lambda seen: sum(len(batch.records) for batch in seen) >= 200)
    writer.write_batch(outputs(written, range(100)))

    mortal_broker.kill()
    for n in range(100, 200):  # what was fetched already may still come, what is written waits; nothing raises
        batches += reader.next_batch()
        writer.write_batch(outputs(written, range(n, n + 1)))
    mortal_broker.restart()

    send(kafka, [Sent(read, 0, b"%d" % n) for n in range(500, 600)])
    count = sum(len(batch.records) for batch in batches)
    batches += poll_until(reader, lambda seen: count + sum(len(batch.records) for batch in seen) >= 600)
    assert [int(record.value) for batch in batches for record in batch.records] == list(range(600))
    writer.write_batch(outputs(written, range(200, 300)))
    writer.snapshot()
    assert times_seen(kafka, written) == Counter(range(300))


def test_a_broker_that_stays_away_is_told_by_reader_and_writer_and_nothing_is_lost(
    mortal_broker: Broker, topics: Topics
) -> None:
    kafka = mortal_broker.bootstrap
    read, written = topics.create("in", 1), topics.create("out", PARTITIONS)
    usual = settings(
        kafka, broker_timeout_s=1.0, sink_partitions=1, transactional_id=topics.prefix, group_id=topics.prefix
    )
    send(kafka, [Sent(read, 0, b"1")])
    reader = KafkaInput(usual, [read]).build_part("read", "0", None)
    writer = KafkaOutput(usual, [written]).build_part("write", "0000", None)
    writer.write_batch(outputs(written, range(10)))
    state = writer.snapshot()
    poll_until(reader, lambda batches: any(batch.caught_up for batch in batches))

    mortal_broker.kill()
    reader.snapshot()  # the next batch commits positions to the group, and nobody answers
    writer.write_batch(outputs(written, range(10, 20)))
    *_, taken_back = poll_until(reader, lambda batches: not all(batch.caught_up for batch in batches))
    assert taken_back.records == [], "a silent broker may have more"
    with pytest.raises(BrokerUnavailable, match=f"{kafka} answered for 1 s while reading"):
        poll_until(reader, lambda _batches: False)
    reader.close()  # librdkafka alone would wait a minute for the answer
    with pytest.raises(BrokerUnavailable, match=f"at {kafka} .*Nothing is lost"):
        writer.snapshot()

    mortal_broker.restart()
    again = KafkaOutput(usual, [written]).build_part("write", "0000", state)
    again.write_batch(outputs(written, range(10, 20)))
    again.snapshot()
    assert times_seen(kafka, written) == Counter(range(20))
