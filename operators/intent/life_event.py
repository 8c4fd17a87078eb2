"""Something in the customer's life has changed or is about to: a child, a move, a new job, retirement, a marriage, studies.

Each kind has a model of its own (`[life_event.kinds.<kind>]`) over the same features; a new kind is a new table. A gift for
somebody else's child, new furniture, a wedding guest's suit, a single course or a bonus leave one of the traces without the event.
"""

from __future__ import annotations

from math import log1p

from operators.detector import Say
from operators.intent.frame import Feature, IntentConfig, Reading, change, rarity, speak
from operators.intent.frame import State as State
from operators.intent.regular import succession
from operators.intent.traces import Week
from state.customer import Customer

NAME = "life_event"
VERSION = 1
SIGNAL = "intent.life_event"
RATE_FLOOR = 0.3
"""Purchases a week that chance alone makes."""
WEEKS = 8.6
"""Of the 60 days over which rates are taken: rate × WEEKS is about the number of purchases."""
HUNDRED = 100.0
"""Amounts count in hundreds of major units."""


class Config(IntentConfig, frozen=True, kw_only=True):
    kinds: dict[str, dict[str, float]] = {}
    """By kind of event, the weights of its model."""
    raise_min: float = 1.1
    """Another employer who pays less than this share of the old pay is no step of a career."""
    pension_min: float = 0.4
    pension_max: float = 0.8
    pause_days_max: int = 70
    """Between the last old payment and the first new one."""
    fresh_days_max: int = 75
    """After the first new payment; later it is no news."""
    evidence: dict[str, tuple[str, ...]] = {}
    """By kind of event, the traces that tell of it."""


def look(config: Config, state: State, week: Week, customer: Customer) -> list[Say]:
    features = features_of(config, week)
    found = succession(week)
    said: list[Say] = []
    for kind, weights in config.kinds.items():
        ids = week.transactions(*config.evidence.get(kind, ()))
        if found is not None and not config.evidence.get(kind):
            ids = (found.new.last_id, found.old.last_id)
        reading = Reading(features, kind, {"kind": kind}, ids, kind=kind, weights=weights)
        said += speak(SIGNAL, config, state, week, customer, reading)
    return said


def features_of(config: Config, week: Week) -> list[Feature]:
    def often(name: str, text: str) -> Feature:
        """In how many weeks of the last two months."""
        weeks = WEEKS * week.fast(name + ".weeks")
        return Feature(name + "_weeks", log1p(weeks), round(weeks, 2), None, text)

    def much(name: str, text: str) -> Feature:
        amount = WEEKS * week.fast(name + ".amount")
        return Feature(name + "_amount", log1p(amount / HUNDRED), round(amount, 2), None, text)

    def more(name: str, text: str) -> Feature:
        now, usual = week.fast(name), week.slow(name)
        return Feature(name + "_more", max(0.0, change(now, usual, RATE_FLOOR)), round(now, 2), round(usual, 2), text)

    found = succession(week)
    up = down = 0.0
    if found is not None and found.pause_days <= config.pause_days_max and found.age_days <= config.fresh_days_max:
        up = float(found.ratio >= config.raise_min)
        down = float(config.pension_min <= found.ratio <= config.pension_max)
    ratio = None if found is None else round(found.ratio, 3)
    return [
        rarity("how rare it is"),
        often("child", "weeks in which something for children was bought"),
        Feature(
            "child_lasting",
            log1p(26 * week.slow("child.weeks")),
            round(26 * week.slow("child.weeks"), 2),
            None,
            "for half a year",
        ),
        much("moving", "paid to movers"),
        more("home", "buys furniture and the like, times a week"),
        much("jeweller", "spent at a jeweller's"),
        much("venue", "spent on an event"),
        much("university", "paid to a university"),
        often("study", "weeks in which something for studies was bought"),
        much("study", "spent on studies in two months"),
        more("medical", "sees doctors and pharmacies, times a week"),
        Feature("income_up", up, ratio, 1.0, "another employer pays more"),
        Feature("income_down", down, ratio, 1.0, "another payer pays less in place of the salary"),
    ]
