"""The Kafka sink against a real broker: what a read-committed reader sees, through restarts, fences and refusals."""

from __future__ import annotations

from binascii import crc32
from collections import Counter
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)
from conftest import Topics
from talking import committed, settings

from dataflows.batches import OutputBatch
from dataflows.kafka.client import BrokerUnavailable, KafkaRefused, TopicPlan, create_topics, partition_counts
from dataflows.kafka.publisher import KEY_OMITTED_HEADER, OMITTED_HEADER, Fenced
from dataflows.kafka.sink import KafkaOutput, KafkaOutputPartition
from dataflows.kafka.tail import ID_HEADER, UNMATCHED_AGE_S_MAX, Unmatched, marks
from state.records import Output
from state.settings import ConfigError

PARTITIONS = 4


def sink(kafka: str, topic: str, **changes: Any) -> KafkaOutput:
    """A sink with one sink partition, so that every key is its own."""
    usual: dict[str, Any] = {"transactional_id": topic, "sink_partitions": 1}
    return KafkaOutput(settings(kafka, **(usual | changes)), [topic])


def part(kafka: str, topic: str, resume: bytes | None = None, **changes: Any) -> KafkaOutputPartition:
    return sink(kafka, topic, **changes).build_part("write", "0000", resume)


def outputs(topic: str, ids: range, value: bytes = b"{}") -> list[OutputBatch]:
    made = [Output(topic, b"c-%d" % (n % 7), value, b"id-%d" % n, (("n", b"%d" % n),)) for n in ids]
    return [OutputBatch(made, proof=True)]


def times_seen(kafka: str, topic: str) -> Counter[bytes]:
    return Counter(seen.headers[ID_HEADER] for seen in committed(kafka, topic, PARTITIONS))


def once(ids: range) -> Counter[bytes]:
    return Counter(b"id-%d" % n for n in ids)


def test_outputs_arrive_whole_in_the_partition_of_their_key_and_in_order(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    writer = part(kafka, topic)
    writer.write_batch(outputs(topic, range(100), b'{"a":1}'))
    writer.snapshot()
    seen = sorted(committed(kafka, topic, PARTITIONS))
    assert len(seen) == 100
    for each in seen:
        n = int(each.headers["n"])
        assert (each.key, each.value, each.headers[ID_HEADER]) == (b"c-%d" % (n % 7), b'{"a":1}', b"id-%d" % n)
        assert each.partition == crc32(each.key or b"") % PARTITIONS
    for number in range(PARTITIONS):
        order = [int(each.headers["n"]) for each in seen if each.partition == number]
        assert order == sorted(order)


def test_outputs_become_visible_without_a_snapshot_or_a_next_output(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    writer = part(kafka, topic)
    for n in range(3):
        writer.write_batch(outputs(topic, range(n, n + 1)))
        while len(committed(kafka, topic, PARTITIONS)) <= n:
            pass
    assert times_seen(kafka, topic) == once(range(3))


def test_sink_partitions_share_the_partitions_of_every_topic(kafka: str, topics: Topics) -> None:
    names = [topics.create("one", 4), topics.create("two", 2)]
    shared = KafkaOutput(settings(kafka, transactional_id=topics.prefix, sink_partitions=2), names)
    assert shared.list_parts() == ["0000", "0001"]
    writers = {name: shared.build_part("write", name, None) for name in shared.list_parts()}
    for topic in names:
        for n in range(50):
            key = b"c-%d" % n
            name = shared.list_parts()[shared.part_fn(shared.route(key)) % 2]
            writers[name].write_batch([OutputBatch([Output(topic, key, b"", b"%d" % n)], proof=True)])
    for writer in writers.values():
        writer.snapshot()
        owned = {number % 2 for _, number in writer.publisher.ends}
        assert len(owned) == 1
    assert [len(committed(kafka, names[0], 4)), len(committed(kafka, names[1], 2))] == [50, 50]


def test_a_crash_before_the_first_snapshot_repeats_nothing_even_on_a_used_topic(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    earlier = part(kafka, topic, transactional_id=f"{topic}-earlier")
    earlier.write_batch(outputs(topic, range(5)))
    earlier.snapshot()
    crashed = part(kafka, topic)
    crashed.write_batch(outputs(topic, range(5, 25)))
    crashed.publisher.flush()
    again = part(kafka, topic)
    assert len(again.unmatched) == 20, "the tail begins where the first start found the end"
    again.write_batch(outputs(topic, range(5, 40)))
    again.snapshot()
    assert times_seen(kafka, topic) == once(range(40))
    assert again.skipped == 20


def test_what_was_written_after_the_snapshot_is_skipped_once_after_a_restart(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    first = part(kafka, topic)
    first.write_batch(outputs(topic, range(10)))
    state = first.snapshot()
    first.write_batch(outputs(topic, range(10, 30)))
    first.publisher.flush()
    second = part(kafka, topic, state)
    second.write_batch(outputs(topic, range(10, 40)))
    second.snapshot()
    assert times_seen(kafka, topic) == once(range(40))


def test_ids_ahead_of_the_replay_survive_a_second_crash(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    first = part(kafka, topic)
    first.write_batch(outputs(topic, range(30)))
    first.publisher.flush()
    second = part(kafka, topic)
    second.write_batch(outputs(topic, range(10)))  # a shorter epoch than the first run's
    state = second.snapshot()
    third = part(kafka, topic, state)
    third.write_batch(outputs(topic, range(10, 35)))
    third.snapshot()
    assert times_seen(kafka, topic) == once(range(35))


def test_outputs_hidden_behind_a_foreign_open_transaction_are_waited_for_and_not_written_again(
    kafka: str, topics: Topics
) -> None:
    topic = topics.create("out", PARTITIONS)
    foreign = Producer({"bootstrap.servers": kafka, "transactional.id": f"{topic}-foreign"})
    foreign.init_transactions()
    first = part(kafka, topic)
    foreign.begin_transaction()
    for number in range(PARTITIONS):
        foreign.produce(topic, b"foreign", partition=number)
    foreign.flush()
    first.write_batch(outputs(topic, range(10)))
    first.publisher.flush()
    with pytest.raises(BrokerUnavailable, match="reading back what was written before the restart"):
        part(kafka, topic, broker_timeout_s=1.0)
    foreign.abort_transaction()
    again = part(kafka, topic)
    again.write_batch(outputs(topic, range(12)))
    again.snapshot()
    assert times_seen(kafka, topic) == once(range(12))


def test_a_mark_that_cannot_be_read_does_not_pass_for_none() -> None:
    class Group:
        def committed(self, _partitions: object, timeout: float) -> list[SimpleNamespace]:
            error = KafkaError(KafkaError.UNSTABLE_OFFSET_COMMIT)
            return [SimpleNamespace(topic="out", partition=0, offset=-1001, error=error)]

    with pytest.raises(BrokerUnavailable, match="asking where this sink began"):
        marks(settings("localhost:1", start_timeout_s=0.2), Group(), [("out", 0)])


def test_a_predecessor_that_still_runs_is_fenced_and_writes_nothing_more(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    zombie = part(kafka, topic)
    zombie.write_batch(outputs(topic, range(5)))
    zombie.publisher.flush()
    successor = part(kafka, topic)
    zombie.write_batch(outputs(topic, range(5, 10)))
    with pytest.raises(Fenced, match=f"{topic}-0 was taken over by another process"):
        zombie.publisher.flush()
    with pytest.raises(Fenced):
        zombie.write_batch(outputs(topic, range(10, 11)))
    successor.write_batch(outputs(topic, range(12)))
    successor.snapshot()
    assert times_seen(kafka, topic) == once(range(12))


def test_a_value_too_large_for_its_topic_is_left_out_and_says_so(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS, max_message_bytes="2000")
    writer = part(kafka, topic)
    writer.write_batch(outputs(topic, range(50), b"x" * 1_000))
    writer.write_batch(outputs(topic, range(50, 51), b"x" * 5_000))
    writer.write_batch(outputs(topic, range(51, 60)))
    writer.snapshot()
    assert times_seen(kafka, topic) == once(range(60))
    omitted = [each for each in committed(kafka, topic, PARTITIONS) if OMITTED_HEADER in each.headers]
    assert [(each.headers["n"], each.value, each.headers[OMITTED_HEADER]) for each in omitted] == [
        (b"50", b"", b"5000")
    ]
    assert writer.publisher.omitted == 1


def test_a_key_too_large_for_its_topic_is_left_out_and_says_so(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS, max_message_bytes="2000")
    writer = part(kafka, topic)
    made = outputs(topic, range(3), b"x" * 10)[0].outputs
    long = [
        msgspec.structs.replace(made[1], key=b"k" * 1_900),
        msgspec.structs.replace(made[2], key=b"k" * 1_900, value=b"x" * 1_950),
    ]
    writer.write_batch([OutputBatch([made[0], *long], proof=True)])
    writer.snapshot()
    seen = {
        each.headers["n"]: each for each in committed(kafka, topic, PARTITIONS) if KEY_OMITTED_HEADER in each.headers
    }
    assert [(each.key or b"", each.headers[KEY_OMITTED_HEADER]) for each in seen.values()] == [(b"", b"1900")] * 2
    assert seen[b"1"].value == made[1].value
    assert writer.publisher.omitted == 2


def test_an_output_that_the_broker_refuses_ends_the_sink_and_names_the_topic(
    kafka: str, topics: Topics, admin: AdminClient
) -> None:
    topic = topics.create("out", PARTITIONS)
    writer = part(kafka, topic)
    smaller = ConfigEntry("max.message.bytes", "1000", incremental_operation=AlterConfigOpType.SET)
    change = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[smaller])
    for future in admin.incremental_alter_configs([change]).values():
        future.result()
    writer.write_batch(outputs(topic, range(1), b"x" * 3_000))
    with pytest.raises(KafkaRefused, match=f"topic {topic}.*size"):
        writer.snapshot()
    assert (writer.publisher.failures, writer.publisher.published) == (1, 0)
    again = part(kafka, topic)
    again.write_batch(outputs(topic, range(1), b"x" * 3_000))
    again.snapshot()
    assert times_seen(kafka, topic) == once(range(1)), "a restart knows the new limit: no crash loop"


def test_sink_partitions_must_divide_every_output_topic(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    with pytest.raises(ConfigError, match=rf"kafka\.sink_partitions = 3.*{topic} 4"):
        sink(kafka, topic, sink_partitions=3).list_parts()


def test_sink_partitions_cannot_change_under_a_used_recovery(kafka: str, topics: Topics) -> None:
    topic = topics.create("out", PARTITIONS)
    state = part(kafka, topic).snapshot()
    with pytest.raises(ConfigError, match=r"kafka\.sink_partitions = 2: .*was written with 1"):
        part(kafka, topic, state, sink_partitions=2)


def test_a_lost_recovery_directory_is_told_instead_of_filling_the_memory(
    kafka: str, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataflows.kafka.tail.TAIL_IDS_MAX", 50)
    topic = topics.create("out", PARTITIONS)
    lost = part(kafka, topic)
    lost.write_batch(outputs(topic, range(60)))
    lost.snapshot()
    with pytest.raises(ConfigError, match=r"kafka\.transactional_id = .*recovery directory seems to be lost"):
        part(kafka, topic)


def test_topics_are_made_once_and_found_at_once(kafka: str, topics: Topics) -> None:
    chosen = settings(kafka)
    plans = [TopicPlan(f"{topics.prefix}.{name}", 3, 1, {"cleanup.policy": "compact"}) for name in ("a", "b")]
    assert create_topics(chosen, plans[:1]) == [plans[0].name]
    assert create_topics(chosen, plans) == [plans[1].name]
    assert {name: count for name, count in partition_counts(chosen).items() if name.startswith(topics.prefix)} == {
        plan.name: 3 for plan in plans
    }


def test_a_topic_that_cannot_be_made_is_named(kafka: str, topics: Topics) -> None:
    name = f"{topics.prefix}.many"
    with pytest.raises(KafkaRefused, match=f"does not make topic {name}"):
        create_topics(settings(kafka), [TopicPlan(name, 1, 5, {})])


def test_ids_match_once_for_each_copy_and_are_forgotten_with_age() -> None:
    unmatched = Unmatched({b"old": [0], b"twice": [UNMATCHED_AGE_S_MAX, UNMATCHED_AGE_S_MAX]})
    assert unmatched.remaining(UNMATCHED_AGE_S_MAX + 1) == {b"twice": [UNMATCHED_AGE_S_MAX] * 2}
    assert [unmatched.match(b"twice") for _ in range(3)] == [True, True, False]
    assert not unmatched.match(b"old")
