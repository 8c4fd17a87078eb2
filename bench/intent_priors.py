"""Learns the prior weights in config/intents.toml from simulated customers, and prints them as TOML.

python bench/intent_priors.py [--customers N] [--days D] [--seed S …] [--test S …]

Worlds of 400 customers and the seeds 432, 433, 434 and 521 gave the weights in the file; worlds of 300 customers and the seeds 34 and 35
those of home purchases. A logistic regression by Newton's method, with a small ridge, of whether the outcome came within the horizon: one
row for each customer and week. With --test, worlds that were not learned from say how good the models are: the area under the ROC curve
and the mean calibration error over ten bins.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from intent_weeks import Lives, clean_world, world_of

from operators.catalogue import read_configs
from operators.intent import churn, home_purchase, life_event, product
from operators.intent.frame import Feature
from operators.intent.regular import income_of, succession
from operators.intent.traces import DAY_US, Week
from simulation.scorecard_rules import Case
from state.settings_reading import load_settings

RIDGE = 0.5
STEPS_MAX = 40
SEEN_BEFORE_DAYS, SEEN_AFTER_DAYS = 45, 75
"""A life event shows so long before and after; the scorecard's window is a little wider."""

BY_PRODUCT = "by_product."
"""Prefix of the columns that are one for one product and zero for all others."""

CONFIGS = read_configs(load_settings(environment={}).detectors)[2]
Rows = Iterator[tuple[Sequence[Feature], bool]]


class Target(NamedTuple):
    """One model: the table of its weights, and the rows that a customer's weeks give."""

    table: str
    rows: Callable[[list[Week], list[Case]], Rows]


def ahead(end_us: int, case: Case, days: float) -> bool:
    """Whether a week that ended then foresees the case."""
    return 0 < case.start_us - end_us <= days * DAY_US


def of_home(weeks: list[Week], cases: list[Case]) -> Rows:
    config = CONFIGS["home_purchase"]
    for week in weeks:
        outcome = any(c.kind == "home_purchase" and ahead(week.end_us, c, config.horizon_days) for c in cases)
        yield home_purchase.features_of(config, week), outcome


def of_churn(weeks: list[Week], cases: list[Case]) -> Rows:
    config = CONFIGS["churn"]
    for week in weeks:
        if week.weeks >= config.weeks_min:
            yield (
                churn.features_of(week, income_of(week)),
                any(c.kind == "churn" and ahead(week.end_us, c, config.horizon_days) for c in cases),
            )


def of_life_event(kind: str) -> Callable[[list[Week], list[Case]], Rows]:
    config = CONFIGS["life_event"]

    def rows(weeks: list[Week], cases: list[Case]) -> Rows:
        starts = [c.start_us for c in cases if c.kind == "life_event" and c.detail.get("event") == kind]
        known = set(config.kinds[kind].weights)
        for week in weeks:
            seen = any(-SEEN_BEFORE_DAYS * DAY_US < week.end_us - s < SEEN_AFTER_DAYS * DAY_US for s in starts)
            yield [one for one in life_event.features_of(config, week, succession(week)) if one.name in known], seen

    return rows


def of_product(weeks: list[Week], cases: list[Case]) -> Rows:
    config = CONFIGS["product"]
    for name in (name for name, one in config.products.items() if one.intent == product.NAME):
        taken = [c for c in cases if c.kind == "product" and c.detail.get("product") == name]
        for week in weeks:
            found = product.features_of(config, week, product.interests_of(config, week), name)
            features = [one for one in found if one.name != product.USUAL]
            features.append(Feature(BY_PRODUCT + name, 1.0, None))
            yield features, any(ahead(week.end_us, c, config.horizon_days) for c in taken)


TARGETS = (
    Target("home_purchase", of_home),
    Target("churn", of_churn),
    Target("product", of_product),
    *(Target(f"life_event.kinds.{kind}", of_life_event(kind)) for kind in CONFIGS["life_event"].kinds),
)


def matrix(target: Target, worlds: Sequence[Lives]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Names of the features, one row of values for each week, and the outcomes."""
    names: list[str] = []
    rows: list[dict[str, float]] = []
    outcomes: list[bool] = []
    for world in worlds:
        for customer_id, weeks in world.weeks.items():
            for features, outcome in target.rows(weeks, world.truth.get(customer_id, [])):
                rows.append({one.name: one.x for one in features})
                outcomes.append(outcome)
    names = sorted(set().union(*rows)) if rows else []
    return names, np.array([[row.get(name, 0.0) for name in names] for row in rows]), np.array(outcomes, dtype=float)


def learn(values: np.ndarray, outcomes: np.ndarray) -> np.ndarray:
    """Base first, then one weight for each column."""
    inputs = np.hstack([np.ones((len(values), 1)), values])
    weights = np.zeros(inputs.shape[1])
    penalty = RIDGE * np.eye(len(weights))
    penalty[0, 0] = 1e-6
    for _ in range(STEPS_MAX):
        chance = probability(inputs @ weights)
        slope = inputs.T @ (chance - outcomes) + penalty @ weights
        curve = (inputs * (chance * (1 - chance))[:, None]).T @ inputs + penalty
        step = np.linalg.solve(curve, slope)
        weights -= step
        if np.abs(step).max() < 1e-7:
            break
    return weights


def probability(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -40, 40))))


def area(scores: np.ndarray, outcomes: np.ndarray) -> float:
    """Under the ROC curve; ties count half."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    positives = outcomes.sum()
    return float(
        (ranks[outcomes == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(outcomes) - positives))
    )


def calibration_error(scores: np.ndarray, outcomes: np.ndarray) -> float:
    bins = np.minimum(9, (scores * 10).astype(int))
    return sum(abs(scores[bins == b].mean() - outcomes[bins == b].mean()) * (bins == b).mean() for b in set(bins))


def expected_days(worlds: Sequence[Lives]) -> dict[str, float]:
    """By stage of a product: the median number of days until it is taken, over the weeks of interest."""
    config, days = CONFIGS["product"], {}
    for world in worlds:
        for customer_id, weeks in world.weeks.items():
            for case in world.truth.get(customer_id, []):
                if case.kind != "product":
                    continue
                for week in (week for week in weeks if ahead(week.end_us, case, config.horizon_days)):
                    name = str(case.detail["product"])
                    if week.brief(f"{name}.views") + week.brief(f"{name}.calculators") > 0:
                        stage = product.stage_of(product.interest_of(week, name))
                        days.setdefault(stage, []).append((case.start_us - week.end_us) / DAY_US)
    return {stage: median(found) for stage, found in days.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Learns the prior weights of intents.")
    parser.add_argument("--customers", type=int, default=300)
    parser.add_argument("--days", type=int, default=540)
    parser.add_argument("--seed", type=int, nargs="+", default=[34, 35])
    parser.add_argument("--test", type=int, nargs="*", default=[])
    parser.add_argument("--cache", type=Path, default=None, help="a folder that keeps the weeks of worlds already seen")
    args = parser.parse_args()
    learned = [world_of(clean_world(seed, args.customers, args.days), args.cache) for seed in args.seed]
    unseen = [world_of(clean_world(seed, args.customers, args.days), args.cache) for seed in args.test]
    for target in TARGETS:
        names, values, outcomes = matrix(target, learned)
        base, *weights = learn(values, outcomes)
        note = f"{int(outcomes.sum())} of {len(outcomes)} rows"
        if unseen:
            known, more, truth = matrix(target, unseen)
            assert known == names
            chance = probability(more @ np.array(weights) + base)
            note += f"; unseen: AUC {area(chance, truth):.3f}, calibration error {calibration_error(chance, truth):.4f}"
        print(f"# {note}\n[{target.table}]\nscore_base = {base:.3f}\n\n[{target.table}.weights]")
        told = dict(zip(names, weights, strict=True))
        for name in (name for name in names if not name.startswith(BY_PRODUCT)):
            print(f"{name} = {told[name]:.3f}")
        if any(name.startswith(BY_PRODUCT) for name in names):
            print(f"\n[{target.table}.by_product]")
        for name in (name for name in names if name.startswith(BY_PRODUCT)):
            print(f"{name.removeprefix(BY_PRODUCT)} = {told[name]:.3f}")
        print()
    print(f"# product.expected_days: { {stage: round(days, 1) for stage, days in expected_days(learned).items()} }")


if __name__ == "__main__":
    main()
