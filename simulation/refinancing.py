"""Whose loan would be cheaper at the market's rate, by how much, and from when on: cases that follow from lives and rates.

Reckoned by itself, from what is written in docs/intents.md ("Refinancing"): months are gone through one by one, interest is rounded
half to even, annuities are decimals of sixty digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import NamedTuple

from simulation.bank import Rate
from simulation.ledger import Booking, BookingRow, money
from simulation.life import Account, Case, Life

HOUR = 8
"""The market is observed at this hour."""
COSTS = {"mortgage": (100, 50_000), "loan": (100, 0)}
"""By kind of account: what it takes to change, in basis points of what is owed, and a fixed sum."""
USUAL_MONTHS = {"mortgage": 240, "loan": 36}
"""What a bank takes for granted before KNOWN_AFTER payments have told what is paid."""
KNOWN_AFTER = 2
SAVING_MIN_MINOR, WORTH_MIN = 2_000, Decimal("0.5")
"""It pays off for so much a month, if it has come back after this share of the time."""
CLOSE_SHARE = Decimal("0.5")
"""It no longer does below this share of both."""
YEAR_BP = 120_000
"""A yearly rate in basis points over this is the share of a month."""
MONTHS_MAX = 600
LAST_PCT = 101
"""A last payment may be so much of the others."""


class Offer(NamedTuple):
    months: int
    payment_minor: int
    offered_minor: int
    cost_minor: int

    @property
    def saving_minor(self) -> int:
        return self.payment_minor - self.offered_minor

    def pays_off(self, share: Decimal = Decimal(1)) -> bool:
        """Whether both conditions hold, each taken by `share`."""
        if self.saving_minor <= 0 or self.saving_minor < SAVING_MIN_MINOR * share:
            return False
        break_even = -(-self.cost_minor // self.saving_minor)
        return 1 - Decimal(break_even) / self.months >= WORTH_MIN * share


def refinance_cases(life: Life, bookings: list[BookingRow], rates: list[Rate]) -> Iterator[Case]:
    """refinance: a rate of the market at which changing a loan begins to pay off."""
    for index, account in enumerate(life.accounts):
        payment_minor = next((bill.amount_minor for bill in life.bills if bill.into == index), 0)
        if account.kind not in COSTS or not payment_minor:
            continue
        is_open = False
        balances = _balances(life, index, bookings, [rate for rate in rates if rate.product == account.kind])
        for rate, balance_minor, payments in balances:
            known_minor = payment_minor if payments >= KNOWN_AFTER else 0
            offer = _offer(account, -balance_minor, known_minor, rate.value_bp)
            if is_open:
                is_open = offer is not None and offer.pays_off(CLOSE_SHARE)
            elif offer is not None and offer.pays_off():
                is_open = True
                at_us = life.almanac.time_us(rate.day, HOUR * 3600)
                yield Case("refinance", at_us, at_us, _detail(account, rate, offer))


def _balances(
    life: Life, index: int, bookings: list[BookingRow], rates: Iterable[Rate]
) -> Iterator[tuple[Rate, int, int]]:
    """The account's balance at each rate, while it is open, and how many payments have come by then."""
    account = life.accounts[index]
    own = [booking for row in bookings if (booking := Booking(*row)).account == index]
    at, balance_minor, payments = 0, account.balance_minor, 0
    for rate in rates:
        time_us = life.almanac.time_us(rate.day, HOUR * 3600)
        while at < len(own) and own[at].time_us <= time_us:
            balance_minor = own[at].balance_minor
            payments += own[at].amount_minor > 0
            at += 1
        if account.first_day <= rate.day < account.last_day:  # a loan is told of before the rates of its first day
            yield rate, balance_minor, payments


def _offer(account: Account, owed_minor: int, payment_minor: int, value_bp: int) -> Offer | None:
    """`payment_minor`: 0 if it is not known."""
    if owed_minor <= 0:
        return None
    months = USUAL_MONTHS[account.kind]
    if payment_minor:
        months = _months_left(owed_minor, account.rate_bp, payment_minor) or 0
    else:
        payment_minor = _annuity(owed_minor, account.rate_bp, months)
    if not months:
        return None
    share_bp, fixed_minor = COSTS[account.kind]
    cost_minor = fixed_minor + _half_even(owed_minor * share_bp, 10_000)
    return Offer(months, payment_minor, _annuity(owed_minor, value_bp, months), cost_minor)


def _months_left(owed_minor: int, rate_bp: int, payment_minor: int) -> int | None:
    """
    >>> _months_left(1_000_00, 1_200, 340_02), _months_left(1_000_00, 1_200, 9_00)
    (3, None)
    """
    for month in range(1, MONTHS_MAX + 1):
        interest_minor = _half_even(owed_minor * rate_bp, YEAR_BP)
        owed_minor += interest_minor
        if owed_minor * 100 <= payment_minor * LAST_PCT:
            return month
        if interest_minor >= payment_minor:
            return None
        owed_minor -= payment_minor
    return None


def _annuity(owed_minor: int, rate_bp: int, months: int) -> int:
    """
    >>> _annuity(1_000_00, 1_200, 3)
    34002
    """
    with localcontext() as context:
        context.prec = 60
        i = Decimal(rate_bp) / YEAR_BP
        exact = owed_minor * i / (1 - (1 + i) ** -months) if rate_bp else Decimal(owed_minor) / months
        return int(exact.to_integral_value(ROUND_HALF_EVEN))


def _half_even(above: int, below: int) -> int:
    """
    >>> _half_even(5, 2), _half_even(7, 2)
    (2, 4)
    """
    whole, rest = divmod(above, below)
    return whole + (2 * rest > below or (2 * rest == below and whole % 2))


def _detail(account: Account, rate: Rate, offer: Offer) -> dict[str, str | int | float]:
    return {
        "account_id": account.account_id,
        "series": rate.series,
        "rate": account.rate_bp / 100,
        "rate_offered": rate.value_bp / 100,
        "months": offer.months,
        "payment": money(offer.payment_minor),
        "payment_offered": money(offer.offered_minor),
        "saving_per_month": money(offer.saving_minor),
        "cost": money(offer.cost_minor),
    }
