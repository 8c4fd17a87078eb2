"""Of one thing reasons speak in the singular, and of what is overdue as such."""

from __future__ import annotations

import re

import pytest

from operators.alerts.overdraft_words import REASONS_MAX, statement
from operators.cashflow import Outlook
from operators.knowledge.reasons import _WORDS, _text
from operators.overdraft import Circumstances, Danger
from state.business_days import DAY_US
from state.recurring import Flow


@pytest.mark.parametrize("feature", _WORDS)
def test_a_feature_of_one_is_told_in_the_singular(feature: str) -> None:
    text = _text(feature, 1.0, "1.00 EUR")
    assert not re.search(r"\b1 (days|frauds|payments)\b|\b1 payment\b.* (are|were)\b", text), text


@pytest.mark.parametrize(
    ("others", "told"),
    [
        (1, "1 smaller recurring payment until then comes to -5.00 EUR"),
        (2, "2 smaller recurring payments until then come to -10.00 EUR"),
    ],
)
def test_so_are_the_recurring_payments_that_share_a_reason(others: int, told: str) -> None:
    flow = Flow(2 * DAY_US, -500.0, 0.0, "EUR", "a-1", 1, "Bill", 1.0, "direct_debit")
    assert told in texts([flow] * (REASONS_MAX + others))


@pytest.mark.parametrize(
    ("due_day", "told"),
    [
        (0, ["Landlord: 9.00 EUR is due and has not left yet", "Works: 15.00 EUR is due and has not come yet"]),
        (1, ["Landlord: 9.00 EUR leaves on 1970-01-02", "Works: 15.00 EUR is expected only on 1970-01-02"]),
    ],
)
def test_what_is_overdue_is_not_foretold_for_tomorrow(due_day: int, told: list[str]) -> None:
    rent = Flow(due_day * DAY_US, -900.0, 0.0, "EUR", "a-1", 1, "Landlord", 1.0, "standing_order")
    wage = rent._replace(name="Works", amount_minor=1500.0, channel="transfer")
    assert set(told) <= set(texts([rent], wage))


def texts(leaving: list[Flow], later: Flow | None = None) -> list[str]:
    """What alert.overdraft_ahead says on the first day of time of payments until tomorrow, and of an income that comes too late."""
    days = [0.0] * 31
    ahead = Outlook(0, 0, days, days, days, days, [later] if later is not None else [], "EUR", 0.0)
    found = Danger(1, 0.0, [(flow, 0.0) for flow in leaving], 0.0, 0.0, 0.0)
    said = statement(
        "OPEN", "a-1@1970-01-02", ("t-1",), ahead, None, found, Circumstances(0.0, 0.0, 8), None, 1, None, 0
    )
    return [reason.text for reason in said.reasons]
