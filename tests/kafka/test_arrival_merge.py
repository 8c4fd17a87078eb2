"""The merge of a source partition's topics is a function of the logs alone. Needs no Kafka."""

from __future__ import annotations

import random
from heapq import merge

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflows.kafka.arrival_merge import ArrivalMerge, Log
from state.records import Record


def record(topic: str, offset: int, arrival_us: int) -> Record:
    return Record(topic, 0, offset, arrival_us, b"c-1", b"{}")


def delivered(
    logs: dict[str, list[Record]], seed: int, count_max: int, start: dict[str, int] | None = None
) -> tuple[list[Record], ArrivalMerge]:
    """Merge while a seeded broker delivers pieces of the logs in some order; whoever has more to come is behind."""
    rng = random.Random(seed)
    begin = start or dict.fromkeys(logs, 0)
    targets = {name: Log(name, 0, rank) for rank, name in enumerate(logs)}
    coming = {name: records[begin[name] :] for name, records in logs.items()}
    joined = ArrivalMerge(list(targets.values()))
    taken: list[Record] = []
    while any(coming.values()) or joined.waiting:
        if any(coming.values()):
            name = rng.choice([name for name, rest in coming.items() if rest])
            count = rng.randint(1, 4)
            targets[name].waiting.extend(coming[name][:count])
            del coming[name][:count]
        for name, log in targets.items():
            log.behind = bool(coming[name])
        taken += joined.take(count_max, patient=True)
    return taken, joined


arrivals = st.lists(st.integers(min_value=1, max_value=12), max_size=12)


@given(st.lists(arrivals, min_size=1, max_size=4), st.integers(0, 2**32), st.integers(1, 7))
def test_order_depends_on_the_logs_and_not_on_delivery_or_batch_size(
    times: list[list[int]], seed: int, count_max: int
) -> None:
    logs = {f"t{rank}": [record(f"t{rank}", n, us) for n, us in enumerate(each)] for rank, each in enumerate(times)}
    taken, joined = delivered(logs, seed, count_max)
    at_once, _ = delivered(logs, seed + 1, 1_000)
    assert taken == at_once
    assert joined.passed_over == 0
    assert sorted(taken, key=lambda each: (each.topic, each.offset)) == [each for log in logs.values() for each in log]


@given(st.lists(arrivals.map(sorted), min_size=1, max_size=4), st.integers(0, 2**32))
def test_ordered_logs_come_out_by_arrival_then_topic_then_offset(times: list[list[int]], seed: int) -> None:
    logs = {f"t{rank}": [record(f"t{rank}", n, us) for n, us in enumerate(each)] for rank, each in enumerate(times)}
    taken, _ = delivered(logs, seed, 5)
    assert taken == list(merge(*logs.values(), key=lambda each: (each.arrival_us, each.topic, each.offset)))


@given(st.lists(arrivals, min_size=1, max_size=3), st.integers(0, 2**32), st.data())
def test_a_restart_between_any_two_records_continues_the_same_order(
    times: list[list[int]], seed: int, data: st.DataObject
) -> None:
    logs = {f"t{rank}": [record(f"t{rank}", n, us) for n, us in enumerate(each)] for rank, each in enumerate(times)}
    whole, _ = delivered(logs, seed, 3)
    cut = data.draw(st.integers(0, len(whole)))
    start = {name: sum(each.topic == name for each in whole[:cut]) for name in logs}
    rest, _ = delivered(logs, seed + 1, 3, start)
    assert rest == whole[cut:]


def test_a_log_that_is_behind_holds_the_others_up_only_as_long_as_one_is_patient() -> None:
    first, second = Log("t0", 0, 0, behind=True), Log("t1", 0, 1, behind=False)
    joined = ArrivalMerge([first, second])
    second.waiting.append(record("t1", 0, 5))
    assert joined.take(10, patient=True) == []
    assert [each.topic for each in joined.take(10, patient=False)] == ["t1"]


@pytest.mark.parametrize(("arrival_us", "passed_over", "overdue"), [(2, 1, 1), (3, 1, 0), (5, 1, 0), (6, 0, 0)])
def test_records_that_were_passed_over_are_counted(arrival_us: int, passed_over: int, overdue: int) -> None:
    first, second = Log("t0", 0, 0), Log("t1", 0, 1, behind=False)
    joined = ArrivalMerge([first, second], wait_us=2)
    second.waiting.append(record("t1", 0, 5))
    joined.take(10, patient=False)
    first.waiting.append(record("t0", 0, arrival_us))
    joined.take(10, patient=False)
    assert (joined.passed_over, joined.overdue) == (passed_over, overdue)


def test_the_clock_is_the_newest_arrival_handed_on_and_survives_a_restart() -> None:
    log = Log("t0", 0, 0, newest_us=7)
    joined = ArrivalMerge([log])
    log.waiting.append(record("t0", 3, 5))
    joined.take(1, patient=False)
    assert (joined.clock_us, log.next_offset) == (7, 4)
