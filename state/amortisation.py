"""What a loan costs, month by month, exact to the minor unit.

Each month the interest on what is owed is rounded half to even, the payment is made, and what is left goes on; the last payment is
the rest, which may be a hundredth more than the others: rounding must not make a month of a few cents. Rates are percent a year, a
month is a twelfth of it. Integers throughout: a rate counts to a millionth of a percent.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Final, NamedTuple

MONTHS_MAX: Final = 600
"""Fifty years: a loan that is paid off later is paid off never."""
MILLIONTHS: Final = 1_000_000
YEAR_PERCENT: Final = 1200
"""A yearly rate in percent over this is the share of a month."""
DIGITS: Final = 50
PARTS: Final = YEAR_PERCENT * MILLIONTHS
LAST_PERCENT_MAX: Final = 101
"""What the last payment may be, of the others."""


class Plan(NamedTuple):
    """How a loan is paid off. Money in minor units."""

    months: int
    payment_minor: int
    interest_minor: int
    """In all."""
    last_minor: int
    """The last payment."""


def month_interest(owed_minor: int, millionths: int) -> int:
    """At a yearly rate in millionths of a percent.

    >>> month_interest(100_000_00, 3_600_000), month_interest(1_000, 3_000_000), month_interest(1_000, 1_800_000)
    (30000, 2, 2)
    """
    whole, rest = divmod(owed_minor * millionths, PARTS)
    return whole + (2 * rest > PARTS or (2 * rest == PARTS and whole % 2 == 1))


def pay_off(owed_minor: int, rate: float, payment_minor: int) -> Plan | None:
    """How `owed_minor` (more than 0) is paid off by `payment_minor` a month; None if not within MONTHS_MAX.

    >>> pay_off(1_000_00, 12.0, 340_02)
    Plan(months=3, payment_minor=34002, interest_minor=2007, last_minor=34003)
    """
    left_minor, interest_minor, millionths = owed_minor, 0, round(rate * MILLIONTHS)
    for month in range(1, MONTHS_MAX + 1):
        charged_minor = month_interest(left_minor, millionths)
        interest_minor += charged_minor
        left_minor += charged_minor
        if left_minor * 100 <= payment_minor * LAST_PERCENT_MAX:
            return Plan(month, payment_minor, interest_minor, left_minor)
        if charged_minor >= payment_minor:
            return None
        left_minor -= payment_minor
    return None


def annuity(owed_minor: int, rate: float, months: int) -> Plan:
    """Equal payments for `months` (1 to MONTHS_MAX): owed · i / (1 − (1 + i)^−months), rounded half to even; the last payment makes up for
    what rounding leaves.

    >>> annuity(1_000_00, 12.0, 3)
    Plan(months=3, payment_minor=34002, interest_minor=2007, last_minor=34003)
    """
    payment_minor = annuity_payment(owed_minor, rate, months)
    left_minor, interest_minor, millionths = owed_minor, 0, round(rate * MILLIONTHS)
    for _ in range(months - 1):
        charged_minor = month_interest(left_minor, millionths)
        interest_minor += charged_minor
        left_minor = max(0, left_minor + charged_minor - payment_minor)
    charged_minor = month_interest(left_minor, millionths)
    return Plan(months, payment_minor, interest_minor + charged_minor, left_minor + charged_minor)


def annuity_payment(owed_minor: int, rate: float, months: int) -> int:
    """What is paid each month of an `annuity`, without going through its months.

    >>> annuity_payment(1_000_00, 12.0, 3)
    34002
    """
    with localcontext() as context:
        context.prec = DIGITS
        share = Decimal(round(rate * MILLIONTHS)) / PARTS
        exact = owed_minor * share / (1 - (1 + share) ** -months) if share else Decimal(owed_minor) / months
        return int(exact.quantize(Decimal(1), ROUND_HALF_EVEN))
