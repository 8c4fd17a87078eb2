"""The Kafka source against a real broker."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from broker import free_ports
from bytewax.recovery import init_db_dir
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from conftest import Topics
from talking import PATIENCE_S, Sent, drain, poll_until, send, settings

from dataflows.batches import RecordBatch
from dataflows.kafka.client import BrokerUnavailable, KafkaRefused
from dataflows.kafka.logs import KafkaLogs
from dataflows.kafka.source import KafkaInput, KafkaPartition
from state.settings import ConfigError
from state.settings_reading import load_settings


def bounded(
    kafka: str, names: list[str], part: str = "0", resume: bytes | None = None, **changes: Any
) -> KafkaPartition:
    return KafkaInput(settings(kafka, **changes), names, end_at_high_watermark=True).build_part("read", part, resume)


def live(kafka: str, names: list[str], resume: bytes | None = None, **changes: Any) -> KafkaPartition:
    return KafkaInput(settings(kafka, **changes), names).build_part("read", "0", resume)


def test_every_byte_written_is_read_back_with_its_position_and_arrival(kafka: str, topics: Topics) -> None:
    topic = topics.create("in", 2)
    odd_values: list[bytes | None] = [b"{}", b"\xff\x00\xfe", b"", None, b"x" * 100_000, '{"ř":1}'.encode()]
    odd_keys: list[bytes | None] = [b"c-1", b"\xff", b"", None, b"c-2", b"c-3"]
    sent = [Sent(topic, 1, v, k, 1_000 + n) for n, (v, k) in enumerate(zip(odd_values, odd_keys, strict=True))]
    send(kafka, sent)
    records = [record for batch in drain(bounded(kafka, [topic], "1")) for record in batch.records]
    assert [(r.topic, r.partition, r.offset, r.arrival_us, r.key, r.value) for r in records] == [
        (topic, 1, offset, each.arrival_ms * 1000, each.key, each.value or b"") for offset, each in enumerate(sent)
    ]


def test_a_timestamp_that_is_no_time_counts_as_that_of_the_newest_record_before(kafka: str, topics: Topics) -> None:
    topic = topics.create("in", 1, message_timestamp_after_max_ms=str(2**63 - 1))
    year_2201_ms = 7_289_654_400_000
    told_ms = [2**63 - 1, 5_000, 3_000, 1_741_091_696_000_000, year_2201_ms - 1, year_2201_ms, 4_000]
    counts_ms = [0, 5_000, 3_000, 5_000, year_2201_ms - 1, year_2201_ms - 1, 4_000]
    send(kafka, [Sent(topic, 0, b"%d" % n, arrival_ms=each) for n, each in enumerate(told_ms)])
    part = bounded(kafka, [topic])
    records = [record for batch in drain(part) for record in batch.records]
    assert [record.arrival_us // 1000 for record in records] == counts_ms


def test_after_a_restart_such_a_timestamp_counts_the_same(kafka: str, topics: Topics) -> None:
    topic = topics.create("in", 1, message_timestamp_after_max_ms=str(2**63 - 1))
    send(kafka, [Sent(topic, 0, b"a", arrival_ms=5_000), Sent(topic, 0, b"b", arrival_ms=3_000)])
    part = bounded(kafka, [topic])
    drain(part)
    position = part.snapshot()
    send(kafka, [Sent(topic, 0, b"c", arrival_ms=2**62)])
    again = [record for batch in drain(bounded(kafka, [topic], resume=position)) for record in batch.records]
    assert [(record.offset, record.arrival_us) for record in again] == [(2, 5_000_000)]


@pytest.mark.parametrize("batch_records_max", [1, 7, 1000])
def test_topics_are_merged_by_arrival_whatever_the_batch_size(
    kafka: str, topics: Topics, batch_records_max: int
) -> None:
    names = [topics.create(name, 1) for name in ("a", "b", "c")]
    rng = random.Random(batch_records_max)
    sent = [Sent(rng.choice(names), 0, b"%d" % n, arrival_ms=1_000 + n // 3) for n in range(600)]
    send(kafka, sorted(sent, key=lambda each: (each.topic, each.arrival_ms)))
    part = bounded(kafka, names, batch_records_max=batch_records_max)
    records = [record for batch in drain(part) for record in batch.records]
    keys = [(record.arrival_us, names.index(record.topic), record.offset) for record in records]
    assert len(keys) == 600
    assert keys == sorted(keys)


def test_a_topic_far_ahead_of_another_is_paused_and_nothing_is_lost(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.kafka.logs.WAITING_MAX", 50)
    names = [topics.create(name, 1) for name in ("early", "late")]
    send(kafka, [Sent(names[1], 0, b"%d" % n, arrival_ms=9_000 + n) for n in range(2_000)])
    send(kafka, [Sent(names[0], 0, b"%d" % n, arrival_ms=1_000 + n) for n in range(2_000)])
    part = bounded(kafka, names, batch_records_max=20)
    records = [record for batch in drain(part) for record in batch.records]
    assert [(r.topic, r.offset) for r in records] == [(name, n) for name in names for n in range(2_000)]


def with_a_slow_topic(
    kafka: str, topics: Topics, part_of: Callable[..., KafkaPartition], **changes: Any
) -> tuple[Any, Any, Any]:
    """A partition that has begun to read two topics of a thousand records each, of which one now brings nothing more; what was read;
    and what ends that."""
    names = [topics.create(name, 1) for name in ("a", "b")]
    send(kafka, [Sent(names[n % 2], 0, b"%d" % n, arrival_ms=1_000 + n) for n in range(2_000)])
    part = part_of(kafka, names, **({"merge_wait_ms": 50, "batch_records_max": 10} | changes))
    batches = poll_until(part, lambda seen: sum(len(batch.records) for batch in seen) >= 20)
    slow = [TopicPartition(next(log.topic for log in part._logs if log.received < 1_000), 0)]
    part._kafka._consumer.pause(slow)
    return part, batches, lambda: part._kafka._consumer.resume(slow)


def values_of(batches: Sequence[RecordBatch]) -> list[int]:
    return [int(record.value) for batch in batches for record in batch.records]


def poll_for(part: KafkaPartition, duration_s: float) -> list[RecordBatch]:
    batches, until_s = [], time.monotonic() + duration_s
    while time.monotonic() < until_s:
        batches += part.next_batch()
    return batches


def test_a_bounded_read_waits_for_a_slow_topic_as_long_as_it_takes(kafka: str, topics: Topics) -> None:
    part, batches, go_on = with_a_slow_topic(kafka, topics, bounded)
    batches += poll_for(part, 1.0)
    assert len(values_of(batches)) < 2_000
    go_on()
    assert values_of(batches + drain(part)) == list(range(2_000)) and part._merge.passed_over == 0


def test_a_live_read_waits_while_no_broker_answers_and_else_only_for_a_while(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, batches, go_on = with_a_slow_topic(kafka, topics, live)
    with monkeypatch.context() as silence:
        silence.setattr(KafkaLogs, "answered_s", property(lambda _: 0.0))
        batches += poll_for(part, 0.5)
        assert values_of(batches) == list(range(len(values_of(batches)))) and len(values_of(batches)) < 1_990
    batches += poll_until(part, lambda _: part._merge.waiting == 0)
    go_on()
    batches += poll_until(part, lambda seen: len(values_of(batches + seen)) == 2_000)
    assert sorted(values_of(batches)) == list(range(2_000)) and part._merge.passed_over > 0


def test_a_snapshot_resumes_at_the_next_record(kafka: str, topics: Topics) -> None:
    names = [topics.create(name, 1) for name in ("a", "b")]
    send(kafka, [Sent(names[n % 2], 0, b"%d" % n, arrival_ms=1_000 + n) for n in range(100)])
    part = live(kafka, names, batch_records_max=9)
    before = poll_until(part, lambda batches: sum(len(batch.records) for batch in batches) >= 40)
    after = drain(bounded(kafka, names, resume=part.snapshot()))
    values = [int(record.value) for batch in before + after for record in batch.records]
    assert values == list(range(100))
    assert after[0].clock_us == max(record.arrival_us for batch in [*before, after[0]] for record in batch.records)


def test_a_topic_taken_out_of_the_configuration_keeps_its_position(kafka: str, topics: Topics) -> None:
    names = [topics.create(name, 1) for name in ("a", "b")]
    send(kafka, [Sent(name, 0, b"1") for name in names])
    both = bounded(kafka, names)
    drain(both)
    one = bounded(kafka, names[:1], resume=both.snapshot())
    drain(one)
    assert msgspec.json.decode(one.snapshot()) == msgspec.json.decode(both.snapshot())


def test_every_source_partition_reads_all_of_a_broadcast_topic(kafka: str, topics: Topics) -> None:
    keyed, market = topics.create("keyed", 2), topics.create("market", 3)
    send(kafka, [Sent(market, number, b"%d" % number) for number in range(3)])
    source = KafkaInput(settings(kafka), [keyed, market], end_at_high_watermark=True, broadcast=frozenset({market}))
    assert source.list_parts() == ["0", "1"]
    read = {name: drain(source.build_part("read", name, None)) for name in source.list_parts()}
    values = {name: [record.value for batch in batches for record in batch.records] for name, batches in read.items()}
    assert values == {"0": [b"0", b"1", b"2"], "1": [b"0", b"1", b"2"]}


def test_the_first_batch_of_each_epoch_is_a_tick_even_when_empty(kafka: str, topics: Topics) -> None:
    part = live(kafka, [topics.create("in", 1)])
    poll_until(part, lambda batches: any(batch.caught_up for batch in batches))
    assert part.next_batch() == []
    part.snapshot()
    (tick,) = part.next_batch()
    assert (tick.source, tick.records, tick.clock_us, tick.caught_up, tick.tick) == ("0", [], 0, True, True)
    assert part.next_batch() == []


def test_caught_up_is_told_when_nothing_more_waits(kafka: str, topics: Topics) -> None:
    topic = topics.create("in", 1)
    send(kafka, [Sent(topic, 0, b"%d" % n) for n in range(30)])
    part = live(kafka, [topic], batch_records_max=10)
    batches = [batch for batch in poll_until(part, lambda seen: bool(seen) and seen[-1].caught_up) if not batch.tick]
    assert sum(len(batch.records) for batch in batches) == 30
    assert [batch.caught_up for batch in batches] == [False] * (len(batches) - 1) + [True]


def test_aborted_records_are_not_read_and_do_not_hide_the_end(kafka: str, topics: Topics) -> None:
    names = [topics.create(name, 1) for name in ("a", "b")]
    send(kafka, [Sent(names[0], 0, b"kept", arrival_ms=2_000)], transactional_id=f"{topics.prefix}-1")
    send(kafka, [Sent(names[0], 0, b"aborted")], transactional_id=f"{topics.prefix}-2", commit=False)
    send(kafka, [Sent(names[1], 0, b"plain", arrival_ms=3_000)])
    records = [record for batch in drain(bounded(kafka, names)) for record in batch.records]
    assert [record.value for record in records] == [b"kept", b"plain"]


def test_positions_are_committed_to_the_group_only_after_their_epoch(kafka: str, topics: Topics) -> None:
    topic, group = topics.create("in", 1), topics.prefix
    send(kafka, [Sent(topic, 0, b"%d" % n) for n in range(5)])
    part = live(kafka, [topic], group_id=group)
    poll_until(part, lambda batches: sum(len(batch.records) for batch in batches) == 5)
    reader = Consumer({"bootstrap.servers": kafka, "group.id": group})

    def committed() -> int:
        offset: int = reader.committed([TopicPartition(topic, 0)], timeout=PATIENCE_S)[0].offset
        return offset

    part.snapshot()
    assert committed() < 0, "the snapshot's epoch is not committed yet"
    poll_until(part, lambda _batches: committed() == 5)


def test_lag_counts_what_has_not_been_handed_on(kafka: str, topics: Topics) -> None:
    topic = topics.create("in", 1)
    send(kafka, [Sent(topic, 0, b"%d" % n) for n in range(30)])
    source = KafkaInput(settings(kafka, batch_records_max=10), [topic])
    part = source.build_part("read", "0", None)
    part._tell()
    assert (source.lag, source.unknown) == ({}, {"0": 1}), "nobody has told how far it goes"
    poll_until(part, lambda batches: sum(len(batch.records) for batch in batches) == 10)
    part._lag_told_s = 0.0
    part._tell()
    assert (source.lag, source.unknown, source.heard_s) == ({f"{topic}/0": 20}, {"0": 0}, {"0": part._kafka.answered_s})


def test_stopping_waits_until_its_epoch_is_committed_and_then_ends(kafka: str, topics: Topics) -> None:
    topic, stopping = topics.create("in", 1), threading.Event()
    send(kafka, [Sent(topic, 0, b"1")])
    part = KafkaInput(settings(kafka), [topic], stopping).build_part("read", "0", None)
    stopping.set()
    assert [part.next_batch() for _ in range(3)] == [[], [], []]
    part.snapshot()
    with pytest.raises(StopIteration):
        part.next_batch()


def test_a_snapshot_from_before_the_stop_does_not_end_the_flow(kafka: str, topics: Topics) -> None:
    stopping = threading.Event()
    part = KafkaInput(settings(kafka), [topics.create("in", 1)], stopping).build_part("read", "0", None)
    part.next_batch()
    part.snapshot()
    stopping.set()
    assert part.next_batch() == []


def test_latest_begins_after_what_is_there_and_remembers_where(kafka: str, topics: Topics) -> None:
    topic = topics.create("in", 1)
    send(kafka, [Sent(topic, 0, b"old")])
    state = live(kafka, [topic], auto_offset_reset="latest").snapshot()
    send(kafka, [Sent(topic, 0, b"new")])
    records = [record for batch in drain(bounded(kafka, [topic], resume=state)) for record in batch.records]
    assert [record.value for record in records] == [b"new"]


def test_a_position_that_retention_removed_is_an_error_and_not_a_gap(
    kafka: str, topics: Topics, admin: AdminClient
) -> None:
    topic = topics.create("in", 1)
    send(kafka, [Sent(topic, 0, b"%d" % n) for n in range(10)])
    part = live(kafka, [topic], batch_records_max=2)
    poll_until(part, lambda batches: sum(len(batch.records) for batch in batches) >= 2)
    for future in admin.delete_records([TopicPartition(topic, 0, 8)]).values():
        future.result()
    resumed = live(kafka, [topic], resume=part.snapshot())
    with pytest.raises(KafkaRefused, match=rf"{topic}/0: .*offset 2, is not in the log any more \(it holds 8 to 10\)"):
        poll_until(resumed, lambda batches: any(batch.records for batch in batches))


def test_a_missing_topic_is_named_with_what_to_do(kafka: str, topics: Topics) -> None:
    there = topics.create("there", 1)
    with pytest.raises(ConfigError, match=r"no topic in\.nowhere there.*segone init"):
        KafkaInput(settings(kafka), [there, "in.nowhere"]).list_parts()


def test_topics_that_are_not_co_partitioned_are_named(kafka: str, topics: Topics) -> None:
    one, two = topics.create("one", 2), topics.create("two", 3)
    with pytest.raises(ConfigError, match=f"{one} 2, {two} 3"):
        KafkaInput(settings(kafka), [one, two]).list_parts()


def test_a_wrong_address_is_told_and_named_by_a_process_that_fails(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(BrokerUnavailable, match=f"no Kafka broker at {address} answered for 0.5 s"):
        KafkaInput(settings(address, start_timeout_s=0.5), ["in.transactions"]).list_parts()
    script = Path(__file__).with_name("flow_under_kill.py")
    init_db_dir(tmp_path, 1)
    command = [sys.executable, str(script), address, "nobody", str(tmp_path), "1", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode not in (0, None)
    assert f"no Kafka broker at {address} answered" in done.stderr


def test_time_in_which_nobody_looked_is_not_held_against_the_broker(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = live(kafka, [topics.create("in", 1)], broker_timeout_s=2.0)
    poll_until(part, lambda batches: any(batch.caught_up for batch in batches))
    now_s = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now_s + 3_600)
    assert part.next_batch() == []


def test_a_start_that_takes_long_is_not_held_against_a_log_that_has_not_spoken(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sinks open after sources, and may wait for a predecessor's transactions in between."""
    part = live(kafka, [topics.create("in", 1)], broker_timeout_s=2.0)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 3_600)
    poll_until(part, lambda batches: any(batch.caught_up for batch in batches))


def test_a_worker_that_reads_slowly_hears_everybody_out_before_it_gives_a_log_up(kafka: str, topics: Topics) -> None:
    """What a log says may stand behind what others say, in the queue of the client."""
    names = [topics.create(name, 1) for name in ("a", "b")]
    send(kafka, [Sent(names[0], 0, b"%d" % n) for n in range(100)])
    part = live(kafka, names, broker_timeout_s=1.0, batch_records_max=1)
    part._kafka._consumer.pause([TopicPartition(names[1], 0)])
    with pytest.raises(BrokerUnavailable, match=f"waiting for {names[1]}/0 to speak"):
        while True:
            part.next_batch()
            time.sleep(0.03)
    assert part._logs[0].received == 100


def test_a_pause_of_the_worker_is_no_reason_to_pass_a_topic_over(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long checkpoint, a stopped machine: what the topic brings has had no time to be heard."""
    part, batches, resume = with_a_slow_topic(kafka, topics, live, merge_wait_ms=5_000)
    batches += poll_for(part, 0.2)
    clock = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: clock() + 3_600)
    batches += part.next_batch()
    resume()
    batches += poll_until(part, lambda seen: sum(len(batch.records) for batch in (*batches, *seen)) == 2_000)
    assert values_of(batches) == list(range(2_000))


def test_a_log_that_does_not_speak_is_given_up(kafka: str, topics: Topics) -> None:
    names = [topics.create(name, 1) for name in ("a", "b")]
    part = live(kafka, names, broker_timeout_s=1.0)
    part._kafka._consumer.pause([TopicPartition(names[1], 0)])
    with pytest.raises(BrokerUnavailable, match=f"waiting for {names[1]}/0 to speak"):
        poll_for(part, PATIENCE_S)


@pytest.mark.parametrize(
    ("table", "value", "said"),
    [
        ("client", {"enable.auto.commit": True}, r"kafka\.client\.enable\.auto\.commit"),
        ("consumer", {"group.id": "g"}, r"kafka\.consumer\.group\.id.*kafka\.group_id"),
        ("producer", {"transactional.id": "t"}, r"kafka\.producer\.transactional\.id"),
        ("auto_offset_reset", "none", r"\[kafka\] auto_offset_reset"),
        ("sink_partitions", 0, r"\[kafka\] sink_partitions"),
    ],
)
def test_settings_that_would_break_the_guarantees_are_refused(table: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_settings(environment={}, flags={"kafka": {table: value}})


def test_a_property_unknown_to_librdkafka_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.property"):
        KafkaInput(settings("localhost:1", client={"no.such.property": 1}), ["in.transactions"]).list_parts()
