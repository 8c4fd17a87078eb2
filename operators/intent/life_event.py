"""Something in the customer's life has changed or is about to: a child, a move, a new job, retirement, a marriage, studies.

Each kind has a model of its own (`[life_event.kinds.<kind>]`) over the same features; a new kind is a new table. A gift for
somebody else's child, new furniture, a wedding guest's suit, a single course or a bonus leave one of the traces without the event.
Doctors and pharmacies are not looked at: that would be health data, which needs a consent of its own.
A benefit that takes a wage's place looks like a pension: who has lost the job may be taken to have retired.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from math import log1p
from typing import Final

import msgspec

from operators.detector import Outlook, Say
from operators.intent.frame import Feature, IntentConfig, Reading, answer, change
from operators.intent.frame import State as State
from operators.intent.models import Inputs, Prior, prior_of
from operators.intent.regular import Succession, succession
from operators.intent.traces import FAST_WEEKS, Week
from operators.knowledge.schema import plain
from state.customer import Customer
from state.events import Event, Label
from state.worth import WORTH

NAME = "life_event"
VERSION = 1
SIGNAL = "intent.life_event"
RATE_FLOOR = 0.3
"""Purchases a week that chance alone makes."""
HUNDRED = 100.0
"""Amounts count in hundreds of euros' worth."""
SCHEMA: Final = plain(
    2,
    "child_weeks",
    "child_lasting",
    "moving_amount",
    "home_more",
    "jeweller_amount",
    "venue_amount",
    "university_amount",
    "study_weeks",
    "study_amount",
    "income_up",
    "income_up_first",
    "income_down",
    "income_down_first",
)


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The model of one kind of event. `evidence`: the traces that tell of it; without, its payments are the old income and the new."""

    score_base: float
    weights: Mapping[str, float]
    evidence: tuple[str, ...] = ()


class Config(IntentConfig, frozen=True, kw_only=True):
    kinds: dict[str, Kind] = {}
    raise_min: float = 1.1
    """Another employer who pays less than this share of the old pay is no step of a career."""
    raise_max: float = 3.5
    pension_min: float = 0.4
    pension_max: float = 0.8
    pause_days_max: int = 70
    """Between the last old payment and the first new one."""
    fresh_days_max: int = 75
    """After the first new payment; later it is no news."""


def priors(config: Config) -> dict[str, Prior]:
    return {
        (name := model_of(kind)): prior_of(name, SCHEMA, model.score_base, model.weights, config.threshold)
        for kind, model in config.kinds.items()
    }


def outcomes(config: Config, event: Event) -> Iterator[tuple[str, int]]:
    if isinstance(event, Label) and event.label == "life_event" and event.kind in config.kinds:
        yield model_of(event.kind), event.occurred_us or event.time_us


def model_of(kind: str) -> str:
    """
    >>> model_of("child")
    'life_event.child'
    """
    return f"{NAME}.{kind}"


def look(config: Config, state: State, week: Week, customer: Customer) -> list[Say | Outlook]:
    found = succession(week)
    inputs = Inputs(SCHEMA, features_of(config, week, found))
    said: list[Say | Outlook] = []
    for kind, model in config.kinds.items():
        judged = week.models.judge(model_of(kind), inputs)
        reading = Reading(judged, kind, partial(_details, kind), partial(_evidence, week, model, found), kind)
        said += answer(SIGNAL, config, state, week, customer, reading)
    return said


def _evidence(week: Week, model: Kind, found: Succession | None) -> tuple[str, ...]:
    if found is not None and not model.evidence:
        return found.new.last_id, found.old.last_id
    return week.transactions(*model.evidence)


def _details(kind: str) -> dict[str, str]:
    return {"kind": kind}


def features_of(config: Config, week: Week, found: Succession | None) -> list[Feature]:
    """`found`: the income that has taken the place of another."""

    hundred = HUNDRED * WORTH.get(week.currency, 1.0)

    def often(name: str, text: str) -> Feature:
        """In how many of the last weeks."""
        share = week.fast(name + ".weeks")
        return Feature(name + "_weeks", log1p(FAST_WEEKS * share), lambda: (round(share, 3), 0.0, text))

    def much(name: str, text: str) -> Feature:
        amount = week.fast(name + ".amount")
        return Feature(name + "_amount", log1p(FAST_WEEKS * amount / hundred), lambda: (round(amount, 2), 0.0, text))

    def more(name: str, text: str) -> Feature:
        now, usual = week.fast(name), week.slow(name)
        grown = max(0.0, change(now, usual, RATE_FLOOR))
        return Feature(name + "_more", grown, lambda: (round(now, 2), round(usual, 2), text))

    lasting = week.slow("child.weeks")
    succeeds = (
        found is not None and found.pause_days <= config.pause_days_max and found.age_days <= config.fresh_days_max
    )

    def income(name: str, least: float, most: float, confirmed: bool, text: str) -> Feature:
        """Whether what has taken the salary's place is so much of it; one payment says less than two."""
        fits = found is not None and succeeds and found.confirmed == confirmed and least <= found.ratio <= most
        return Feature(name, float(fits), lambda: (round(found.ratio, 3) if found is not None else None, 1.0, text))

    raised = (config.raise_min, config.raise_max)
    pension = (config.pension_min, config.pension_max)
    return [
        often("child", "share of recent weeks in which something for children was bought"),
        Feature(
            "child_lasting",
            log1p(26 * lasting),
            lambda: (round(lasting, 3), 0.0, "the same, over half a year"),
        ),
        much("moving", "paid to movers, a week"),
        more("home", "buys furniture and the like, times a week"),
        much("jeweller", "spent at a jeweller's, a week"),
        much("venue", "spent on an event, a week"),
        much("university", "paid to a university, a week"),
        often("study", "share of recent weeks in which something for studies was bought"),
        much("study", "spent on studies, a week"),
        income("income_up", *raised, True, "another employer pays more"),
        income("income_up_first", *raised, False, "another employer has paid more, once"),
        income("income_down", *pension, True, "another payer pays less in place of the salary"),
        income("income_down_first", *pension, False, "another payer has paid less in place of the salary, once"),
    ]
