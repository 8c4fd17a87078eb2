"""Which product the customer will take next, when, and on which terms.

One model for all products of config/products.toml, asked once for each: interest in a product looks the same whatever it is. People who
only read, whose application is declined, or who abandon a calculator do some of the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache, partial
from math import exp, log1p
from typing import Any, Final, NamedTuple

from operators.detector import Outlook, Say
from operators.intent.frame import Feature, IntentConfig, Judged, Reading, answer, change, iso_day, trend
from operators.intent.frame import State as State
from operators.intent.models import Inputs, Prior, prior_of
from operators.intent.outcomes import taken
from operators.intent.traces import FAST_WEEKS, NO_RATES, Product, Rates, Week, trace
from operators.knowledge.schema import plain
from state.customer import Customer
from state.events import Event
from state.money import EXPONENT, format_minor

NAME = "product"
VERSION = 1
SIGNAL = "intent.product"
VIEWS_FLOOR = 0.1
"""Views a week that everybody has."""
MONTH_WEEKS = 30.4 / 7
AMOUNT_STEP = 50
"""Amounts are told in steps of so many major units."""
NEXT_MAX = 3
"""So many products are named as the likeliest."""
MOVED_MIN: Final = 0.05
"""Of an application that has not moved for three weeks so much is left: it is forgotten."""
LOOKS_TELLING: Final = 3.0
"""After so many looks in two months interest is two thirds proven; ten say hardly more than six."""
USUAL: Final = "usual"
"""How much likelier the product is than others: it belongs to the base, so that it is no reason."""
SCHEMA: Final = plain(
    2,
    "looked",
    "views_now",
    "calculators_now",
    "growth",
    "others",
    "owned",
    "pending",
    "approved",
    "ended",
    "abandoned",
    USUAL,
)


class Config(IntentConfig, frozen=True, kw_only=True):
    products: dict[str, Product] = {}
    expected_days: dict[str, float] = {}
    """By stage: in how many days the product is taken."""
    by_product: dict[str, float] = {}
    """How much likelier a product is than others, in log-odds: on top of `score_base`."""


def priors(config: Config) -> dict[str, Prior]:
    return {NAME: prior_of(NAME, SCHEMA, config.score_base, {**config.weights, USUAL: 1.0}, config.threshold)}


def outcomes(config: Config, event: Event) -> Iterator[tuple[str, int]]:
    """Of the one model, which is asked once for each product."""
    for name, time_us in taken(config.products, event):
        if config.products[name].intent == NAME:
            yield subject_of(name), time_us


def subject_of(product: str) -> str:
    """
    >>> subject_of("loan")
    'product/loan'
    """
    return f"{NAME}/{product}"


class Interest(NamedTuple):
    """What a week tells of one product: the rates of its traces."""

    views: Rates
    calculators: Rates
    abandoned: Rates
    started: Rates
    submitted: Rates
    approved: Rates
    declined: Rates
    withdrawn: Rates
    completed: Rates


@lru_cache(maxsize=256)
def traces_of(product: str) -> tuple[int, ...]:
    """The traces that `Interest` is of."""
    return tuple(trace(f"{product}.{kind}") for kind in Interest._fields)


def interest_of(week: Week, product: str) -> Interest:
    return Interest._make([week.rates.get(number, NO_RATES) for number in traces_of(product)])


def interests_of(config: Config, week: Week) -> dict[str, Interest]:
    return {name: interest_of(week, name) for name in config.products}


def judged(config: Config, week: Week, interests: Mapping[str, Interest]) -> dict[str, Judged]:
    """What the model thinks of each product that it is asked for."""
    asked = [name for name, product in config.products.items() if product.intent == NAME]
    return {name: week.models.judge(NAME, Inputs(SCHEMA, features_of(config, week, interests, name))) for name in asked}


def look(config: Config, state: State, week: Week, customer: Customer) -> list[Say | Outlook]:
    interests = interests_of(config, week)
    found = judged(config, week, interests)
    scores = {name: one.score for name, one in found.items()}
    said: list[Say | Outlook] = []
    for name, one in found.items():
        interest = interests[name]
        stage = stage_of(interest)
        done = "taken" if interest.completed.brief > 0 else ""
        reading = Reading(
            one, stage, partial(_details, config, week, scores, name, stage), week.transactions, name, done
        )
        said += answer(SIGNAL, config, state, week, customer, reading, subject_of(name))
    return said


def _details(config: Config, week: Week, scores: Mapping[str, float], name: str, stage: str) -> dict[str, Any]:
    ranked = sorted(scores, key=lambda other: (-scores[other], other))[:NEXT_MAX]
    return {
        "product": name,
        "expected_on": iso_day(week.end_us, config.expected_days.get(stage, 30.0)),
        "terms": terms_of(config.products[name], week),
        "stage": stage,
        "next": [{"product": other, "probability": scores[other]} for other in ranked],
    }


def stage_of(interest: Interest) -> str:
    if interest.started.brief > 0 or interest.submitted.brief > 0 or interest.approved.brief > 0:
        return "applying"
    return "calculating" if interest.calculators.brief > 0 else "exploring"


def features_of(config: Config, week: Week, interests: Mapping[str, Interest], product: str) -> list[Feature]:
    """`interests`: in all products, by name."""
    interest = interests[product]
    views, calculators = interest.views, interest.calculators
    looks = FAST_WEEKS * (views.fast + calculators.fast)
    others = sum([other.views.fast for name, other in interests.items() if name != product])
    owned = config.products[product].account in week.owned
    pending, approved = application_of(interest)
    ended = interest.declined.fast > 0 or interest.withdrawn.fast > 0 or interest.completed.fast > 0
    abandoned = interest.abandoned.fast
    return [
        Feature(
            "looked",
            1.0 - exp(-looks / LOOKS_TELLING),
            lambda: (round(looks, 2), 0.0, f"looks at {product} in two months"),
        ),
        Feature(
            "views_now",
            log1p(3 * views.brief),
            lambda: (round(views.brief, 2), round(views.slow, 2), f"looks at {product} these weeks, times a week"),
        ),
        Feature(
            "calculators_now",
            log1p(3 * calculators.brief),
            lambda: (round(calculators.brief, 2), 0.0, f"calculates {product} these weeks, times a week"),
        ),
        Feature(
            "growth",
            change(views.fast, views.slow, VIEWS_FLOOR),
            lambda: (round(views.fast, 2), round(views.slow, 2), trend(views.fast, views.slow)),
        ),
        Feature("others", log1p(3 * others), lambda: (round(others, 2), 0.0, "looks at other products, times a week")),
        Feature("owned", float(owned), lambda: (owned, False, "has one")),
        Feature("pending", float(pending), lambda: (pending, False, "has applied")),
        Feature("approved", float(approved), lambda: (approved, False, "the application is approved")),
        Feature("ended", float(ended), lambda: (ended, False, "an application has just ended")),
        Feature("abandoned", min(1.0, abandoned), lambda: (round(abandoned, 2), 0.0, "broke off an application")),
        Feature(USUAL, config.by_product.get(product, 0.0), None),
    ]


def application_of(interest: Interest) -> tuple[bool, bool]:
    """Whether an application waits for the bank's decision, or is approved. What happened last has faded least."""
    begun, approved = max(interest.started.brief, interest.submitted.brief), interest.approved.brief
    ended = max(interest.declined.brief, interest.withdrawn.brief, interest.completed.brief)
    pending = begun > max(MOVED_MIN, approved, ended)
    return pending, approved > max(MOVED_MIN, ended)


def terms_of(product: Product, week: Week) -> dict[str, Any]:
    """What such customers mostly take: amounts follow the income."""
    terms: dict[str, Any] = {}
    if product.amount_incomes and week.slow("income"):
        monthly = week.slow("income") * MONTH_WEEKS
        steps = round(monthly * product.amount_incomes / AMOUNT_STEP)
        terms["amount"] = format_minor(steps * AMOUNT_STEP * 10 ** EXPONENT[week.currency], week.currency)
        terms["currency"] = week.currency
    if product.months:
        terms["months"] = product.months
    if product.rate:
        terms["rate"] = product.rate
    return terms
