"""What a detector is: one module with a card (its docstring), `Config`, perhaps `State`, and the hooks that it needs, all pure.

The catalogue (operators/catalogue.py) lists the modules; config/detectors.toml has a table for each. A detector that names a
`SIGNAL` speaks for itself; one that names none only adds to `anomaly.transaction`. Hooks, each of them optional:

    step(config, state, transaction, view)         judges a new transaction before it counts: a Finding or None
    on_event(config, state, event, customer)       an event of one of `TOPICS` has been applied (new, updated or reversing)
    on_timer(config, state, timer, customer)       a timer set by `Wake` has come due: the event is that nothing came
    learn(config, state, recent, customer)         a transaction has matured, just before the customer's habits learn it; may change `state`
    learn_event(config, state, event, customer)    an event of one of `LEARNS` has matured; may change `state`
    on_rate(config, state, rate, customer)         the market has a new rate, and the customer an account of a kind in `RATED`
    look(config, state, week, customer)            a week has matured (operators/intent/traces.py); may change `state`
    outcomes(config, event)                        of an intent: what an event tells of what it foresees, as (subject, time in UTC
                                                   microseconds)
    in_force(config, model)                        the configuration with what is known across customers: `model` is the champion of
                                                   the detector's name, None before any outcome; the hooks are given what it returns

A module with `LEARNS_WHILE_OPEN` is asked to `learn` only while an episode of its signal is open. The hooks from `on_event` to `look`
answer with any number of `Say` (about an episode) and `Wake` (a timer), or None; `Look`, `Outlook` and `Lesson` below are answers of
`traces`, the intents and alerts that learn from what came of them. `state` changes in `learn`, `learn_event`, `look` and `on_rate`
only, each of which is called in one order: what a detector has learned is then as independent of the order of arrival as the
habits are (docs/architecture.md, "Score on arrival, learn at maturity"). `traces` alone changes its own in `on_event`, too: what it
keeps there are sums and minima, which come out the same in any order. What was said and is waited for is kept in the customer:
`open_episode` finds it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Protocol

import msgspec
from msgspec import Meta

from state.customer import Customer, Said
from state.signals import Level, Reason, WindowSpan
from state.signals import State as Step

Span = Annotated[float, Meta(ge=0, le=100 * 366 * 86_400)]
"""Seconds. After a hundred years a time would leave the range of those that can be written."""


class DetectorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every detector's table has. `score_base` is in log-odds: the score of a finding is sigmoid(score_base + Σ contribution)."""

    enabled: bool = True
    score_base: float = -4.0
    threshold: float = 0.5
    severity_high: float = 0.9
    quiet_s: Span = 0.0
    """For how long after an OPEN the same episode goes on: no second OPEN, and a CLOSE when it is over."""
    valid_s: Span = 86_400.0
    purposes: tuple[str, ...] = ()
    """What its signals serve: while the customer refuses one of them, nothing is said (operators/consent.py)."""


class Finding(msgspec.Struct, frozen=True):
    """What a detector found in one transaction, strong enough or not to be said. Contributions are in log-odds."""

    reasons: tuple[Reason, ...]
    details: Mapping[str, Any] = {}
    transaction_ids: tuple[str, ...] = ()
    windows: tuple[WindowSpan, ...] = ()
    kind: str = ""
    """Of a signal that says several things, which one: episodes of different kinds don't silence each other."""
    quiet_s: float | None = None
    """For how long an episode of this kind goes on, if not `Config.quiet_s`."""
    ends: str = ""
    """The kind of an open episode that this transaction ends, unless it is reversed in time. Without `reasons` nothing else is said."""
    sensitive: bool = False
    """It tells of health or the like: to be used with explicit consent only."""
    suspicious: bool = True
    """False for what is news but no sign of fraud: it stays out of `anomaly.transaction`."""
    score_base: float | None = None
    """In log-odds, if not `Config.score_base`; so for the threshold, which is a score."""
    threshold: float | None = None
    calibrated: bool = False
    """Whether the score is a probability."""
    inputs: Mapping[str, Any] = {}
    """Values from across customers that were used."""

    @property
    def strength(self) -> float:
        """The sum of the contributions: what this finding is worth to the fused score, before its weight."""
        return sum(reason.contribution or 0.0 for reason in self.reasons)


class Say(msgspec.Struct, frozen=True):
    """What a detector has to say about one of its episodes, which `kind` tells apart (a stream, an account); one of a kind is open
    at most. An OPEN is said if none is open and the score reaches `Config.threshold`; anything else only if one is open. So
    a detector may repeat itself, and hysteresis is its own: it decides when the episode is over (CLOSE) or was wrong
    (RETRACT).

    With `score` (in [0, 1]) there is no link, and contributions are None; without, contributions are in log-odds.
    """

    state: Step
    reasons: tuple[Reason, ...]
    kind: str = ""
    score: float | None = None
    transaction_ids: tuple[str, ...] = ()
    """Evidence. Of silence: the transactions that raised the expectation."""
    details: Mapping[str, Any] = {}
    windows: tuple[WindowSpan, ...] = ()
    counterfactual: Mapping[str, Any] | None = None
    forecast: Mapping[str, Any] | None = None
    valid_until_us: int | None = None
    """If not `Config.valid_s` after the event."""
    severity: Level | None = None
    """If not by `Config.severity_high`."""
    sensitive: bool = False
    calibrated: bool = False
    """Whether the score is a probability."""
    score_base: float | None = None
    """In log-odds, if not `Config.score_base`."""
    inputs: Mapping[str, Any] = {}
    """Values from across customers that were used."""
    model: str | None = None
    """The version that scored, if one was learned or could be."""


class Wake(msgspec.Struct, frozen=True):
    """A timer of the detector's own: `on_timer` is called when the arrival clock passes `due_us` plus the allowed lateness, and
    what is said then has the due time as its event time. A detector has one timer of each name: setting it again moves it,
    None calls it off."""

    due_us: int | None
    name: str = ""


class Look(msgspec.Struct, frozen=True):
    """What `traces` alone answers: a week of the customer's is complete, and the `look` hooks are to see it."""

    week: Any
    time_us: int
    """Of the event that showed that the week is over: what is said then has it as its event time."""


class Outlook(msgspec.Struct, frozen=True):
    """What an intent saw at the end of a week, to be learned from when its outcome is known (operators/intent/outlooks.py).
    `packed`: features and scores by the model's schema. `subject`: of what the outcome is awaited, if a model is asked for several
    things (one product of many); else the model's name."""

    model: str
    end_us: int
    packed: bytes
    subject: str


class Lesson(msgspec.Struct, frozen=True):
    """What an alert said that has come true or has not, to be learned from. `packed`: features and scores by the model's schema; `name`
    tells the customer's lessons of this model apart."""

    model: str
    name: str
    time_us: int
    packed: bytes
    came: bool


Answer = Iterable[Say | Wake | Look | Outlook | Lesson]


class Detector(Protocol):
    """A detector module; its optional hooks are listed above. `State` is None, or a msgspec struct that starts empty and is bounded
    in size. Modules with `on_event` have `TOPICS`, those with `learn_event` have `LEARNS`: frozen sets of topics; those with
    `on_rate` have `RATED`: a frozen set of kinds of account."""

    @property
    def NAME(self) -> str: ...  # noqa: N802 - modules keep this: their constants are upper case

    @property
    def VERSION(self) -> int: ...  # noqa: N802

    @property
    def SIGNAL(self) -> str | None: ...  # noqa: N802

    @property
    def Config(self) -> type[Any]: ...  # noqa: N802

    @property
    def State(self) -> type[Any] | None: ...  # noqa: N802


HOOKS = ("step", "on_event", "on_timer", "on_rate", "learn", "learn_event", "look")
"""Those called with (config, state, subject, view or customer): what may be spied on, timed or replaced in one way."""


def require_finite(answer: Say | Wake | Look | Outlook | Lesson) -> None:
    """Raises ArithmeticError for a score or a contribution that is no finite number."""
    if isinstance(answer, Say):
        numbers = [answer.score, *(reason.contribution for reason in answer.reasons)]
        if not all(math.isfinite(number) for number in numbers if number is not None):
            raise ArithmeticError("a score or contribution is not finite")


def open_episode(customer: Customer, signal: str, kind: str = "") -> Said | None:
    """The open episode of a signal type and kind, if there is one."""
    for said in customer.said:
        if said.type == signal and said.kind == kind and said.state == "OPEN":
            return said
    return None


def confidence(matured: int) -> Level:
    """How much of the customer is known: LOW below 10 learned transactions, MEDIUM below 50, then HIGH.

    >>> confidence(3), confidence(20), confidence(500)
    ('LOW', 'MEDIUM', 'HIGH')
    """
    return "LOW" if matured < 10 else "MEDIUM" if matured < 50 else "HIGH"
