"""The customer is about to buy a home: months before the mortgage application.

It shows in what is looked at and calculated, in growing interest, in saving and in cutting back; a tenant with a salary buys more
often than somebody who has a mortgage. Refinancers and people who save for a car do some of the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import log1p
from typing import Any, Final

from operators.detector import Outlook, Say
from operators.intent.frame import Feature, IntentConfig, Reading, answer, change, iso_day, trend
from operators.intent.frame import State as State
from operators.intent.models import Inputs, Prior, prior_of
from operators.intent.outcomes import taken
from operators.intent.regular import rent_of
from operators.intent.traces import Product, Week
from operators.knowledge.schema import plain
from state.customer import Customer
from state.events import Event

NAME = "home_purchase"
VERSION = 1
SIGNAL = "intent.home_purchase"
VIEWS_FLOOR: Final = 0.1
"""Views a week that everybody has."""
SCHEMA: Final = plain(
    1,
    "home_views",
    "home_calculators",
    "home_growth",
    "advice",
    "refinance_views",
    "other_credit",
    "saving",
    "has_mortgage",
    "pays_rent",
)


class Config(IntentConfig, frozen=True, kw_only=True):
    product: str = "mortgage"
    other_product: str = "loan"
    window_days: dict[str, tuple[int, int]] = {}
    """By stage: when the purchase is to be expected, from and to."""
    products: dict[str, Product] = {}


def priors(config: Config) -> dict[str, Prior]:
    return {NAME: prior_of(NAME, SCHEMA, config.score_base, config.weights, config.threshold)}


def outcomes(config: Config, event: Event) -> Iterator[tuple[str, int]]:
    for name, time_us in taken(config.products, event):
        if name == config.product:
            yield NAME, time_us


def look(config: Config, state: State, week: Week, customer: Customer) -> list[Say | Outlook]:
    return answer(SIGNAL, config, state, week, customer, read(config, week))


def read(config: Config, week: Week) -> Reading:
    product = config.product
    stage = stage_of(config, week)

    def details() -> dict[str, Any]:
        first, last = config.window_days.get(stage, (30, 150))
        return {"stage": stage, "window": {"from": iso_day(week.end_us, first), "to": iso_day(week.end_us, last)}}

    done = "bought" if week.fast(f"{product}.completed") > 0 else ""
    return Reading(
        week.models.judge(NAME, Inputs(SCHEMA, features_of(config, week))),
        stage,
        details,
        partial(week.transactions, "saved", "sent"),
        done=done,
    )


def stage_of(config: Config, week: Week) -> str:
    if any(week.fast(f"{config.product}.{status}") > 0 for status in ("started", "submitted", "approved")):
        return "applying"
    if week.fast("advice") > 0:
        return "advised"
    return "calculating" if week.fast(f"{config.product}.calculators") > 0 else "exploring"


def features_of(config: Config, week: Week) -> list[Feature]:
    home, other = week.rates_of(f"{config.product}.views"), f"{config.other_product}."
    views, usual, calculators = home.fast, home.slow, week.fast(f"{config.product}.calculators")
    loans = week.fast(other + "views") + week.fast(other + "calculators")
    saved, saved_usual = week.fast("saved"), week.slow("saved")
    advice, refinance = week.fast("advice"), week.fast("refinance")
    income = max(1.0, week.slow("income"))
    rent = rent_of(week)
    has_mortgage = config.product in week.owned
    return [
        Feature(
            "home_views",
            log1p(3 * views),
            lambda: (round(views, 2), round(usual, 2), "looks at homes and mortgages, a week"),
        ),
        Feature(
            "home_calculators",
            log1p(3 * calculators),
            lambda: (round(calculators, 2), 0.0, "mortgages calculated, a week"),
        ),
        Feature(
            "home_growth",
            change(views, usual, VIEWS_FLOOR),
            lambda: (round(views, 2), round(usual, 2), trend(views, usual)),
        ),
        Feature("advice", min(1.0, 3 * advice), lambda: (advice > 0, False, "asked for advice")),
        Feature(
            "refinance_views", min(1.0, refinance), lambda: (round(refinance, 2), 0.0, "looks at refinancing, a week")
        ),
        Feature("other_credit", log1p(3 * loans), lambda: (round(loans, 2), 0.0, "looks at other loans, a week")),
        Feature(
            "saving",
            max(-1.0, min(1.0, 10 * (saved - saved_usual) / income)),
            lambda: (round(saved, 2), round(saved_usual, 2), "put away, a week"),
        ),
        Feature("has_mortgage", float(has_mortgage), lambda: (has_mortgage, False, "has a mortgage")),
        Feature(
            "pays_rent",
            float(rent > 0.1 * income),
            lambda: (round(rent, 2), 0.0, "pays rent or the like by standing order, a week"),
        ),
    ]
