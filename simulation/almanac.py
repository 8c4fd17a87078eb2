"""The bank's calendar: days as indices from the world's first day, paydays that avoid weekends and holidays, seasons.

Holidays are computed here rather than taken from a library, because a library corrects its tables from version to version
and the same seed must give the same bytes for ever.
"""

from __future__ import annotations

from datetime import date, timedelta
from functools import cache

import numpy as np

from simulation.randomness import Ints

DAY_US = 86_400_000_000
SECOND_US = 1_000_000
SEASON_PCT = (88, 92, 98, 100, 102, 102, 98, 95, 100, 102, 108, 124)
"""Spending by month, 100 = usual: quiet January, holidays in July and August, Christmas."""

CLOCK = tuple(f"T{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}Z" for s in range(86_400))


@cache
def easter(year: int) -> date:
    """Easter Sunday, after the Gregorian computus of Meeus.

    >>> easter(2024).isoformat(), easter(2025).isoformat()
    ('2024-03-31', '2025-04-20')
    """
    century, rest = divmod(year, 100)
    epact = (19 * (year % 19) + century - century // 4 - (century - (century + 8) // 25 + 1) // 3 + 15) % 30
    weekday = (32 + 2 * (century % 4) + 2 * (rest // 4) - epact - rest % 4) % 7
    shift = (year % 19 + 11 * epact + 22 * weekday) // 451
    month, day = divmod(epact + weekday - 7 * shift + 114, 31)
    return date(year, month, day + 1)


def is_holiday(day: date) -> bool:
    """Whether banks are closed all over the euro area (the holidays of its payment system)."""
    if (day.month, day.day) in {(1, 1), (5, 1), (12, 25), (12, 26)}:
        return True
    return day in {easter(day.year) - timedelta(days=2), easter(day.year) + timedelta(days=1)}


class Almanac:
    """Facts about each day of a world. Day indices run from 0 (the first day) to days - 1; tables reach a bit further."""

    MARGIN_DAYS = 120

    def __init__(self, start: date, days: int) -> None:
        self.start = start
        self.days = days
        self.start_us = (start - date(1970, 1, 1)).days * DAY_US
        dates = [start + timedelta(days=i) for i in range(days + self.MARGIN_DAYS)]
        self.iso = [day.isoformat() for day in dates]
        self.weekday: Ints = np.array([day.weekday() for day in dates], dtype=np.int64)
        self.season_pct: Ints = np.array([SEASON_PCT[day.month - 1] for day in dates], dtype=np.int64)
        self.open = [day.weekday() < 5 and not is_holiday(day) for day in dates]
        self.sales = [i for i, day in enumerate(dates[:days]) if day.month in (1, 7, 11) and 22 <= day.day <= 29]
        self.month = [day.month for day in dates]
        self._first_of_month = [i for i, day in enumerate(dates) if day.day == 1]
        self._lead = start.day - 1

    def text(self, time_us: int) -> str:
        """A time as RFC 3339, whole seconds, UTC; any time of the world, else by way of `date`."""
        day, within_us = divmod(time_us - self.start_us, DAY_US)
        iso = self.iso[day] if 0 <= day < len(self.iso) else (self.start + timedelta(days=day)).isoformat()
        return iso + CLOCK[within_us // SECOND_US]

    def time_us(self, day: int, second: int = 0) -> int:
        return self.start_us + day * DAY_US + second * SECOND_US

    def month_days(self, day_of_month: int, every: int = 1, phase: int = 0) -> list[int]:
        """The days with this day of the month (1 to 28), each `every` months."""
        firsts = [-self._lead, *self._first_of_month] if self._lead else self._first_of_month
        found = [first + day_of_month - 1 for i, first in enumerate(firsts) if i % every == phase % every]
        return [day for day in found if 0 <= day < self.days]

    def business_day(self, day: int, step: int) -> int:
        """The nearest open day: `day` itself or the next one in the direction of `step` (-1 or 1), never before day 0."""
        while 0 < day < len(self.open) - 1 and not self.open[day]:
            day += step
        return max(day, 0)
