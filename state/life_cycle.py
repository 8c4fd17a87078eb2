"""The life cycle of a transaction: new, duplicate, update, reversal, refund, late (CONTRACTS, section 1).

Pure state changes on one customer; nothing here scores, learns or says anything.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec

from state.categories import group_of
from state.customer import WAITING_MAX, Customer, Recent, Waiting, merchant_digest
from state.digest import digest64
from state.events import Transaction
from state.windows import COUNTED, POSTED, REVERSAL, REVERSED, pack_key, unpack_key


class Outcome(IntEnum):
    """How a record ended. Every record read ends as exactly one of the first three, or as a dead letter."""

    APPLIED = 0
    DUPLICATE = 1
    LATE = 2


class Step(msgspec.Struct, gc=False):
    """What a transaction did to its customer."""

    outcome: Outcome
    new: bool = False
    """To be scored: first seen."""
    reversed_digest: int = 0
    """Digest of the transaction that was fully reversed, or 0."""
    reversed_by: str = ""
    """The event id of that reversal."""


DUPLICATE = Step(Outcome.DUPLICATE)
LATE = Step(Outcome.LATE)
APPLIED = Step(Outcome.APPLIED)


def transaction_key(transaction: Transaction) -> int:
    """The key under which a transaction counts in the windows."""
    return pack_key(
        transaction.currency, transaction.direction == "credit", group_of(transaction.mcc, transaction.channel)
    )


def classify(customer: Customer, transaction: Transaction, lateness_us: int) -> Step:
    """Decides what a transaction is, and carries out all but the new ones.

    A new transaction is reported as `new`: the caller scores it and then calls `admit`.
    """
    digest = digest64(transaction.transaction_id)
    at = customer.ring.find(digest)
    if at >= 0:
        return _again(customer, transaction, at, digest)
    if digest in customer.waiting and transaction.status == "reversed":
        return DUPLICATE
    if transaction.time_us < customer.newest_us - lateness_us:
        return LATE
    if transaction.status != "reversed":
        return Step(Outcome.APPLIED, new=True)
    return _reverse_other(customer, transaction, digest)


def admit(customer: Customer, transaction: Transaction) -> Step:
    """Puts a new transaction, already scored, into the windows and the recent ones; a reversal that waited for it acts now."""
    digest = digest64(transaction.transaction_id)
    key = transaction_key(transaction)
    posted = POSTED if transaction.status == "posted" else 0
    customer.ring.advance(transaction.time_us)
    customer.ring.add(transaction.time_us, transaction.amount_minor, key, digest, COUNTED | posted)
    _remember(customer, transaction, key, digest, learned=True)
    waiting = customer.waiting.pop(digest, None)
    if waiting is None:
        return APPLIED
    return _undo(customer, customer.ring.find(digest), digest, waiting.amount_minor, waiting.currency, waiting.event_id)


def forget_waiting(customer: Customer, horizon_us: int) -> None:
    """Drops reversals whose original can no longer come in time."""
    if customer.waiting:
        for digest in [digest for digest, waiting in customer.waiting.items() if waiting.time_us < horizon_us]:
            del customer.waiting[digest]


def _again(customer: Customer, transaction: Transaction, at: int, digest: int) -> Step:
    ring = customer.ring
    flags = ring.flags[at]
    known = 3 if flags & (REVERSED | REVERSAL) else 2 if flags & POSTED else 1
    status = {"pending": 1, "posted": 2, "reversed": 3}[transaction.status]
    if status <= known:
        return DUPLICATE
    if status == 3:
        step = _undo(customer, at, digest, transaction.amount_minor, transaction.currency, transaction.transaction_id)
        ring.flags[at] |= REVERSED
        return step
    key = transaction_key(transaction)
    ring.remove(at)
    ring.advance(transaction.time_us)
    ring.add(transaction.time_us, transaction.amount_minor, key, digest, COUNTED | POSTED)
    old = customer.recent_index(digest)
    if old >= 0:
        del customer.recent[old]
    _remember(customer, transaction, key, digest, learned=old >= 0)
    return APPLIED


def _reverse_other(customer: Customer, transaction: Transaction, digest: int) -> Step:
    """A reversal with an id of its own, or one that came before anything else with its id."""
    original_id = transaction.original_transaction_id
    target = digest64(original_id) if original_id is not None else digest
    if target != digest:
        customer.ring.advance(transaction.time_us)
        customer.ring.add(transaction.time_us, 0, transaction_key(transaction), digest, REVERSAL)
        at = customer.ring.find(target)
        if at >= 0:
            return _undo(
                customer, at, target, transaction.amount_minor, transaction.currency, transaction.transaction_id
            )
    if target not in customer.waiting and len(customer.waiting) >= WAITING_MAX:
        del customer.waiting[min(customer.waiting, key=lambda other: (customer.waiting[other].time_us, other))]
    customer.waiting[target] = Waiting(
        transaction.time_us, transaction.amount_minor, transaction.currency, transaction.transaction_id
    )
    return APPLIED


def _undo(customer: Customer, at: int, digest: int, amount_minor: int, currency: str, event_id: str) -> Step:
    """Takes back all of entry `at`, or a part of it if the reversal is for less in the same currency."""
    ring = customer.ring
    if not ring.flags[at] & COUNTED:
        return APPLIED
    left_minor = ring.amounts[at]
    recent_at = customer.recent_index(digest)
    if amount_minor < left_minor and unpack_key(ring.keys[at])[0] == currency:
        ring.reduce(at, amount_minor)
        if recent_at >= 0:
            recent = customer.recent[recent_at]
            customer.recent[recent_at] = recent._replace(amount_minor=recent.amount_minor - amount_minor)
        return APPLIED
    ring.cancel(at)
    if recent_at >= 0:
        customer.recent[recent_at] = customer.recent[recent_at]._replace(learned=False)
    return Step(Outcome.APPLIED, reversed_digest=digest, reversed_by=event_id)


def _remember(customer: Customer, transaction: Transaction, key: int, digest: int, *, learned: bool) -> None:
    entry = Recent(
        transaction.time_us,
        digest,
        transaction.transaction_id,
        transaction.amount_minor,
        key,
        merchant_digest(transaction),
        transaction.country,
        transaction.lat,
        transaction.lon,
        transaction.channel,
        learned,
    )
    recent = customer.recent
    at = len(recent)
    while at and (recent[at - 1].time_us, recent[at - 1].digest) > (entry.time_us, digest):
        at -= 1
    recent.insert(at, entry)
