"""The life cycle of a transaction: new, duplicate, update, reversal, refund, late (CONTRACTS, section 1).

Pure state changes on one customer; nothing here scores, learns or says anything.
"""

from __future__ import annotations

from enum import IntEnum
from functools import lru_cache

import msgspec

from state.balances import Balance, clamped, tell
from state.categories import group_of
from state.customer import REFUNDS_MAX, WAITING_MAX, Customer, Recent, Waiting, device_digest, merchant_digest
from state.digest import digest64, event_digest
from state.events import Transaction
from state.payee import payee_of
from state.windows import COUNTED, ORPHAN, POSTED, REVERSAL, REVERSED, pack_key, unpack_key


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
    digest: int = 0
    """Of the transaction's id, where it is new."""
    reversed_digest: int = 0
    """Digest of the transaction that was fully reversed, or 0."""
    reversed_by: str = ""
    """The event id of that reversal."""
    reversed_us: int = 0
    """The event time of that reversal."""


DUPLICATE = Step(Outcome.DUPLICATE)
LATE = Step(Outcome.LATE)
APPLIED = Step(Outcome.APPLIED)


def transaction_key(transaction: Transaction) -> int:
    """The key under which a transaction counts in the windows."""
    return _key(transaction.currency, transaction.direction, transaction.mcc, transaction.channel)


@lru_cache(maxsize=4096)
def _key(currency: str, direction: str, mcc: str | None, channel: str) -> int:
    return pack_key(currency, direction == "credit", group_of(mcc, channel))


def classify(customer: Customer, transaction: Transaction, lateness_us: int) -> Step:
    """Decides what a transaction is, and carries out all but the new ones.

    A new transaction is reported as `new`: the caller scores it and then calls `admit`.
    """
    digest = event_digest(transaction.transaction_id)
    ring = customer.ring
    at = ring.find(digest)
    orphan = at >= 0 and bool(ring.flags[at] & ORPHAN)
    if at >= 0 and not orphan:
        return _again(customer, transaction, at, digest, lateness_us)
    if orphan and transaction.status == "reversed":
        return DUPLICATE
    if transaction.time_us < customer.newest_us - lateness_us:
        return LATE
    if transaction.status != "reversed":
        if orphan:
            ring.remove(at)
        return Step(Outcome.APPLIED, new=True, digest=digest)
    return _reverse_other(customer, transaction, digest, lateness_us)


def admit(customer: Customer, transaction: Transaction, digest: int, lateness_us: int) -> Step:
    """Puts a new transaction, already scored, into the windows and the recent ones; reversals that waited for it act now.

    `digest` is that of its id, as `classify` reported it.
    """
    key = transaction_key(transaction)
    posted = POSTED if transaction.status == "posted" else 0
    ring = customer.ring
    ring.advance(transaction.time_us)
    ring.add(transaction.time_us, transaction.amount_minor, key, digest, COUNTED | posted)
    _remember(customer, transaction, key, digest, learned=True)
    step = APPLIED
    if customer.waiting:
        waited = sorted((waiting.time_us, own) for own, waiting in customer.waiting.items() if waiting.target == digest)
        for _, own in waited:
            waiting = customer.waiting.pop(own)
            at = ring.find(digest)
            if at < 0 or transaction.time_us > waiting.time_us + lateness_us:
                continue
            undone = _undo(customer, at, digest, waiting, lateness_us)
            if own == digest:
                ring.flags[at] |= REVERSED
            if undone.reversed_digest:
                step = undone
    return step


def book(customer: Customer, transaction: Transaction) -> None:
    """Takes note of the balance that a booked transaction or reversal tells."""
    if transaction.balance_after_minor is not None and transaction.status != "pending":
        balance = Balance(
            transaction.time_us, event_digest(transaction.transaction_id), transaction.balance_after_minor
        )
        tell(customer.balances, transaction.account_id or "", balance)


def forget_waiting(customer: Customer, horizon_us: int) -> None:
    """Drops reversals whose original can no longer come in time."""
    if customer.waiting:
        for digest in [digest for digest, waiting in customer.waiting.items() if waiting.time_us < horizon_us]:
            del customer.waiting[digest]


def _again(customer: Customer, transaction: Transaction, at: int, digest: int, lateness_us: int) -> Step:
    ring = customer.ring
    flags = ring.flags[at]
    if transaction.status == "reversed":
        if flags & (REVERSED | REVERSAL):
            return DUPLICATE
        step = _undo(customer, at, digest, _reversal(transaction, digest), lateness_us)
        ring.flags[at] |= REVERSED
        return step
    if transaction.status == "pending" or flags & POSTED or not flags & COUNTED:
        return DUPLICATE
    key = transaction_key(transaction)
    ring.remove(at)
    ring.advance(transaction.time_us)
    ring.add(transaction.time_us, transaction.amount_minor, key, digest, COUNTED | POSTED | flags & REVERSED)
    old = customer.recent_index(digest)
    if old >= 0:
        customer.replace_recent(old, None)
    _remember(customer, transaction, key, digest, learned=transaction.time_us >= customer.newest_us - lateness_us)
    refund = customer.refunds.pop(digest, None)
    at = ring.find(digest)
    if refund is None or refund.currency != transaction.currency or at < 0:
        return APPLIED
    return _undo(customer, at, digest, refund, lateness_us)


def _reverse_other(customer: Customer, transaction: Transaction, digest: int, lateness_us: int) -> Step:
    """A reversal with an id of its own, or one that came before anything else with its id."""
    ring = customer.ring
    original_id = transaction.original_transaction_id
    target = digest64(original_id) if original_id is not None else digest
    reversal = _reversal(transaction, target)
    ring.advance(transaction.time_us)
    ring.add(transaction.time_us, 0, transaction_key(transaction), digest, ORPHAN if target == digest else REVERSAL)
    if target != digest:
        at = ring.find(target)
        if at >= 0 and not ring.flags[at] & ORPHAN:
            return _undo(customer, at, target, reversal, lateness_us)
    _keep(customer.waiting, digest, reversal, WAITING_MAX)
    return APPLIED


def _undo(customer: Customer, at: int, digest: int, reversal: Waiting, lateness_us: int) -> Step:
    """Takes back all of entry `at`, or a part of it if the reversal is for less in the same currency."""
    ring = customer.ring
    if not ring.flags[at] & COUNTED:
        return APPLIED
    recent_at = customer.recent_index(digest)
    if recent_at >= 0 and reversal.time_us > customer.recent[recent_at].time_us + lateness_us:
        # Had another event come between, the original would have matured: habits must not depend on that.
        recent_at = -1
    if reversal.amount_minor < ring.amounts[at] and unpack_key(ring.keys[at])[0] == reversal.currency:
        ring.reduce(at, reversal.amount_minor)
        before = customer.refunds.get(digest)
        total_minor = reversal.amount_minor + (before.amount_minor if before is not None else 0)
        _keep(customer.refunds, digest, reversal._replace(amount_minor=total_minor), REFUNDS_MAX)
        if recent_at >= 0:
            recent = customer.recent[recent_at]
            left_minor = recent.amount_minor - reversal.amount_minor
            customer.replace_recent(recent_at, recent._replace(amount_minor=left_minor))
        return APPLIED
    ring.cancel(at)
    customer.refunds.pop(digest, None)
    if recent_at >= 0:
        customer.replace_recent(recent_at, customer.recent[recent_at]._replace(learned=False))
    return Step(Outcome.APPLIED, reversed_digest=digest, reversed_by=reversal.event_id, reversed_us=reversal.time_us)


def _reversal(transaction: Transaction, target: int) -> Waiting:
    return Waiting(
        transaction.time_us, transaction.amount_minor, transaction.currency, transaction.transaction_id, target
    )


def _keep(table: dict[int, Waiting], digest: int, reversal: Waiting, limit: int) -> None:
    """Beyond the limit the oldest goes."""
    table[digest] = reversal
    if len(table) > limit:
        del table[min(table, key=lambda other: (table[other].time_us, other))]


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
        transaction.status == "posted",
        device_digest(transaction),
        payee_of(transaction),
        transaction.account_id or "",
        None if transaction.balance_after_minor is None else clamped(transaction.balance_after_minor),
        int(transaction.mcc or 0),
    )
    customer.remember(entry)
