"""What the fused score remembers of one customer: how suspicious the last days were, and which frauds are known.

It follows the scores as they were given, so unlike habits it depends on the order of arrival: an event that comes late finds what is
remembered as it is.
"""

from __future__ import annotations

import math

import msgspec

from operators.knowledge.prequential import bin_of
from state.windows import DAY_US

HEAT_DAYS = (1.0, 7.0)
PEAK_DAYS = 2.0
FRAUD_DAYS = 30.0


class Memory(msgspec.Struct, array_like=True):
    """Sums that fade with event time."""

    time_us: int = 0
    heat_day: float = 0.0
    """Σ of the scores so far, fading within a day; so within a week."""
    heat_week: float = 0.0
    peak: float = 0.0
    """The largest log amount so far, sinking by half in `PEAK_DAYS`."""
    frauds: float = 0.0
    """Frauds that became known, fading within a month."""
    fraud_us: int = 0
    """When the newest known fraud was."""
    day: int = 0
    """The newest day with a score, and the bin of its highest one."""
    day_bin: int = 0

    def pass_time(self, time_us: int) -> None:
        """Fades up to the time of an event; an earlier event changes nothing."""
        days = (time_us - self.time_us) / DAY_US
        if days <= 0.0:
            return
        if self.time_us:
            self.heat_day *= math.exp(-days / HEAT_DAYS[0])
            self.heat_week *= math.exp(-days / HEAT_DAYS[1])
            self.peak *= 0.5 ** (days / PEAK_DAYS)
            self.frauds *= math.exp(-days / FRAUD_DAYS)
        self.time_us = time_us

    def scored(self, amount_log: float, score: float) -> None:
        """A transaction was scored, after `pass_time`."""
        self.heat_day += score
        self.heat_week += score
        self.peak = max(self.peak, amount_log)

    def tell_fraud(self, time_us: int) -> None:
        """A transaction of this customer at `time_us` turned out to be fraud."""
        self.frauds += 1.0
        self.fraud_us = max(self.fraud_us, time_us)

    def rise(self, time_us: int, logit: float) -> dict[int, int]:
        """How this score changes the count of customers by the highest score of their day (facts.ScoreCount.rises)."""
        day, number = time_us // DAY_US, bin_of(logit)
        if day > self.day:
            self.day, self.day_bin = day, number
            return {number: 1}
        if day == self.day and number > self.day_bin:
            before, self.day_bin = self.day_bin, number
            return {before: -1, number: 1}
        return {}
