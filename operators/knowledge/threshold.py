"""The threshold of anomaly.transaction: chosen so that false alarms stay within a budget, not by a magic number.

What is counted: customers by the highest score of each of their days. An alarm opens an episode of days, so a customer's day raises one
alarm at most; who turned out to be defrauded is taken out of the count, since that alarm was right.
"""

from __future__ import annotations

import math

import msgspec

from operators.knowledge.facts import ScoreCount
from operators.knowledge.prequential import BIN_MAX, BINS_A_UNIT, WEIGHT_MIN
from state.windows import DAY_US


class Budget(msgspec.Struct, array_like=True):
    """Customer-days by bin of their highest score, and how many customer-days there were in all: both fade. At most 301 numbers."""

    rises: dict[int, float] = {}
    customer_days: float = 0.0
    customers: dict[int, int] = {}
    """Known to each shard."""

    def count(self, item: ScoreCount) -> None:
        self.customers[item.shard] = max(item.customers, self.customers.get(item.shard, 0))
        for number, rises in item.rises.items():
            self.rises[number] = self.rises.get(number, 0.0) + rises

    def take_out(self, number: int) -> None:
        """A customer's day turned out to be one of fraud."""
        self.rises[number] = self.rises.get(number, 0.0) - 1.0

    def pass_time(self, length_us: int, half_life_us: float) -> None:
        """A bucket has ended: all customers known have lived through it, and what is longer ago counts for less."""
        fading = 0.5 ** (length_us / half_life_us)
        self.customer_days = self.customer_days * fading + sum(self.customers.values()) * length_us / DAY_US
        faded = {number: rises * fading for number, rises in self.rises.items()}
        self.rises = {number: rises for number, rises in faded.items() if abs(rises) >= WEIGHT_MIN}

    def threshold(self, alerts_per_1000_customers_day: float, prior: float, prior_customer_days: float) -> float:
        """The lowest score in log-odds at which alarms stay within the budget.

        Before anything is counted it is `prior`, where alarms are believed to meet the budget and to become e times rarer for each
        unit beyond; the belief is worth `prior_customer_days`. Without a customer-day it is the prior itself.

        >>> Budget().threshold(0.25, 0.0, 10_000.0)
        0.0
        >>> Budget({30: 100.0}, 10_000.0).threshold(0.25, 0.0, 10_000.0)
        3.1
        """
        share = alerts_per_1000_customers_day / 1000.0
        budget = share * (self.customer_days + prior_customer_days)
        above = 0.0
        first = -BIN_MAX
        for number in range(BIN_MAX, -BIN_MAX - 1, -1):
            above += self.rises.get(number, 0.0)
            believed = share * prior_customer_days * math.exp(prior - number / BINS_A_UNIT)
            if above + believed > budget * (1.0 + 1e-9):
                first = number + 1
                break
        return prior if not self.customer_days else first / BINS_A_UNIT
