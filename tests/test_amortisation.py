"""Loans are paid off exactly to the cent: against schedules made month by month in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.amortisation import MONTHS_MAX, annuity, month_interest, pay_off

OWED = st.integers(100_00, 900_000_00)
RATES = st.decimals("0", "19.99", places=3).map(float)
MONTHS = st.integers(1, 420)


def rounded(exact: Fraction) -> int:
    """Half to even, as Python rounds fractions."""
    return round(exact)


def by_hand(owed_minor: int, rate: float, payment_minor: int, months: int | None) -> tuple[list[int], int] | None:
    """The payments and all interest; for `months` if given, the last one paying the rest, else until what is left is at most a hundredth
    more than a payment."""
    share = Fraction(str(rate)) / 1200
    payments: list[int] = []
    interest_minor = 0
    while len(payments) < (MONTHS_MAX if months is None else months):
        charged_minor = rounded(owed_minor * share)
        interest_minor += charged_minor
        owed_minor += charged_minor
        last = len(payments) + 1 == months if months is not None else 100 * owed_minor <= 101 * payment_minor
        payments.append(owed_minor if last else min(payment_minor, owed_minor))
        owed_minor -= payments[-1]
        if last:
            return payments, interest_minor
    return None


@given(owed_minor=st.integers(0, 10**12), rate=RATES)
def test_interest_of_a_month_is_the_exact_share_rounded_half_to_even(owed_minor: int, rate: float) -> None:
    assert month_interest(owed_minor, round(rate * 1_000_000)) == rounded(owed_minor * Fraction(str(rate)) / 1200)


@given(owed_minor=OWED, rate=RATES, share=st.integers(2, 400))
def test_a_loan_is_paid_off_as_by_hand(owed_minor: int, rate: float, share: int) -> None:
    payment_minor = max(1, owed_minor // share)
    plan, found = pay_off(owed_minor, rate, payment_minor), by_hand(owed_minor, rate, payment_minor, None)
    if plan is None or found is None:
        assert plan is None and found is None
        return
    payments, interest_minor = found
    assert (plan.months, plan.last_minor, plan.interest_minor) == (len(payments), payments[-1], interest_minor)
    assert sum(payments) == owed_minor + plan.interest_minor


@given(owed_minor=OWED, rate=RATES, months=MONTHS)
def test_equal_payments_pay_a_loan_off_in_time(owed_minor: int, rate: float, months: int) -> None:
    plan = annuity(owed_minor, rate, months)
    found = by_hand(owed_minor, rate, plan.payment_minor, months)
    assert found is not None
    payments, interest_minor = found
    assert (plan.months, plan.last_minor, plan.interest_minor) == (months, payments[-1], interest_minor)
    assert sum(payments) == owed_minor + plan.interest_minor
    share = Fraction(str(rate)) / 1200
    exact = owed_minor * share / (1 - (1 + share) ** -months) if share else Fraction(owed_minor, months)
    assert abs(plan.payment_minor - exact) <= Fraction(1, 2)


@given(owed_minor=OWED, rate=RATES, months=MONTHS, less=st.integers(0, 5000))
def test_a_lower_rate_never_takes_larger_payments(owed_minor: int, rate: float, months: int, less: int) -> None:
    now, then = annuity(owed_minor, rate, months), annuity(owed_minor, max(0.0, rate - less / 1000), months)
    assert then.payment_minor <= now.payment_minor


@given(owed_minor=OWED, rate=st.decimals("0", "7.99", places=3).map(float), months=st.integers(1, 300))
def test_the_rounded_payment_of_a_plan_tells_its_months(owed_minor: int, rate: float, months: int) -> None:
    plan = annuity(owed_minor, rate, months)
    if plan.payment_minor > 100_00:  # of less, a cent a month is too much
        assert pay_off(owed_minor, rate, plan.payment_minor) == plan


def test_a_payment_that_is_less_than_the_interest_never_ends() -> None:
    assert pay_off(100_000_00, 12.0, 1_000_00) is None
    assert pay_off(100_000_00, 12.0, 999_00) is None


@pytest.mark.parametrize(
    ("owed_minor", "rate", "months", "payment_minor"),
    [(100_000_00, 6.0, 360, 599_55), (200_000_00, 4.5, 360, 1_013_37), (10_000_00, 5.0, 48, 230_29)],
)
def test_payments_are_those_of_published_tables(owed_minor: int, rate: float, months: int, payment_minor: int) -> None:
    """Monthly payments that any loan calculator shows for these terms."""
    assert annuity(owed_minor, rate, months).payment_minor == payment_minor
