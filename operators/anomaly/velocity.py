"""Are there many more purchases in a short time than this customer makes?

looks at   debits in the last hour, and online payments of the last 24 hours in shops or on devices that the customer never used,
           this one included, each against the customer's own rate
needs      `count_min` purchases in the hour, or `strange_min` strange ones in the day
says       anomaly.velocity, one OPEN per burst and a CLOSE when `quiet_s` has passed; adds "velocity" to anomaly.transaction
state      the customer's own rate of strange online payments: two numbers that fade, and two times
blind to   slow series; the first purchases of a burst; bursts in familiar shops on a familiar device
source     negative binomial tail of a gamma-Poisson rate: Gelman et al., Bayesian Data Analysis, section 2.6
"""

from __future__ import annotations

import math

import msgspec

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.customer import Customer, Recent, device_digest
from state.events import Transaction
from state.signals import Reason, WindowSpan
from state.times import rfc3339
from state.windows import DAY_US, HOUR_US

NAME = "velocity"
VERSION = 2
SIGNAL = "anomaly.velocity"
EVIDENCE_MAX = 20


class Config(DetectorConfig, frozen=True, kw_only=True):
    count_min: int = 4
    prior_count: float = 10.0
    prior_days: float = 10.0
    busy_factor: float = 6.0
    strange_min: int = 3
    strange_prior_count: float = 2.0
    strange_prior_days: float = 20.0
    strange_busy_factor: float = 2.0
    strange_half_life_days: float = 90.0
    strength_max: float = 12.0


class State(msgspec.Struct, array_like=True):
    """Strange online payments: how many there were in how many days, both fading."""

    count: float = 0.0
    days: float = 0.0
    last_us: int = 0
    """Up to here the days are counted."""


def step(config: Config, state: State, transaction: Transaction, view: View) -> Finding | None:
    if transaction.direction == "credit":
        return None
    hour = _in_an_hour(config, view)
    day = _in_a_day(config, state, transaction, view) if transaction.channel == "ecommerce" else None
    if hour is None or day is None:
        return hour or day
    # Two views of one burst: to add them up would count the same payments twice.
    return hour if hour.strength >= day.strength else day


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> None:
    if not state.last_us:
        state.last_us = recent.time_us
    if recent.channel == "ecommerce" and not recent.key & 128 and is_strange(recent.merchant, recent.device, customer):
        days = max(0, recent.time_us - state.last_us) / DAY_US
        fading = 0.5 ** (days / config.strange_half_life_days)
        state.count = state.count * fading + 1.0
        state.days = state.days * fading + days
        state.last_us = recent.time_us


def is_strange(merchant: int, device: int, customer: Customer) -> bool:
    """Whether the shop or the device, where they are told, is none of those that the customer has used before all recent ones."""
    return bool((merchant and merchant not in customer.merchants) or (device and device not in customer.devices))


def _in_an_hour(config: Config, view: View) -> Finding | None:
    count = view.overall_totals[0] + 1
    if count < config.count_min:
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
    text = f"{count} payments within an hour; this customer makes about {usual:.2f} in a busy one"
    reason = Reason("VELOCITY_HIGH", "count_1h", count, usual, strength, text)
    return _finding(reason, ids, "1h", HOUR_US, view)


def _in_a_day(config: Config, state: State, transaction: Transaction, view: View) -> Finding | None:
    customer = view.customer
    if not is_strange(view.merchant, device_digest(transaction), customer):
        return None
    ids: list[str] = []
    for recent in reversed(customer.recent):
        if recent.time_us <= view.time_us - DAY_US:
            break
        if (
            recent.channel == "ecommerce"
            and recent.time_us <= view.time_us
            and recent.learned
            and not recent.key & 128
            and is_strange(recent.merchant, recent.device, customer)
        ):
            ids.append(recent.transaction_id)
    count = len(ids) + 1
    if count < config.strange_min:
        return None
    since_days = max(0.0, (view.time_us - state.last_us) / DAY_US) if state.last_us else 0.0
    shape = state.count + config.strange_prior_count
    days = (state.days + since_days + config.strange_prior_days) / config.strange_busy_factor
    strength = min(-log10_tail(count, shape, days), config.strength_max)
    usual = shape / days
    text = (
        f"{count} online payments within a day in shops or on devices never used before; "
        f"this customer makes about {usual:.2f} on a busy day"
    )
    reason = Reason("STRANGE_ONLINE_BURST", "strange_online_24h", count, usual, strength, text)
    return _finding(reason, tuple(reversed(ids)), "24h", DAY_US, view)


def _finding(reason: Reason, ids: tuple[str, ...], window: str, length_us: int, view: View) -> Finding:
    return Finding(
        (reason,),
        details={"count": reason.value, "usual": reason.baseline},
        transaction_ids=ids[-EVIDENCE_MAX:],
        windows=(WindowSpan(window, rfc3339(view.time_us - length_us), rfc3339(view.time_us)),),
    )


def log10_tail(count: int, shape: float, spans: float) -> float:
    """log10 P(N ≥ count) in one span of time, for N Poisson with a rate that is gamma(shape, spans): negative binomial. Zero for
    count ≤ 0.

    >>> round(log10_tail(1, 10.0, 10.0), 4)      # P(N >= 1) = 1 - (10/11)**10
    -0.2115
    """
    p = 1.0 / (spans + 1.0)
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
