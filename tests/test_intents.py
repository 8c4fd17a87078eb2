"""Intents: rates of weeks that don't depend on the order of arrival, exact reasons, episodes that end, income that is replaced."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_bench import TABLES, Bench, Said
from streams import DAY_US, HOUR_US, NOON_US, end_of, moved, shuffled, transaction

from operators.intent import churn, frame, home_purchase, life_event, product, traces
from operators.intent.models import Inputs, Models, prior_of
from operators.intent.regular import succession
from operators.intent.traces import Rates, Week
from operators.knowledge.board import Board
from operators.knowledge.schema import plain
from state.estimators import sigmoid
from state.events import Application, Event, Interaction
from state.policy import Policy

POLICY = Policy(lateness_us=2 * DAY_US)
INTENTS: Any = (traces, home_purchase, churn, life_event, product)
STATE_BYTES_MAX = 2048


def page(number: int, time_us: int, page: str = "mortgage/rates", kind: str = "page") -> Interaction:
    return Interaction(
        customer_id="c-1",
        time_us=time_us,
        arrival_us=time_us,
        partition=0,
        offset=0,
        interaction_id=f"i-{number}",
        kind=kind,
        page=page,
    )


def groceries(days: int, every_days: int = 2) -> list[Any]:
    return [transaction(f"t-{day}", NOON_US + day * DAY_US) for day in range(0, days, every_days)]


def looks(first_day: int, days: int) -> list[Interaction]:
    """A page and, every other day, a calculation."""
    found = []
    for day in range(first_day, first_day + days):
        found.append(page(2 * day, NOON_US + day * DAY_US + HOUR_US))
        if day % 2:
            found.append(page(2 * day + 1, NOON_US + day * DAY_US + 2 * HOUR_US, "mortgage/calculator", "calculator"))
    return found


def test_whether_interest_grows_or_falls_is_said_as_it_is() -> None:
    """Two months of looking, then hardly any: what is said of the growth agrees with its value, its baseline and its contribution."""
    eager = {
        **TABLES,
        "home_purchase": {**TABLES["home_purchase"], "threshold": 0.0, "close_below": 0.0, "update_step": 0.001},
    }
    calm = [page(1_000 + day, NOON_US + day * DAY_US + HOUR_US) for day in range(130, 260, 30)]
    bench = Bench(eager, POLICY, INTENTS).run(sorted([*groceries(270), *looks(60, 60), *calm], key=lambda e: e.time_us))
    told = [reason for body in bench.on("signals") for reason in body["reasons"] if reason["feature"] == "home_growth"]
    trends = {(reason["value"] > reason["baseline"], reason["contribution"] > 0, reason["text"]) for reason in told}
    assert trends == {(True, True, "the interest grows"), (False, False, "the interest falls")}


def in_time(*parts: list[Any]) -> list[Any]:
    return sorted((event for part in parts for event in part), key=lambda event: (event.time_us, event.event_id))


def seen(events: list[Event], policy: Policy = POLICY) -> tuple[list[Week], Bench]:
    """The weeks that intents get to see."""
    weeks: list[Week] = []

    class Watcher:
        NAME, VERSION, SIGNAL, State = "watcher", 1, None, None
        Config = home_purchase.Config

        @staticmethod
        def look(config: Any, state: Any, week: Week, customer: Any) -> None:
            weeks.append(
                msgspec.structs.replace(week, evidence=dict(week.evidence), streams=[], regular=[], models=None)
            )

    bench = Bench(TABLES, policy, (traces, Watcher))  # type: ignore[arg-type]
    bench.run(events)
    assert bench.on("detector_errors") == []
    return weeks, bench


def said(bench: Bench) -> list[Said]:
    return [body for body in bench.on("signals") if body["type"].startswith("intent.")]


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_weeks_are_the_same_after_any_shuffle_within_the_lateness(seed: int) -> None:
    events = in_time(groceries(60), looks(20, 25))
    ordered, bench = seen(events)
    disordered, other = seen(shuffled(events, seed, POLICY.lateness_us))
    assert ordered == disordered
    assert len(ordered) >= 6
    assert bench.shard.customer("c-1").states == other.shard.customer("c-1").states


def test_a_constant_rate_is_seen_as_it_is_from_the_first_week_on() -> None:
    weeks, _ = seen(in_time(groceries(120, 1)))
    for week in weeks[1:]:
        rates = week.rates[traces.PURCHASES]
        assert all(rate <= 7.0 + 1e-5 for rate in rates)
    assert weeks[-1].rates[traces.PURCHASES] == pytest.approx(Rates(7.0, 7.0, 7.0), rel=0.1)
    assert weeks[-1].weeks == len(weeks)


def test_a_look_happens_once_a_week_and_never_before_nothing_of_it_can_come() -> None:
    weeks, _ = seen(in_time(groceries(60)))
    ends = [week.end_us for week in weeks]
    assert [b - a for a, b in pairwise(ends)] == [traces.WEEK_US] * (len(ends) - 1)
    assert ends[-1] <= NOON_US + 60 * DAY_US - 2 * POLICY.lateness_us


def test_a_buyer_is_seen_reasons_add_up_and_a_reversal_of_any_payment_changes_nothing() -> None:
    bench = Bench(TABLES, POLICY, INTENTS)
    bench.run(in_time(groceries(100), looks(60, 36)))
    signals = said(bench)
    assert [(body["type"], body["state"]) for body in signals][:1] == [("intent.home_purchase", "OPEN")]
    for body in signals:
        logit = body["score_base"] + sum(reason["contribution"] for reason in body["reasons"])
        assert abs(1 / (1 + math.exp(-logit)) - body["score"]) <= 1e-9
        assert body["evidence"]["transaction_ids"]
        assert body["calibrated"]
    last = end_of(groceries(100))
    trigger = signals[0]["trigger"]["event_id"]
    undo = transaction("undo", last + DAY_US, status="reversed", original_transaction_id=trigger, direction="credit")
    bench.apply([undo])
    assert [body for body in said(bench) if body["state"] == "RETRACT"] == []


def test_interest_that_fades_closes_the_episode_and_nothing_is_opened_while_it_rests() -> None:
    bench = Bench(TABLES, POLICY, INTENTS)
    bench.run(in_time(groceries(330), looks(60, 36), looks(190, 20)))
    steps = [body["state"] for body in said(bench) if body["type"] == "intent.home_purchase"]
    assert steps[0] == "OPEN"
    assert steps.count("OPEN") == 1
    assert steps.count("CLOSE") == 1


def test_a_customer_of_weeks_is_not_judged() -> None:
    bench = Bench(TABLES, POLICY, INTENTS)
    bench.run(in_time(groceries(24), looks(0, 20)))
    assert said(bench) == []


def test_what_is_kept_is_bounded() -> None:
    """Every trace that there is, every day, with other pages and accounts among them."""
    names = [f"{name}/{kind}" for name in TABLES["traces"]["products"] for kind in ("rates", "advice", "refinance")]
    pages = [
        page(
            number,
            NOON_US + number * HOUR_US,
            names[number % len(names)],
            ("page", "calculator", "abandon")[number % 3],
        )
        for number in range(2000)
    ]
    codes = [code for codes in TABLES["traces"]["mccs"].values() for code in codes]
    bought = [moved(event, mcc=f"{codes[at % len(codes)]:04d}") for at, event in enumerate(groceries(100, 1))]
    bench = Bench(TABLES, POLICY, INTENTS).run(in_time(pages, bought))
    state = bench.shard.customer("c-1").states["traces"]
    assert len(msgspec.msgpack.encode(state)) < STATE_BYTES_MAX
    assert len(state.packed) <= traces.TRACES_MAX * traces.PACKED.size
    assert bench.on("detector_errors") == []


def wages(name: str, first_day: int, count: int, amount_minor: int, payer: str) -> list[Any]:
    """Every two weeks."""
    return pays(name, [first_day + 14 * number for number in range(count)], amount_minor, payer)


def pays(name: str, days: list[int], amount_minor: int, payer: str) -> list[Any]:
    return [
        transaction(
            f"{name}-{number}",
            NOON_US + day * DAY_US,
            amount_minor,
            direction="credit",
            channel="transfer",
            counterparty=payer,
            merchant_id=None,
            mcc=None,
        )
        for number, day in enumerate(days)
    ]


@pytest.mark.parametrize(
    ("then_minor", "kind"), [(120_000, "job"), (60_000, "retirement"), (100_000, ""), (300_000, "job")]
)
def test_an_income_that_takes_the_place_of_another_is_a_new_job_or_a_pension(then_minor: int, kind: str) -> None:
    pay = [*wages("old", 0, 18, 100_000, "Alander Works"), *wages("new", 252, 5, then_minor, "Somewhere Else")]
    bench = Bench(TABLES, POLICY, (traces,))
    found = []

    def look(config: Any, state: Any, week: Week, customer: Any) -> None:
        found.append(
            (
                succession(week),
                {one.name: one.x for one in life_event.features_of(life_event.Config(), week, succession(week))},
            )
        )

    class Watcher:
        NAME, VERSION, SIGNAL, State = "watcher", 1, None, None
        Config = home_purchase.Config

    Watcher.look = staticmethod(look)  # type: ignore[attr-defined]
    bench = Bench(TABLES, POLICY, (traces, Watcher))  # type: ignore[arg-type]
    bench.run(in_time(groceries(315), pay))
    last, features = found[-1]
    assert last is not None
    assert last.ratio == pytest.approx(then_minor / 100_000, rel=0.01)
    assert (features["income_up"], features["income_down"]) == (float(kind == "job"), float(kind == "retirement"))


def test_a_new_pay_is_seen_at_its_first_payment_where_the_old_one_came_monthly() -> None:
    began = datetime.fromtimestamp(NOON_US / 1e6, tz=UTC)
    months = [
        datetime(began.year, began.month, 12, 12, tzinfo=UTC) + timedelta(days=30.437 * month) for month in range(12)
    ]
    monthly = [(month.replace(day=12) - began).days + 1 for month in months[1:]]

    def first(then_minor: int, days: list[int]) -> dict[str, float]:
        pay = [
            *pays("old", days[:-1], 100_000, "Alander Works"),
            *pays("new", days[-1:], then_minor, "Somewhere Else"),
        ]
        found: list[dict[str, float]] = []

        class Watcher:
            NAME, VERSION, SIGNAL, State = "watcher", 1, None, None
            Config = home_purchase.Config

            @staticmethod
            def look(config: Any, state: Any, week: Week, customer: Any) -> None:
                found.append(
                    {one.name: one.x for one in life_event.features_of(life_event.Config(), week, succession(week))}
                )

        bench = Bench(TABLES, POLICY, (traces, Watcher))  # type: ignore[arg-type]
        bench.run(in_time(groceries(days[-1] + 28), pay))
        return {name: x for name, x in found[-1].items() if name.startswith("income_") and x}

    assert first(60_000, monthly) == {"income_down_first": 1.0}
    assert first(120_000, monthly) == {"income_up_first": 1.0}
    assert first(100_000, monthly) == {}
    assert first(60_000, list(range(0, 320, 14))) == {}, (
        "a month's pension in place of two weeks' wages looks like anything"
    )


def test_what_was_usual_before_does_not_follow_a_change_as_the_slow_rate_does() -> None:
    weeks, _ = seen(in_time(groceries(240, 1), groceries(300, 4)))
    last = weeks[-1]
    assert last.fast("purchases") < last.slow("purchases") < last.before("purchases")
    steady, _ = seen(in_time(groceries(240, 1)))
    assert steady[-1].before("purchases") == pytest.approx(7.0, rel=0.02)
    assert seen(in_time(groceries(20, 1)))[0][0].before("purchases") <= 7.0


def test_an_application_counts_while_it_waits_is_approved_or_until_it_is_forgotten() -> None:
    def after(*steps: tuple[int, str]) -> tuple[bool, bool]:
        applied = [
            Application(
                customer_id="c-1",
                time_us=NOON_US + day * DAY_US,
                arrival_us=NOON_US + day * DAY_US,
                partition=0,
                offset=0,
                application_id="f-1",
                product="loan",
                status=status,
            )
            for day, status in steps
        ]
        weeks, _ = seen(in_time(groceries(100), applied))
        return product.application_of(product.interest_of(weeks[-1], "loan"))

    assert after((82, "started")) == (True, False)
    assert after((80, "started"), (81, "approved")) == (False, True)
    assert after((66, "started"), (82, "declined")) == (False, False)
    assert after((75, "approved"), (83, "completed")) == (False, False)
    assert after((40, "started")) == (False, False), "nobody is still waiting for it"


def test_a_product_is_told_with_its_terms_by_the_income_and_the_likeliest_come_first() -> None:
    visits = [
        page(2 * day + at, NOON_US + day * DAY_US + at, f"loan/{kind}", kind)
        for day in range(60, 95)
        for at, kind in enumerate(("page", "calculator"))
    ]
    bench = Bench(TABLES, POLICY, INTENTS)
    day_us = NOON_US + 82 * DAY_US
    applied = [
        Application(
            customer_id="c-1",
            time_us=day_us,
            arrival_us=day_us,
            partition=0,
            offset=0,
            application_id="f-1",
            product="loan",
            status="started",
        )
    ]
    bench.run(in_time(groceries(100), visits, applied, wages("pay", 0, 7, 100_000, "Alander Works")))
    opened = next(body for body in said(bench) if body["type"] == "intent.product")
    details = opened["details"]
    assert (details["product"], details["stage"]) == ("loan", "applying")
    assert details["expected_on"] > opened["event_time"][:10]
    monthly = 1_000 * 30.4 / 14  # paid every two weeks
    usual = TABLES["traces"]["products"]["loan"]["amount_incomes"] * monthly
    assert float(details["terms"]["amount"]) == pytest.approx(usual, rel=0.3)
    assert details["terms"]["currency"] == "EUR"
    chances = [one["probability"] for one in details["next"]]
    assert details["next"][0] == {"product": "loan", "probability": opened["score"]}
    assert chances == sorted(chances, reverse=True) and len(chances) == product.NEXT_MAX


def test_reasons_of_the_model_are_only_of_features_that_count_and_what_is_not_told_is_part_of_the_base() -> None:
    features = [
        frame.Feature("a", 2.0, lambda: (1, 0, "a")),
        frame.Feature("b", 0.0, lambda: (1, 0, "b")),
        frame.Feature("c", 1.0, lambda: (1, 0, "c")),
        frame.Feature("d", 0.5, None),
    ]
    schema = plain(1, "a", "b", "c", "d")
    prior = prior_of("m", schema, -2.0, {"a": 0.5, "b": 3.0, "d": 1.0}, 0.5)
    judged = Models(Board(), {"m": prior}).judge("m", Inputs(schema, features))
    assert [(reason.code, reason.contribution) for reason in judged.reasons] == [("A", 1.0)]
    assert (judged.score_base, judged.score, judged.version) == (-1.5, sigmoid(-0.5), "m@prior")
