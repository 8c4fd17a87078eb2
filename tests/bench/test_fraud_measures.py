"""The measures of bench/fraud.py are those of the handbook's protocol."""

from __future__ import annotations

import numpy as np
import pytest
from fraud_measures import Protocol, card_precision, days_of_test, measure
from fraud_payments import Payments
from fraud_windows import hand_made_windows

from state.settings import ConfigError
from state.windows import DAY_US

PROTOCOL = Protocol(label_delay_days=7, cards_known_days=7, cards_top=2, false_positives_share=0.1, costs_days=1)
FROM_US = 100 * DAY_US


def payments(rows: list[tuple[float, int, int, float, int]], scenarios: list[str] | None = None) -> Payments:
    """Rows of (day, customer, merchant, amount, fraud); frauds are known a week later."""
    columns = list(zip(*rows, strict=True))
    time_us = np.array([round(day * DAY_US) for day in columns[0]], dtype=np.int64)
    fraud = np.array(columns[4], dtype=np.int64)
    return Payments(
        ids=[(str(customer), str(row)) for row, customer in enumerate(columns[1])],
        time_us=time_us,
        customers=np.array(columns[1], dtype=np.int64),
        merchants=np.array(columns[2], dtype=np.int64),
        amounts=np.array(columns[3], dtype=np.float64),
        groups=np.zeros(len(rows), dtype=np.int64),
        fraud=fraud,
        known_us=np.where(fraud == 1, time_us + 7 * DAY_US, 0),
        scenarios=scenarios or [""] * len(rows),
    )


def on_days(*rows: tuple[float, int, int]) -> Payments:
    """Rows of (day, customer, fraud)."""
    return payments([(day, customer, 0, 10.0, fraud) for day, customer, fraud in rows])


def test_a_card_is_left_out_from_the_day_on_at_which_its_fraud_is_known() -> None:
    history = on_days(
        (85.5, 1, 1),  # known, but a day too long ago for the handbook's memory
        (86.0, 2, 1),  # known before the test period
        (93.5, 3, 1),  # becomes known on the first day of the test period
        *((day, customer, customer == 4) for day in (100.5, 101.5) for customer in (1, 2, 3, 4)),
    )
    test = days_of_test(history, PROTOCOL, FROM_US, FROM_US + 2 * DAY_US, leave_out_known_cards=True)
    assert [history.customers[rows].tolist() for rows in test.days] == [[1, 3, 4], [1, 4]]
    everyone = days_of_test(history, PROTOCOL, FROM_US, FROM_US + 2 * DAY_US, leave_out_known_cards=False)
    assert [len(rows) for rows in everyone.days] == [4, 4]


def test_a_found_card_is_not_looked_for_again() -> None:
    history = on_days(
        (100.1, 1, 1),
        (100.2, 2, 0),
        (100.3, 3, 1),
        (101.1, 1, 1),
        (101.2, 2, 0),
        (101.3, 3, 1),
        (101.4, 4, 0),
    )
    test = days_of_test(history, PROTOCOL, FROM_US, FROM_US + 2 * DAY_US, leave_out_known_cards=False)
    # Day one: cards 1 and 2 are looked at, 1 is found. Day two: 1 is left out, 3 and 4 are looked at, 3 is found.
    scores = np.array([0.9, 0.8, 0.1, 0.9, 0.1, 0.7, 0.6])
    assert card_precision(history, test, 2, scores) == 0.5
    # Looked for again, card 1 would hide card 4, and 3 as well would be found: still one of two. With one a day it shows.
    assert card_precision(history, test, 1, scores) == 1.0


def test_recall_is_read_where_no_more_than_the_share_of_legitimate_payments_is_above() -> None:
    rows = [(100.0 + row / 1000, row, 0, 1.0, 0) for row in range(20)] + [
        (100.5 + row / 1000, 50 + row, 0, 1.0, 1) for row in range(4)
    ]
    history = payments(rows, [""] * 20 + ["stolen", "stolen", "till", "till"])
    test = days_of_test(history, PROTOCOL, FROM_US, FROM_US + DAY_US, leave_out_known_cards=False)
    # A tenth of 20 may lie above: 18 and 19 do, so a fraud must be above 17.
    scores = np.array([*map(float, range(20)), 17.5, 99.0, 17.0, 3.0])
    measures = measure(history, test, PROTOCOL, scores)
    assert measures.recall_by_scenario == {"stolen": 1.0, "till": 0.0}
    assert measures.recall == 0.5
    assert measures.auc == pytest.approx((20 + 18 + 17.5 + 3.5) / 80)


def test_equal_scores_are_worth_nothing() -> None:
    history = on_days(*((100.0 + row / 100, row, int(row % 10 == 0)) for row in range(50)))
    test = days_of_test(history, PROTOCOL, FROM_US, FROM_US + DAY_US, leave_out_known_cards=False)
    measures = measure(history, test, PROTOCOL, np.full(50, 0.5))
    assert (measures.auc, measures.average_precision, measures.recall) == (0.5, 0.1, 0.0)


def test_a_period_without_frauds_is_refused_with_what_to_do() -> None:
    history = on_days((100.1, 1, 0), (100.2, 2, 0))
    with pytest.raises(ConfigError, match=r"0 frauds .* choose another period"):
        days_of_test(history, PROTOCOL, FROM_US, FROM_US + DAY_US, leave_out_known_cards=False)


def test_windows_are_what_counting_by_hand_gives() -> None:
    seed = 11
    print(f"seed {seed}")
    random = np.random.default_rng(seed)
    days = np.sort(random.integers(0, 60 * 86_400, 400)) / 86_400
    drawn = (
        random.integers(4, size=400),
        random.integers(3, size=400),
        random.integers(1, 99, 400),
        random.random(400) < 0.2,
    )
    rows = [
        (float(day), int(customer), int(merchant), float(amount), int(fraud))
        for day, customer, merchant, amount, fraud in zip(days, *drawn, strict=True)
    ]
    history = payments(rows)
    windows = hand_made_windows(history, 7)
    assert windows.shape == (400, 15)
    for row in range(0, 400, 7):
        day, customer, merchant, amount, _ = rows[row]
        expected = [amount, float((int(day) + 3) % 7 >= 5), float(day % 1 < 0.25)]
        for length in (1, 7, 30):
            own = [r[3] for r in rows if r[1] == customer and day - length < r[0] <= day]
            till = [r[4] for r in rows if r[2] == merchant and day - 7 - length < r[0] <= day - 7]
            expected += [len(own), sum(own) / len(own), len(till), sum(till) / max(1, len(till))]
        assert windows[row].tolist() == pytest.approx(expected), row
