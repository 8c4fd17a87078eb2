"""What all intents share: features of a week, judged by a model with exact reasons, and episodes with hysteresis.

An intent module reads its features out of a `Week`, has them judged (`Week.models`) and says what they would mean (`Reading`);
`answer` does the rest. The score is the probability that the outcome comes within the intent's horizon. The weights in
config/intents.toml are what is believed on day one; the models go on from there (operators/intent/outlooks.py).

An intent module also has
    SCHEMA                      the features of its models, in order
    priors(config)              its models before any outcome
    outcomes(config, event)     what an event tells of an outcome: (model, when) of each
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec

from operators.detector import DetectorConfig, Outlook, Say, open_episode
from operators.intent.traces import Week
from state.customer import Customer
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
    after_days: float = 0.0
    """For so long after the outcome it still shows: such weeks count as foreseen, too."""
    told_days: float = 7.0
    """So long after the outcome the bank has heard of it, if it ever does."""
    told_share: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    """Of the outcomes, how many the bank hears of."""
    weights: dict[str, float] = {}
    """Log-odds for each unit of a feature."""


class State(msgspec.Struct, array_like=True):
    """Of each kind of episode: what was last told, and until which day nothing is opened."""

    stages: dict[str, str] = {}
    rests: dict[str, int] = {}


class Feature(msgspec.Struct, frozen=True, gc=False):
    """One input of the model."""

    name: str
    x: float
    told: Callable[[], tuple[Any, Any, str]] | None
    """What people are shown of it: the value, that of somebody without the intent, and a text. Asked only when something is said,
    which is seldom. Without, it is no reason: it belongs to the base."""


class Judged(NamedTuple):
    """What a model makes of a week."""

    model: str
    """The name of the model, and which version of it scored."""
    version: str
    score_base: float
    counting: tuple[tuple[float, Feature], ...]
    """What each feature that counts contributes, the strongest first."""
    calibrated: bool
    score: float
    """sigmoid(score_base + Σ contribution), summed in the order of the reasons."""
    packed: bytes
    """Features and scores, for whoever learns from the week; empty if nothing spoke: such a week teaches nothing."""

    @property
    def reasons(self) -> tuple[Reason, ...]:
        return tuple(_reason(feature, contribution) for contribution, feature in self.counting)


class Reading(NamedTuple):
    """What an intent reads out of a week. `done` says why an episode is over whatever the score: the outcome came."""

    judged: Judged
    stage: str
    details: Callable[[], Mapping[str, Any]]
    """Asked only when something is said."""
    transaction_ids: Callable[[], tuple[str, ...]]
    """So is the evidence."""
    kind: str = ""
    done: str = ""


def answer(
    signal: str,
    config: IntentConfig,
    state: State,
    week: Week,
    customer: Customer,
    reading: Reading,
    subject: str = "",
) -> list[Say | Outlook]:
    """What is to be said of a reading, and what is to be learned from it once its outcome is known. `subject`: see `Outlook`."""
    judged = reading.judged
    said: list[Say | Outlook] = [*speak(signal, config, state, week, customer, reading)]
    if judged.packed and week.weeks >= config.weeks_min:
        said.append(Outlook(judged.model, week.end_us, judged.packed, subject or judged.model))
    return said


def speak(
    signal: str, config: IntentConfig, state: State, week: Week, customer: Customer, reading: Reading
) -> list[Say]:
    """What is to be said of a reading: an OPEN at the threshold, an UPDATE when stage or score have moved, a CLOSE when it is over."""
    judged = reading.judged
    score = judged.score
    said = open_episode(customer, signal, reading.kind)
    if said is None:
        if reading.done or score < config.threshold or week.weeks < config.weeks_min:
            return []
        if week.day < state.rests.get(reading.kind, 0) or not reading.transaction_ids()[0]:
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
            judged.reasons,
            reading.kind,
            transaction_ids=reading.transaction_ids(),
            details={**reading.details(), **outcome},
            calibrated=judged.calibrated,
            score_base=judged.score_base,
            model=judged.version,
        )
    ]


def _reason(feature: Feature, contribution: float) -> Reason:
    assert feature.told is not None
    value, baseline, text = feature.told()
    return Reason(feature.name.upper(), feature.name, value, baseline, contribution, text)


def change(fast: float, slow: float, floor: float) -> float:
    """How a weekly rate over 60 days compares with that over 180, in natural logarithms; `floor` is what chance alone makes.

    >>> round(change(2.0, 1.0, 0.0), 3), round(change(0.2, 0.1, 1.0), 3)
    (0.693, 0.087)
    """
    return math.log((fast + floor) / (slow + floor))


def trend(now: float, usual: float) -> str:
    """
    >>> trend(2.0, 1.0), trend(2.08, 2.83), trend(0.0, 0.0)
    ('the interest grows', 'the interest falls', 'the interest stays')
    """
    return f"the interest {'grows' if now > usual else 'falls' if now < usual else 'stays'}"


def iso_day(time_us: int, after_days: float = 0.0) -> str:
    """
    >>> iso_day(0, 31)
    '1970-02-01'
    """
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time_us, days=after_days)).date().isoformat()
