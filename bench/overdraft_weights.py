"""Makes the weights of alert.overdraft_ahead: [overdraft_ahead] in config/detectors.toml.

python bench/overdraft_weights.py --seeds 501 502 503 [--customers N] [--days D] [--odds L]

1. Every look that the alert takes at an account (after the 90th day) is an example: was it overdrawn within the two weeks? A
   logistic regression over `operators.overdraft.values` answers.
2. Alerts are given at the first look above a threshold, so they are a choice of looks. `--odds` is that threshold, in the
   regression's log-odds: where precision and recall are about equal. Platt's scaling on the alerts that are given then makes their
   scores probabilities: log-odds' = slope x log-odds + offset, which goes into weights, base and threshold.

Development seeds only: the figures are measured on others (bench/cashflow.py).
"""

from __future__ import annotations

import argparse
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
from cashflow import Bank, detector_with

from operators.alerts import overdraft_ahead as alert
from operators.customer_step import CustomerStep, make_policy
from operators.overdraft import values
from simulation.settings import Dirt, WorldSettings
from state.business_days import DAY_US
from state.customer import Customer
from state.events import Event, Transaction
from state.memory_store import MemoryStore
from state.settings_reading import load_settings
from state.shard import Shard

NAMES = ("margin", "margin_above", "below", "fixed", "reserve")
WARM_DAYS = 90
RIDGE = 0.1
"""Keeps weights finite where a value never varies."""


class Look(NamedTuple):
    customer_id: str
    time_us: int
    values: list[float]
    came_us: int | None
    """When the account was overdrawn, if within the two weeks."""


def looks(bank: Bank, horizon_days: int) -> list[Look]:
    """What the alert sees, each time it looks, and what came."""
    found: list[Look] = []
    starts_us: dict[str, list[int]] = {}
    for case in bank.truth.cases:
        if case.kind == "overdraft":
            starts_us.setdefault(case.customer_id, []).append(case.start_us)

    def look(config: Any, state: Any, event: Event, customer: Customer) -> tuple[()]:
        assert isinstance(event, Transaction)
        account = event.account_id or ""
        balance_minor = customer.balance_minor(account)
        worth = balance_minor is not None and alert.worth_a_look(config, event, customer, balance_minor)
        ahead = alert.look_ahead(state, customer, account, event.currency, event.time_us) if worth else None
        if ahead is not None and event.status == "posted":
            seen = values(ahead, alert.circumstances(config, ahead, customer))
            ends_us = event.time_us + horizon_days * DAY_US
            came_us = [at_us for at_us in starts_us.get(event.customer_id, ()) if event.time_us < at_us <= ends_us]
            row = [seen[name] for name in NAMES]
            found.append(Look(event.customer_id, event.time_us, row, min(came_us, default=None)))
        return ()

    settings = load_settings(environment={})
    detector = SimpleNamespace(**{**vars(detector_with(None)), "on_event": look})
    step = CustomerStep(settings.detectors, settings.digest(), (detector,))
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    for first in range(0, len(bank.events), 500):
        shard.apply(bank.events[first : first + 500], 0)
    warm_us = min(event.time_us for event in bank.events) + WARM_DAYS * DAY_US
    return [one for one in found if one.time_us >= warm_us]


def fitted(rows: Any, came: Any) -> Any:
    """Weights of a logistic regression, the base last: Newton's method."""
    x = np.column_stack([rows, np.ones(len(rows))])
    weights = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1.0 / (1.0 + np.exp(-x @ weights))
        curvature = (x * (p * (1.0 - p))[:, None]).T @ x + RIDGE * np.eye(x.shape[1])
        weights += np.linalg.solve(curvature, x.T @ (came - p) - RIDGE * weights)
    return weights


def alerts(
    taken: list[Look], odds: Any, threshold_odds: float, ease_odds: float, horizon_days: int
) -> tuple[list[int], list[bool]]:
    """Which looks would open an episode, one at a time for each customer, and whether the overdraft came."""
    opened: dict[str, Look] = {}
    chosen = []
    for number, one in enumerate(taken):
        before = opened.get(one.customer_id)
        if before is not None and (
            odds[number] < ease_odds
            or one.time_us > before.time_us + horizon_days * DAY_US
            or (before.came_us is not None and one.time_us >= before.came_us)
        ):
            del opened[one.customer_id]
        if odds[number] >= threshold_odds and one.customer_id not in opened:
            opened[one.customer_id] = one
            chosen.append(number)
    return chosen, [taken[number].came_us is not None for number in chosen]


def calibrated(taken: list[Look], odds: Any, threshold_odds: float, ease: float, horizon_days: int) -> tuple[Any, int]:
    """Slope and offset of Platt's scaling, and of how many alerts. How far an episode must ease depends on the scaling: two rounds."""
    scaling, chosen = np.array([1.0, 0.0]), []
    for _ in range(2):
        edge = ease / (1.0 + np.exp(-scaling @ [threshold_odds, 1.0]))
        ease_odds = (np.log(edge / (1.0 - edge)) - scaling[1]) / scaling[0]
        chosen, came = alerts(taken, odds, threshold_odds, ease_odds, horizon_days)
        scaling = fitted(odds[chosen, None], np.array(came, dtype=float))
    return scaling, len(chosen)


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the weights of alert.overdraft_ahead.")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--customers", type=int, default=150)
    parser.add_argument("--days", type=int, default=540)
    parser.add_argument("--odds", type=float, default=0.6, help="log-odds above which an alert is given")
    args = parser.parse_args()
    config = alert.Config(**load_settings(environment={}).detectors[alert.NAME])
    taken: list[Look] = []
    for seed in args.seeds:
        bank = Bank(WorldSettings(args.customers, args.days, seed, dirt=Dirt()))
        taken += looks(bank, config.horizon_days)
    rows = np.array([one.values for one in taken])
    came = np.array([float(one.came_us is not None) for one in taken])
    weights = fitted(rows, came)
    odds = rows @ weights[:-1] + weights[-1]
    (slope, offset), count = calibrated(taken, odds, args.odds, config.ease, config.horizon_days)
    print(f"{len(taken):,} looks, {came.mean():.3f} of them before an overdraft; {count:,} alerts")
    print(f"threshold = {1.0 / (1.0 + np.exp(-(slope * args.odds + offset))):.3f}")
    print(f"score_base = {slope * weights[-1] + offset:.3f}")
    for name, weight in zip(NAMES, weights, strict=False):
        print(f"{name} = {slope * weight:.3f}")


if __name__ == "__main__":
    main()
