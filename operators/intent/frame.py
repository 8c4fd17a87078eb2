"""What all intents share: a logistic model over the features of a week, with exact reasons, and episodes with hysteresis.

An intent module reads its features out of a `Week` and says what they would mean (`Reading`); `speak` does the rest. The score is
sigmoid(score_base + Σ weight × feature): the probability that the outcome comes within the intent's horizon. The weights in
config/intents.toml are learned by bench/intent_priors.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from operators.detector import DetectorConfig, Say, open_episode
from operators.intent.traces import Week
from state.customer import Customer
from state.estimators import sigmoid
from state.signals import Reason

Positive = Annotated[float, msgspec.Meta(gt=0)]


class IntentConfig(DetectorConfig, frozen=True, kw_only=True):
    """The table of an intent."""

    close_below: float = 0.15
    """An open episode ends below this score: far below the threshold, so that it doesn't flicker."""
    update_step: Positive = 0.15
    """So much must a score have changed for an UPDATE."""
    rest_days: float = 60.0
    """After an episode nothing is opened for so long: its traces fade slowly."""
    weeks_min: int = 4
    """Before, too little is known of a customer."""
    horizon_days: Positive = 120.0
    """Within it the outcome counts as foreseen."""
    weights: dict[str, float] = {}
    """Log-odds for each unit of a feature."""


class State(msgspec.Struct, array_like=True):
    """Of each kind of episode: what was last told, and until which day nothing is opened."""

    stages: dict[str, str] = {}
    rests: dict[str, int] = {}


class Feature(NamedTuple):
    """One input of the model. `value` and `baseline` (of somebody without the intent) are what people are shown of it."""

    name: str
    x: float
    value: Any
    baseline: Any
    text: str


class Reading(NamedTuple):
    """What an intent reads out of a week. `done` says why an episode is over whatever the score: the outcome came."""

    features: Sequence[Feature]
    stage: str
    details: Mapping[str, Any]
    transaction_ids: tuple[str, ...]
    kind: str = ""
    done: str = ""
    score_base: float | None = None
    """If not the table's, so for the weights: those of the model of this kind."""
    weights: Mapping[str, float] | None = None


def reasons_of(weights: Mapping[str, float], features: Sequence[Feature]) -> tuple[Reason, ...]:
    """The features that count, the strongest first; with the base they sum up to the score's log-odds."""
    found = [
        Reason(one.name.upper(), one.name, one.value, one.baseline, weight * one.x, one.text)
        for one in features
        if one.x and (weight := weights.get(one.name, 0.0))
    ]
    return tuple(sorted(found, key=lambda reason: -abs(reason.contribution or 0.0)))


def score_of(score_base: float, reasons: Sequence[Reason]) -> float:
    return sigmoid(score_base + sum(reason.contribution or 0.0 for reason in reasons))


def speak(
    signal: str, config: IntentConfig, state: State, week: Week, customer: Customer, reading: Reading
) -> list[Say]:
    """What is to be said of a reading: an OPEN at the threshold, an UPDATE when stage or score have moved, a CLOSE when it is over."""
    reasons = reasons_of(config.weights if reading.weights is None else reading.weights, reading.features)
    base = config.score_base if reading.score_base is None else reading.score_base
    score = score_of(base, reasons)
    said = open_episode(customer, signal, reading.kind)
    if said is None:
        if reading.done or score < config.threshold or week.weeks < config.weeks_min:
            return []
        if week.day < state.rests.get(reading.kind, 0) or not reading.transaction_ids[0]:
            return []
        step = "OPEN"
    elif reading.done or score < config.close_below or week.end_us > said.time_us + int(config.valid_s * 1e6):
        step = "CLOSE"
        state.rests = {kind: day for kind, day in state.rests.items() if day > week.day}
        state.rests[reading.kind] = week.day + math.ceil(config.rest_days)
    elif state.stages.get(reading.kind) != reading.stage or abs(score - said.score) >= config.update_step:
        step = "UPDATE"
    else:
        return []
    state.stages = {kind: stage for kind, stage in state.stages.items() if kind != reading.kind}
    if step != "CLOSE":
        state.stages[reading.kind] = reading.stage
    outcome = {"outcome": reading.done} if reading.done else {}
    return [
        Say(
            step,  # type: ignore[arg-type]
            reasons,
            reading.kind,
            transaction_ids=reading.transaction_ids,
            details={**reading.details, **outcome},
            calibrated=True,
            score_base=base,
        )
    ]


def change(fast: float, slow: float, floor: float) -> float:
    """How a weekly rate over 60 days compares with that over 180, in natural logarithms; `floor` is what chance alone makes.

    >>> round(change(2.0, 1.0, 0.0), 3), round(change(0.2, 0.1, 1.0), 3)
    (0.693, 0.087)
    """
    return math.log((fast + floor) / (slow + floor))


def iso_day(time_us: int, after_days: float = 0.0) -> str:
    """
    >>> iso_day(0, 31)
    '1970-02-01'
    """
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us, days=after_days)).date().isoformat()
