"""What came of alerts teaches how likely the next ones are: their log-odds are calibrated online, on resolved episodes of all customers.

An alert waits in its customer's state until the account falls below zero or its two weeks are over. Then it is an example of a model
with one feature, the log-odds before any outcome; what is learned is a line, so that reasons stay exact:

    log-odds said = slope × log-odds + offset

Before any outcome the line is the identity, and few outcomes move it little (operators/knowledge/calibration.py).

source     Platt, Probabilistic outputs for support vector machines, 1999; Kull, Silva Filho and Flach, Beta calibration, AISTATS 2017: with
           a = b, which is a line in log-odds
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import log
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from operators.detector import DetectorConfig, Lesson
from operators.intent.models import Prior, prior_of
from operators.knowledge import learner
from operators.knowledge.calibration import SLOPE_MAX, SLOPE_MIN
from operators.knowledge.schema import Schema, plain
from operators.knowledge.versions import Model
from state.customer import Customer

NAME: Final = "overdraft_outcomes"
VERSION: Final = 1
MODEL: Final = "overdraft_ahead"
SCHEMA: Final[Schema] = plain(1, "log_odds")
ASKED_MAX: Final = 4
"""Alerts of one account whose two weeks are not over; a further one teaches nothing."""
PROBABILITY_MIN: Final = 1e-9


class Asked(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """An alert to be compared with what comes of it."""

    time_us: int
    given: float
    """Its log-odds, as they were said."""
    raw: float
    """Without what outcomes had taught by then."""


class State(msgspec.Struct, array_like=True):
    """Of one customer. It follows alerts as they were given: unlike other states it depends on the order of arrival."""

    waiting: dict[str, list[Asked]] = {}
    """By account, oldest first."""


class Learning(learner.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [overdraft_learner] of config/detectors.toml."""

    round_buckets: Annotated[int, Meta(ge=1, le=366)] = 7
    """So many buckets are learned at once."""


class Line(msgspec.Struct, frozen=True):
    """What is in force. `version` is the model's."""

    version: str
    slope: float
    offset: float


def prior(config: DetectorConfig) -> Prior:
    """The model before any outcome: the identity."""
    return prior_of(MODEL, SCHEMA, 0.0, {"log_odds": 1.0}, config.threshold)


def line_of(config: DetectorConfig, model: Model | None) -> Line:
    """The order of alerts never changes: a slope that is not positive would say that nothing is known of them."""
    linear, version = (
        (model.linear, model.version) if model is not None else (prior(config)[1].linear, f"{MODEL}@prior")
    )
    return Line(version, min(SLOPE_MAX, max(SLOPE_MIN, linear.weights[0])), linear.base)


def calibrated(line: Line, weights: Mapping[str, float], base: float) -> tuple[dict[str, float], float]:
    """Weights and base with the line multiplied in.

    >>> calibrated(Line("v", 0.5, -1.0), {"margin": -2.0}, 4.0)
    ({'margin': -1.0}, 1.0)
    """
    return {name: line.slope * weight for name, weight in weights.items()}, line.slope * base + line.offset


def ask(customer: Customer, account: str, line: Line, time_us: int, score: float) -> None:
    """An alert was given, with this score, and its transaction stands."""
    state = customer.states.get(NAME)
    if state is None:
        state = customer.states[NAME] = State()
    waiting = state.waiting.get(account, [])
    if len(waiting) < ASKED_MAX and all(asked.time_us != time_us for asked in waiting):
        bounded = min(max(score, PROBABILITY_MIN), 1.0 - PROBABILITY_MIN)
        given = log(bounded / (1.0 - bounded))
        state.waiting[account] = [*waiting, Asked(time_us, given, (given - line.offset) / line.slope)]


def resolve(customer: Customer, account: str, horizon_us: int, time_us: int, below: bool) -> Iterator[Lesson]:
    """What has become known by a movement of the account, `below`: it was left below zero."""
    state = customer.states.get(NAME)
    if state is None or account not in state.waiting:
        return
    waiting = []
    for asked in state.waiting.pop(account):
        over = time_us > asked.time_us + horizon_us
        if over or below:
            packed = SCHEMA.pack_scores(SCHEMA.layout.pack((asked.raw,)), asked.given, None)
            yield Lesson(MODEL, f"{account}:{asked.time_us}", asked.time_us, packed, not over)
        else:
            waiting.append(asked)
    if waiting:
        state.waiting[account] = waiting
