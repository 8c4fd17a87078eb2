"""How likely an account is to fall below zero soon, why, and how much money would prevent it.

The log-odds are a fixed function of the lowest point of the forecast (operators/cashflow.py). What leads to that point adds up:
the balance now, each recurring payment until then, everyday spending. So the log-odds are shared out among them exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from operators.cashflow import Outlook
from state.estimators import sigmoid
from state.recurring import Flow

Z_LOW, Z_HIGH = -6.0, 8.0
"""Beyond, more margin or less of it tells nothing more."""
Z_BEND = 1.5


class Weights(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Log-odds per unit; made by bench/overdraft_weights.py, see config/detectors.toml."""

    margin: float
    margin_above: float
    margin_below: float
    share: float
    share_below: float
    reserve: float


class Danger(NamedTuple):
    """The lowest point ahead, measured in standard deviations, and what the forecast's parts add to the log-odds there."""

    days: int
    """From today."""
    log_odds: float
    """Without the base."""
    balance: float
    """The contribution of the balance now; `flows` and `everyday` those of what comes, `reserve` that of other accounts."""
    flows: list[tuple[Flow, float]]
    everyday: float
    reserve: float


def danger(weights: Weights, outlook: Outlook, days: int, turnover_minor: float, reserve_minor: float) -> Danger:
    """`turnover_minor`: what usually leaves in a month, the measure of what is much. `reserve_minor`: on other accounts."""
    index = lowest(outlook, days, 0.0)
    mean = outlook.means[index]
    slope = _slope(weights, mean, outlook.sds[index], turnover_minor)
    until = [(flow, flow.probability * flow.amount_minor * slope) for flow in outlook.flows]
    shared = [part for part in until if outlook.index_of(part[0]) <= index]
    balance = outlook.balance_minor * slope
    everyday = outlook.everyday[index] * slope
    reserve = weights.reserve * _reserve(reserve_minor, turnover_minor)
    log_odds = balance + sum(part for _, part in shared) + everyday + reserve
    return Danger(index, log_odds, balance, shared, everyday, reserve)


def lowest(outlook: Outlook, days: int, more_minor: float) -> int:
    """The day on which the margin above zero, in standard deviations, is least, if there were `more_minor` more."""
    return min(range(1, days + 1), key=lambda index: (outlook.means[index] + more_minor) / outlook.sds[index])


def log_odds_with(
    weights: Weights, outlook: Outlook, days: int, turnover_minor: float, reserve_minor: float, more_minor: float
) -> float:
    """The log-odds, without the base, if there were `more_minor` more on the account."""
    index = lowest(outlook, days, more_minor)
    mean = outlook.means[index] + more_minor
    slope = _slope(weights, mean, outlook.sds[index], turnover_minor)
    return mean * slope + weights.reserve * _reserve(reserve_minor, turnover_minor)


def enough_minor(
    weights: Weights,
    base: float,
    outlook: Outlook,
    days: int,
    turnover_minor: float,
    reserve_minor: float,
    probability: float,
    step_minor: int,
) -> int | None:
    """The least amount, in whole steps, that brings the probability below `probability`; None if no amount does (there is always one
    unless a weight has the wrong sign)."""

    def low_enough(steps: int) -> bool:
        more = float(steps * step_minor)
        return sigmoid(base + log_odds_with(weights, outlook, days, turnover_minor, reserve_minor, more)) < probability

    high = 1
    while not low_enough(high):
        high *= 2
        if high > 1 << 50:
            return None
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if low_enough(middle) else (middle, high)
    return high * step_minor


def _slope(weights: Weights, mean: float, sd: float, turnover_minor: float) -> float:
    """Log-odds per minor unit at the lowest point: the chord from zero, so that mean × slope is exact and shares out among the parts
    of the mean."""
    z = mean / sd
    share = mean / turnover_minor
    bent = min(Z_HIGH, max(Z_LOW, z))
    margin = (
        weights.margin * bent
        + weights.margin_above * max(bent - Z_BEND, 0.0)
        + weights.margin_below * min(bent + Z_BEND, 0.0)
    )
    rest = weights.share * min(1.0, max(-0.5, share)) + weights.share_below * min(0.0, max(-0.5, share))
    if mean == 0.0:
        return weights.margin / sd + weights.share / turnover_minor
    return (margin + rest) / mean


def _reserve(reserve_minor: float, turnover_minor: float) -> float:
    return min(0.5, max(0.0, reserve_minor) / turnover_minor)
