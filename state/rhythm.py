"""When something comes back: weekly to yearly, on nominal days that give way to weekends and holidays.

A rhythm numbers its occurrences ("slots") without end in both directions. Days are numbers since 1970-01-01.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from state.business_days import date_of, day_in_month, roll

MONTHS: Final = {"monthly": 1, "bimonthly": 2, "quarterly": 3, "half-yearly": 6, "yearly": 12}
CADENCES: Final = ("weekly", "biweekly", "semi-monthly", *MONTHS, "four-weekly")
"""Profiles hold these by number: new ones come last."""
PERIOD_DAYS: Final = (7.0, 14.0, 15.2, 30.4, 60.9, 91.3, 182.6, 365.2, 28.0)
TOLERANCES: Final = (1, 2, 2, 3, 4, 5, 6, 7, 2)
"""By how many days an occurrence may miss its slot after weekends and holidays are accounted for, by cadence."""
SEMI_MONTHLY: Final = CADENCES.index("semi-monthly")
MONTHLY: Final = CADENCES.index("monthly")
FOUR_WEEKLY: Final = CADENCES.index("four-weekly")
INTERVALS: Final = frozenset((CADENCES.index("weekly"), CADENCES.index("biweekly"), FOUR_WEEKLY))
"""Cadences that count days, whatever the month."""
FOUR_WEEKLY_DAYS_MIN: Final = 3
"""Two payments four weeks apart may as well be monthly, in February exactly so."""


SEMI_MONTHLY_DAYS_MIN: Final = 6
"""Payments every other week leave the halves of a month within six; those of the halves may be two weeks apart for six, in February."""


class Rhythm(NamedTuple):
    """`anchor`: the first slot's day modulo the interval; or the day of the month (31: the last), for semi-monthly the earlier
    one times 32 plus the later one. `phase`: which months, modulo their number. `step`: where to go from a day on which
    banks are closed."""

    cadence: int
    anchor: int
    step: int
    phase: int = 0

    @property
    def name(self) -> str:
        return CADENCES[self.cadence]

    @property
    def period_days(self) -> float:
        return PERIOD_DAYS[self.cadence]

    @property
    def tolerance_days(self) -> int:
        return TOLERANCES[self.cadence]

    @lru_cache(maxsize=65_536)  # noqa: B019 - rhythms are values, shared by many streams: a few thousand in a bank
    def day(self, slot: int, currency: str) -> int:
        """The day of a slot, weekends and holidays considered.

        >>> salary = Rhythm(MONTHLY, 25, -1)
        >>> date_of(salary.day(2024 * 12 + 4, "EUR")).isoformat()  # 2024-05-25 is a Saturday
        '2024-05-24'
        """
        return roll(self._nominal(slot), self.step, currency)

    def misses_days(self, slot: int, day: int, currency: str) -> int:
        """By how many days a payment on `day` misses a slot: its day, or that of the calendar, since not every bank keeps every holiday."""
        return min(abs(self.day(slot, currency) - day), abs(self._nominal(slot) - day))

    def _nominal(self, slot: int) -> int:
        if self.cadence in INTERVALS:
            return self.anchor + slot * int(self.period_days)
        if self.cadence == SEMI_MONTHLY:
            month, half = divmod(slot, 2)
            return day_in_month(month, self.anchor % 32 if half else self.anchor // 32)
        months = MONTHS[self.name]
        return day_in_month(slot * months + self.phase, self.anchor)

    @lru_cache(maxsize=65_536)  # noqa: B019
    def slot_near(self, day: int, currency: str) -> int:
        """The slot whose day is nearest; of two equally near the earlier."""
        if self.cadence in INTERVALS:
            guess = (day - self.anchor) // int(self.period_days)
        else:
            of = date_of(day)
            month = of.year * 12 + of.month - 1
            guess = month * 2 if self.cadence == SEMI_MONTHLY else (month - self.phase) // MONTHS[self.name]
        if self.day(guess, currency) == day:
            return guess
        last = 2 if self.cadence == SEMI_MONTHLY else 1
        return min(range(guess - 1, guess + last + 1), key=lambda slot: (abs(self.day(slot, currency) - day), slot))


def guess_cadence(days: Sequence[int]) -> tuple[int, ...]:
    """The cadences whose period the middle one of the gaps between days is near to."""
    gaps = sorted([b - a for a, b in itertools.pairwise(days)])
    return _cadences_near(gaps[len(gaps) // 2])


@lru_cache(maxsize=1024)
def _cadences_near(gap_days: int) -> tuple[int, ...]:
    return tuple(
        cadence
        for cadence, period in enumerate(PERIOD_DAYS)
        if abs(gap_days - period) <= max(2.0 if cadence in INTERVALS else 4.5, 0.04 * period)
    )


def fit(
    days: Sequence[int], currency: str, steps: Sequence[int], skips_max: int = 0, old: Rhythm | None = None
) -> Rhythm | None:
    """The rhythm that fits the days (ascending, at least two) best: each of them near a slot of its own, and at most `skips_max`
    slots between them empty. `steps` are the ways to give way to a holiday that come into question, the likeliest first; `old` is
    the rhythm until now: a semi-monthly one that still fits all the days stays one.

    >>> from datetime import date
    >>> days = [date(2024, month, day).toordinal() - date(1970, 1, 1).toordinal() for month, day in ((3, 25), (4, 25), (5, 24))]
    >>> fit(days, "EUR", (1, -1))
    Rhythm(cadence=3, anchor=25, step=-1, phase=0)
    """
    best: Rhythm | None = None
    least = len(days) * max(TOLERANCES) + skips_max + 1
    stays = old is not None and old.cadence == SEMI_MONTHLY and len(days) >= SEMI_MONTHLY_DAYS_MIN
    for cadence in sorted(guess_cadence(days), key=SEMI_MONTHLY.__ne__) if stays else guess_cadence(days):
        if stays and best is not None:
            return best
        if cadence == FOUR_WEEKLY and len(days) < FOUR_WEEKLY_DAYS_MIN:
            continue
        for rhythm in _candidates(cadence, days, steps):
            error = _error(rhythm, days, currency, skips_max, least)
            if error is not None and error < least:
                best, least = rhythm, error
                if not error:
                    return best
    return best


def _error(rhythm: Rhythm, days: Sequence[int], currency: str, skips_max: int, limit: int) -> int | None:
    """The sum of the misses in days, or None if the rhythm doesn't fit at all or misses by `limit` days."""
    error = 0
    first = before = None
    for day in days:
        slot = rhythm.slot_near(day, currency)
        miss = abs(rhythm.day(slot, currency) - day)
        if miss > rhythm.tolerance_days or slot == before:
            return None
        if first is None:
            first = slot
        before = slot
        error += miss
        if error >= limit:
            return None
    assert first is not None and before is not None
    skipped = before - first + 1 - len(days)
    return error + skipped if skipped <= skips_max else None


def _candidates(cadence: int, days: Sequence[int], steps: Sequence[int]) -> Iterator[Rhythm]:
    if cadence in INTERVALS:
        anchors = dict.fromkeys(day % int(PERIOD_DAYS[cadence]) for day in reversed(days))
        for step in steps:
            yield from (Rhythm(cadence, anchor, step) for anchor in anchors)
        return
    dates = [date_of(day) for day in days]
    of_month = list(dict.fromkeys(of.day for of in reversed(dates)))
    if any(of.day >= 27 for of in dates):
        of_month += [day for day in (28, 29, 30, 31) if day not in of_month]
    if cadence == SEMI_MONTHLY:
        pairs = [early * 32 + late for early in of_month for late in of_month if 11 <= late - early <= 19]
        for step in steps:
            yield from (Rhythm(cadence, pair, step) for pair in pairs)
        return
    if any(of.day <= 3 for of in dates) and 1 not in of_month:
        of_month.append(1)
    months = MONTHS[CADENCES[cadence]]
    month = dates[-1].year * 12 + dates[-1].month - 1
    for step in steps:
        for anchor in of_month:
            # A day that gave way to a holiday may lie in the month before or after its own.
            for shift in (0,) if months == 1 else (0, -1, 1):
                yield Rhythm(cadence, anchor, step, (month + shift) % months)
