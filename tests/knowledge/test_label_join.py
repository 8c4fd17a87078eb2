"""Labels are joined to what was seen when the transaction was scored; they never change the past, and what waits is bounded."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_bench import Bench
from streams import DAY_US, HOUR_US, NOON_US, label, moved, transaction

from operators.across import Across
from operators.knowledge.board import Board
from operators.knowledge.facts import Example, MerchantFact
from state.awaiting import EARLY_MAX, Awaited, Awaiting
from state.events import Event
from state.frozen import freeze
from state.settings import KnowledgeSettings

EVERY_NEGATIVE = KnowledgeSettings(negative_share=1.0, awaiting_max=5)


def bench(settings: KnowledgeSettings = EVERY_NEGATIVE) -> Bench:
    return Bench(across=Across(settings, Board()))


def examples(of: Bench) -> list[Example]:
    return [item for item in of.learned if isinstance(item, Example)]


def told(of: Bench) -> list[tuple[str, int]]:
    """Merchant and label of the facts that are labels."""
    return [(f.merchant_id, f.label) for f in of.learned if isinstance(f, MerchantFact) and f.label >= 0]


def test_a_label_makes_an_example_of_what_was_seen_then_and_tells_the_merchant() -> None:
    one = bench().run([transaction("t-1", NOON_US), transaction("t-2", NOON_US + HOUR_US)])
    waiting = one.shard.customer("c-1").awaiting
    assert len(waiting) == 2
    one.run([moved(label(NOON_US + DAY_US, "t-1", label="fraud"))])
    (example,) = examples(one)
    assert (example.transaction_id, example.label, example.time_us, example.weight) == ("t-1", 1, NOON_US, 1.0)
    assert told(one) == [("m-1", 1)] and len(waiting) == 1
    fact = one.learned[-1]
    assert fact.occurred_us == NOON_US and fact.time_us == NOON_US + DAY_US


def test_a_label_before_its_transaction_waits_for_it_and_changes_no_score() -> None:
    early = [moved(label(NOON_US - HOUR_US, "t-1"), merchant_id="m-1"), transaction("t-1", NOON_US)]
    one, without = bench().run(early), bench().run(early[1:])
    assert one.on("scores")[0]["score"] == without.on("scores")[0]["score"]
    assert [(e.transaction_id, e.label) for e in examples(one)] == [("t-1", 1)]
    assert told(one) == [("m-1", 1)], "told once, though the label was looked at twice"


def test_what_nobody_disputes_until_the_horizon_was_no_fraud() -> None:
    late = transaction("t-last", NOON_US + 15 * DAY_US)
    one = bench().run([transaction("t-1", NOON_US), late])
    assert [(e.label, e.weight, e.transaction_id[0]) for e in examples(one)] == [(0, 1.0, "#")]
    few = bench(KnowledgeSettings(negative_share=0.1))
    few.run([transaction(f"t-{n}", NOON_US + n) for n in range(200)] + [late])
    kept = examples(few)
    assert 5 <= len(kept) <= 40 and {e.weight for e in kept} == {10.0}


@pytest.mark.parametrize(("days", "learned"), [(11, [0, 1]), (13, [0])], ids=["a little late", "too late"])
def test_a_fraud_told_of_late_is_learned_while_what_was_seen_is_kept(days: int, learned: list[int]) -> None:
    """8 days until it counts as no fraud, 4 more in which it may yet turn out to be one."""
    one = bench().run([transaction("t-1", NOON_US)])
    for day in (9, 10):
        one.run([transaction(f"t-{day}", NOON_US + day * DAY_US)])
    one.restart()
    said_us = NOON_US + days * DAY_US
    one.run([transaction("t-now", said_us), moved(label(said_us + 1, "t-1", label="fraud"), merchant_id="m-1")])
    told_of_first = [e.label for e in examples(one) if e.time_us == NOON_US]
    assert told_of_first == learned, "as no fraud once, and as fraud if it is still kept"
    assert told(one) == [("m-1", 1)], "the merchant is told in any case"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), max_size=60))
def test_what_waits_is_what_a_plain_list_says(steps: list[tuple[int, int]]) -> None:
    """Against entries in a list, each with whether it has expired."""
    awaiting, plain, now = Awaiting(), list[list[int]](), 0
    for what, number in steps:
        if what == 0:
            now += number
            awaiting.add(Awaited(len(plain) + now, now, None, b"ab"))
            plain.append([len(plain) + now, now, 0])
        elif what == 1:
            until = now - 10
            waiting = [one for one in plain if not one[2]]
            ready = list(itertools.takewhile(lambda one, until=until: one[1] <= until, waiting))  # type: ignore[misc]
            assert [e.digest for e in awaiting.expire(until)] == [one[0] for one in ready]
            for one in ready:
                one[2] = 1
        elif what == 2:
            awaiting.forget(now - 20)
            while plain and plain[0][2] and plain[0][1] <= now - 20:
                plain.pop(0)
        elif plain:
            digest = plain.pop(number % len(plain))[0]
            assert (found := awaiting.take(digest)) is not None and found.digest == digest
        awaiting = Awaiting.thaw(*awaiting.freeze())
        assert (len(awaiting), awaiting.expired) == (len(plain), sum(one[2] for one in plain))


def test_what_waits_is_bounded_and_the_crowded_out_are_no_examples() -> None:
    one = bench().run([transaction(f"t-{n}", NOON_US + n) for n in range(50)])
    assert len(one.shard.customer("c-1").awaiting) == EVERY_NEGATIVE.awaiting_max and examples(one) == []
    assert one.step.across is not None and one.step.across.counts["crowded_out"] == 45
    one.run([label(NOON_US + HOUR_US + n, f"t-later-{n}") for n in range(3 * EARLY_MAX)])
    assert len(one.shard.customer("c-1").awaiting.early) == EARLY_MAX


def test_a_second_label_of_a_transaction_is_kept_for_no_transaction_to_come() -> None:
    one = bench().run([transaction("t-1", NOON_US)])
    one.run([label(NOON_US + HOUR_US, "t-1"), label(NOON_US + 2 * HOUR_US, "t-1", label="not_fraud")])
    assert one.shard.customer("c-1").awaiting.early == [] and len(examples(one)) == 1
    assert one.step.across is not None and one.step.across.counts == {"awaiting": 1, "joined": 1, "unknown": 1}


def test_a_reversed_transaction_does_not_wait() -> None:
    first = transaction("t-1", NOON_US)
    one = bench().run([first, moved(first, status="reversed", time_us=NOON_US + HOUR_US, arrival_us=NOON_US + HOUR_US)])
    assert len(one.shard.customer("c-1").awaiting) == 0


def test_what_waits_survives_a_restart_and_is_small() -> None:
    events: list[Event] = [transaction(f"t-{n}", NOON_US + n * HOUR_US) for n in range(101)]
    settings = KnowledgeSettings(awaiting_max=256)
    one, straight = bench(settings).run(events[:100]), bench(settings).run(events[:100])
    customer = one.shard.customer("c-1")
    sizes = {}
    for count in (100, 50):
        while len(customer.awaiting) > count:
            customer.awaiting.pop_oldest()
        sizes[count] = len(freeze(customer, {}))
    bytes_each = (sizes[100] - sizes[50]) / 50
    print(f"{bytes_each:.1f} bytes for each that waits")
    assert bytes_each <= 96
    restarted = bench(settings).run(events[:100])
    restarted.restart()
    last: list[Any] = [label(NOON_US + 120 * HOUR_US, f"t-{n}") for n in (3, 7)]
    assert examples(restarted.run(last)) == examples(straight.run(last)) != []


@pytest.mark.parametrize("seed", [1, 2])
def test_a_look_into_the_future_is_noticed(seed: int) -> None:
    """Labels that arrive from some moment on are turned into their opposite, or taken away: nothing before that moment changes."""
    print("seed", seed)
    events = [transaction(f"t-{n}", NOON_US + n * HOUR_US, 1_000 + 997 * n * seed % 90_000) for n in range(120)]
    known = [moved(label(e.time_us, e.event_id), arrival_us=e.time_us + 2 * DAY_US) for e in events[::7]]
    cut_us = NOON_US + 3 * DAY_US
    told_otherwise = [
        moved(one, label="not_fraud") if one.arrival_us >= cut_us and at % 2 else one for at, one in enumerate(known)
    ]
    gone = [one for one in known if one.arrival_us < cut_us]

    def said_before(labels: list[Event]) -> list[str]:
        run = bench(KnowledgeSettings()).run(sorted([*events, *labels], key=lambda event: event.arrival_us))
        return [
            repr(body) for body in run.said if body.get("event_time", "9") < "2025-03-07T12" and "weight" not in body
        ]

    assert said_before(known) == said_before(told_otherwise) == said_before(gone)
