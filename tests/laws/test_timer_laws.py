"""Timers: what is said about silence is the same however the arrival clock is moved, batches are cut, and processes restart."""

from __future__ import annotations

import random

import msgspec
import pytest
from probe import probe
from shard_bench import TABLES, Bench, loud
from streams import DAY_US, HOUR_US, MINUTE_US, NOON_US, end_of, full_life, household, moved, shuffled, transaction

from operators.catalogue import CATALOGUE
from state import agenda
from state.events import Event, Transaction
from state.policy import TIMER_SPREAD_US, Policy
from state.times import parse_rfc3339, rfc3339

LATENESS_US = 2 * DAY_US
PATIENT = Policy(lateness_us=LATENESS_US)
SPREAD = Policy(lateness_us=LATENESS_US, timer_spread_us=TIMER_SPREAD_US)
SPEAKERS = (*CATALOGUE, probe)
SEEDS = range(8)
seeds = pytest.mark.parametrize("seed", SEEDS)


def burst(customer_id: str, start_us: int, count: int = 10) -> list[Transaction]:
    return [
        transaction(f"{customer_id}-b{number}", start_us + number * MINUTE_US, 2_000 + number, customer_id=customer_id)
        for number in range(count)
    ]


def crowd(seed: int) -> list[Event]:
    """Six customers with bursts, some reversed, and one with standing payments, in order of arrival (which is also that of time)."""
    random_ = random.Random(f"crowd/{seed}")
    events: list[Event] = []
    for number in range(6):
        customer_id = f"c-{number}"
        events += full_life(seed, 30, LATENESS_US, customer_id)
        start_us = NOON_US + random_.randrange(20) * DAY_US
        series = burst(customer_id, start_us)
        events += series
        back_us = start_us + random_.randrange(1, 4 * DAY_US)
        events.append(moved(series[3], status="reversed", time_us=back_us, arrival_us=back_us))
    events += household(seed, customer_id="c-6")
    return sorted(events, key=lambda event: (event.arrival_us, event.customer_id, event.event_id))


@seeds
def test_timers_say_the_same_however_the_clock_is_moved(seed: int) -> None:
    events = crowd(seed)
    random_ = random.Random(f"ticks/{seed}")
    end_us = end_of(events) + 60 * DAY_US
    one_batch = Bench(loud(), SPREAD, SPEAKERS)
    one_batch.apply(events)
    lazily = Bench(loud(), SPREAD, SPEAKERS)
    for event in events:  # each customer's timers fire at its own next event, or at the end
        lazily._hear(lazily.shard.apply([event], 0))
    eagerly = Bench(loud(), SPREAD, SPEAKERS)
    for event in events:
        for tick_us in sorted(random_.randrange(event.arrival_us - HOUR_US, event.arrival_us + 1) for _ in range(3)):
            eagerly.advance(tick_us)
        eagerly.apply([event])
        if random_.random() < 0.05:
            eagerly.restart()
    benches = (one_batch, lazily, eagerly)
    for bench in benches:
        bench.advance(end_us)
    for number in range(7):
        said = [bench.of(f"c-{number}") for bench in benches]
        assert said[0] == said[1] == said[2]
    assert sum(body.get("state") == "CLOSE" for body in one_batch.said) >= 3


@seeds
def test_timers_and_held_events_take_turns_however_the_clock_is_moved(seed: int) -> None:
    policy = Policy(lateness_us=3 * HOUR_US, reorder_wait_us=HOUR_US, timer_spread_us=TIMER_SPREAD_US)
    events = shuffled(crowd(seed), seed, HOUR_US)
    random_ = random.Random(f"ticks/{seed}")
    lazily, eagerly = Bench(loud(), policy, SPEAKERS), Bench(loud(), policy, SPEAKERS)
    for event in events:
        lazily._hear(lazily.shard.apply([event], 0))
        for tick_us in sorted(random_.randrange(event.arrival_us - HOUR_US, event.arrival_us + 1) for _ in range(3)):
            eagerly.advance(tick_us)
        eagerly.apply([event])
        if random_.random() < 0.05:
            eagerly.restart()
    for bench in (lazily, eagerly):
        bench.advance(end_of(events) + 60 * DAY_US)
        bench.finish()
    for number in range(7):
        assert lazily.of(f"c-{number}") == eagerly.of(f"c-{number}")


@pytest.mark.parametrize("wakes_min", [0, agenda.WAKES_MIN])
@seeds
def test_timers_say_the_same_however_many_customers_stay_in_memory(
    seed: int, wakes_min: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agenda, "WAKES_MIN", wakes_min)
    events = crowd(seed)
    benches = [Bench(loud(), msgspec.structs.replace(SPREAD, hot_customers_max=most), SPEAKERS) for most in (1, 3, 99)]
    for bench in benches:
        bench.run(events).advance(end_of(events) + 60 * DAY_US)
    for number in range(7):
        said = [bench.of(f"c-{number}") for bench in benches]
        assert said[0] == said[1] == said[2]


def test_wake_ups_are_bounded_by_who_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A customer that comes back from the store does not know that it had one, and the timers are months away."""
    monkeypatch.setattr(agenda, "WAKES_MIN", 20)
    bench = Bench(loud(), Policy(lateness_us=LATENESS_US, hot_customers_max=3), SPEAKERS)
    for day in range(40):
        bench.apply([transaction(f"t-{day}", NOON_US + day * HOUR_US, customer_id=f"c-{n}") for n in range(10)])
        assert len(bench.shard._agenda._wakes[0]) <= 20
    bench.advance(NOON_US + 10 * DAY_US)
    said = [body["customer_id"] for body in bench.on("signals") if body["trigger"].get("timer") == "alert.probe.due"]
    assert sorted(said) == [f"c-{n}" for n in range(10)], "nobody's timer was lost"


def test_timers_of_one_moment_fire_one_after_the_other() -> None:
    """Midnight is the moment of many: a million customers' timers must not hold up the stream all at once."""
    bench = Bench(loud(), SPREAD, SPEAKERS)
    for number in range(100):
        bench.apply(burst(f"c-{number}", NOON_US))
    opened = next(body for body in bench.on("signals") if body["type"] == "anomaly.velocity")
    due_us = parse_rfc3339(opened["event_time"]) + int(TABLES["velocity"]["quiet_s"] * 1e6) + LATENESS_US
    closed = []
    for minute in range(12):
        said = bench.advance(due_us + minute * MINUTE_US)
        closed.append(sum(body["type"] == "anomaly.velocity" for body in said))
    assert closed[0] == 0 and closed[-1] == 0 and sum(closed) == 100
    assert max(closed) <= 25, "about ten a minute"


def test_the_end_of_input_releases_events_held_before_a_restart() -> None:
    bench = Bench(loud(), Policy(reorder_wait_us=30 * DAY_US), SPEAKERS)
    bench.apply([transaction(f"t-{number}", NOON_US + number, customer_id=f"c-{number}") for number in range(50)])
    bench.restart()
    assert bench.said == []
    bench.finish()
    assert len(bench.on("scores")) == 50 and bench.shard.counters.held == 0


@pytest.mark.parametrize("first_moves_on", [False, True])
def test_a_customer_who_moves_to_another_partition_keeps_its_timers(first_moves_on: bool) -> None:
    bench = Bench(loud(), PATIENT, SPEAKERS)
    for event in burst("c-1", NOON_US):
        bench.apply([event], partition=0)
    bench.apply([transaction("t-last", NOON_US + 11 * MINUTE_US)], partition=1)
    if first_moves_on:
        assert bench.advance(NOON_US + 10 * DAY_US, partition=0) == []
    closed = bench.advance(NOON_US + 10 * DAY_US, partition=1)
    assert {body["state"] for body in closed if body["type"] != probe.SIGNAL} == {"CLOSE"}
    (opened,) = [body for body in closed if body["type"] == probe.SIGNAL]
    assert (opened["state"], opened["trigger"]["timer"]) == ("OPEN", "alert.probe.due")
    assert opened["event_time"] == opened["trigger"]["due"] == opened["details"]["on"]


def test_a_timer_fires_once_at_its_due_time_and_never_early() -> None:
    bench = Bench(loud(), PATIENT, SPEAKERS).run(burst("c-1", NOON_US))
    opened = next(body for body in bench.on("signals") if body["type"] == "anomaly.velocity")
    due_us = parse_rfc3339(opened["event_time"]) + int(TABLES["velocity"]["quiet_s"] * 1e6)
    assert bench.advance(due_us + LATENESS_US) == []
    (closed,) = [b for b in bench.advance(due_us + LATENESS_US + 1) if b["type"] == "anomaly.velocity"]
    assert closed["event_time"] == rfc3339(due_us)
    assert closed["trigger"] == {"timer": "anomaly.velocity.close", "due": rfc3339(due_us)}
    assert (closed["state"], closed["episode"], closed["revision"]) == ("CLOSE", opened["episode"], 2)
    assert [b for b in bench.advance(due_us + 60 * DAY_US) if b["type"] == "anomaly.velocity"] == []
