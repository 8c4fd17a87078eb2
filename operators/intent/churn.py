"""The customer is leaving: nobody logs in, the salary goes elsewhere, bills follow, cards fall silent, the balance is drained.

Weeks of seasonal silence, somebody who has only stopped using the app, a lost job and a large transfer by somebody who stays show one of
these signs each; whoever leaves shows several.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import log1p
from typing import Any, Final

from operators.detector import Outlook, Say
from operators.intent.frame import Feature, IntentConfig, Reading, answer, change, iso_day
from operators.intent.frame import State as State
from operators.intent.models import Inputs, Prior, prior_of
from operators.intent.regular import Income, bills_stopped, income_of
from operators.intent.traces import Week
from operators.knowledge.schema import plain
from state.customer import Customer
from state.events import Event, Label
from state.worth import WORTH

NAME = "churn"
VERSION = 1
SIGNAL = "intent.churn"
FLOORS: Final = {"logins": 0.2, "purchases": 1.0, "income": 30.0, "sent": 5.0}
"""Weekly rates, and amounts in euros' worth, that chance alone makes."""
AMOUNTS: Final = frozenset(("income", "sent"))
FALLEN_MAX: Final = 2.5
"""A twelfth of what was usual: what is less is no clearer sign."""
SCHEMA: Final = plain(
    2,
    "logins",
    "purchases",
    "purchases_lasting",
    "income",
    "income_lasting",
    "income_gone",
    "bills_stopped",
    "sent",
)


class Config(IntentConfig, frozen=True, kw_only=True):
    salary_share: float = 0.5
    """Of regular income so much must fail to come for the salary to have moved."""
    drained_factor: float = 1.5
    """Transfers to others grown by this logarithm, when the salary has moved, drain the balance."""
    silent_share: float = 0.25
    """Of the usual number of purchases."""
    window_days: dict[str, tuple[int, int]] = {}
    """By stage: when the end is to be expected, from and to."""


def priors(config: Config) -> dict[str, Prior]:
    return {NAME: prior_of(NAME, SCHEMA, config.score_base, config.weights, config.threshold)}


def outcomes(config: Config, event: Event) -> Iterator[tuple[str, int]]:
    if isinstance(event, Label) and event.label == "churned":
        yield NAME, event.occurred_us or event.time_us


def look(config: Config, state: State, week: Week, customer: Customer) -> list[Say | Outlook]:
    return answer(SIGNAL, config, state, week, customer, read(config, week))


def read(config: Config, week: Week) -> Reading:
    income = income_of(week)
    stage = stage_of(config, week, income.gone)

    def details() -> dict[str, Any]:
        first, last = config.window_days.get(stage, (15, 100))
        return {"stage": stage, "window": {"from": iso_day(week.end_us, first), "to": iso_day(week.end_us, last)}}

    def transaction_ids() -> tuple[str, ...]:
        missed = [stream.last_id for stream in income.missed]
        return tuple(dict.fromkeys((*missed, *week.transactions("sent"))))

    done = "left" if week.fast("churned") > 0 else ""
    judged = week.models.judge(NAME, Inputs(SCHEMA, features_of(week, income)))
    return Reading(judged, stage, details, transaction_ids, done=done)


def floor_of(name: str, week: Week) -> float:
    floor = FLOORS[name]
    return floor * WORTH.get(week.currency, 1.0) if name in AMOUNTS else floor


def stage_of(config: Config, week: Week, gone: float) -> str:
    """`gone`: the share of regular income that has failed to come."""
    if week.brief("purchases") < config.silent_share * week.slow("purchases"):
        return "silent"
    if gone < config.salary_share:
        return "engagement_falls"
    drained = change(week.brief("sent"), week.slow("sent"), floor_of("sent", week)) > config.drained_factor
    return "balance_drained" if drained else "salary_moved"


def features_of(week: Week, income: Income) -> list[Feature]:
    """Logins become rare months before the end, the salary and the cards two months, bills and the balance weeks: what is compared with
    what was usual before all that."""
    gone, bills = income.gone, bills_stopped(week)

    def fallen(feature: str, name: str, now: float, text: str) -> Feature:
        usual = week.before(name)
        changed = max(-FALLEN_MAX, change(now, usual, floor_of(name, week)))
        return Feature(feature, changed, lambda: (round(now, 2), round(usual, 2), text))

    def these_weeks(name: str, text: str) -> Feature:
        return fallen(name, name, week.brief(name), text)

    def lasting(feature: str, name: str, text: str) -> Feature:
        return fallen(feature, name, week.fast(name), text + " over two months")

    sent, usually_sent = week.brief("sent"), week.slow("sent")
    return [
        lasting("logins", "logins", "logs in, times a week"),
        these_weeks("purchases", "pays by card, times a week"),
        lasting("purchases_lasting", "purchases", "pays by card, times a week"),
        these_weeks("income", "receives, a week"),
        lasting("income_lasting", "income", "receives, a week"),
        Feature("income_gone", gone, lambda: (round(gone, 2), 0.0, "share of regular income that failed to come")),
        Feature("bills_stopped", log1p(min(4, bills)), lambda: (bills, 0, "regular payments that have stopped")),
        Feature(
            "sent",
            max(0.0, change(sent, usually_sent, floor_of("sent", week))),
            lambda: (round(sent, 2), round(usually_sent, 2), "sends to others, a week"),
        ),
    ]
