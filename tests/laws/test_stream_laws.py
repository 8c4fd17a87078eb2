"""Laws 7 to 11 on whole streams: order, duplicates, reversals, lateness, timers, accounting; shrinkable by their seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from probe import probe
from shard_bench import Bench, Said, loud, profile
from streams import (
    DAY_US,
    HOUR_US,
    NOON_US,
    by_arrival,
    delayed,
    end_of,
    full_life,
    household,
    moved,
    numbered,
    ordinary_life,
    others,
    purchase,
    shuffled,
    transaction,
)

from operators.catalogue import CATALOGUE
from state.events import Event, Transaction
from state.policy import Policy
from state.times import rfc3339

LATENESS_US = 2 * DAY_US
PATIENT = Policy(lateness_us=LATENESS_US)
SPEAKERS = (*CATALOGUE, probe)
SEEDS = range(8)
seeds = pytest.mark.parametrize("seed", SEEDS)


def run(events: Sequence[Event], policy: Policy = PATIENT, **arguments: Any) -> Bench:
    return Bench(loud(), policy, SPEAKERS, **arguments).run(events)


def tail(customer_id: str, after_us: int, seed: int) -> list[Transaction]:
    """Purchases after everything else: what is said about them shows whether two profiles are really the same."""
    random_ = random.Random(f"tail/{seed}")
    return [
        purchase(random_, f"z-{number}", after_us + (number + 1) * 7 * HOUR_US, customer_id) for number in range(40)
    ]


# ---- law 9: order of arrival


@seeds
def test_any_order_within_the_lateness_ends_in_the_same_profile(seed: int) -> None:
    events = full_life(seed, 120, LATENESS_US)
    ordered, disordered = run(events), run(shuffled(events, seed, LATENESS_US))
    assert disordered.shard.counters.late == 0
    assert ordered.on("detector_errors") == disordered.on("detector_errors") == []
    assert profile(disordered.shard.customer("c-1")) == profile(ordered.shard.customer("c-1"))
    last = tail("c-1", end_of(events) + LATENESS_US, seed)
    scores = [
        [body["score"] for body in bench.run(last).on("scores") if body["transaction_id"].startswith("z-")]
        for bench in (ordered, disordered)
    ]
    assert scores[0] == scores[1] and len(scores[0]) == len(last)


@seeds
def test_a_restart_between_any_two_events_changes_neither_profile_nor_signals(seed: int) -> None:
    events = shuffled(full_life(seed, 80, LATENESS_US), seed, LATENESS_US)
    straight, restarted = run(events), Bench(loud(), PATIENT, SPEAKERS)
    for event in events:
        restarted.apply([event])
        restarted.restart()
    assert restarted.said == straight.said
    assert profile(restarted.shard.customer("c-1")) == profile(straight.shard.customer("c-1"))


@seeds
def test_within_the_reorder_wait_signals_equal_those_of_the_ordered_stream(seed: int) -> None:
    wait_us = 6 * HOUR_US
    policy = Policy(lateness_us=LATENESS_US, reorder_wait_us=wait_us)
    events = full_life(seed, 120, LATENESS_US)
    results = []
    for order in (events, shuffled(events, seed, wait_us), shuffled(events, seed + 1_000, wait_us)):
        bench = run(order, policy)
        bench.advance(end_of(events) + 60 * DAY_US)
        bench.finish()
        assert bench.shard.counters.held == 0
        results.append((bench.said, profile(bench.shard.customer("c-1"))))
    assert results[0] == results[1] == results[2]
    assert any(body["type"] == "anomaly.transaction" for body in run(events, policy).on("signals"))


@seeds
def test_holding_back_says_what_sorting_beforehand_would_have_said(seed: int) -> None:
    """The ordered stream without any wait is the yardstick."""
    events = full_life(seed, 120, LATENESS_US)
    held = Bench(loud(), Policy(lateness_us=LATENESS_US, reorder_wait_us=6 * HOUR_US), SPEAKERS)
    held.run(shuffled(events, seed, 6 * HOUR_US))
    expected = run(events)
    for bench in (held, expected):
        bench.advance(end_of(events) + 60 * DAY_US)
    assert held.said == expected.said
    assert any(body.get("state") == "CLOSE" for body in held.said)


@seeds
def test_standing_payments_are_known_and_told_whatever_the_order(seed: int) -> None:
    """The same laws for a household: the profile after any order within the lateness, the signals after any within the wait."""
    events = household(seed, 24)
    ordered, disordered = run(events), run(shuffled(events, seed, LATENESS_US))
    assert profile(disordered.shard.customer("c-1")) == profile(ordered.shard.customer("c-1"))
    assert ordered.on("detector_errors") == disordered.on("detector_errors") == []
    policy = Policy(lateness_us=LATENESS_US, reorder_wait_us=6 * HOUR_US)
    held, again, whole = (Bench(loud(), policy, SPEAKERS) for _ in range(3))
    held.run(shuffled(events, seed, 6 * HOUR_US))
    for event in events:
        again.apply([event])
        again.restart()
    whole.apply(events)
    for bench in (held, again, whole):
        bench.advance(end_of(events) + 60 * DAY_US)
        bench.finish()
    assert held.said == again.said == whole.said


def test_a_household_makes_every_detector_of_standing_payments_speak() -> None:
    """Otherwise the laws above would hold of silence alone."""
    said: set[str] = set()
    for seed in SEEDS:
        bench = run(household(seed, 42))
        bench.advance(NOON_US + 400 * DAY_US)
        said |= {body["type"] for body in bench.on("signals")}
    assert said >= {
        "anomaly.income_missed",
        "anomaly.income_drop",
        "alert.price_rise",
        "alert.bill_changed",
        "alert.new_subscription",
        "alert.fee",
        "alert.bill_due",
    }


# ---- lateness


def test_what_is_beyond_the_lateness_is_neither_applied_nor_scored_but_named() -> None:
    newest = transaction("t-new", NOON_US)
    edge = transaction("t-edge", NOON_US - LATENESS_US, arrival_us=NOON_US + 1)
    late = transaction("t-late", NOON_US - LATENESS_US - 1_500_000, arrival_us=NOON_US + 2, partition=3, offset=17)
    bench = run([newest, edge])
    before = profile(bench.shard.customer("c-1"))
    bench.apply([late])
    assert profile(bench.shard.customer("c-1")) == before
    assert bench.on("late") == [
        {
            "topic": "in.transactions",
            "partition": 3,
            "offset": 17,
            "customer_id": "c-1",
            "event_id": "t-late",
            "event_time": rfc3339(late.time_us),
            "arrived_at": rfc3339(late.arrival_us),
            "late_by_s": 1.5,
        }
    ]
    assert [body["transaction_id"] for body in bench.on("scores")] == ["t-new", "t-edge"]
    counters = bench.shard.counters
    assert (counters.applied, counters.late, counters.duplicate) == (2, 1, 0)


def test_lateness_counts_for_every_topic() -> None:
    bench = run([transaction("t-1", NOON_US)])
    for event in others(NOON_US - LATENESS_US - 1):
        bench.apply([event])
    assert [body["topic"] for body in bench.on("late")] == ["in.interactions", "in.applications"]


# ---- law 10: duplicates


@seeds
@pytest.mark.parametrize("horizon_us", [HOUR_US, 29 * DAY_US])
def test_duplicates_change_nothing(seed: int, horizon_us: int) -> None:
    random_ = random.Random(f"duplicates/{seed}")
    clean = full_life(seed, 120, LATENESS_US)
    again = [
        delayed(event, random_.randrange(horizon_us)) for event in clean for _ in range(random_.choice((0, 0, 1, 1, 5)))
    ]
    # A copy comes after its original, and arrives when others do: the clock of arrivals must not run ahead of the clean one's.
    dirty = by_arrival([*clean, *again])
    bench, expected = run(dirty), run(clean)
    assert _unclosed(bench.said) == _unclosed(expected.said)
    assert profile(bench.shard.customer("c-1")) == profile(expected.shard.customer("c-1"))
    assert bench.shard.counters.duplicate == len(again)
    assert bench.shard.counters.applied == expected.shard.counters.applied == len(clean)


def _unclosed(said: Sequence[Said]) -> list[Said]:
    """All but what a timer said: a copy's arrival moves the clock on, so a CLOSE may come between two other events."""
    return [body for body in said if "timer" not in body.get("trigger", {})]


@seeds
def test_duplicates_at_once_are_not_even_noticed(seed: int) -> None:
    clean = full_life(seed, 120, LATENESS_US)
    bench = run([event for event in clean for _ in range(3)])
    assert bench.said == run(clean).said


# ---- law 10: reversals


@seeds
def test_reversal_pairs_leave_no_trace_but_their_own_signals_and_retracts(seed: int) -> None:
    random_ = random.Random(f"pairs/{seed}")
    clean = ordinary_life(seed, 150)
    dirty: list[Event] = []
    for number, event in enumerate(clean):
        dirty.append(event)
        if random_.random() < 0.2:
            extra = moved(
                event,
                transaction_id=f"x-{number}",
                amount_minor=event.amount_minor * random_.choice((1, 40)),
                merchant_id=f"n-{number}",
            )
            own = random_.random() < 0.5
            dirty += [
                extra,
                moved(
                    extra,
                    status="reversed",
                    transaction_id=extra.transaction_id if own else f"r-{number}",
                    original_transaction_id=None if own else extra.transaction_id,
                ),
            ]
    bench = run(dirty)
    signals = bench.on("signals")
    opened = {body["id"]: body for body in signals if body["state"] == "OPEN"}
    retracts = [body for body in signals if body["state"] == "RETRACT"]
    retracted = [body["retracts"] for body in retracts]
    assert len(retracted) == len(set(retracted)) and set(retracted) <= set(opened)
    reversed_causes = {id_ for id_, body in opened.items() if body["trigger"]["event_id"].startswith("x-")}
    assert set(retracted) == reversed_causes and reversed_causes
    for body in retracts:
        cause = opened[body["retracts"]]
        assert (body["type"], body["episode"]) == (cause["type"], cause["episode"])
        cause_id = cause["trigger"]["event_id"]
        assert body["trigger"]["event_id"] in (cause_id, cause_id.replace("x-", "r-"))
    kept = [body for body in signals if body["state"] != "RETRACT" and body["id"] not in reversed_causes]
    expected = run(clean)
    assert kept == expected.on("signals")
    scores = [body for body in bench.on("scores") if not body["transaction_id"].startswith("x-")]
    assert scores == expected.on("scores")
    mine, theirs = (profile(b.shard.customer("c-1")) for b in (bench, expected))
    for gone in ("known",):  # the ids of what was reversed stay known, as duplicates must be
        mine.pop(gone), theirs.pop(gone)
    assert mine == theirs


# ---- law 8: ids


def _moved_partition(events: Sequence[Event]) -> Bench:
    bench = Bench(loud(), PATIENT, SPEAKERS)
    for event in numbered(events):
        bench.apply([moved(event, partition=7, offset=event.offset + 1_000_000)], partition=7)
    return bench


VARIANTS: dict[str, Callable[[Sequence[Event]], Bench]] = {
    "another partition and other offsets": _moved_partition,
    "another configuration": lambda events: run(events, config="sha256:other"),
    "duplicates between": lambda events: run([event for event in events for _ in range(2)]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_ids_do_not_depend_on(variant: str) -> None:
    events = full_life(5, 150, LATENESS_US)
    expected = [body["id"] for body in run(events).on("signals")]
    assert [body["id"] for body in VARIANTS[variant](events).on("signals")] == expected
    assert len(expected) == len(set(expected)) > 10


def test_one_open_for_each_episode_and_revisions_count_from_one() -> None:
    revisions: dict[tuple[str, str], list[tuple[int, str]]] = {}
    for seed in SEEDS:
        bench = run(full_life(seed, 150, LATENESS_US, f"c-{seed}"))
        bench.advance(NOON_US + 10_000 * DAY_US)
        for body in bench.on("signals"):
            episode = (body["type"], body["customer_id"] + body["episode"])
            revisions.setdefault(episode, []).append((body["revision"], body["state"]))
    assert {state for steps in revisions.values() for _, state in steps} == {"OPEN", "UPDATE", "CLOSE", "RETRACT"}
    for steps in revisions.values():
        assert [number for number, _ in steps] == list(range(1, len(steps) + 1))
        assert [state for _, state in steps].count("OPEN") == 1 and steps[0][1] == "OPEN"


# ---- law 11: accounting


@seeds
def test_every_record_ends_as_one_of_applied_duplicate_and_late(seed: int) -> None:
    random_ = random.Random(f"accounts/{seed}")
    events: list[Event] = [*full_life(seed, 100, LATENESS_US)]
    events += random_.choices(events, k=30)
    for wait_us in (0, HOUR_US):
        bench = Bench(loud(), Policy(lateness_us=6 * HOUR_US, reorder_wait_us=wait_us), SPEAKERS)
        for number, event in enumerate(shuffled(events, seed, DAY_US), 1):
            bench.apply([event])
            if random_.random() < 0.2:
                bench.restart()
            counters = bench.shard.counters
            ended = counters.applied + counters.duplicate + counters.late
            assert counters.received == number == ended + counters.held
        bench.finish()
        counters = bench.shard.counters
        assert counters.held == 0 and counters.late == len(bench.on("late")) > 0 and counters.duplicate > 0


def test_a_lost_record_is_noticed_at_the_checkpoint() -> None:
    bench = run([transaction("t-1", NOON_US)])
    bench.shard.counters = msgspec.structs.replace(bench.shard.counters, received=2)
    with pytest.raises(AssertionError, match="law 11"):
        bench.restart()
