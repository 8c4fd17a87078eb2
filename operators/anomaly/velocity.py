"""Are there many more purchases in an hour than this customer makes?

looks at   debits in the last hour, this one included, against the customer's own rate over 30 days
needs      `count_min` purchases in the hour
says       anomaly.velocity, one OPEN per burst and a CLOSE when `quiet_s` has passed; adds "velocity" to anomaly.transaction
state      none of its own (the profile's windows)
blind to   slow series; the first purchases of a burst
source     negative binomial tail of a gamma-Poisson rate: Gelman et al., Bayesian Data Analysis, section 2.6
"""

from __future__ import annotations

import math

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.events import Transaction
from state.signals import Reason, WindowSpan
from state.times import rfc3339
from state.windows import DAY_US, HOUR_US

NAME = "velocity"
VERSION = 1
SIGNAL = "anomaly.velocity"
State = None
EVIDENCE_MAX = 20


class Config(DetectorConfig, frozen=True, kw_only=True):
    count_min: int = 4
    prior_count: float = 10.0
    prior_days: float = 10.0
    busy_factor: float = 6.0
    strength_max: float = 12.0


def step(config: Config, state: None, transaction: Transaction, view: View) -> Finding | None:
    count = view.overall_totals[0] + 1
    if count < config.count_min or transaction.direction == "credit":
        return None
    customer = view.customer
    times = customer.ring.times
    observed_days = min(30.0, max(0.0, (view.time_us - times[0]) / DAY_US)) if times else 0.0
    before = view.overall_totals[6] - view.overall_totals[0]
    shape = before + config.prior_count
    hours = (observed_days + config.prior_days) * 24 / config.busy_factor
    strength = min(-log10_tail(count, shape, hours), config.strength_max)
    usual = shape / hours
    ids = tuple(
        r.transaction_id for r in customer.recent if view.time_us - HOUR_US < r.time_us <= view.time_us and r.learned
    )
    reason = Reason(
        code="VELOCITY_HIGH",
        feature="count_1h",
        value=count,
        baseline=usual,
        contribution=strength,
        text=f"{count} payments within an hour; this customer makes about {usual:.2f} in a busy one",
    )
    return Finding(
        (reason,),
        details={"count": count, "usual": usual},
        transaction_ids=ids[-EVIDENCE_MAX:],
        windows=(WindowSpan("1h", rfc3339(view.time_us - HOUR_US), rfc3339(view.time_us)),),
    )


def log10_tail(count: int, shape: float, hours: float) -> float:
    """log10 P(N ≥ count) in one hour, for N Poisson with a rate that is gamma(shape, hours): negative binomial. Zero for count ≤ 0.

    >>> round(log10_tail(1, 10.0, 10.0), 4)      # P(N >= 1) = 1 - (10/11)**10
    -0.2115
    """
    p = 1.0 / (hours + 1.0)
    # Summed upwards from `count`: subtracting the lower part from 1 would lose all digits of a small tail.
    log_term = (
        math.lgamma(shape + count)
        - math.lgamma(shape)
        - math.lgamma(count + 1)
        + shape * math.log1p(-p)
        + count * math.log(p)
    )
    total, term, k = 0.0, 1.0, count
    while term > 1e-12 * max(total, 1.0) and k < count + 500:
        total += term
        term *= (shape + k) / (k + 1) * p
        k += 1
    return min(0.0, (log_term + math.log(total)) / math.log(10)) if count > 0 else 0.0
