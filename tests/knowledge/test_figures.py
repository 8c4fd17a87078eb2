"""Prequential figures equal textbook ones, the calibration puts a bent scale straight, the threshold keeps its budget."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.knowledge.calibration import IDENTITY, fit
from operators.knowledge.facts import ScoreCount
from operators.knowledge.prequential import BINS_A_UNIT, Prequential, bin_of
from operators.knowledge.threshold import Budget
from state.estimators import sigmoid
from state.windows import DAY_US

scored = st.lists(
    st.tuples(st.integers(-60, 60), st.integers(0, 1), st.sampled_from((1.0, 10.0))), min_size=1, max_size=40
)


def seen_of(rows: list[tuple[int, int, float]]) -> Prequential:
    seen = Prequential()
    for number, label, weight in rows:
        seen.learn(number / BINS_A_UNIT, label, weight)
    return seen


@given(scored)
def test_figures_equal_their_definitions(rows: list[tuple[int, int, float]]) -> None:
    seen = seen_of(rows)
    positives = [(number, weight) for number, label, weight in rows if label]
    negatives = [(number, weight) for number, label, weight in rows if not label]
    if positives and negatives:
        wins = sum(p * n * (1.0 if a > b else 0.5 if a == b else 0.0) for a, p in positives for b, n in negatives)
        assert seen.auc() == pytest.approx(wins / sum(p for _, p in positives) / sum(n for _, n in negatives), abs=1e-9)
    if positives:
        precision = [
            w * sum(p for b, p in positives if b >= a) / sum(v for b, _, v in rows if b >= a) for a, w in positives
        ]
        assert seen.average_precision() == pytest.approx(sum(precision) / sum(p for _, p in positives), abs=1e-9)
    losses = [w * math.log1p(math.exp(-n / BINS_A_UNIT if y else n / BINS_A_UNIT)) for n, y, w in rows]
    assert seen.log_loss() == pytest.approx(sum(losses) / sum(w for _, _, w in rows))


@given(scored, st.randoms())
def test_the_order_of_examples_hardly_matters_and_the_bins_are_bounded(
    rows: list[tuple[int, int, float]], rng: random.Random
) -> None:
    shuffled = seen_of(rng.sample(rows, len(rows)))
    assert shuffled.metrics() == pytest.approx(seen_of(rows).metrics())
    assert abs(bin_of(1e9)) == abs(bin_of(-1e9)) == 150


@pytest.mark.parametrize(("slope", "offset"), [(0.5, 1.0), (2.0, -1.0), (1.0, 0.0)])
def test_a_bent_scale_is_put_straight(slope: float, offset: float) -> None:
    rng, raw, straight = random.Random(9), Prequential(), Prequential()
    drawn = []
    for _ in range(20_000):
        logit = rng.gauss(-3.0, 2.0)
        label = int(rng.random() < sigmoid(slope * logit + offset))
        drawn.append((logit, label))
        raw.learn(logit, label, 1.0)
    line = fit(raw, 20.0)
    for logit, label in drawn:
        straight.learn(line.of(logit), label, 1.0)
    print(f"seed 9: {line}, {raw.misplaced():.3f} misplaced, then {straight.misplaced():.3f}")
    assert (line.slope, line.offset) == pytest.approx((slope, offset), abs=0.25)
    assert straight.misplaced() < 0.12


@given(st.lists(st.tuples(st.integers(-150, 150), st.integers(0, 1), st.floats(0.1, 1e4)), max_size=20))
def test_any_outcomes_have_a_rising_line(rows: list[tuple[int, int, float]]) -> None:
    line = fit(seen_of(rows), 20.0)
    assert 0.2 <= line.slope <= 5.0 and math.isfinite(line.offset)
    assert line == IDENTITY or any(label for _, label, _ in rows)


def test_alarms_keep_within_the_budget_once_days_are_settled() -> None:
    rng, budget = random.Random(10), Budget()
    customers, share = 2_000, 1.0
    highest = []
    for day in range(40):
        rises: dict[int, int] = {}
        for _ in range(customers):
            logit = rng.gauss(-5.0, 1.5)
            highest.append(logit)
            rises[bin_of(logit)] = rises.get(bin_of(logit), 0) + 1
        budget.count(ScoreCount("transaction", 0, day * DAY_US, customers, rises))
        budget.settle((day - 13) * DAY_US, 60.0, 0.0)
    threshold = budget.threshold(share, 2.0, 2_000.0)
    alarms = sum(logit >= threshold for logit in highest) / 40 / customers * 1_000
    print(f"seed 10: threshold {threshold}, {alarms:.2f} alarms per 1,000 customers and day")
    assert 0.5 * share < alarms <= 1.2 * share
    assert len(budget.days) == 14


def test_days_of_known_fraud_are_no_false_alarms() -> None:
    budget, same = Budget(), Budget()
    for one in (budget, same):
        one.count(ScoreCount("transaction", 0, 0, 1_000, {-50: 990, 30: 10}))
    for _ in range(10):
        budget.take_out(DAY_US // 2, 30, 0.0)
    for one in (budget, same):
        one.settle(20 * DAY_US, 60.0, 0.0)
    assert budget.threshold(1.0, 0.0, 100.0) < 1.0 < 2.5 < same.threshold(1.0, 0.0, 100.0)


def test_promises_are_believed_once_settled_alarms_have_kept_them() -> None:
    """Forty alarms a day at odds of 400 to 1: by their promise a tenth of a false alarm a day, where 1.25 are allowed."""
    budget, customers, share, prior_alarms = Budget(), 5_000, 0.1, 100.0
    rises = {bin_of(-7.0): customers - 40, bin_of(6.0): 40}

    def threshold() -> float:
        return budget.threshold(0.25, 0.0, 20_000.0, budget.false_share(share, prior_alarms))

    for day in range(60):
        budget.count(ScoreCount("transaction", 0, day * DAY_US, customers, rises))
        if day == 5:
            assert budget.threshold(0.25, 0.0, 20_000.0) == 0.0
            assert threshold() > 6.0, "one in ten of them would be more than the budget"
        for _ in range(40):
            budget.take_out((day - 7) * DAY_US, bin_of(6.0), 6.0)
        budget.settle((day - 13) * DAY_US, 60.0, 6.0)
    assert budget.false == 0.0 and budget.false_share(share, prior_alarms) < 0.01
    assert threshold() < 6.0
    for day in range(60, 90):  # frauds have ended: nobody disputes these payments
        budget.count(ScoreCount("transaction", 0, day * DAY_US, customers, rises))
        budget.settle((day - 13) * DAY_US, 60.0, 6.0)
    assert budget.false_share(share, prior_alarms) > 0.2
    assert threshold() > 6.0
