"""The threshold of anomaly.transaction: chosen so that false alarms stay within a budget, not by a magic number.

What is counted: customers by the highest score of each of their days. An alarm opens an episode of days, so a customer's day raises one
alarm at most. A day counts at once by what its scores promise, and is settled when labels for it would have come: who turned out to be
defrauded is taken out by then, since that alarm was right.

Promises are believed as far as settled alarms have kept them: frauds come to an end before labels tell, and scores that were right
for weeks are then wrong at once.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from operators.knowledge.facts import ScoreCount
from operators.knowledge.prequential import BIN_MAX, BINS_A_UNIT, WEIGHT_MIN
from state.estimators import sigmoid
from state.windows import DAY_US

Bins = dict[int, float]

NEWEST_DAYS: Final = 3
"""At least so many show what a new model does, weekends and working days mixed."""


class Budget(msgspec.Struct, array_like=True):
    """At most 301 numbers for the settled days, which fade, and for each of the days that are not settled yet."""

    settled: Bins = {}
    customer_days: float = 0.0
    days: dict[int, Bins] = {}
    """Days that are not settled yet: customers by bin of the day's highest score."""
    customers: dict[int, int] = {}
    """Known to each shard."""
    right: float = 0.0
    """Alarms that turned out right, and those that were settled as false: by the threshold when that became known; both fade."""
    false: float = 0.0

    def count(self, item: ScoreCount) -> None:
        self.customers[item.shard] = max(item.customers, self.customers.get(item.shard, 0))
        if not item.rises:
            return
        bins = self.days.setdefault(item.time_us // DAY_US, {})
        for number, rises in item.rises.items():
            bins[number] = bins.get(number, 0.0) + rises

    def take_out(self, time_us: int, number: int, threshold: float) -> None:
        """A customer's day turned out to be one of fraud. Of a settled day it is too late."""
        bins = self.days.get(time_us // DAY_US)
        if bins is not None:
            bins[number] = bins.get(number, 0.0) - 1.0
            if number >= threshold * BINS_A_UNIT:
                self.right += 1.0

    def settle(self, before_us: int, half_life_days: float, threshold: float) -> None:
        """Days that ended before or at `before_us` count from now on; what is longer ago counts for less."""
        for day in sorted(day for day in self.days if (day + 1) * DAY_US <= before_us):
            fading = 0.5 ** (1.0 / half_life_days)
            false = [rises for number, rises in sorted(self.days[day].items()) if number >= threshold * BINS_A_UNIT]
            self.right *= fading
            self.false = self.false * fading + max(0.0, sum(false))
            self.customer_days = self.customer_days * fading + sum(self.customers.values())
            faded = {number: rises * fading for number, rises in self.settled.items()}
            for number, rises in sorted(self.days.pop(day).items()):
                faded[number] = faded.get(number, 0.0) + rises
            self.settled = {number: rises for number, rises in faded.items() if abs(rises) >= WEIGHT_MIN}

    def false_share(self, prior_share: float, prior_alarms: float) -> float:
        """Of settled alarms, drawn to `prior_share` as if that had been found of `prior_alarms`.

        >>> Budget(right=290.0, false=10.0).false_share(0.1, 100.0)
        0.05
        """
        return (self.false + prior_share * prior_alarms) / (self.right + self.false + prior_alarms)

    def threshold(
        self,
        alerts_per_1000_customers_day: float,
        prior: float,
        prior_customer_days: float,
        false_share_min: float = 0.0,
    ) -> float:
        """The lowest score in log-odds at which alarms stay within the budget, drawn to `prior` as if that had been found on
        `prior_customer_days`. The newest days that make up as many may raise it: a model that has just changed, or a wave of frauds, is
        held to the budget at once, not on average with quiet months. A small bank has fewer, and is drawn to what was before. Of days that
        are not settled at least `false_share_min` is taken to be false, whatever the scores promise.

        >>> Budget().threshold(0.25, 0.0, 10_000.0)
        0.0
        >>> Budget({30: 100.0}, 30_000.0).threshold(0.25, 0.0, 10_000.0)    # 3.1 on 30,000, and 0 on 10,000
        2.325
        """
        allowed = alerts_per_1000_customers_day / 1000.0
        days, customers = sorted(self.days), sum(self.customers.values())
        counted = self.customer_days + customers * len(days)
        if not counted:
            return prior
        found = _lowest(self._false_alarms(self.settled, days, false_share_min), allowed * counted)
        usual = (found * counted + prior * prior_customer_days) / (counted + prior_customer_days)
        if (
            not self.customer_days
        ):  # how the prior scores says nothing of how the first model will: nothing to lower it by
            usual = max(usual, prior)
        newest = days[-max(NEWEST_DAYS, math.ceil(prior_customer_days / max(1, customers))) :]
        counted = customers * len(newest)
        found = _lowest(self._false_alarms({}, newest, false_share_min), allowed * counted)
        missing = max(0.0, prior_customer_days - counted)
        return max(usual, (found * counted + usual * missing) / (counted + missing))

    def _false_alarms(self, settled: Bins, unsettled: list[int], false_share_min: float) -> Bins:
        """Of a day that is not settled a score of p is taken for 1 − p of a false alarm: calibrated, it is right once in 1 / p."""
        bins = dict(settled)
        for day in unsettled:
            for number, rises in self.days[day].items():
                share = max(false_share_min, sigmoid(-number / BINS_A_UNIT))
                bins[number] = bins.get(number, 0.0) + rises * share
        return bins


def _lowest(false: Bins, allowed: float) -> float:
    """The lowest log-odds at and above which at most `allowed` lie."""
    above = 0.0
    for number in range(BIN_MAX, -BIN_MAX - 1, -1):
        above += false.get(number, 0.0)
        if above > allowed * (1.0 + 1e-9):
            return (number + 1) / BINS_A_UNIT
    return -BIN_MAX / BINS_A_UNIT
