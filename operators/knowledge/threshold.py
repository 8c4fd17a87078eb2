"""The threshold of anomaly.transaction: chosen so that false alarms stay within a budget, not by a magic number.

What is counted: customers by the highest score of each of their days. An alarm opens an episode of days, so a customer's day raises one
alarm at most. A day counts when labels for it would have come: who turned out to be defrauded is taken out by then, since that alarm
was right.
"""

from __future__ import annotations

import msgspec

from operators.knowledge.facts import ScoreCount
from operators.knowledge.prequential import BIN_MAX, BINS_A_UNIT, WEIGHT_MIN
from state.windows import DAY_US

Bins = dict[int, float]


class Budget(msgspec.Struct, array_like=True):
    """At most 301 numbers for the settled days, which fade, and for each of the days that are not settled yet."""

    settled: Bins = {}
    customer_days: float = 0.0
    days: dict[int, Bins] = {}
    """Days that are not settled yet: customers by bin of the day's highest score."""
    customers: dict[int, int] = {}
    """Known to each shard."""

    def count(self, item: ScoreCount) -> None:
        self.customers[item.shard] = max(item.customers, self.customers.get(item.shard, 0))
        if not item.rises:
            return
        bins = self.days.setdefault(item.time_us // DAY_US, {})
        for number, rises in item.rises.items():
            bins[number] = bins.get(number, 0.0) + rises

    def take_out(self, time_us: int, number: int) -> None:
        """A customer's day turned out to be one of fraud. Of a settled day it is too late."""
        bins = self.days.get(time_us // DAY_US)
        if bins is not None:
            bins[number] = bins.get(number, 0.0) - 1.0

    def settle(self, before_us: int, half_life_days: float) -> None:
        """Days that ended before or at `before_us` count from now on; what is longer ago counts for less."""
        for day in sorted(day for day in self.days if (day + 1) * DAY_US <= before_us):
            fading = 0.5 ** (1.0 / half_life_days)
            self.customer_days = self.customer_days * fading + sum(self.customers.values())
            faded = {number: rises * fading for number, rises in self.settled.items()}
            for number, rises in sorted(self.days.pop(day).items()):
                faded[number] = faded.get(number, 0.0) + rises
            self.settled = {number: rises for number, rises in faded.items() if abs(rises) >= WEIGHT_MIN}

    def threshold(self, alerts_per_1000_customers_day: float, prior: float, prior_customer_days: float) -> float:
        """The lowest score in log-odds at which alarms stay within the budget, drawn to `prior` as if that had been found on
        `prior_customer_days`. Before anything is settled it is the prior.

        >>> Budget().threshold(0.25, 0.0, 10_000.0)
        0.0
        >>> Budget({30: 100.0}, 30_000.0).threshold(0.25, 0.0, 10_000.0)    # 3.1 on 30,000, and 0 on 10,000
        2.325
        """
        if not self.customer_days:
            return prior
        budget = alerts_per_1000_customers_day / 1000.0 * self.customer_days
        above, found = 0.0, -BIN_MAX
        for number in range(BIN_MAX, -BIN_MAX - 1, -1):
            above += self.settled.get(number, 0.0)
            if above > budget * (1.0 + 1e-9):
                found = number + 1
                break
        weight = self.customer_days + prior_customer_days
        return (found / BINS_A_UNIT * self.customer_days + prior * prior_customer_days) / weight
