"""What detectors see of a customer at one transaction: computed once, used by all.

Everything here was known before the transaction was: windows and habits do not contain it yet.
"""

from __future__ import annotations

import math
from functools import lru_cache

import msgspec

from state.customer import Customer, merchant_digest
from state.events import Transaction
from state.habits import log_amount
from state.life_cycle import transaction_key
from state.windows import Totals, overall_key
from state.worth import WORTH

NOTHING: Totals = [0] * 8


class Priors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is believed of amounts before the customer has shown a habit ([profile] in config/detectors.toml)."""

    log_mean: float
    log_sd: float
    log_sd_min: float
    overall_weight: float
    group_weight: float
    fading_factor: float


@lru_cache(maxsize=1024)
def log_mean_in(log_mean: float, currency: str) -> float:
    """The mean of an everyday purchase in a currency, `log_mean` being that in euros, dollars or pounds."""
    worth = WORTH[currency]
    return log_mean if worth == 1.0 else math.log1p(worth * math.expm1(log_mean))


class View:
    """One transaction against its customer. Refilled for each event (one object per step, not one per event).

    key: currency, direction and spending group (state.windows.pack_key); merchant: digest, 0 if unknown; matured: number of transactions
    learned. overall_totals: the windows over all groups, in the same currency and direction, as of the transaction's own time.
    log_amount, amount_mean, amount_sd: natural logarithm of 1 + major units, and what is usual of it in this spending group;
    overall_mean: the same mean over all groups; amount_z: standard deviations above the usual.
    """

    __slots__ = (
        "amount_mean",
        "amount_sd",
        "amount_z",
        "customer",
        "key",
        "log_amount",
        "matured",
        "merchant",
        "overall_mean",
        "overall_totals",
        "priors",
        "time_us",
    )

    def __init__(self, priors: Priors) -> None:
        self.priors = priors

    def fill(self, customer: Customer, transaction: Transaction) -> None:
        self.customer = customer
        self.time_us = time_us = transaction.time_us
        self.key = key = transaction_key(transaction)
        overall = overall_key(key)
        ring = customer.ring
        self.overall_totals = ring.at(overall, time_us) if time_us < ring.anchor_us else ring.get(overall) or NOTHING
        self.merchant = merchant_digest(transaction)
        self.matured = customer.matured
        self.log_amount = log_amount(transaction.amount_minor, transaction.currency)
        self.amount_mean, self.amount_sd = self._usual(key, overall, transaction.currency)
        self.amount_z = (self.log_amount - self.amount_mean) / self.amount_sd

    def _usual(self, key: int, overall: int, currency: str) -> tuple[float, float]:
        """Mean and standard deviation of the log amount in this kind of shop, shrunk to the customer's own overall habit and that to
        the prior: the fewer the purchases, the stronger the pull (a normal prior worth `…_weight` purchases)."""
        priors = self.priors
        mean, variance = log_mean_in(priors.log_mean, currency), priors.log_sd**2
        # An exponentially weighted average remembers about 1 / fading_factor values: more must not count for more.
        memory = 1.0 / priors.fading_factor
        for own, weight in ((overall, priors.overall_weight), (key, priors.group_weight)):
            moments = self.customer.amounts.get(own)
            if moments is not None:
                n = min(float(moments.n), memory)
                gap = moments.mean - mean
                total = n + weight
                variance = (n * moments.variance + weight * variance + n * weight / total * gap * gap) / total
                mean += n / total * gap
            if own == overall:
                self.overall_mean = mean
        return mean, max(math.sqrt(variance), priors.log_sd_min)
