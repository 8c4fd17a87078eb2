"""Income that can be relied on: which money comes regularly from others, how much, how surely.

Transfers between the customer's own accounts are no income, neither is interest. Irregular earners (freelancers) have no
regular source: their credits form no rhythm, and nothing is expected of them. What takes the place of a regular income, on its
days and nearly as much, is relied on as soon as it has come twice: a new employer's pay, a benefit, or the old one's after parental leave.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Final

from state.customer import Customer
from state.payee import counterparty_digest
from state.recurring import Stream

NO_INCOME: Final = frozenset(("interest", "internal"))
HITS_MIN: Final = 4
"""A salary that came so often is one to rely on."""
HEIR_HITS_MIN: Final = 2
"""So often, where it took the place of one that was relied on."""
HEIR_SHARE_MIN: Final = 0.5
"""Of what came before: a benefit or a pension is at least half of the wage."""
HEIR_LATE_DAYS: Final = 6
"""The heir's first payment comes around the day on which the next one of the old would have been due."""
STABLE: Final = 1.3
"""The newest two amounts of a stable income differ by this factor at most: raises, hours worked, a month of unpaid leave, which takes up to
a fifth; no piece work."""


def own_digests(customer: Customer) -> set[int]:
    """The payee digests of the customer's own accounts."""
    return {counterparty_digest(account_id) for account_id in customer.accounts}


def is_regular(stream: Stream, own: set[int]) -> bool:
    """Whether a stream is income that can be relied on."""
    return stream.mature and stream.hits >= HITS_MIN and _may_be_income(stream, own)


def _may_be_income(stream: Stream, own: set[int]) -> bool:
    return (
        stream.credit
        and stream.channel not in NO_INCOME
        and stream.payee not in own
        and max(stream.amounts[-2:]) <= STABLE * min(stream.amounts[-2:])
    )


def reliable(streams: Sequence[Stream], own: set[int]) -> list[tuple[Stream, float]]:
    """The income that is relied on, each with how likely its next payment is; that of an heir is what its forerunner's was."""
    found = []
    for stream in streams:
        if is_regular(stream, own):
            found.append((stream, stream.probability()))
        elif (forerunner := _forerunner(stream, streams, own)) is not None:
            found.append((stream, forerunner.probability()))
    return found


def _forerunner(stream: Stream, streams: Sequence[Stream], own: set[int]) -> Stream | None:
    """The income whose place a young stream took, if both together came often enough to rely on; None if it took none's."""
    rhythm = stream.rhythm
    if rhythm is None or not HEIR_HITS_MIN <= stream.hits < HITS_MIN or not _may_be_income(stream, own):
        return None
    for other in streams:
        if other.id == stream.id or other.key != stream.key or other.rhythm is None:
            continue
        if other.mature and other.hits + stream.hits >= HITS_MIN and _may_be_income(other, own):
            follows = other.last_day < stream.days[0] <= (other.due_day() or 0) + HEIR_LATE_DAYS
            alike = min(stream.amounts) >= HEIR_SHARE_MIN * usual_minor(other.amounts)
            if follows and alike and other.rhythm.cadence == rhythm.cadence:
                return other
    return None


def monthly_minor(stream: Stream) -> float:
    """What a stream brings or costs in an average month."""
    return usual_minor(stream.amounts) * 30.4 / stream.rhythm.period_days if stream.rhythm is not None else 0.0


def usual_minor(amounts: Iterable[int]) -> float:
    """The middle one: neither a bonus nor a short month moves it."""
    return float(median(amounts))
