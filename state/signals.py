"""What the engine says: signals with their reasons and evidence, scores, late records and detector errors.

Field names and meanings are the contract of the output topics (CONTRACTS, section 2): msgspec writes these structs as they are.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from state.digest import digest128
from state.events import Event
from state.times import rfc3339

State = Literal["OPEN", "UPDATE", "CLOSE", "RETRACT"]
Link = Literal["logit", "identity", "none"]
Level = Literal["LOW", "MEDIUM", "HIGH"]


class Reason(msgspec.Struct, frozen=True):
    """One part of the score: the customer's value, the customer's own baseline beside it, and the contribution in link units
    (None where the score has no link)."""

    code: str
    feature: str
    value: Any
    baseline: Any
    contribution: float | None
    text: str


class WindowSpan(msgspec.Struct, frozen=True, rename={"start": "from", "end": "to"}):
    """A window that was looked at: (start, end]."""

    name: str
    start: str
    end: str


class Evidence(msgspec.Struct, frozen=True):
    transaction_ids: tuple[str, ...] = ()
    windows: tuple[WindowSpan, ...] = ()


class EventTrigger(msgspec.Struct, frozen=True):
    topic: str
    event_id: str


class TimerTrigger(msgspec.Struct, frozen=True):
    timer: str
    due: str


Trigger = EventTrigger | TimerTrigger


class Signal(msgspec.Struct, frozen=True):
    """One statement about one customer. `score` is in [0, 1]; with a link, inverse_link(score_base + Σ contribution) = score."""

    id: str
    type: str
    customer_id: str
    event_time: str
    state: State
    episode: str
    revision: int
    retracts: str | None
    score: float
    score_link: Link
    score_base: float | None
    calibrated: bool
    confidence: Level
    severity: Level
    sensitive: bool
    details: dict[str, Any]
    reasons: tuple[Reason, ...]
    evidence: Evidence
    counterfactual: dict[str, Any] | None
    forecast: dict[str, Any] | None
    inputs: dict[str, Any]
    detector: str
    model: str | None
    config: str
    valid_until: str | None
    trigger: Trigger


def signal_id(type_: str, customer_id: str, episode: str, trigger: Trigger, state: State, revision: int) -> bytes:
    """The 16 bytes that name a statement: what was said about whom because of which event; no offset, clock, model or config."""
    cause = (trigger.topic, trigger.event_id) if isinstance(trigger, EventTrigger) else (trigger.timer, trigger.due)
    return digest128(type_, customer_id, episode, *cause, state, str(revision))


class Score(msgspec.Struct, frozen=True, gc=False):
    """The score of one transaction, when it was first applied."""

    transaction_id: str
    customer_id: str
    event_time: str
    score: float
    model: str


class Late(msgspec.Struct, frozen=True, gc=False):
    """A record beyond the allowed lateness: neither applied nor scored."""

    topic: str
    partition: int
    offset: int
    customer_id: str
    event_id: str
    event_time: str
    arrived_at: str
    late_by_s: float


def late(event: Event, newest_us: int, lateness_us: int) -> Late:
    """The record of an event that came when its customer's newest event was already at `newest_us`."""
    return Late(
        topic=event.TOPIC,
        partition=event.partition,
        offset=event.offset,
        customer_id=event.customer_id,
        event_id=event.event_id,
        event_time=rfc3339(event.time_us),
        arrived_at=rfc3339(event.arrival_us),
        late_by_s=(newest_us - lateness_us - event.time_us) / 1e6,
    )


class DetectorError(msgspec.Struct, frozen=True, gc=False):
    """A detector that failed on an event; the record itself counts as applied. `message` holds the error's class and place, no data."""

    detector: str
    customer_id: str
    event_time: str
    topic: str
    event_id: str
    error: str
    message: str
