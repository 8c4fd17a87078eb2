"""How likely an account is to fall below zero soon, what leads there, and how much money would prevent it.

The log-odds are a function of two points of the forecast (operators/cashflow.py): the lowest, and the lowest that recurring payments
alone would lead to; and of how many days lie below zero. People spend less when little is left, but the rent leaves whatever is there.
What leads to each point adds up: the balance now, each recurring payment until then, everyday movements. So the log-odds are shared out
among them exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from operators.cashflow import Outlook
from state.estimators import sigmoid
from state.recurring import Flow

MARGIN_MIN, MARGIN_MAX = -2.0, 8.0
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
    below: float
    """Of the days on which less than nothing is expected."""
    reserve: float

    @property
    def log_odds(self) -> float:
        return self.balance + sum(part for _, part in self.flows) + self.everyday + self.below + self.reserve


def lowest(outlook: Outlook, days: int, more_minor: float = 0.0) -> int:
    """The day on which the margin above zero, in standard deviations, is least, if there were `more_minor` more."""
    lows, sds = outlook.lows, outlook.sds
    return min(range(1, days + 1), key=lambda index: (lows[index] + more_minor) / sds[index])


def lowest_fixed(outlook: Outlook, days: int) -> int:
    """The day on which recurring payments alone would leave least."""
    lows, everyday = outlook.lows, outlook.everyday
    return min(range(1, days + 1), key=lambda index: lows[index] - everyday[index])


def days_below(outlook: Outlook, days: int, more_minor: float = 0.0) -> int:
    """On how many of the coming days less than nothing is expected at the lowest."""
    return sum(1 for low in outlook.lows[1 : days + 1] if low + more_minor < 0.0)


def first_below(outlook: Outlook, days: int, z: float = 0.0) -> int | None:
    """The first of the coming days on which the balance is below zero, at the median or z standard deviations beneath it; None if it is
    on none of them."""
    return next((index for index in range(1, days + 1) if outlook.lows[index] < z * outlook.sds[index]), None)


def values(outlook: Outlook, about: Circumstances, more_minor: float = 0.0) -> dict[str, float]:
    """What the log-odds are made of, if there were `more_minor` more. `margin…` are zero where the lowest point is, `fixed` where the
    lowest of recurring payments alone is; `below` is the share of the days on which less than nothing is expected."""
    lows, days = outlook.lows, about.days
    index = lowest(outlook, days, more_minor)
    margin = min(MARGIN_MAX, max(MARGIN_MIN, (lows[index] + more_minor) / outlook.sds[index]))
    index = lowest_fixed(outlook, days)
    fixed = (lows[index] - outlook.everyday[index] + more_minor) / about.turnover_minor
    return {
        "margin": margin,
        "margin_above": max(margin - MARGIN_BEND, 0.0),
        "below": days_below(outlook, days, more_minor) / days,
        "fixed": min(SHARE_MAX, max(SHARE_MIN, fixed)),
        "reserve": min(RESERVE_MAX, max(0.0, about.reserve_minor) / about.turnover_minor),
    }


def log_odds(weights: Weights, outlook: Outlook, about: Circumstances, more_minor: float = 0.0) -> float:
    """Without the base."""
    return sum(weights.get(name, 0.0) * value for name, value in values(outlook, about, more_minor).items())


def danger(weights: Weights, outlook: Outlook, about: Circumstances) -> Danger:
    """Shares out the log-odds: those of each point over the parts that add up to it, in proportion."""
    part = {name: weights.get(name, 0.0) * value for name, value in values(outlook, about).items()}
    low, fixed = lowest(outlook, about.days), lowest_fixed(outlook, about.days)
    slope_low = _slope(part["margin"] + part["margin_above"], outlook.lows[low])
    slope_fixed = _slope(part["fixed"], outlook.lows[fixed] - outlook.everyday[fixed])
    shares = []
    for flow in outlook.flows:
        reaches = outlook.index_of(flow) + (flow.amount_minor > 0)  # what comes in on the day itself comes too late
        slope = slope_low * (reaches <= low) + slope_fixed * (reaches <= fixed)
        if slope:
            shares.append((flow, flow.probability * flow.amount_minor * slope))
    balance = outlook.balance_minor * (slope_low + slope_fixed)
    return Danger(low, balance, shares, outlook.everyday[low] * slope_low, part["below"], part["reserve"])


def _slope(log_odds: float, amount_minor: float) -> float:
    """Log-odds per minor unit. Where there is nothing to share, there is nothing to share out."""
    return log_odds / amount_minor if amount_minor and log_odds else 0.0


def covering_minor(outlook: Outlook, days: int, z: float) -> float:
    """How much more keeps the balance above zero on each of the coming days, even where it is z standard deviations below the median."""
    return max(0.0, max(z * outlook.sds[index] - outlook.lows[index] for index in range(1, days + 1)))


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
