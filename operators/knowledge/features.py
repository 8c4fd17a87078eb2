"""The features of a transaction: what the fused score is made of. Names, curves and order are versioned by `VERSION`.

part         features
own          strengths of the detectors' findings: the customer's own baseline
merchant     the merchant's row of the table: frauds that became known, business, a run of frauds that is still on
pooled       amounts, times and places as such, and what the customer's last days were like: learned from all customers
unsupervised half-space trees (forest.py): how strange all this is together, among all customers' payments
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from operators.detector import Finding
from operators.knowledge.columns import Cross, Feature, Layout
from operators.knowledge.memory import Memory
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.schema import Schema
from operators.view import View, log_mean_in
from state.categories import GROUPS
from state.events import Transaction
from state.habits import major_units
from state.times import hour_of
from state.windows import ALL_GROUPS, COUNTED, DAY_US, Ring, overall_key, unpack_key

VERSION: Final = 2
"""Goes up with any change of LAYOUT: examples and versions of another one are not understood."""

OWN: Final = ("amount", "novelty", "hour", "velocity", "geo", "duplicate_charge")
"""Detectors whose findings' strengths are features by the detector's name."""
MERCHANT: Final = (
    "merchant_rate_7d",
    "merchant_rate_30d",
    "merchant_streak",
    "merchant_streak_age_d",
    "merchant_fraud_age_d",
    "merchant_n_1d",
)
STRANGENESS: Final = "strangeness"
HEAT_FLOOR: Final = 1e-3
NEVER_DAYS: Final = 365.0
LOOK_BACK_MAX: Final = 64
"""Of the customer's own last payments."""
RAISED: Final = math.log(2.5)
"""A payment of two and a half times the customer's mean is a raised one."""

_AMOUNTS: Final = (
    *(0.0, 1.0, 2.0, 2.5, 3.0, 3.5, 4.0, 4.25, 4.5, 4.75, 5.0, 5.25, 5.5, 5.75, 6.0, 6.25, 6.5, 6.75),
    *(7.0, 7.5, 8.0, 10.0),
)
_LOGS: Final = (-3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
_MAXIMA: Final = (-4.0, -2.0, -1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
_RATES: Final = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 3.5, 4.0, 4.5, 5.0, 5.3, 6.0)
_HEATS: Final = tuple(-7.0 + 0.7 * step for step in range(15))
_STREAK_EDGES: Final = (0.5, 1.5, 2.5, 3.5, 5.5, 8.5)
_STREAK_AGE_EDGES: Final = (0.1, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0, 26.0, 28.0, 30.0, 35.0)
_AMOUNT_EDGES: Final = (1.0, 2.0, 3.0, 3.5, 4.0, 4.5, 5.0, 5.25, 5.5, 5.75, 6.0, 6.5, 7.0)
_MAXIMA_EDGES: Final = (-1.0, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)
_KINDS: Final = 2 * len(GROUPS)
"""Spending groups, each at a till and online."""

LAYOUT: Final = Layout(
    (
        *(Feature(name=name) for name in OWN),
        # Much business without a known fraud is no evidence in a bank that knows of few: a thief shops where everybody does.
        Feature(name="merchant_rate_7d", knots=_RATES, one_sided=True),
        Feature(name="merchant_rate_30d", knots=_RATES, one_sided=True),
        Feature(name="merchant_streak", knots=(0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)),
        Feature(
            name="merchant_streak_age_d",
            knots=(0.0, 7.0, 9.0, 12.0, 15.0, 18.0, 21.0, 24.0, 26.0, 28.0, 30.0, 35.0, 40.0),
        ),
        Feature(
            name="merchant_fraud_age_d", knots=(7.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 60.0, 364.0, 365.0)
        ),
        Feature(name="merchant_n_1d", knots=(0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 50.0)),
        Feature(name="amount_log", knots=_AMOUNTS),
        Feature(name="amount_z", knots=(-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)),
        Feature(name="ratio_own", knots=_LOGS),
        Feature(name="ratio_30d", knots=_LOGS),
        Feature(name="max_48h", knots=_MAXIMA),
        Feature(name="max_7d", knots=_MAXIMA),
        Feature(name="raised_48h", knots=(0.0, 1.0, 2.0, 3.0, 5.0, 8.0, 12.0)),
        Feature(name="count_24h", knots=(0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 20.0)),
        Feature(name="spent_24h", knots=_MAXIMA),
        Feature(name="mean_7d", knots=(-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0, 3.0)),
        Feature(name="kind", categories=_KINDS),
        Feature(name="hour_of_day", categories=24),
        Feature(name="matured", knots=(0.0, 5.0, 20.0, 50.0, 150.0, 500.0, 2000.0)),
        Feature(name="merchant_known"),
        Feature(name="customer_fraud_age_d", knots=(7.0, 8.0, 10.0, 14.0, 21.0, 30.0, 60.0, 120.0, 364.0, 365.0)),
        Feature(name="heat_day", knots=_HEATS),
        Feature(name="heat_week", knots=_HEATS),
        Feature(name=STRANGENESS, knots=(0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.5)),
    ),
    (
        Cross(
            first="merchant_streak",
            second="merchant_streak_age_d",
            first_edges=_STREAK_EDGES,
            second_edges=_STREAK_AGE_EDGES,
        ),
        Cross(first="amount_log", second="kind", first_edges=_AMOUNT_EDGES, second_categories=_KINDS),
        Cross(first="amount_log", second="hour_of_day", first_edges=_AMOUNT_EDGES, second_categories=24),
        Cross(first="kind", second="hour_of_day", first_categories=_KINDS, second_categories=24),
        Cross(first="amount_log", second="max_48h", first_edges=_AMOUNT_EDGES, second_edges=_MAXIMA_EDGES),
    ),
)
PARTS: Final = {
    "own": frozenset(OWN),
    "merchant": frozenset(MERCHANT),
    "pooled": frozenset(feature.name for feature in LAYOUT.features) - frozenset((*OWN, *MERCHANT, STRANGENESS)),
    "unsupervised": frozenset((STRANGENESS,)),
}
_STRANGE: Final = (
    *OWN,
    *("merchant_rate_7d", "merchant_rate_30d", "merchant_streak"),
    *("ratio_30d", "max_48h", "raised_48h", "spent_24h"),
)
"""What half-space trees look at: what is 0 in everyday life, or little."""
STRANGE: Final = tuple(at for at, feature in enumerate(LAYOUT.features) if feature.name in _STRANGE)
SCHEMA: Final = Schema(VERSION, LAYOUT, STRANGE, STRANGENESS)


def of_findings(findings: Mapping[str, Finding] | None) -> list[float]:
    """The strengths of the detectors' findings, in the order of OWN."""
    if findings is None:
        return [0.0] * len(OWN)
    return [finding.strength if (finding := findings.get(name)) is not None else 0.0 for name in OWN]


def values(
    view: View,
    transaction: Transaction,
    findings: Mapping[str, Finding] | None,
    row: MerchantRow | None,
    memory: Memory,
) -> list[float]:
    """The features of the transaction that `view` was filled for, in the order of LAYOUT; all but the last, the strangeness of these."""
    result = of_findings(findings)
    time_us, amount_log, own_mean, customer = view.time_us, view.log_amount, view.overall_mean, view.customer
    if row is None:
        result += (0.0, 0.0, 0.0, 0.0, NEVER_DAYS, 0.0)
    else:
        result += (
            math.log(row.rate_7d / row.prior),
            math.log(row.rate_30d / row.prior),
            float(row.streak),
            (time_us - row.streak_from_us) / DAY_US if row.streak else 0.0,
            (time_us - row.fraud_us) / DAY_US if row.fraud_us else NEVER_DAYS,
            float(row.n_1d),
        )
    _, _, n_24h, sum_24h, n_7d, sum_7d, n_30d, sum_30d = view.overall_totals
    currency, _, group = unpack_key(view.key)
    unit = major_units(1, currency)
    weight = view.priors.overall_weight
    usual = math.expm1(log_mean_in(view.priors.log_mean, currency))
    times = customer.ring.times
    days = min(30.0, max(1.0, (time_us - times[0]) / DAY_US)) if times else 1.0
    usual_day = ((sum_30d - sum_24h) * unit + weight * usual) / (days + weight)
    max_48h, max_7d, raised_48h = _look_back(customer.ring, view, own_mean, unit)
    heat_day, heat_week = memory.heat(time_us)
    result += (
        amount_log,
        view.amount_z,
        amount_log - own_mean,
        amount_log - math.log1p((sum_30d * unit + weight * usual) / (n_30d + weight)),
        max_48h,
        max_7d,
        raised_48h,
        float(n_24h),
        math.log1p(sum_24h * unit) - math.log1p(usual_day),
        math.log1p(sum_7d * unit / n_7d) - own_mean if n_7d else 0.0,
        float(2 * group + (transaction.channel == "ecommerce")),
        float(hour_of(time_us)),
        float(view.matured),
        1.0 if view.merchant in customer.merchants else 0.0,
        min((time_us - memory.fraud_us) / DAY_US, NEVER_DAYS) if memory.fraud_us else NEVER_DAYS,
        math.log(heat_day + HEAT_FLOOR),
        math.log(heat_week + HEAT_FLOOR),
    )
    return result


def _look_back(ring: Ring, view: View, own_mean: float, unit: float) -> tuple[float, float, float]:
    """Of the customer's own payments before this one: the largest of 48 hours and of 7 days as log to the own mean (0 where there
    are none), and how many of 48 hours were raised."""
    time_us, overall = view.time_us, overall_key(view.key)
    times, amounts, keys, flags = ring.times, ring.amounts, ring.keys, ring.flags
    early_us, late_us = time_us - 7 * DAY_US, time_us - 2 * DAY_US
    raised_minor = math.expm1(own_mean + RAISED) / unit
    largest_48h = largest_7d = -1
    raised = 0
    for at in range(len(times) - 1, max(-1, len(times) - 1 - LOOK_BACK_MAX), -1):
        at_us = times[at]
        if at_us <= early_us:
            break
        if at_us <= time_us and flags[at] & COUNTED and keys[at] | ALL_GROUPS == overall:
            amount = amounts[at]
            if amount > largest_7d:
                largest_7d = amount
            if at_us > late_us:
                if amount > largest_48h:
                    largest_48h = amount
                if amount > raised_minor:
                    raised += 1
    return (
        math.log1p(largest_48h * unit) - own_mean if largest_48h >= 0 else 0.0,
        math.log1p(largest_7d * unit) - own_mean if largest_7d >= 0 else 0.0,
        float(raised),
    )
