"""What passes through an account besides recurring streams: so much a day, by day of the week and by time since payday, and how wrong
forecasts have been.

Learned once from each matured transaction, in event-time order; no days are skipped, for a day without spending is news, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul
from typing import Final, NamedTuple

import msgspec

from state.balances import clamped

DAYS_GAP_MAX: Final = 60
"""After a longer silence the days without any movement stop counting: the account was at rest, not its habit."""
FACTOR_MIN: Final = 0.2
FACTOR_MAX: Final = 3.0
PHASES_FROM: Final = (0, 1, 4, 11, 18)
"""The first day of each phase of a pay cycle, in days since the last payday: the day itself, the days in which the errands that waited
for it are run, a first week, the middle, and the end of the money."""
CYCLE_DAYS_MAX: Final = 45
"""So long after a payday, nobody knows in which phase an account is."""
PHASE_RATIO_MAX: Final = 4.0
"""A day counts as at most so many usual days: one sofa is no habit of the day after payday."""
PHASE_OF: Final = tuple(
    sum(1 for first in PHASES_FROM[1:] if days >= first) if days <= CYCLE_DAYS_MAX else -1
    for days in range(CYCLE_DAYS_MAX + 2)
)
"""The phase of each number of days since a payday; -1 where none is known."""
MAIN_SHARE: Final = 0.5
"""What pays at least this share of the largest regular income begins a cycle: both wages of a couple do, child benefit does not."""
SCALE_USUAL: Final = 1.12
"""How wide bands have to be before anything is known of an account (development world 501)."""
SCALE_MIN: Final = 0.25
SCALE_MAX: Final = 8.0


class Memory(NamedTuple):
    """How long a habit is remembered, each in days of its own kind."""

    days: float
    """For the mean and the variance."""
    weekdays: float
    """For each day of the week, in weeks."""
    phase_prior: float
    """So many days of a phase must have been seen before it counts as much as the belief that it is like all others."""
    phases: float
    """For each phase of the pay cycle."""


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
    """Of a day, around what is usual on it."""
    weekdays: list[float] = msgspec.field(default_factory=lambda: [1.0] * 7)
    """How the mean differs by day of the week; 0 is the day of the week of 1970-01-01, a Thursday."""
    scale: float = SCALE_USUAL
    """What forecasts' standard deviations are multiplied by, so that bands cover what they promise."""
    balance_minor: int | None = None
    told: Told | None = None
    payday: int = 0
    """The last day on which the account's main income came; 0 without one."""
    phases: list[float] = msgspec.field(default_factory=list)
    """How the mean differs by phase of the pay cycle; empty before the first payday."""
    phase_days: list[int] = msgspec.field(default_factory=list)
    """How many days of each phase were learned."""

    def mean_on(self, day: int) -> float:
        """What is usual on a day, seen from the day being added up."""
        return self.mean_minor * self.weekdays[day % 7] * self._phase_factor(day - self.payday)

    def means(self, day: int, days: int, paydays: Sequence[int]) -> list[float]:
        """What is usual on each of the `days` days after `day`; `paydays` are those expected, ascending."""
        coming, payday, found = iter(paydays), self.payday, []
        following = next(coming, None)
        for at in range(day + 1, day + 1 + days):
            while following is not None and at >= following:
                payday, following = following, next(coming, None)
            found.append(self.mean_minor * self.weekdays[at % 7] * self._phase_factor(at - payday))
        return found

    def add(self, day: int, amount_minor: int, memory: Memory) -> None:
        """Adds what is no recurring payment, after the days before it have been learned. Days must not go back."""
        if not self.day:
            self.day = day
        self.pass_days(day, memory)
        self.sum_minor = clamped(self.sum_minor + amount_minor)

    def paid(self, amount_minor: int, largest_minor: float) -> None:
        """Regular income on the day being added up, of an account whose largest usually is `largest_minor`: a new pay cycle begins."""
        if amount_minor >= MAIN_SHARE * largest_minor:
            self.payday = self.day
            if not self.phases:
                self.phases, self.phase_days = [1.0] * len(PHASES_FROM), [0] * len(PHASES_FROM)

    def pass_days(self, day: int, memory: Memory) -> None:
        """Learns every day before `day` that has not been learned."""
        if not self.day:
            return
        last = min(day, self.day + DAYS_GAP_MAX)
        while self.day < last:
            self._learn_day(float(self.sum_minor), memory)
            self.sum_minor = 0
            self.day += 1
        self.day = max(self.day, day)

    def _learn_day(self, total_minor: float, memory: Memory) -> None:
        weight = max(1.0 / (self.days + 1), 1.0 / memory.days)
        weekday, phase = self.day % 7, self._phase(self.day - self.payday)
        by_weekday = self.mean_minor * self.weekdays[weekday]
        by_phase = self.mean_minor * (self.phases[phase] if phase >= 0 else 1.0)
        usual = self.mean_on(self.day)
        gap = total_minor - usual
        self.variance += weight * (gap * gap - self.variance)
        if abs(by_phase) >= 1.0:
            factor = self.weekdays[weekday] + (total_minor / by_phase - self.weekdays[weekday]) / memory.weekdays
            self.weekdays[weekday] = min(FACTOR_MAX, max(FACTOR_MIN, factor))
        if phase >= 0 and abs(by_weekday) >= 1.0:
            self._learn_phase(phase, total_minor / by_weekday, memory)
        self.mean_minor += weight * gap
        self.days += 1

    def _learn_phase(self, phase: int, ratio: float, memory: Memory) -> None:
        """The prior is the first factor, 1; its weight is what `phase_prior` adds to the number of days. What one phase is found to
        have more, the others have less: over the days seen, all come to what is usual."""
        seen = self.phase_days[phase] = min(self.phase_days[phase] + 1, round(memory.phases))
        ratio = min(PHASE_RATIO_MAX, max(0.0, ratio))
        self.phases[phase] += (ratio - self.phases[phase]) / (memory.phase_prior + seen)
        weights = [memory.phase_prior / len(PHASES_FROM) + days for days in self.phase_days]
        level = sum(map(mul, weights, self.phases)) / sum(weights)
        self.phases = [min(FACTOR_MAX, max(FACTOR_MIN, factor / level)) for factor in self.phases]

    def _phase(self, days_since: int) -> int:
        """The phase so many days after a payday; -1 where the account has none or it is too long ago."""
        return PHASE_OF[min(max(days_since, 0), CYCLE_DAYS_MAX + 1)] if self.phases else -1

    def _phase_factor(self, days_since: int) -> float:
        phase = self._phase(days_since)
        return self.phases[phase] if phase >= 0 else 1.0

    def judge(self, balance_minor: int, z: float, missed_share: float, step: float) -> None:
        """Compares the forecast told with the balance that came; a miss widens the bands, a hit narrows them a little, so that
        `missed_share` of the forecasts miss a band of ± z standard deviations (adaptive conformal inference, Gibbs and Candès,
        2021, on the logarithm of the width)."""
        assert self.told is not None
        missed = abs(balance_minor - self.told.mean_minor) > z * self.told.sd_minor
        self.scale *= math.exp(step * ((1.0 if missed else 0.0) - missed_share))
        self.scale = min(SCALE_MAX, max(SCALE_MIN, self.scale))
        self.told = None
