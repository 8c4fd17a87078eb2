"""Are there many more purchases in a short time than this customer makes?

looks at   debits in the last hour, and online payments of the last 24 hours in shops or on devices that the customer never used,
           this one included, against how many the customer's own payments usually have before them (all, the online ones, the strange ones)
needs      `count_min` purchases in the hour, or `strange_min` strange ones in the day
says       anomaly.velocity, one OPEN per burst and a CLOSE when `quiet_s` has passed; adds "velocity" to anomaly.transaction
state      of four kinds how many payments there were, how many others each had before it, and the squares of that, all fading;
           the times of those within the last window: under 2 KB
blind to   slow series; the first purchases of a burst; bursts in familiar shops on a familiar device. A new phone makes all online
           payments strange, a move or a change of habits all shops: then a burst must stand out among those
source     negative binomial fitted by moments, a gamma-Poisson rate that differs from one hour to another: Johnson, Kemp and Kotz,
           Univariate Discrete Distributions, 3rd ed., section 5.8
"""

from __future__ import annotations

import math
from bisect import bisect_right

import msgspec

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.customer import Customer, Recent, device_digest
from state.events import Transaction
from state.signals import Reason, WindowSpan
from state.times import rfc3339
from state.windows import DAY_US, HOUR_US, overall_key

NAME = "velocity"
VERSION = 3
SIGNAL = "anomaly.velocity"
EVIDENCE_MAX = 20
DISPERSION_MIN = 1.02
"""Nobody's payments are more regular than chance, as far as a burst is concerned."""
TIMES_MAX = 32
"""So many payments in one window are told apart while learning; more are learned as so many."""


class Kind(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is believed of one kind of payment before the customer has shown a habit."""

    per_day: float = 1.0
    others: float = 0.25
    """How many others a payment has before it within the window, on average."""
    dispersion: float = 1.2
    """Variance of that number over its average; 1 if payments came by pure chance, more as busy hours and idle ones differ."""
    prior_payments: float = 20.0
    """What these beliefs are worth."""


class Config(DetectorConfig, frozen=True, kw_only=True):
    count_min: int = 4
    strange_min: int = 3
    hour: Kind = Kind()
    day: Kind = Kind(others=1.0, dispersion=2.0)
    online: Kind = Kind(per_day=0.3, others=0.4, dispersion=1.5, prior_payments=10.0)
    strange: Kind = Kind(per_day=0.1, others=0.2, dispersion=1.25, prior_payments=4.0)
    new_device_chance: float = 0.005
    new_shops_chance: float = 0.02
    half_life_days: float = 90.0
    learned_sd_max: float = 3.0
    strength_max: float = 12.0


class Crowding(msgspec.Struct, array_like=True):
    """How crowded one kind of payment is: sums over the customer's payments, fading."""

    payments: float = 0.0
    days: float = 0.0
    others: float = 0.0
    squares: float = 0.0
    times_us: list[int] = []
    """Of the payments within one window up to the last."""

    def usual(self, kind: Kind, now_us: int) -> tuple[float, float, float]:
        """Payments a day, and mean and dispersion of the others beside one: the customer's own, shrunk to what is believed."""
        since_days = max(0, now_us - self.times_us[-1]) / DAY_US if self.times_us else 0.0
        weight = kind.prior_payments
        total = self.payments + weight
        per_day = total / (self.days + since_days + weight / kind.per_day)
        mean = (self.others + weight * kind.others) / total
        around_mean = max(0.0, self.squares - 2.0 * mean * self.others + mean**2 * self.payments)
        dispersion = (around_mean / mean + weight * kind.dispersion) / total
        return per_day, mean, max(dispersion, DISPERSION_MIN)

    def learn(self, config: Config, kind: Kind, time_us: int, window_us: int) -> None:
        """One more payment, in event-time order. A burst is learned as the most that is still ordinary: theft is no habit."""
        times_us = self.times_us
        days = max(0, time_us - times_us[-1]) / DAY_US if times_us else 0.0
        del times_us[: max(bisect_right(times_us, time_us - window_us), len(times_us) - TIMES_MAX)]
        others = float(len(times_us))
        if others:
            _, mean, dispersion = self.usual(kind, time_us)
            others = min(others, mean + config.learned_sd_max * math.sqrt(dispersion * mean))
        fading = 0.5 ** (days / config.half_life_days)
        self.payments = self.payments * fading + 1.0
        self.days = self.days * fading + days
        self.others = self.others * fading + others
        self.squares = self.squares * fading + others**2
        times_us.append(time_us)


class State(msgspec.Struct, array_like=True):
    hour: Crowding = msgspec.field(default_factory=Crowding)
    day: Crowding = msgspec.field(default_factory=Crowding)
    online: Crowding = msgspec.field(default_factory=Crowding)
    strange: Crowding = msgspec.field(default_factory=Crowding)


def upgrade(version: int, raw: bytes) -> State:
    """Rates of older versions say nothing of crowding: it is learned anew."""
    return State()


def step(config: Config, state: State, transaction: Transaction, view: View) -> Finding | None:
    if transaction.direction == "credit":
        return None
    hour = _in_an_hour(config, state, view)
    day = _in_a_day(config, state, transaction, view) if transaction.channel == "ecommerce" else None
    if hour is None or day is None:
        return hour or day
    # Two views of one burst: to add them up would count the same payments twice.
    return hour if hour.strength >= day.strength else day


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> None:
    if recent.key & 128:
        return
    state.hour.learn(config, config.hour, recent.time_us, HOUR_US)
    state.day.learn(config, config.day, recent.time_us, DAY_US)
    if recent.channel == "ecommerce":
        state.online.learn(config, config.online, recent.time_us, DAY_US)
        if is_strange(recent.merchant, recent.device, customer):
            state.strange.learn(config, config.strange, recent.time_us, DAY_US)


def is_strange(merchant: int, device: int, customer: Customer) -> bool:
    """Whether the shop or the device, where they are told, is none of those that the customer has used before all recent ones."""
    return bool((merchant and merchant not in customer.merchants) or is_new_device(device, customer))


def is_new_device(device: int, customer: Customer) -> bool:
    return bool(device and device not in customer.devices)


def _in_an_hour(config: Config, state: State, view: View) -> Finding | None:
    count = view.overall_totals[0] + 1
    if count < config.count_min:
        return None
    per_day, tail, mean = rarity(config.hour, state.hour, count, view.time_us)
    strength = min(-math.log10(per_day * tail), config.strength_max)
    if strength <= 0.0:
        return None
    ids = _newest_in_an_hour(view)
    text = f"{count} payments within an hour; this customer's usually have {mean:.2f} others before them in an hour"
    reason = Reason("VELOCITY_HIGH", "count_1h", count, 1.0 + mean, strength, text)
    return _finding(reason, ids, "1h", HOUR_US, view)


def _newest_in_an_hour(view: View) -> tuple[str, ...]:
    """The newest payments of the hour before, in time order: as many as evidence names. Those that are counted: no money that came in, nor
    other currencies."""
    ids: list[str] = []
    overall = overall_key(view.key)
    for recent in reversed(view.customer.recent):
        if recent.time_us <= view.time_us - HOUR_US or len(ids) == EVIDENCE_MAX:
            break
        if recent.time_us <= view.time_us and recent.learned and overall_key(recent.key) == overall:
            ids.append(recent.transaction_id)
    return tuple(reversed(ids))


def _in_a_day(config: Config, state: State, transaction: Transaction, view: View) -> Finding | None:
    customer = view.customer
    device = device_digest(transaction)
    if not is_strange(view.merchant, device, customer):
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
    per_day, tail, mean = rarity(config.strange, state.strange, count, view.time_us)
    # Or all this is no burst, but something else is new: the customer's phone, or where and what the customer buys.
    if is_new_device(device, customer):
        chance, other = config.new_device_chance, rarity(config.online, state.online, count, view.time_us)
    else:
        chance, other = config.new_shops_chance, rarity(config.day, state.day, count, view.time_us)
    strength = min(-math.log10(per_day * tail + chance * other[0] * other[1]), config.strength_max)
    if strength <= 0.0:
        return None
    text = (
        f"{count} online payments within a day in shops or on devices never used before; "
        f"such payments of this customer usually have {mean:.2f} others before them in a day"
    )
    reason = Reason("STRANGE_ONLINE_BURST", "strange_online_24h", count, 1.0 + mean, strength, text)
    return _finding(reason, tuple(reversed(ids)), "24h", DAY_US, view)


def rarity(kind: Kind, crowding: Crowding, count: int, now_us: int) -> tuple[float, float, float]:
    """How many payments of the kind this customer makes a day, which share of them makes at least `count` in its window, and how many
    others one usually has before it.

    >>> [round(math.log10(rarity(Kind(), Crowding(), count, 0)[1]), 1) for count in (4, 6, 8)]
    [-2.2, -3.7, -5.2]
    """
    per_day, mean, dispersion = crowding.usual(kind, now_us)
    shape = mean / (dispersion - 1.0)
    return per_day, 10.0 ** max(log10_tail(count - 1, shape, shape / mean), -300.0), mean


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
