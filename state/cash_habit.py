"""What passes through an account besides recurring streams: so much a day, by day of the week, and how wrong forecasts have been.

Learned once from each matured transaction, in event-time order; no days are skipped, for a day without spending is news, too.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from state.balances import clamped

DAYS_GAP_MAX: Final = 60
"""After a longer silence the days without any movement stop counting: the account was at rest, not its habit."""
WEEKDAY_FACTOR_MIN: Final = 0.2
WEEKDAY_FACTOR_MAX: Final = 3.0
SCALE_USUAL: Final = 1.12
"""How wide bands have to be before anything is known of an account (development world 501)."""
SCALE_MIN: Final = 0.25
SCALE_MAX: Final = 8.0


class Told(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A forecast to be compared with what will be: the balance at the end of `day`."""

    day: int
    mean_minor: float
    sd_minor: float


class CashHabit(msgspec.Struct, array_like=True, gc=False):
    """One account. Amounts are minor units a day, negative for money that leaves."""

    day: int = 0
    """The day that is being added up, as a number since 1970-01-01."""
    sum_minor: int = 0
    days: int = 0
    """How many days were learned."""
    mean_minor: float = 0.0
    variance: float = 0.0
    """Of a day, around the mean of its day of the week."""
    weekdays: list[float] = msgspec.field(default_factory=lambda: [1.0] * 7)
    """How the mean differs by day of the week; 0 is the day of the week of 1970-01-01, a Thursday."""
    scale: float = SCALE_USUAL
    """What forecasts' standard deviations are multiplied by, so that bands cover what they promise."""
    balance_minor: int | None = None
    told: Told | None = None

    def mean_on(self, day: int) -> float:
        return self.mean_minor * self.weekdays[day % 7]

    def add(self, day: int, amount_minor: int, memory_days: float, weekday_memory: float) -> None:
        """Adds what is no recurring payment, after the days before it have been learned. Days must not go back."""
        if not self.day:
            self.day = day
        self.pass_days(day, memory_days, weekday_memory)
        self.sum_minor = clamped(self.sum_minor + amount_minor)

    def pass_days(self, day: int, memory_days: float, weekday_memory: float) -> None:
        """Learns every day before `day` that has not been learned."""
        if not self.day:
            return
        last = min(day, self.day + DAYS_GAP_MAX)
        while self.day < last:
            self._learn_day(float(self.sum_minor), memory_days, weekday_memory)
            self.sum_minor = 0
            self.day += 1
        self.day = max(self.day, day)

    def _learn_day(self, total_minor: float, memory_days: float, weekday_memory: float) -> None:
        weight = max(1.0 / (self.days + 1), 1.0 / memory_days)
        weekday = self.day % 7
        factor = self.weekdays[weekday]
        gap = total_minor - self.mean_minor * factor
        self.variance += weight * (gap * gap - self.variance)
        if abs(self.mean_minor) >= 1.0:
            factor += (total_minor / self.mean_minor - factor) / weekday_memory
            self.weekdays[weekday] = min(WEEKDAY_FACTOR_MAX, max(WEEKDAY_FACTOR_MIN, factor))
        self.mean_minor += weight * gap
        self.days += 1

    def judge(self, balance_minor: int, z: float, missed_share: float, step: float) -> None:
        """Compares the forecast told with the balance that came; a miss widens the bands, a hit narrows them a little, so that
        `missed_share` of the forecasts miss a band of ± z standard deviations (adaptive conformal inference, Gibbs and Candès,
        2021, on the logarithm of the width)."""
        assert self.told is not None
        missed = abs(balance_minor - self.told.mean_minor) > z * self.told.sd_minor
        self.scale *= math.exp(step * ((1.0 if missed else 0.0) - missed_share))
        self.scale = min(SCALE_MAX, max(SCALE_MIN, self.scale))
        self.told = None
