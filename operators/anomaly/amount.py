"""Is this amount unusual for this customer in this kind of shop?

looks at   the logarithm of the amount against the customer's own mean and spread in the same spending group, currency and direction,
           shrunk to the customer's overall habit and that to a prior
needs      nothing: with no history the prior speaks, and its wide spread keeps it quiet
says       nothing by itself; adds "amount" to anomaly.transaction: standard deviations beyond `z_free`, the further out the less
           for each, since amounts have heavier tails than a normal distribution
state      none of its own (the profile's moments: 24 bytes for each of at most 48 kinds of shop)
blind to   small amounts (testing a stolen card), slow growth, which becomes the habit; whether a car or a stolen card was paid for
source     normal-normal shrinkage, Gelman et al., Bayesian Data Analysis, 3rd ed., section 2.5
"""

from __future__ import annotations

import math

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.categories import GROUPS
from state.events import Transaction
from state.money import EXPONENT, format_minor
from state.signals import Reason
from state.windows import unpack_key

NAME = "amount"
VERSION = 2
SIGNAL = None
State = None


class Config(DetectorConfig, frozen=True, kw_only=True):
    z_free: float = 1.0
    z_tail: float = 2.0


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    excess = view.amount_z - config.z_free
    if excess <= 0.0 or transaction.direction == "credit":
        return None
    usual = math.expm1(view.amount_mean)
    currency, _, code = unpack_key(view.key)
    group = GROUPS[code]
    reason = Reason(
        code="AMOUNT_UNUSUAL",
        feature="amount_z",
        value=view.amount_z,
        baseline=usual,
        contribution=config.z_tail * math.log1p(excess / config.z_tail),
        text=f"{format_minor(transaction.amount_minor, currency)} {currency} is {view.amount_z:.1f} standard deviations above this "
        f"customer's usual {usual:.{EXPONENT[currency]}f} ({group})",
    )
    return Finding((reason,))
