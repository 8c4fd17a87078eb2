"""What intents saw and what became of it: weeks wait for their outcome, and are then examples for the learners.

A week waits, as it was seen when it was looked at, until
    the outcome becomes known      every week that it covers is a positive example, at once
    its time is over               a negative one: all of those that scored high, and of the others a share, with the weight of all
A week that is looked at after its outcome became known is a positive example at once.

The bank hears only of a share c of some outcomes. Of what it did not hear of, a part happened all the same: with the probability p that
the bank would have heard of it, that is w = (1 − c) / c × p / (1 − p). Such a week is learned as both, with the weights w and 1 − w.

source     Elkan and Noto, Learning classifiers from only positive and unlabeled data, KDD 2008
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Final, NamedTuple

import msgspec
from msgspec import Meta

from operators.detector import Outlook
from operators.intent.frame import IntentConfig, iso_day
from operators.intent.traces import WEEK_US
from operators.knowledge import learner
from operators.knowledge.facts import Example
from operators.knowledge.schema import Schema
from state.customer import Customer
from state.digest import digest64
from state.estimators import sigmoid
from state.step import Emission
from state.windows import DAY_US

NAME = "outlooks"
VERSION = 1
WAITING_MAX: Final = 64
"""Weeks of one subject; beyond it the oldest is no example at all."""
KNOWN_MAX: Final = 4
"""Outcomes remembered of one subject: the newest."""
NEGLIGIBLE: Final = 0.01
"""Smaller weights are not worth an example."""
_WEEK: Final = struct.Struct("<H")


class Config(learner.Config, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [intent_learner] of config/intents.toml: the learner's, and what is learned at all."""

    enabled: bool = True
    round_buckets: Annotated[int, Meta(ge=1, le=366)] = 7
    """So many buckets are learned at once."""
    negative_share: Annotated[float, Meta(gt=0, le=1)] = 0.2
    kept_score: Annotated[float, Meta(gt=0, lt=1)] = 0.05


class State(msgspec.Struct, array_like=True):
    """Of one customer. It follows the scores as they were given: unlike other states it depends on the order of arrival."""

    CHANGES_SELDOM: ClassVar[bool] = True
    """Once a week, and then it is a sixth of the profile (state/frozen.py)."""

    waiting: dict[str, bytes] = {}
    """Subject → records, oldest first: the number of the week, and what was packed."""
    known_us: dict[str, list[int]] = {}
    """Subject → when its newest outcomes were."""


def state_of(customer: Customer) -> State:
    """The customer's, made at first use."""
    state: State | None = customer.states.get(NAME)
    if state is None:
        state = customer.states[NAME] = State()
    return state


class Span(NamedTuple):
    """Which weeks an outcome covers, and how long they wait for it."""

    before_us: int
    after_us: int
    wait_us: int
    told_share: float

    def covers(self, end_us: int, outcome_us: int) -> bool:
        """Whether a week that ends at `end_us` foresees the outcome, or still shows it."""
        return -self.after_us < outcome_us - end_us <= self.before_us


def span_of(config: IntentConfig) -> Span:
    return Span(
        int(config.horizon_days * DAY_US),
        int(config.after_days * DAY_US),
        int((config.horizon_days + config.told_days) * DAY_US),
        config.told_share,
    )


class Outlooks:
    """Keeps nothing between events: what waits is in the customer's `State`. `models`: the schema of each model and the span of its
    intent."""

    def __init__(self, config: Config, models: Mapping[str, tuple[Schema, Span]]) -> None:
        self._config = config
        self._models = models
        self._kept_below = int(config.negative_share * 2.0**64)

    def looked(self, customer: Customer, state: State, outlook: Outlook, out: list[Emission]) -> None:
        """An intent has seen a week: it waits, unless its outcome is known already."""
        schema, span = self._models[outlook.model]
        stride = _WEEK.size + schema.packed_bytes
        waiting = state.waiting.get(outlook.subject, b"")
        if len(waiting) % stride:
            waiting = b""  # of a release with other features
        while waiting and _end_us(waiting) + span.wait_us <= outlook.end_us:
            self._expire(customer, outlook, schema, span, waiting[:stride], out)
            waiting = waiting[stride:]
        record = _WEEK.pack(outlook.end_us // WEEK_US) + outlook.packed
        if any(span.covers(outlook.end_us, known_us) for known_us in state.known_us.get(outlook.subject, ())):
            self._tell(customer, outlook.model, outlook.subject, record, 1, 1.0, out)
        else:
            waiting = (waiting + record)[-WAITING_MAX * stride :]
        state.waiting[outlook.subject] = waiting

    def became(self, customer: Customer, state: State, subject: str, outcome_us: int, out: list[Emission]) -> None:
        """An outcome became known; it may have been known before."""
        model = subject.partition("/")[0]
        schema, span = self._models[model]
        known = sorted({*state.known_us.get(subject, ()), outcome_us})
        state.known_us[subject] = known[-KNOWN_MAX:]
        kept = []
        for record in _records(state.waiting.get(subject, b""), _WEEK.size + schema.packed_bytes):
            if span.covers(_end_us(record), outcome_us):
                self._tell(customer, model, subject, record, 1, 1.0, out)
            else:
                kept.append(record)
        if subject in state.waiting:
            state.waiting[subject] = b"".join(kept)

    def _expire(
        self, customer: Customer, outlook: Outlook, schema: Schema, span: Span, record: bytes, out: list[Emission]
    ) -> None:
        """Nobody heard of the outcome in time."""
        told = span.told_share * sigmoid(schema.unpack(record[_WEEK.size :]).champion)
        happened = 0.0
        if span.told_share < 1.0 and told < 1.0:
            happened = min(1.0, (1.0 - span.told_share) / span.told_share * told / (1.0 - told))
        if happened > NEGLIGIBLE:
            self._tell(customer, outlook.model, outlook.subject, record, 1, happened, out)
        if happened < 1.0 - NEGLIGIBLE:
            weight = 1.0 - happened
            if told < self._config.kept_score:
                if digest64(f"{customer.customer_id}\0{_name(outlook.subject, record)}") >= self._kept_below:
                    return
                weight /= self._config.negative_share
            self._tell(customer, outlook.model, outlook.subject, record, 0, weight, out)

    def _tell(
        self,
        customer: Customer,
        model: str,
        subject: str,
        record: bytes,
        label: int,
        weight: float,
        out: list[Emission],
    ) -> None:
        name, packed = _name(subject, record), record[_WEEK.size :]
        out.append(Emission(Example(model, customer.customer_id, name, _end_us(record), packed, label, weight), None))


def _records(waiting: bytes, stride: int) -> Iterator[bytes]:
    if len(waiting) % stride == 0:
        for at in range(0, len(waiting), stride):
            yield waiting[at : at + stride]


def _end_us(record: bytes) -> int:
    return int(_WEEK.unpack_from(record)[0]) * WEEK_US


def _name(subject: str, record: bytes) -> str:
    """What the example is called: its subject, and the day before which its week ended."""
    return f"{subject}:{iso_day(_end_us(record))}"
