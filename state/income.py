"""The income profile of a customer: which money comes regularly from others, how often, how much, how surely.

Transfers between the customer's own accounts are no income, neither is interest. Irregular earners (freelancers) have no
regular source: their credits form no rhythm, and nothing is expected of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Final, NamedTuple

from state.customer import Customer
from state.payee import counterparty_digest
from state.recurring import Status, Stream

NO_INCOME: Final = frozenset(("interest", "internal"))
HITS_MIN: Final = 4
"""A salary that came so often is one to rely on."""
STABLE: Final = 1.25
"""The newest two amounts of a stable income differ by this factor at most: raises and hours worked, no piece work."""


class Income(NamedTuple):
    """`monthly_minor` is the sum over all regular sources; `stability` in [0, 1] is the share of expected payments that came."""

    sources: list[Stream]
    cycle: str
    """Cadence of the largest source; "irregular" where there is none."""
    monthly_minor: float
    stability: float


def own_digests(customer: Customer) -> set[int]:
    """The payee digests of the customer's own accounts."""
    return {counterparty_digest(account_id) for account_id in customer.accounts}


def is_regular(stream: Stream, own: set[int]) -> bool:
    """Whether a stream is income that can be relied on."""
    return (
        stream.credit
        and stream.mature
        and stream.hits >= HITS_MIN
        and stream.channel not in NO_INCOME
        and stream.payee not in own
        and max(stream.amounts[-2:]) <= STABLE * min(stream.amounts[-2:])
    )


def monthly_minor(stream: Stream) -> float:
    """What a stream brings or costs in an average month."""
    return usual_minor(stream.amounts) * 30.4 / stream.rhythm.period_days if stream.rhythm is not None else 0.0


def usual_minor(amounts: Iterable[int]) -> float:
    """The middle one: neither a bonus nor a short month moves it."""
    return float(median(amounts))


def income_of(customer: Customer, day: int) -> Income:
    """The income profile on a day (number since 1970-01-01)."""
    own = own_digests(customer)
    sources = [
        stream
        for stream in customer.current_streams()
        if is_regular(stream, own) and stream.status(day) is Status.MATURE
    ]
    if not sources:
        return Income([], "irregular", 0.0, 0.0)
    sources.sort(key=lambda stream: (-monthly_minor(stream), stream.id))
    total = sum(monthly_minor(stream) for stream in sources)
    stability = sum(monthly_minor(stream) * stream.probability() for stream in sources) / total if total else 0.0
    cycle = sources[0].rhythm
    return Income(sources, cycle.name if cycle is not None else "irregular", total, stability)
