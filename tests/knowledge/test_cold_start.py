"""A new bank: frauds become known after a week, everything else only when the horizon is over. Scores stay near the share of frauds,
alarms near their budget, and the learner does not take its own beginning for drift."""

from __future__ import annotations

import random
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_learning import day_of, learner, prior

from operators.knowledge.backlog import Backlog
from operators.knowledge.facts import Example, ScoreCount
from operators.knowledge.features import LAYOUT, SCHEMA, VERSION
from operators.knowledge.prequential import Prequential, bin_of
from operators.knowledge.threshold import Budget
from operators.knowledge.versions import compile_version
from state.estimators import sigmoid
from state.windows import DAY_US

LABEL_DAYS = 7


@pytest.mark.parametrize(("horizon_days", "seed"), [(8, 1), (14, 2)])
def test_scores_stay_near_the_share_of_frauds_when_labels_begin(horizon_days: int, seed: int) -> None:
    subject = learner()
    model = prior(subject)
    arrivals: dict[int, list[Example]] = defaultdict(list)
    means, frauds, versions, settled = [], 0, [], Prequential()
    days = horizon_days + 14
    for day in range(days):
        examples = day_of(seed, day, model)
        frauds += sum(example.label for example in examples)
        means.append(sum(sigmoid(SCHEMA.unpack(example.features).champion) for example in examples) / len(examples))
        for example in examples:
            if day >= days - 7:
                settled.learn(SCHEMA.unpack(example.features).champion, example.label, 1.0)
            arrivals[day + (LABEL_DAYS if example.label else horizon_days)].append(example)
        for example in arrivals.pop(day, ()):
            subject.add(example)
        if day == horizon_days:  # a restart amid the beginning, while frauds wait
            kept = subject.freeze()
            subject = learner()
            subject.thaw(kept)
        versions = subject.close((day + 1) * DAY_US)
        model = compile_version(versions[0], VERSION, LAYOUT) if versions else model
    share = frauds / days / len(examples)
    print(
        f"seed {seed}: {share:.3f} are frauds, mean score by day {[round(mean, 3) for mean in means]}, {settled.auc():.3f}"
    )
    assert max(means) < 3 * share
    assert 0.5 * share < sum(means[-7:]) / 7 < 2 * share
    assert versions[0].metrics["drifts"] == versions[1].metrics["drifts"] == 0
    assert settled.auc() > 0.75


def test_nothing_is_learned_before_both_kinds_are_known() -> None:
    for label in (0, 1):
        subject = learner()
        for day in range(3):
            for example in day_of(3, day, prior(subject)):
                if example.label == label:
                    subject.add(example)
            assert subject.close((day + 1) * DAY_US) == []


def example(number: int, day: int, label: int) -> Example:
    return Example("transaction", "c", f"t-{number}", day * DAY_US, b"", label)


labelled = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 1)), max_size=12)


@given(st.lists(labelled, min_size=1, max_size=12), st.randoms())
def test_every_example_is_learned_once_whatever_the_order_and_frauds_never_in_a_flood(
    buckets: list[list[tuple[int, int]]], rng: random.Random
) -> None:
    one, other, learned, number = Backlog(), Backlog(), list[Example](), 0
    came = list[Example]()
    for bucket in buckets:
        new = [example(number + at, day, label) for at, (day, label) in enumerate(bucket)]
        number += len(new)
        came += new
        waited = sum(kept.label for kept in one.kept)
        released = one.release(new, 1.25, 1_000)
        assert released == other.release(rng.sample(new, len(new)), 1.25, 1_000)
        undecided = sum(kept.label and kept.time_us > one.decided_us for kept in released)
        assert undecided <= 1.25 * sum(kept.label for kept in new) + 1 or not waited
        learned += released
    ids = [kept.transaction_id for kept in learned + one.kept]
    assert sorted(ids) == sorted(kept.transaction_id for kept in came)
    assert one.begun or not learned


def test_frauds_that_waited_are_caught_up_with_and_new_ones_learned_at_once() -> None:
    backlog, number, waiting = Backlog(), 0, []
    for day in range(90):
        came = []
        for _ in range(4):
            came += [example(number, day - LABEL_DAYS, 1), example(number + 1, day - 21, 0)]
            number += 2
        backlog.release([one for one in came if one.time_us >= 0], 1.25, 1_000)
        waiting.append(len(backlog.kept))
    assert waiting[20] > 50 and waiting[-1] == 0


def test_what_waits_is_bounded() -> None:
    backlog = Backlog()
    for day in range(10):
        assert backlog.release([example(100 * day + at, day, 0) for at in range(100)], 1.25, 150) == []
        assert len(backlog.kept) <= 150


@pytest.mark.parametrize("customers", [5_000, 50_000])
def test_a_model_that_scores_higher_raises_the_threshold_within_three_days(customers: int) -> None:
    budget, share, prior_days = Budget(), 1.0, 5_000.0
    before = {bin_of(-5.0): customers - customers // 1_000, bin_of(-1.0): customers // 1_000}
    after = {bin_of(-5.0): customers - customers // 100, bin_of(1.0): customers // 100}  # ten times the budget
    for day in range(20):
        budget.count(ScoreCount("transaction", 0, day * DAY_US, customers, before))
        budget.settle((day - 13) * DAY_US, 60.0, 0.0)
    quiet = budget.threshold(share, -1.0, prior_days)
    for day in range(20, 23):
        budget.count(ScoreCount("transaction", 0, day * DAY_US, customers, after))
    raised = budget.threshold(share, -1.0, prior_days)
    print(f"threshold {quiet:.2f}, then {raised:.2f}")
    assert quiet <= -0.9 and raised > 0.3


def test_before_any_day_is_settled_the_threshold_only_rises() -> None:
    quiet, loud = Budget(), Budget()
    quiet.count(ScoreCount("transaction", 0, 0, 10_000, {-70: 10_000}))
    loud.count(ScoreCount("transaction", 0, 0, 10_000, {-70: 9_000, 5: 1_000}))
    assert quiet.threshold(0.25, 0.0, 1_000.0) == 0.0 < loud.threshold(0.25, 0.0, 1_000.0)


bins = st.dictionaries(st.integers(-150, 150), st.integers(0, 3_000), min_size=1, max_size=6)


@given(st.lists(bins, min_size=1, max_size=12), st.lists(bins, min_size=3, max_size=3))
def test_a_wave_is_held_to_the_budget_by_itself_not_averaged_with_quiet_months(
    months: list[dict[int, int]], wave: list[dict[int, int]]
) -> None:
    budget, customers, prior_days = Budget(), 10_000, 30_000.0
    for day, rises in enumerate([*months, *wave]):
        budget.count(ScoreCount("transaction", 0, day * DAY_US, customers, rises))
    budget.settle((len(months) - 2) * DAY_US, 60.0, 0.0)
    threshold = budget.threshold(0.25, 0.0, prior_days)
    promised = sum(
        count * sigmoid(-number / 10) for rises in wave for number, count in rises.items() if number / 10 >= threshold
    )
    assert promised <= 0.25 / 1000 * customers * len(wave) * (1 + 1e-6)
