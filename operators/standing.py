"""What detectors of standing payments share: the stream that a transaction continued, and how to name it."""

from __future__ import annotations

from collections.abc import Sequence

from operators.detector import open_episode
from state.business_days import date_of, day_of
from state.customer import Customer, Recent, Said
from state.events import Transaction
from state.income import NO_INCOME, own_digests
from state.money import format_minor
from state.payee import IN_PERSON
from state.recurring import Stream


def continued(customer: Customer, transaction: Transaction) -> Stream | None:
    """The stream whose newest payment this transaction is, with all that is known now; None if there is no such stream (no
    payment in person has one), if it has come late and a later payment is known, or while it is pending: its amount isn't final, and it
    may be voided."""
    if transaction.channel in IN_PERSON or transaction.status != "posted" or not transaction.amount_minor:
        return None
    for recent in reversed(customer.recent):
        if recent.transaction_id == transaction.transaction_id:
            if recent.payee is None or not recent.learned:
                return None
            return newest(customer.current_streams(), recent.transaction_id)
    return None


def matured(customer: Customer, recent: Recent) -> Stream | None:
    """The stream that a maturing transaction continues, without what came after it."""
    return customer.streams_with(customer.streams, recent)[-1] if recent.payee is not None else None


def newest(streams: Sequence[Stream], transaction_id: str) -> Stream | None:
    return next((stream for stream in reversed(streams) if stream.last_id == transaction_id), None)


def bill_of(customer: Customer, transaction: Transaction) -> Stream | None:
    """The stream of money drawn by somebody else that a transaction continued: no transfer between the customer's own accounts, nor
    interest, which follows a balance (neither is a bill, as neither is income)."""
    if transaction.direction == "credit" or transaction.channel in NO_INCOME:
        return None
    stream = continued(customer, transaction)
    return stream if stream is not None and stream.payee not in own_digests(customer) else None


def kind_of(stream: Stream) -> str:
    """By what name a stream's episodes are told apart: the same for as long as it lasts."""
    return f"{stream.id:016x}"


def looked_us(customer: Customer, signal: str, stream: Stream) -> int:
    """The time of the open episode about a stream; 0 if none is open. What is due after it is another matter: that a payment has answered
    the episode is said when the payment matures, which may be long after, and must not keep the next one from being looked at."""
    said = open_episode(customer, signal, kind_of(stream))
    return 0 if said is None else said.time_us


def answered(said: Said, stream: Stream) -> bool:
    """Whether the stream has been paid since an episode was opened."""
    return stream.last_day >= day_of(said.time_us)


def money(amount_minor: float, stream: Stream) -> str:
    return format_minor(round(amount_minor), stream.currency)


def iso(day: int) -> str:
    """
    >>> iso(20_000)
    '2024-10-04'
    """
    return date_of(day).isoformat()
