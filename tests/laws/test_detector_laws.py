"""Detectors × laws (DESIGN, section 3). A detector gets all of them by being in the catalogue."""

from __future__ import annotations

import builtins
import logging
import math
import os
import random
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from probe import probe
from shard_bench import TABLES, Bench, Said, loud, refrozen
from streams import (
    DAY_US,
    HOUR_US,
    HUGE_MINOR,
    MINUTE_US,
    NOON_US,
    account,
    end_of,
    histories,
    hostile_life,
    household,
    label,
    rate,
    transaction,
    wishes,
)

from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE
from operators.detector import HOOKS, Detector, Finding
from operators.view import View
from state import customer as limits
from state.balances import BALANCES_MAX
from state.customer import Customer
from state.digest import digest64
from state.events import Event, Transaction
from state.frozen import freeze
from state.policy import Policy
from state.recurring import STREAMS_MAX
from state.settings import KnowledgeSettings
from state.signals import Reason
from state.windows import CAPACITY

SHORT = Policy(lateness_us=2 * HOUR_US)
"""So that habits are learned within the short streams of these tests."""
FROZEN_BYTES_MAX = 512 * 1024
"""Of a customer who fills every collection to its limit with the longest names; an ordinary one has a few KB."""
STATE_BYTES_MAX = 16 * 1024
"""Of one detector's own state."""
HOSTILE_EVENTS = 20_000
ORDERED = ("learn", "learn_event", "look", "on_rate")
"""Hooks whose subjects come in one order, however the events arrive: they may change a state."""

SUBJECTS: dict[str, tuple[Detector, ...]] = {detector.NAME: (detector,) for detector in (*CATALOGUE, probe)}
SUBJECTS[fused.NAME] = CATALOGUE
subjects = pytest.mark.parametrize("name", SUBJECTS)


def bench_of(name: str, policy: Policy = SHORT) -> Bench:
    return Bench(loud(), policy, SUBJECTS[name])


def spy_on(detector: Detector, look: Any) -> Any:
    """The detector, with `look(config, state, subject, view or customer)` called before each of its hooks."""

    def spied(hook: Any) -> Any:
        def call(config: Any, state: Any, subject: Any, surroundings: Any) -> Any:
            look(config, state, subject, surroundings)
            return hook(config, state, subject, surroundings)

        return call

    return with_hooks(detector, **{name: spied(hook) for name, hook in hooks_of(detector).items()})


def hooks_of(detector: Detector) -> dict[str, Any]:
    return {name: hook for name in HOOKS if (hook := getattr(detector, name, None)) is not None}


def with_hooks(detector: Detector, **hooks: Any) -> Any:
    """A copy of the detector with other hooks."""
    return SimpleNamespace(**{**vars(detector), **hooks})


# ---- law 1: score first, then learn


@subjects
@settings(max_examples=15)
@given(past=histories(), future=histories(), cut=st.integers(0, 40))
def test_no_future_changes_what_was_said_before(
    name: str, past: list[Transaction], future: list[Transaction], cut: int
) -> None:
    cut = min(cut, len(past))
    shift_us = past[cut - 1].time_us if cut else 0
    other = [transaction(f"f-{event.transaction_id}", event.time_us + shift_us, event.amount_minor) for event in future]
    said = []
    for events in (past, past[:cut] + other, past[:cut]):
        bench = bench_of(name)
        bench.apply(events)
        said.append(bench.said)
    # All in one batch: what the past made the engine say comes first, whatever follows.
    assert said[0][: len(said[2])] == said[1][: len(said[2])] == said[2]


@subjects
@settings(max_examples=15)
@given(events=histories())
def test_a_detector_never_sees_the_event_in_the_profile_that_it_judges_it_by(
    name: str, events: list[Transaction]
) -> None:
    def look(config: Any, state: Any, event: Transaction, view: Any) -> None:
        if not isinstance(view, View):
            return  # only a step judges
        digest = digest64(event.transaction_id)
        assert view.customer.ring.find(digest) == -1 and view.customer.recent_index(digest) == -1
        seen.append(event.transaction_id)
        if view.customer.place is not None:
            assert view.customer.place.transaction_id != event.transaction_id

    seen: list[str] = []
    spies = tuple(spy_on(detector, look) for detector in SUBJECTS[name])
    bench = Bench(loud(), SHORT, spies).run(events)
    assert bench.on("detector_errors") == []
    judges = [detector for detector in SUBJECTS[name] if "step" in hooks_of(detector)]
    assert seen == [event.transaction_id for event in events for _ in judges]


@subjects
@settings(max_examples=15)
@given(events=histories())
def test_a_detector_leaves_the_profile_as_it_found_it(name: str, events: list[Transaction]) -> None:
    """Learning is the profile's business, after the score; a detector changes nothing but its own state."""

    def guarded(hook: Any) -> Any:
        def call(config: Any, state: Any, subject: Any, surroundings: Any) -> Any:
            customer = surroundings.customer if isinstance(surroundings, View) else surroundings
            before = freeze(customer, {})
            answer = hook(config, state, subject, surroundings)
            assert freeze(customer, {}) == before
            return answer

        return call

    guards = (
        with_hooks(detector, **{name: guarded(hook) for name, hook in hooks_of(detector).items()})
        for detector in SUBJECTS[name]
    )
    bench = Bench(loud(), SHORT, tuple(guards)).run(events)
    assert bench.on("detector_errors") == []


@subjects
@settings(max_examples=15)
@given(events=histories())
def test_a_detector_changes_its_state_only_when_something_matures(name: str, events: list[Transaction]) -> None:
    """Otherwise the state would depend on the order of arrival."""

    def guarded(hook: Any) -> Any:
        def call(config: Any, state: Any, subject: Any, surroundings: Any) -> Any:
            before = msgspec.msgpack.encode(state)
            answer = hook(config, state, subject, surroundings)
            assert msgspec.msgpack.encode(state) == before
            return answer

        return call

    guards = (
        with_hooks(
            detector,
            **{name: guarded(hook) for name, hook in hooks_of(detector).items() if name not in ORDERED},
        )
        for detector in SUBJECTS[name]
    )
    bench = Bench(loud(), SHORT, tuple(guards)).run(events)
    assert bench.on("detector_errors") == []


# ---- law 2: no clock, no chance, no input or output


class Forbidden(BaseException):
    """A BaseException, so that no handler of the engine softens it."""


@contextmanager
def nothing_but_the_event() -> Iterator[None]:
    def forbidden(*_: Any, **__: Any) -> Any:
        raise Forbidden("a detector asked for the time, for chance, or for the world outside")

    patches = [
        *(patch.object(time, clock, forbidden) for clock in ("time", "time_ns", "monotonic", "perf_counter")),
        *(patch.object(random, draw, forbidden) for draw in ("random", "randrange", "choice", "gauss", "shuffle")),
        patch.object(secrets, "token_bytes", forbidden),
        patch.object(os, "urandom", forbidden),
        patch.object(builtins, "open", forbidden),
        patch.object(builtins, "print", forbidden),
        patch.object(logging.Logger, "_log", forbidden),
    ]
    for one in patches:
        one.start()
    try:
        yield
    finally:
        for one in patches:
            one.stop()


def test_the_fence_around_a_detector_holds() -> None:
    with pytest.raises(Forbidden), nothing_but_the_event():
        time.time()


@subjects
@settings(max_examples=15)
@given(events=histories())
def test_the_same_events_say_the_same_without_clock_chance_or_files(name: str, events: list[Transaction]) -> None:
    expected = bench_of(name).run(events).said
    again = bench_of(name)
    with nothing_but_the_event():
        again.run(events)
    assert again.said == expected


# ---- law 3: never raises


@subjects
@pytest.mark.parametrize("seed", range(4))
def test_hostile_values_fail_no_detector(name: str, seed: int) -> None:
    bench = Bench(loud() if seed % 2 else TABLES, SHORT, SUBJECTS[name])
    for at in range(0, 800, 100):
        bench.apply(hostile_life(seed, 800)[at : at + 100])
    assert bench.on("detector_errors") == []
    assert all(0.0 <= body["score"] <= 1.0 for body in bench.on("scores"))


@cache
def after_a_crowded_hour() -> Bench:
    """All detectors after 5,000 purchases in an hour, each of the largest amount and in another shop."""
    bench = bench_of(fused.NAME)
    for number in range(5_000):
        at_us = NOON_US + number * 720_000
        bench.apply([transaction(f"t-{number}", at_us, HUGE_MINOR, currency="CLF", merchant_id=f"m-{number}")])
    return bench


@subjects
def test_five_thousand_purchases_in_an_hour_at_as_many_merchants_fail_no_detector(name: str) -> None:
    bench = after_a_crowded_hour()
    assert [body for body in bench.on("detector_errors") if body["detector"] == name] == []
    assert bench.shard.counters.applied == len(bench.on("scores")) == 5_000


@pytest.mark.parametrize("broken", [detector.NAME for detector in (*CATALOGUE, probe)])
@settings(max_examples=10)
@given(events=histories(count_max=25))
def test_a_failing_detector_is_reported_once_and_the_others_go_on(broken: str, events: list[Transaction]) -> None:
    def fail(config: Any, state: Any, subject: Any, surroundings: Any) -> None:
        calls.append(subject)
        raise ZeroDivisionError(f"secret {subject}")

    calls: list[Any] = []
    weeks: list[Any] = [transaction(f"week-{n}", end_of(events) + 8 * n * DAY_US) for n in range(1, 4)]
    # So that a week matures, the market has a new rate, and all intents are asked.
    held = account(end_of(weeks) + 1, -1_000_000, kind="mortgage")
    events = [*events, *weeks, held, rate(end_of(weeks) + 2)]
    everybody = (*CATALOGUE, probe)
    detectors = tuple(spy_on(d, fail) if broken == d.NAME else d for d in everybody)
    bench = Bench(loud(), SHORT, detectors).run(events)
    errors = bench.on("detector_errors")
    assert {body["detector"] for body in errors} == {broken} and len(errors) == len(calls) > 0
    assert "secret" not in str(errors) and all(body["error"] == "ZeroDivisionError" for body in errors)
    assert bench.step.detector_errors == {broken: len(calls)}
    assert bench.shard.counters.applied - 1 == len(bench.on("scores")) == len(events) - 2
    without = Bench(loud(), SHORT, tuple(d for d in everybody if broken != d.NAME)).run(events)
    assert [body for body in bench.said if "error" not in body] == without.said


@pytest.mark.parametrize("error", ["ZeroDivisionError", "KeyError"])
@pytest.mark.parametrize("broken", [detector.NAME for detector in CATALOGUE if hasattr(detector, "outcomes")])
def test_an_intent_that_fails_to_see_an_outcome_is_reported_and_the_others_go_on(broken: str, error: str) -> None:
    def outcomes(config: Any, event: Event) -> Iterator[tuple[str, int]]:
        yield "a model that there is not", event.time_us
        if error == "ZeroDivisionError":
            raise ZeroDivisionError("secret")

    detectors = tuple(with_hooks(d, outcomes=outcomes) if broken == d.NAME else d for d in CATALOGUE)
    bench = Bench(loud(), SHORT, detectors).run([label(NOON_US, "t-0"), transaction("t-1", NOON_US)])
    (told,) = bench.on("detector_errors")
    assert (told["detector"], told["topic"], told["error"]) == (broken, "in.labels", error)
    assert bench.shard.counters.applied == 2 and len(bench.on("scores")) == 1


@pytest.mark.parametrize("contribution", [math.nan, math.inf, -math.inf])
def test_a_contribution_that_is_no_number_is_a_failure_of_its_detector(contribution: float) -> None:
    null = next(detector for detector in CATALOGUE if detector.NAME == "null")

    def step(config: Any, state: Any, event: Transaction, view: View) -> Any:
        return Finding((Reason("X", "x", 0, 0, contribution, ""),))

    bench = Bench(loud(), SHORT, (with_hooks(null, step=step),)).run([transaction("t-1", NOON_US)])
    assert [body["detector"] for body in bench.on("detector_errors")] == ["null"]
    assert bench.on("signals") == [] and bench.shard.counters.applied == 1


def finding_of(**fields: Any) -> Finding:
    return Finding(**{"reasons": (Reason("X", "x", 0, 0, 9.0, ""),), **fields})


@pytest.mark.parametrize(
    "finding",
    [finding_of(details=None), finding_of(quiet_s=math.nan), finding_of(quiet_s=math.inf), finding_of(reasons=("X",))],
    ids=["no details", "no length", "beyond all time", "no reason"],
)
def test_a_finding_that_cannot_be_said_is_a_failure_of_its_detector(finding: Finding) -> None:
    null = next(detector for detector in CATALOGUE if detector.NAME == "null")
    broken = with_hooks(null, step=lambda *_: finding)
    others = tuple(detector for detector in CATALOGUE if detector.NAME != "null")
    events = [transaction(f"t-{n}", NOON_US + n * DAY_US) for n in range(3)]
    bench = Bench(loud(), SHORT, (broken, *others)).run(events)
    assert [body["detector"] for body in bench.on("detector_errors")] == ["null"] * 3
    assert [body for body in bench.said if "error" not in body] == Bench(loud(), SHORT, others).run(events).said
    assert all(said.type != null.SIGNAL for said in bench.shard.customer("c-1").said), "it has not been said"


# ---- law 4: bounded state that survives freezing


@cache
def after_hostile_events() -> Bench:
    """All detectors after 20,000 hostile events of one customer; shared, because nobody changes it."""
    print("seed 4")
    bench = Bench(loud(), Policy())
    events = hostile_life(4, HOSTILE_EVENTS)
    for at in range(0, len(events), 1_000):
        bench.apply(events[at : at + 1_000])
        _within_limits(bench.shard.customer("c-1"))
    return bench


def _within_limits(customer: Customer) -> None:
    sizes = {
        "recent": limits.RECENT_MAX,
        "amounts": limits.AMOUNT_KEYS_MAX,
        "merchants": limits.MERCHANTS_MAX,
        "countries": limits.COUNTRIES_MAX,
        "devices": limits.DEVICES_MAX,
        "accounts": limits.ACCOUNTS_MAX,
        "balances": BALANCES_MAX,
        "labels": limits.LABELS_MAX,
        "consents": 5,  # purposes
        "said": limits.SAID_MAX,
        "waiting": limits.WAITING_MAX,
        "refunds": limits.REFUNDS_MAX,
        "seen": limits.SEEN_MAX,
        "held": limits.HELD_MAX,
        "timers": limits.SAID_MAX + limits.OWN_TIMERS_MAX * len(CATALOGUE),
        "streams": STREAMS_MAX,
        "recent_events": limits.RECENT_EVENTS_MAX,
        "hours": 24,
        "counter": 2,
        "ring": CAPACITY,
        "states": len(CATALOGUE) + 1,  # and the fused detector's
        "awaiting": KnowledgeSettings().awaiting_max,
    }
    collections = {
        slot
        for slot in Customer.__slots__
        if hasattr(getattr(customer, slot), "__len__")
        and slot not in ("customer_id", "_current", "still", "still_states")
    }
    assert collections - {"place", "_current"} == set(sizes), "every collection of a customer has a written limit"
    for slot, limit in sizes.items():
        assert len(getattr(customer, slot)) <= limit, slot
    if customer.still is not None:
        assert len(customer.still[0]) <= STREAMS_MAX + limits.ACCOUNTS_MAX + limits.SAID_MAX + sizes["consents"]
    # Each key of the totals has an entry in the ring, under its own and under its overall key.
    assert len(customer.ring.totals) <= 2 * len(customer.ring)


@subjects
def test_state_is_bounded_after_twenty_thousand_hostile_events(name: str) -> None:
    bench = after_hostile_events()
    customer = bench.shard.customer("c-1")
    states = bench.step.freeze_states(customer)
    assert len(freeze(customer, states)) <= FROZEN_BYTES_MAX
    for _, state in [states[d.NAME] for d in SUBJECTS[name] if d.NAME in states]:
        assert len(msgspec.msgpack.encode(state)) <= STATE_BYTES_MAX


@subjects
def test_hostile_state_thaws_to_the_same_bytes(name: str) -> None:
    once, again = refrozen(after_hostile_events(), "c-1")
    assert once == again


@subjects
@settings(max_examples=15)
@given(events=histories())
def test_state_thaws_to_the_same_bytes_after_every_event(name: str, events: list[Transaction]) -> None:
    bench = bench_of(name)
    for event in events:
        bench.apply([event])
        once, again = refrozen(bench, "c-1")
        assert once == again


@pytest.mark.parametrize("count", [2_000])
def test_identical_times_do_not_let_the_recent_ones_grow(count: int) -> None:
    bench = Bench(loud(), Policy())
    bench.apply([transaction(f"t-{number}", NOON_US, number) for number in range(count)])
    _within_limits(bench.shard.customer("c-1"))


def test_bursts_without_an_arrival_clock_do_not_let_timers_grow() -> None:
    """Events may lie up to a day ahead of their arrival, and arrivals may stand still: timers then have to wait."""
    bench = Bench(loud(), Policy())
    start_us = NOON_US
    for number in range(3_000):
        bench.apply([transaction(f"t-{number}", start_us + number * 10 * MINUTE_US, arrival_us=start_us)])
        _within_limits(bench.shard.customer("c-1"))


# ---- law 5: batch boundaries don't matter


@subjects
@settings(max_examples=15)
@given(events=histories(), cuts=st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=8))
def test_no_batch_boundary_and_no_restart_changes_what_is_said(
    name: str, events: list[Transaction], cuts: list[tuple[int, bool]]
) -> None:
    whole = bench_of(name)
    whole.apply(events)
    parts, at = bench_of(name), 0
    for cut, restart in sorted(cuts):
        parts.apply(events[at:cut])
        at = max(at, cut)
        if restart:
            parts.restart()
    parts.apply(events[at:])
    assert parts.said == whole.said
    assert parts.shard.counters == whole.shard.counters


# ---- law 6: exact reasons


@subjects
@settings(max_examples=40)
@given(events=histories())
def test_reasons_add_up_and_name_evidence_and_baselines(name: str, events: list[Transaction]) -> None:
    bench = bench_of(name).run(events)
    for body in bench.on("signals"):
        check_reasons(body, {event.transaction_id for event in events})


@pytest.mark.parametrize("seed", range(3))
def test_reasons_about_standing_payments_add_up_too(seed: int) -> None:
    events = household(seed, 42)
    bench = bench_of(fused.NAME).run(events)
    bench.advance(end_of(events) + 99 * DAY_US)
    assert any("timer" in body["trigger"] for body in bench.on("signals"))
    for body in bench.on("signals"):
        check_reasons(body, {event.transaction_id for event in events})


def test_reasons_of_intents_add_up_too() -> None:
    """From one OPEN to the last CLOSE, each with the base and the baselines of its model."""
    events = wishes()
    signals = [body for body in bench_of(fused.NAME).run(events).on("signals") if body["type"].startswith("intent.")]
    assert {body["state"] for body in signals} >= {"OPEN", "UPDATE"}
    for body in signals:
        check_reasons(body, {event.event_id for event in events if isinstance(event, Transaction)})


def test_the_streams_of_these_laws_make_every_speaking_detector_speak() -> None:
    """Otherwise the laws above would hold of silence alone."""
    said: set[str] = set()

    @settings(max_examples=100)
    @given(events=histories())
    def listen(events: list[Transaction]) -> None:
        bench = bench_of(fused.NAME).run(events)
        said.update(body["type"] for body in bench.on("signals"))

    listen()
    for seed in range(3):
        bench = bench_of(fused.NAME).run(household(seed, 42))
        bench.advance(end_of(household(seed, 42)) + 99 * DAY_US)
        said.update(body["type"] for body in bench.on("signals"))
    visits = [transaction(f"m-{n}", NOON_US + n * DAY_US // 2, 5_000, mcc="8011") for n in range(120)]
    for events in (visits, wishes()):
        said.update(body["type"] for body in bench_of(fused.NAME).run(events).on("signals"))
    speaking = {detector.SIGNAL for detector in CATALOGUE if detector.SIGNAL and detector.NAME != "null"}
    assert said == speaking | {fused.SIGNAL}


def check_reasons(body: Said, known: set[str]) -> None:
    """Law 6 on one signal."""
    assert body["reasons"] and set(body["evidence"]["transaction_ids"]) <= known
    assert body["evidence"]["transaction_ids"]
    contributions = [reason["contribution"] for reason in body["reasons"]]
    if body["score_link"] == "logit":
        log_odds = body["score_base"] + sum(contributions)
        assert abs(1.0 / (1.0 + math.exp(-log_odds)) - body["score"]) <= 1e-9
        assert all(reason["baseline"] is not None for reason in body["reasons"])
    else:
        assert body["score_link"] == "none" and contributions == [None] * len(contributions)


@pytest.mark.parametrize("seed", range(3))
def test_reasons_of_hostile_streams_add_up_too(seed: int) -> None:
    events = hostile_life(seed, 600)
    bench = bench_of(fused.NAME).run(events)
    known = {event.event_id for event in events}
    for body in bench.on("signals"):
        check_reasons(body, known)
