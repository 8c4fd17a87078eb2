"""The life cycle of a transaction, rule by rule as the contract states it: what ends as what, and what the windows then hold."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from probe import probe
from shard_bench import TABLES, Bench, profile
from streams import DAY_US, HOUR_US, MINUTE_US, NOON_US, account, label, moved, others, transaction

from state.customer import REFUNDS_MAX, WAITING_MAX
from state.events import Event
from state.policy import Policy
from state.windows import overall_key, pack_key

POLICY = Policy(lateness_us=2 * DAY_US)
DEBITS = overall_key(pack_key("EUR", False, 0))
T = transaction("t-1", NOON_US, 10_000)
PENDING = moved(T, status="pending")
POSTED = moved(T, amount_minor=9_500, time_us=NOON_US + HOUR_US, arrival_us=NOON_US + HOUR_US)
REVERSED = moved(POSTED, status="reversed", time_us=NOON_US + 2 * HOUR_US, arrival_us=NOON_US + 2 * HOUR_US)
REVERSAL = moved(REVERSED, transaction_id="r-1", original_transaction_id="t-1", direction="credit")
REFUND = moved(REVERSAL, transaction_id="f-1", amount_minor=2_500)


def run(*events: Event) -> Bench:
    return Bench(policy=POLICY).run(events)


def ended(bench: Bench) -> tuple[int, int, int]:
    """(applied, duplicate, late)."""
    counters = bench.shard.counters
    return counters.applied, counters.duplicate, counters.late


def month(bench: Bench) -> tuple[int, int]:
    """Count and sum (minor units) of the debits of 30 days."""
    totals = bench.shard.customer("c-1").ring.get(DEBITS)
    return (totals[6], totals[7]) if totals else (0, 0)


def scored(bench: Bench) -> list[str]:
    return [body["transaction_id"] for body in bench.on("scores")]


@pytest.mark.parametrize(
    ("first", "again"),
    [(PENDING, PENDING), (T, T), (T, PENDING), (REVERSED, REVERSED), (REVERSAL, REVERSAL), (REFUND, REFUND)],
    ids=lambda event: f"{event.transaction_id} {event.status}",
)
def test_the_same_or_an_earlier_status_is_a_duplicate(first: Event, again: Event) -> None:
    before = profile(run(first).shard.customer("c-1"))
    bench = run(first, again)
    assert ended(bench) == (1, 1, 0)
    assert profile(bench.shard.customer("c-1")) == before


@pytest.mark.parametrize("earlier", [PENDING, POSTED], ids=["pending", "posted"])
def test_what_was_reversed_does_not_come_back(earlier: Event) -> None:
    bench = run(moved(POSTED, time_us=NOON_US), REVERSED, earlier)
    assert ended(bench) == (2, 1, 0) and month(bench) == (0, 0)


def test_a_later_status_updates_the_windows_and_is_not_scored_again() -> None:
    bench = run(PENDING)
    assert month(bench) == (1, 10_000)
    bench.apply([POSTED])
    assert month(bench) == (1, 9_500) and scored(bench) == ["t-1"] and ended(bench) == (2, 0, 0)
    assert bench.shard.customer("c-1").ring.times.tolist() == [POSTED.time_us]


@pytest.mark.parametrize("reversal", [REVERSED, REVERSAL], ids=["same id", "own id"])
def test_a_full_reversal_undoes_the_original_and_is_not_scored(reversal: Event) -> None:
    bench = run(PENDING, POSTED, reversal)
    assert month(bench) == (0, 0) and scored(bench) == ["t-1"] and ended(bench) == (3, 0, 0)


def test_a_reversal_of_a_larger_amount_or_in_another_currency_is_a_full_one() -> None:
    assert month(run(POSTED, moved(REVERSAL, amount_minor=10_000))) == (0, 0)
    assert month(run(POSTED, moved(REVERSAL, amount_minor=1, currency="USD"))) == (0, 0)


def test_a_refund_is_subtracted() -> None:
    bench = run(POSTED, REFUND)
    assert month(bench) == (1, 7_000) and scored(bench) == ["t-1"]
    bench.apply([moved(REFUND, transaction_id="f-2")])
    assert month(bench) == (1, 4_500) and ended(bench) == (3, 0, 0)


def test_refunds_of_all_that_was_left_undo_the_original() -> None:
    rest = moved(REFUND, transaction_id="f-2", amount_minor=7_000)
    assert month(run(POSTED, REFUND, rest)) == (0, 0)


LIVES: dict[str, tuple[Event, ...]] = {
    "pending, posted, reversed": (PENDING, POSTED, REVERSED),
    "pending, posted, reversal with its own id": (PENDING, POSTED, REVERSAL),
    "pending, posted, refund": (PENDING, POSTED, REFUND),
    "pending, posted, two refunds": (PENDING, POSTED, REFUND, moved(REFUND, transaction_id="f-2", amount_minor=500)),
    "pending, posted, refund, reversal of the whole": (PENDING, POSTED, REFUND, moved(REVERSAL, amount_minor=9_500)),
    "pending, posted, partly reversed under the same id": (PENDING, POSTED, moved(REVERSED, amount_minor=500)),
    "posted, reversed twice": (POSTED, REVERSED, REVERSAL),
}


@pytest.mark.parametrize("life", LIVES)
def test_all_orders_of_a_life_end_in_the_same_profile(life: str) -> None:
    after = transaction("t-9", NOON_US + 20 * DAY_US, 700)
    ends: list[dict[str, Any]] = []
    for order in permutations(LIVES[life]):
        bench = run(*(moved(event, arrival_us=NOON_US + DAY_US + n) for n, event in enumerate(order)), after)
        assert ended(bench)[2] == 0 and scored(bench) == ["t-1", "t-9"]
        ends.append(profile(bench.shard.customer("c-1")))
    assert all(end == ends[0] for end in ends)


def test_a_reversal_waits_for_its_original_as_long_as_that_can_come() -> None:
    waited = moved(T, arrival_us=NOON_US + 2 * DAY_US)
    bystander = transaction("t-2", T.time_us + 2 * DAY_US, 500)
    bench = run(moved(REVERSAL, amount_minor=10_000), bystander, waited)
    assert ended(bench) == (3, 0, 0) and month(bench) == (1, 500)
    assert scored(bench) == ["t-2", "t-1"], "the original is scored when it comes; its reversal never"
    assert bench.shard.customer("c-1").waiting == {}


@pytest.mark.parametrize(("after_us", "left"), [(0, (0, 0)), (1, (1, 10_000))])
def test_an_original_is_taken_back_by_an_earlier_reversal_only_within_the_allowed_lateness(
    after_us: int, left: tuple[int, int]
) -> None:
    """As in the other order of arrival, where the reversal would be late."""
    reversal = moved(REVERSAL, amount_minor=10_000)
    original = transaction("t-1", reversal.time_us + POLICY.lateness_us + after_us, 10_000)
    assert month(run(reversal, original)) == month(run(original, reversal)) == left


def test_what_is_said_of_the_account_after_a_reversed_original_is_withdrawn_too() -> None:
    """Detectors that look once the transaction counts speak after the reversal that had waited for it was carried out."""
    half = moved(T, amount_minor=10_050)
    for reversal in (moved(REVERSAL, amount_minor=10_050), moved(REVERSED, amount_minor=10_050)):
        bench = Bench(policy=POLICY, detectors=(probe,), tables={"probe": {}, **TABLES}).run([reversal, half])
        said = [(body["state"], body["trigger"]["event_id"]) for body in bench.on("signals")]
        assert said == [("OPEN", "t-1"), ("RETRACT", reversal.event_id)]
        assert bench.shard.customer("c-1").said == []


def test_a_reversal_of_nothing_is_forgotten_but_its_repetition_is_still_a_duplicate() -> None:
    for orphan in (REVERSED, REVERSAL):
        later = transaction("t-2", NOON_US + 20 * DAY_US, 500)
        bench = run(orphan, later)
        assert bench.shard.customer("c-1").waiting == {}
        bench.apply([orphan])
        assert ended(bench) == (2, 1, 0)


def test_duplicates_are_recognised_for_thirty_days_of_event_time() -> None:
    within = transaction("t-2", NOON_US + 30 * DAY_US)
    assert ended(run(T, within, T)) == (2, 1, 0)
    beyond = transaction("t-2", NOON_US + 40 * DAY_US)
    assert ended(run(T, beyond, T)) == (2, 0, 1), "it is too old to be applied, and can't be told from a new one"


def test_the_same_id_under_two_customers_is_two_transactions() -> None:
    bench = run(T, moved(T, customer_id="c-2"))
    assert ended(bench) == (2, 0, 0) and scored(bench) == ["t-1", "t-1"]


@pytest.mark.parametrize("event", [account(NOON_US), label(NOON_US, "t-1"), *others(NOON_US)], ids=lambda e: e.TOPIC)
def test_records_of_the_other_topics_are_applied_once(event: Event) -> None:
    bench = run(event, event)
    assert ended(bench) == (1, 1, 0) and bench.said == []


def test_an_older_observation_of_an_account_does_not_replace_a_newer_one() -> None:
    bench = run(account(NOON_US, 500), account(NOON_US - HOUR_US, 900))
    assert bench.shard.customer("c-1").accounts["a-1"].balance_minor == 500


def test_reversals_and_refunds_without_end_are_bounded() -> None:
    waiting = [
        moved(REVERSAL, transaction_id=f"r-{n}", original_transaction_id=f"x-{n}", time_us=NOON_US + n)
        for n in range(3 * WAITING_MAX)
    ]
    bench = run(*waiting)
    kept = {reversal.event_id for reversal in bench.shard.customer("c-1").waiting.values()}
    assert kept == {f"r-{n}" for n in range(2 * WAITING_MAX, 3 * WAITING_MAX)}, "the newest"
    refunds: list[Event] = []
    for n in range(2 * REFUNDS_MAX):
        sale = transaction(f"s-{n}", NOON_US + n * MINUTE_US, 1_000)
        refunds += [
            sale,
            moved(sale, transaction_id=f"f-{n}", original_transaction_id=f"s-{n}", status="reversed", amount_minor=1),
        ]
    bench = run(*refunds)
    assert len(bench.shard.customer("c-1").refunds) == REFUNDS_MAX
    assert month(bench) == (2 * REFUNDS_MAX, 999 * 2 * REFUNDS_MAX)


def test_a_reversal_that_waited_takes_back_no_other_transaction() -> None:
    """A late original of a customer beyond the ring's capacity leaves the windows at once: nothing is there to be undone."""
    crowd = [transaction(f"n-{n}", NOON_US + DAY_US + n, 1) for n in range(4096)]
    bench = run(moved(REVERSAL, amount_minor=10_000), *crowd)
    before = month(bench)
    bench.apply([moved(T, arrival_us=NOON_US + 2 * DAY_US)])
    assert month(bench) == before
    assert bench.on("signals") == [body for body in bench.on("signals") if body["state"] != "RETRACT"]


def test_reversed_purchases_leave_no_trace_in_habits_and_late_reversals_leave_habits_alone() -> None:
    end = transaction("t-9", NOON_US + 20 * DAY_US, 700)
    soon = moved(REVERSED, time_us=POSTED.time_us + 2 * DAY_US)
    late = moved(REVERSED, time_us=POSTED.time_us + 2 * DAY_US + 1)
    assert run(POSTED, soon, end).shard.customer("c-1").matured == 0
    assert run(POSTED, late, end).shard.customer("c-1").matured == 1
    assert run(PENDING, end).shard.customer("c-1").matured == 0, "what was never posted is no habit"
