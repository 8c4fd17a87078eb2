"""The market's rates reach their holders a few at a time, and nobody can tell from what a holder hears."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import streams
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_bench import TABLES, Bench, RecallingStore, Said
from streams import DAY_US, HOUR_US, NOON_US, account, transaction

from operators.anomaly import velocity
from operators.intent import refinance
from state.events import Event, MarketRate
from state.frozen import UNKNOWN, freeze
from state.market import PENDING_MAX, VISITS_IDLE_MAX, VISITS_MIN, Rates, visits_due
from state.policy import Policy
from state.shard import Shard
from state.shard_meta import decode_meta
from state.still import MOVING, compressed, decompressed

HOLDERS = 150


def rate(day: float, value: float, **changes: Any) -> MarketRate:
    fields = {"rate_id": f"r-{day}-{value}", "arrival_us": NOON_US + int(day * DAY_US)} | changes
    return streams.rate(NOON_US + int(day * DAY_US), value, **fields)


def mortgage(customer_id: str, day: float = 0.0, **changes: Any) -> Event:
    terms = {"interest_rate": 5.0, "minimum_payment_minor": 150_000, "balance_minor": -20_000_000}
    at_us = NOON_US + int(day * DAY_US)
    return account(at_us, **({"customer_id": customer_id, "kind": "mortgage", "account_id": "l-1"} | terms | changes))


def purchase(customer_id: str, day: float) -> Event:
    return transaction(f"t-{day}", NOON_US + int(day * DAY_US), customer_id=customer_id)


def bank(holders: int = HOLDERS) -> Bench:
    made = Bench(TABLES, Policy(lateness_us=2 * DAY_US), (refinance,))
    for number in range(holders):
        made.apply([mortgage(f"c-{number:03d}"), purchase(f"c-{number:03d}", 0.001)])
    return made


def heard(made: Bench) -> list[str]:
    return [body["customer_id"] for body in made.on("signals")]


def test_a_rate_is_told_to_a_few_holders_after_each_batch_and_to_each_of_them_once() -> None:
    made = bank()
    made.apply([rate(3, 3.0)])
    assert len(heard(made)) == VISITS_IDLE_MAX
    made.apply([purchase("nobody", 4.0)])
    assert len(heard(made)) == VISITS_IDLE_MAX + VISITS_MIN
    made.restart()
    made.finish()
    assert heard(made) == [f"c-{number:03d}" for number in range(HOLDERS)]
    made.finish()
    assert len(heard(made)) == HOLDERS


def test_only_a_rate_observed_after_the_newest_of_its_series_is_news() -> None:
    rates = Rates({})
    assert [rates.read(rate(day, value)) for day, value in ((3, 3.0), (3, 2.9), (2.5, 2.8), (3.5, 2.7))] == [
        True,
        False,
        False,
        True,
    ]
    assert (rates.number, [each.value for each in rates.pending]) == (2, [3.0, 2.7])


def test_visits_drive_nobody_out_of_memory() -> None:
    made = Bench(TABLES, Policy(lateness_us=2 * DAY_US, hot_customers_max=10), (refinance,))
    for number in range(HOLDERS):
        made.apply([mortgage(f"c-{number:03d}"), purchase(f"c-{number:03d}", 0.001)])
    hot = list(made.shard._hot)
    made.apply([rate(3, 3.0)])
    made.finish()
    assert len(heard(made)) == HOLDERS
    assert set(made.shard._hot) >= set(hot[1:])


def test_under_load_there_are_fewer_visits_than_events() -> None:
    assert all(visits_due(events) < events for events in range(10, 3000, 7))
    assert visits_due(1) < visits_due(0)


def test_a_holder_with_an_event_hears_first_and_then_not_again() -> None:
    made = bank()
    last = f"c-{HOLDERS - 1:03d}"
    made.apply([rate(3, 3.0), mortgage(last, 4.0, status="closed")])
    said = [body["state"] for body in made.of(last) if body.get("type") == refinance.SIGNAL]
    assert said == ["OPEN", "CLOSE"]
    made.finish()
    assert heard(made).count(last) == 2


def test_who_takes_out_a_loan_while_others_wait_to_hear_hears_of_the_next_rate_only() -> None:
    made = bank()
    made.apply([rate(3, 3.0), mortgage("c-z", 3.5), purchase("c-z", 3.6)])
    made.finish()
    assert "c-z" not in heard(made)
    made.apply([rate(4, 2.9)])
    made.finish()
    assert heard(made).count("c-z") == 1


def test_rates_faster_than_visits_are_told_at_once() -> None:
    made = bank()
    for hour in range(PENDING_MAX + 1):
        made.shard.apply([rate(3 + hour / 24, 3.0)], 0)
    made.advance(NOON_US + 10 * DAY_US)
    assert len(set(heard(made))) == HOLDERS


def test_a_checkpoint_does_not_grow_with_the_holders() -> None:
    def meta_bytes(holders: int) -> int:
        made = bank(holders)
        made.apply([rate(3, 3.0)])
        *_, meta = made._generations[made.shard.checkpoint()]
        return len(meta)

    assert abs(meta_bytes(300) - meta_bytes(50)) < 100


def life_of_holders(random_: random.Random) -> list[Event]:
    """A few weeks of some customers: loans taken out, changed and paid back, bursts of purchases, and rates."""
    events: list[Event] = []
    for number in range(12):
        name = f"c-{number}"
        for _ in range(random_.randrange(4)):
            terms = {"interest_rate": random_.choice((3.0, 5.0)), "status": random_.choice(("open", "open", "closed"))}
            events.append(mortgage(name, random_.uniform(0, 20), **terms))
        for _ in range(random_.randrange(5)):
            day = random_.uniform(0, 20)
            burst = [purchase(name, day + i / 2000) for i in range(random_.choice((1, 1, 6)))]
            events += burst
    events += [rate(random_.uniform(0, 20), random_.choice((2.0, 3.0, 4.9))) for _ in range(random_.randrange(12))]
    delayed = [streams.moved(one, arrival_us=one.arrival_us + random_.randrange(12 * HOUR_US)) for one in events]
    return sorted(delayed, key=lambda one: one.arrival_us)


@given(st.integers(0, 2**32), st.sampled_from((0, 6 * HOUR_US)))
@settings(max_examples=40, deadline=None)
def test_what_a_holder_hears_depends_on_no_batch_no_pace_and_no_restart(seed: int, reorder_wait_us: int) -> None:
    random_ = random.Random(seed)
    events = life_of_holders(random_)
    policy = Policy(lateness_us=DAY_US, reorder_wait_us=reorder_wait_us)

    def run(pace: int, batches: bool) -> tuple[dict[str, list[Said]], dict[str, bytes]]:
        made = Bench(TABLES, policy, (refinance, velocity))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("state.shard.visits_due", lambda _: pace)
            rest = list(events)
            while rest:
                count = random_.randint(1, 9) if batches else 1
                made.apply(rest[:count])
                del rest[:count]
                if batches and random_.random() < 0.2:
                    made.restart()
            made.finish()
        names = {event.customer_id for event in events if event.customer_id}
        shard = made.shard
        profiles = {name: freeze(shard.customer(name), made.step.freeze_states(shard.customer(name))) for name in names}
        return {name: made.of(name) for name in names}, profiles

    at_once = run(1000, batches=False)
    assert run(1, batches=True) == at_once
    assert run(2, batches=False) == at_once


def never_asked_for_rates(body: bytes) -> bytes:
    """A profile's fields without what it has heard of rates: the last two that change with every event."""
    block, *rest = msgspec.msgpack.decode(body)
    moving = [*msgspec.msgpack.decode(decompressed(block))[:-2], UNKNOWN, (0, 0)]
    return msgspec.msgpack.encode([compressed(msgspec.msgpack.encode(moving), MOVING), *rest])


def test_a_state_from_before_the_index_of_holders_is_brought_up_to_date() -> None:
    made = bank(3)
    made.apply([rate(1, 4.9), purchase("nobody", 1.5)])
    values, timers_us, _, meta = made._generations[made.shard.checkpoint()]
    clocks_us, counters, *_ = msgspec.msgpack.decode(meta)
    newest_us = decode_meta(meta).market[0].newest_us
    older = {name: value[:1] + never_asked_for_rates(value[1:]) for name, value in values.items()}
    older_meta = msgspec.msgpack.encode(
        [clocks_us, counters, dict.fromkeys(("c-000", "c-001", "c-002"), 0), {0: newest_us}]
    )
    made._generations[b"older"] = (older, timers_us, {}, older_meta)
    made._open(b"older")
    made.apply([rate(0.5, 2.0)])  # observed before the newest: no news
    made.apply([rate(3, 3.0)])
    made.finish()
    assert heard(made) == ["c-000", "c-001", "c-002"]
    *_, holder_in, upgraded = made._generations[made.shard.checkpoint()]
    assert holder_in == dict.fromkeys(("c-000", "c-001", "c-002"), 0)
    assert (decode_meta(upgraded).holders, decode_meta(upgraded).rates_us) == ({}, {})


def test_holders_who_were_never_written_are_visited_too() -> None:
    made = Bench(TABLES, Policy(lateness_us=2 * DAY_US, dirty_customers_max=1000), (refinance,))
    made.shard.apply([mortgage("c-1"), purchase("c-1", 0.1), rate(3, 3.0)], 0)
    assert isinstance(made.shard, Shard) and isinstance(made.shard._store, RecallingStore)
    assert made.shard._store.holders(0, "", 9) == []
    made.advance(NOON_US + 4 * DAY_US)
    assert heard(made) == ["c-1"]
