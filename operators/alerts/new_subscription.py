"""Has somebody begun to draw money regularly?

looks at   the second payment to a payee by card online or by direct debit: the same amount, one cadence after the first
needs      a customer known for longer than two months before the first payment: else old subscriptions look new
says       alert.new_subscription, one OPEN per stream, CLOSE with the third payment
state      the customer's first transaction
blind to   contracts that come less often than monthly (two payments a year apart are no news any more); subscriptions whose amount
           varies from the start; those paid in person
source     -
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from operators.detector import Answer, DetectorConfig, Say, open_episode
from operators.standing import bill_of, iso, kind_of, matured, money
from state.business_days import date_of, day_of
from state.customer import Customer, Recent
from state.events import Event, Transaction
from state.recurring import Status, Stream
from state.rhythm import MONTHLY
from state.signals import Reason

NAME = "new_subscription"
VERSION = 1
SIGNAL = "alert.new_subscription"
TOPICS = frozenset((Transaction.TOPIC,))
CHANNELS = frozenset(("ecommerce", "direct_debit"))


class Config(DetectorConfig, frozen=True, kw_only=True):
    known_days_min: int = 65
    score: float = 0.9


class State(msgspec.Struct, array_like=True):
    since_us: int = 0
    """When the customer's first transaction was."""


def on_event(config: Config, state: State, event: Event, customer: Customer) -> Answer:
    assert isinstance(event, Transaction)
    if event.channel not in CHANNELS or not state.since_us:
        return ()
    stream = bill_of(customer, event)
    if stream is None or not _begun(stream) or stream.days[0] < day_of(state.since_us) + config.known_days_min:
        return ()
    assert stream.rhythm is not None
    streams = customer.current_streams()
    if _moved(stream, streams):
        return ()
    new = _exchanged(stream, streams) or stream
    amount = money(new.amounts[-1], new)
    reason = Reason(
        code="DRAWN_AGAIN",
        feature="amount",
        value=amount,
        baseline=None,
        contribution=None,
        text=f"{new.name} drew {amount} {new.currency} on {iso(new.days[-2])} and again on {iso(new.days[-1])}: "
        f"{stream.rhythm.name}",
    )
    said = Say(
        "OPEN",
        (reason,),
        kind_of(stream),
        score=config.score,
        transaction_ids=tuple(dict.fromkeys((event.transaction_id, new.last_id))),
        details={"stream": new.name, "amount": amount, "currency": new.currency, "cadence": stream.rhythm.name},
    )
    return (said,)


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> Answer:
    if not state.since_us:
        state.since_us = recent.time_us
    for said in customer.said:
        if said.type == SIGNAL and said.state == "OPEN":
            return _known(recent, customer)
    return ()


def _known(recent: Recent, customer: Customer) -> Answer:
    """An open episode ends with the third payment."""
    stream = matured(customer, recent)
    said = open_episode(customer, SIGNAL, kind_of(stream)) if stream is not None else None
    if said is None or recent.time_us <= said.time_us:
        return ()
    reason = Reason("WELL_KNOWN", "transaction_id", recent.transaction_id, None, None, "it has come a third time")
    return (Say("CLOSE", (reason,), said.kind, score=said.score, transaction_ids=(recent.transaction_id,)),)


def _begun(stream: Stream) -> bool:
    """The second payment, at the same price; without a contract's channel on the same day of the month, too."""
    if (
        stream.hits != 2
        or stream.rhythm is None
        or stream.rhythm.cadence > MONTHLY
        or stream.amounts[0] != stream.amounts[1]
    ):
        return False
    return stream.firm or date_of(stream.days[0]).day == date_of(stream.days[1]).day


def _moved(stream: Stream, streams: Sequence[Stream]) -> bool:
    """Whether it is an old contract that goes on in another currency: the payee drew in that one until then, and does no more."""
    return any(
        other.payee == stream.payee
        and other.credit == stream.credit
        and other.currency != stream.currency
        and other.last_day < stream.days[0]
        and other.status(stream.days[0]) is Status.MATURE
        for other in streams
    )


def _exchanged(stream: Stream, streams: Sequence[Stream]) -> Stream | None:
    """A second contract with the same payee, drawn within days before the first, is taken for the first at a new price, and the first for
    what has begun: then the stream of the first holds the payments of the new one."""
    for other in streams:
        if other.payee == stream.payee and other.key == stream.key and other.id != stream.id and len(other.days) > 2:
            old_minor, first_minor, second_minor = other.amounts[-3:]
            in_turn = other.days[-3] < other.days[-2] <= stream.days[0] <= other.days[-1] <= stream.days[1]
            if in_turn and first_minor == second_minor != old_minor == stream.amounts[0]:
                return other
    return None
