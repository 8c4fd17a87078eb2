"""How likely an account is to fall below zero soon, what leads there, and how much money would prevent it.

The log-odds are a function of two points of the forecast (operators/cashflow.py): the lowest, and the lowest that recurring payments
alone would lead to. People spend less when little is left, but the rent leaves whatever is there. What leads to each point adds up: the
balance now, each recurring payment until then, everyday movements. So the log-odds are shared out among them exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from operators.cashflow import Outlook
from state.estimators import sigmoid
from state.recurring import Flow

MARGIN_MIN, MARGIN_MAX = -6.0, 8.0
"""In standard deviations. Beyond, more margin or less of it tells nothing more."""
MARGIN_BEND = 1.5
SHARE_MIN, SHARE_MAX = -0.5, 1.0
RESERVE_MAX = 0.5
AMOUNT_MAX = 1 << 62

Weights = Mapping[str, float]
"""Log-odds per unit of each of the values of `values`; those not named count nothing."""


class Circumstances(NamedTuple):
    """What the lowest point is compared with, in minor units."""

    turnover_minor: float
    """What usually leaves in a month: the measure of what is much."""
    reserve_minor: float
    """On savings accounts of the customer."""
    days: int
    """How far ahead the lowest point is looked for."""


class Danger(NamedTuple):
    """The lowest point ahead, and what each part of the forecast adds to the log-odds."""

    days: int
    """From today."""
    balance: float
    """Of what is on the account now."""
    flows: list[tuple[Flow, float]]
    everyday: float
    reserve: float

    @property
    def log_odds(self) -> float:
        return self.balance + sum(part for _, part in self.flows) + self.everyday + self.reserve


def lowest(outlook: Outlook, days: int, more_minor: float = 0.0) -> int:
    """The day on which the margin above zero, in standard deviations, is least, if there were `more_minor` more."""
    means, sds = outlook.means, outlook.sds
    return min(range(1, days + 1), key=lambda index: (means[index] + more_minor) / sds[index])


def lowest_fixed(outlook: Outlook, days: int) -> int:
    """The day on which recurring payments alone would leave least."""
    means, everyday = outlook.means, outlook.everyday
    return min(range(1, days + 1), key=lambda index: means[index] - everyday[index])


def largest_drop(outlook: Outlook, days: int) -> int:
    """The day on which recurring payments take most."""
    fixed = [mean - spent for mean, spent in zip(outlook.means, outlook.everyday, strict=True)]
    return min(range(1, days + 1), key=lambda index: fixed[index] - fixed[index - 1])


def values(outlook: Outlook, about: Circumstances, more_minor: float = 0.0) -> dict[str, float]:
    """What the log-odds are made of, if there were `more_minor` more. `margin…` are zero where the lowest point is, `fixed` where the
    lowest of recurring payments alone is."""
    index = lowest(outlook, about.days, more_minor)
    margin = min(MARGIN_MAX, max(MARGIN_MIN, (outlook.means[index] + more_minor) / outlook.sds[index]))
    index = lowest_fixed(outlook, about.days)
    fixed = (outlook.means[index] - outlook.everyday[index] + more_minor) / about.turnover_minor
    index = largest_drop(outlook, about.days)
    drop = outlook.means[index] - outlook.means[index - 1] - outlook.everyday[index] + outlook.everyday[index - 1]
    return {
        "margin": margin,
        "margin_above": max(margin - MARGIN_BEND, 0.0),
        "margin_below": min(margin + MARGIN_BEND, 0.0),
        "fixed": min(SHARE_MAX, max(SHARE_MIN, fixed)),
        "drop": min(0.0, max(-1.0, drop / about.turnover_minor)),
        "reserve": min(RESERVE_MAX, max(0.0, about.reserve_minor) / about.turnover_minor),
    }


def log_odds(weights: Weights, outlook: Outlook, about: Circumstances, more_minor: float = 0.0) -> float:
    """Without the base."""
    return sum(weights.get(name, 0.0) * value for name, value in values(outlook, about, more_minor).items())


def danger(weights: Weights, outlook: Outlook, about: Circumstances) -> Danger:
    """Shares out the log-odds: those of each point over the parts that add up to it, in proportion."""
    part = {name: weights.get(name, 0.0) * value for name, value in values(outlook, about).items()}
    low, fixed, drop = (find(outlook, about.days) for find in (lowest, lowest_fixed, largest_drop))
    level_minor = outlook.means[fixed] - outlook.everyday[fixed]
    slope_low = _slope(part["margin"] + part["margin_above"] + part["margin_below"], outlook.means[low])
    slope_fixed = _slope(part["fixed"], level_minor)
    slope_drop = _slope(
        part["drop"], sum(f.probability * f.amount_minor for f in outlook.flows if outlook.index_of(f) == drop)
    )
    shares = []
    for flow in outlook.flows:
        index = outlook.index_of(flow)
        slope = slope_low * (index <= low) + slope_fixed * (index <= fixed) + slope_drop * (index == drop)
        if slope:
            shares.append((flow, flow.probability * flow.amount_minor * slope))
    balance = outlook.balance_minor * (slope_low + slope_fixed)
    return Danger(low, balance, shares, outlook.everyday[low] * slope_low, part["reserve"])


def _slope(log_odds: float, amount_minor: float) -> float:
    """Log-odds per minor unit. Where there is nothing to share, there is nothing to share out."""
    return log_odds / amount_minor if amount_minor and log_odds else 0.0


def enough_minor(
    weights: Weights, base: float, outlook: Outlook, about: Circumstances, probability: float, step_minor: int
) -> int | None:
    """The least amount, in whole steps, that brings the probability below `probability`; None if money alone can't."""

    def low_enough(steps: int) -> bool:
        return sigmoid(base + log_odds(weights, outlook, about, float(steps * step_minor))) < probability

    high = 1
    while not low_enough(high):
        high *= 2
        if high > AMOUNT_MAX:
            return None
    low = high // 2
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if low_enough(middle) else (middle, high)
    return high * step_minor
