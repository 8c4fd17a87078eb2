"""What is on each account: the newest balance that a transaction or an observation told, and what moved since without telling.

Which one is newest is a matter of event time, so the order of arrival leaves no trace.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple, Protocol

BALANCES_MAX: Final = 32
LARGEST_MINOR: Final = 2**62
"""Balances beyond are kept as this much: 64 bits hold them, and no bank does."""


class Balance(NamedTuple):
    """The balance of an account just after `time_us`; `digest` of the event that told it decides between equal times."""

    time_us: int
    digest: int
    minor: int


class Movement(Protocol):
    """A recent transaction, as far as balances go."""

    @property
    def time_us(self) -> int: ...
    @property
    def digest(self) -> int: ...
    @property
    def account(self) -> str: ...
    @property
    def balance_minor(self) -> int | None: ...
    @property
    def signed_minor(self) -> int: ...
    @property
    def learned(self) -> bool: ...
    @property
    def posted(self) -> bool: ...


def tell(balances: dict[str, Balance], account: str, balance: Balance) -> None:
    """Takes note of a balance, unless a newer one is known. Bounded: the account that was silent longest goes."""
    known = balances.get(account)
    if known is not None and known[:2] >= balance[:2]:
        return
    balances[account] = Balance(balance.time_us, balance.digest, clamped(balance.minor))
    if len(balances) > BALANCES_MAX:
        del balances[min(balances, key=lambda name: (balances[name].time_us, name))]


def settle(balances: dict[str, Balance], movement: Movement) -> None:
    """A transaction that told no balance matures: from now on the account's balance contains it."""
    known = balances.get(movement.account)
    if known is not None and movement.balance_minor is None and movement.time_us > known.time_us:
        minor = clamped(known.minor + movement.signed_minor)
        balances[movement.account] = Balance(movement.time_us, movement.digest, minor)


def balance_now(balances: dict[str, Balance], account: str, recent: Iterable[Movement]) -> int | None:
    """Minor units, or None if nothing ever told the account's balance.

    Counts recent transactions that told none; pending ones and those that were reversed don't count.
    """
    known = balances.get(account)
    if known is None:
        return None
    return known.minor + sum(
        movement.signed_minor
        for movement in recent
        if movement.balance_minor is None  # most tell theirs
        and movement.account == account
        and movement.learned
        and movement.posted
        and movement.time_us > known.time_us
    )


def clamped(minor: int) -> int:
    """
    >>> clamped(-5), clamped(10**19) == LARGEST_MINOR
    (-5, True)
    """
    return minor if -LARGEST_MINOR <= minor <= LARGEST_MINOR else max(-LARGEST_MINOR, min(LARGEST_MINOR, minor))
