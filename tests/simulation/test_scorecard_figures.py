"""Rates, intervals and calibration, and the two floors: a detector that is silent and one that guesses."""

from __future__ import annotations

import math
import random
from collections import Counter

import numpy as np
import pytest

from simulation.scorecard import score
from simulation.scorecard_card import SignalScore
from simulation.scorecard_figures import calibration_of, days_of, rates
from simulation.scorecard_rules import DAY_US, NULL_TYPE, Case
from simulation.scorecard_run import Alarm, Run
from simulation.scorecard_truth import Truth, World

ROWS = Counter({(0, 0, 0, 100): 50, (1, 1, 0, 100): 20, (1, 0, 0, 100): 10, (0, 0, 1, 90): 5})


def test_rates_are_those_of_the_sums() -> None:
    found = rates(ROWS, resamples=0, seed=1)
    assert found.precision.value == pytest.approx(20 / 25)
    assert found.recall.value == pytest.approx(20 / 30)
    assert found.f1.value == pytest.approx(2 * 20 / (25 + 30))
    assert found.false_alarms_per_year.value == pytest.approx(5 / ((80 * 100 + 5 * 90) / 365.25))


def test_the_same_seed_gives_the_same_intervals_and_another_seed_others() -> None:
    assert rates(ROWS, 500, seed=7) == rates(ROWS, 500, seed=7)
    assert rates(ROWS, 500, seed=7) != rates(ROWS, 500, seed=8)


def test_intervals_do_not_depend_on_the_order_in_which_customers_were_counted() -> None:
    assert rates(Counter(dict(reversed(ROWS.items()))), 200, seed=3) == rates(ROWS, 200, seed=3)


def test_drawing_groups_of_like_customers_gives_the_interval_of_drawing_customers() -> None:
    """Against the plain bootstrap, which draws one customer after another."""
    customers = np.array([row for row, count in ROWS.items() for _ in range(count)])
    rng = np.random.default_rng(11)
    plain = []
    for _ in range(4000):
        drawn = customers[rng.integers(0, len(customers), len(customers))].sum(axis=0)
        plain.append(drawn[1] / drawn[0])
    found = rates(ROWS, 4000, seed=5).recall
    low, high = np.quantile(plain, (0.025, 0.975))
    assert found.low == pytest.approx(low, abs=0.03)
    assert found.high == pytest.approx(high, abs=0.03)


def test_an_interval_is_the_same_in_one_block_of_resamples_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rates(ROWS, 100, seed=2)
    monkeypatch.setattr("simulation.scorecard_figures.RESAMPLE_CELLS_MAX", 8)
    assert rates(ROWS, 100, seed=2) == whole


def test_without_customers_nothing_is_defined() -> None:
    found = rates(Counter(), 100, seed=1)
    assert found.precision.value is found.recall.value is found.false_alarms_per_year.value is None


def test_calibration_error_is_the_weighted_gap_between_score_and_truth() -> None:
    told = [(0.95, True)] * 9 + [(0.95, False)] + [(0.25, False)] * 5 + [(1.0, True), (0.0, False)]
    found = calibration_of(told)
    assert found is not None
    assert [(line.low, line.alarms) for line in found.bins] == [(0.0, 1), (0.2, 5), (0.9, 11)]
    gap_top = abs((0.95 * 10 + 1.0) / 11 - 10 / 11)
    assert found.expected_error == pytest.approx((1 * 0.0 + 5 * 0.25 + 11 * gap_top) / 17)


def test_days_of_no_hit_are_undefined() -> None:
    assert days_of([]).p50 is None


def _world(signal_type: str, alarms: list[Alarm], cases: list[Case], customers: list[str], days: int) -> SignalScore:
    of_customer: dict[str, list[Alarm]] = {}
    for alarm in alarms:
        of_customer.setdefault(alarm.customer_id, []).append(alarm)
    run = Run({signal_type: of_customer}, dict.fromkeys(customers, 0), days * DAY_US - 1)
    card = score(run, Truth(cases, [], 0, World()), resamples=200)
    return next(one for one in card.signals if one.type == signal_type)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_random_detector_is_as_right_as_chance(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    customers = [f"c-{number}" for number in range(400)]
    days = 400
    cases = [
        Case("takeover", name, start := round(rng.uniform(200, 390) * DAY_US), start + DAY_US, {})
        for name in rng.sample(customers, 200)
    ]
    alarms = [Alarm(rng.choice(customers), round(rng.uniform(0, days) * DAY_US), "") for _ in range(8000)]
    card = _world("anomaly.random", alarms, cases, customers, days)
    assert card.role == "floor"
    assert card.precision_by_chance is not None
    assert card.precision_by_chance == pytest.approx(200 * 3 / (400 * 200), rel=0.02)
    judged = card.second_half.hits + card.second_half.repeated + (card.second_half.false_alarms or 0)
    true_share = (card.second_half.hits + card.second_half.repeated) / judged
    deviation = math.sqrt(card.precision_by_chance * (1 - card.precision_by_chance) / judged)
    assert abs(true_share - card.precision_by_chance) < 4 * deviation
    assert card.second_half.rates is not None
    by_chance = 1 - math.exp(-8000 / (400 * 400) * 3)  # of at least one alarm in a window of three days
    assert card.second_half.rates.recall.value == pytest.approx(by_chance, abs=4 * math.sqrt(by_chance / 200))
    assert (card.second_half.rates.precision.value or 1.0) < 0.02


def test_the_null_detector_is_always_shown_with_no_recall_and_undefined_precision() -> None:
    run = Run({}, {"c-1": 0}, 100 * DAY_US)
    card = score(run, Truth([Case("takeover", "c-1", 80 * DAY_US, None, {})], [], 0, World()), resamples=50)
    null = next(one for one in card.signals if one.type == NULL_TYPE).second_half
    assert null.rates is not None
    assert (null.cases, null.alarms, null.rates.recall.value, null.rates.precision.value) == (1, 0, 0.0, None)


def test_a_calibrated_detector_earns_a_small_error_and_an_overconfident_one_a_large_one() -> None:
    rng = random.Random(4)
    told = [(p := rng.random(), rng.random() < p) for _ in range(20_000)]
    honest, proud = calibration_of(told), calibration_of([(min(1.0, p + 0.3), true) for p, true in told])
    assert honest is not None and proud is not None
    assert honest.expected_error < 0.02 < 0.2 < proud.expected_error
