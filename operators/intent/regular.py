"""What intents read out of recurring streams: regular income, what has replaced it, regular payments that have stopped."""

from __future__ import annotations

from typing import Final, NamedTuple

from operators.intent.traces import Week
from state.habits import major_units
from state.income import NO_INCOME
from state.recurring import Stream

BILLED: Final = frozenset(("direct_debit", "standing_order", "ecommerce"))
OVERLAP_DAYS: Final = 12
"""A new employer's first payment may come some days before the old one's would have."""
LASTED_DAYS_MIN: Final = 240
"""What lasted less than eight months was a benefit or a stopgap: what follows it is no new life, but the old one again."""
STEADY: Final = 1.15
"""The first payments of a new employer differ by this factor at most."""
MONTH_DAYS: Final = 30.4
MONTHLY_DAYS_MIN: Final = 28
"""The period of what comes once a month."""


def incomes_of(week: Week) -> list[Stream]:
    return [stream for stream in week.regular if stream.credit and stream.channel not in NO_INCOME]


def weekly(stream: Stream) -> float:
    """What a stream with a rhythm brings or costs a week, in major units."""
    assert stream.rhythm is not None
    return major_units(stream.usual_minor()[0], stream.currency) * 7 / stream.rhythm.period_days


class Income(NamedTuple):
    """Regular income: the share of it that has failed to come, and the streams that have."""

    gone: float
    missed: list[Stream]


def income_of(week: Week) -> Income:
    total = gone = 0.0
    missed, day = [], week.day
    for stream in incomes_of(week):
        amount = weekly(stream)
        total += amount
        if stream.missed(day):
            gone += amount
            missed.append(stream)
    return Income(gone / total if total else 0.0, missed)


def rent_of(week: Week) -> float:
    """What goes to others by standing order a week, in major units."""
    day = week.day
    return sum(
        weekly(stream)
        for stream in week.regular
        if stream.channel == "standing_order" and not stream.credit and not stream.missed(day)
    )


def bills_stopped(week: Week) -> int:
    """How many regular payments to others have failed to come."""
    day = week.day
    return sum(1 for stream in week.regular if stream.channel in BILLED and not stream.credit and stream.missed(day))


def lasted_days(stream: Stream) -> float:
    """For how long an income has come."""
    return stream.hits * stream.rhythm.period_days if stream.rhythm is not None else 0.0


class Succession(NamedTuple):
    """A regular income that has stopped, and the one that came in its place."""

    old: Stream
    new: Stream
    ratio: float
    """New to old, per week."""
    pause_days: int
    age_days: int
    """Since the first payment of the new one."""

    @property
    def confirmed(self) -> bool:
        """Whether the new one has come again."""
        return self.new.hits > 1


def succession(week: Week) -> Succession | None:
    """The largest income that has stopped and been replaced by another payer's, if any. In place of a monthly income one payment may be
    enough to see it; rather one that has come again."""
    best: Succession | None = None
    day = week.day
    for old in incomes_of(week):
        if not old.missed(day) or lasted_days(old) < LASTED_DAYS_MIN:
            continue
        for new in week.streams:
            if not _replaces(new, old, week):
                continue
            ratio = _begun_weekly(new) / max(0.01, weekly(old))
            found = Succession(old, new, ratio, new.days[0] - old.last_day, day - new.days[0])
            if best is None or (found.confirmed, weekly(old)) > (best.confirmed, weekly(best.old)):
                best = found
    return best


def _replaces(new: Stream, old: Stream, week: Week) -> bool:
    if not new.credit or new.payee == old.payee or new.channel in NO_INCOME or new.payee in week.own:
        return False
    if new.hits == 1:
        assert old.rhythm is not None
        begun = old.rhythm.period_days >= MONTHLY_DAYS_MIN and new.channel == old.channel
    else:
        begun = new.rhythm is not None and max(new.amounts) <= STEADY * min(new.amounts)
    fresh = new.hits == len(new.days) and new.days[0] > old.last_day - OVERLAP_DAYS
    return begun and fresh and new.currency == old.currency


def _begun_weekly(stream: Stream) -> float:
    """What a stream brings a week; of which one payment has come, if it comes monthly."""
    if stream.rhythm is not None:
        return weekly(stream)
    return major_units(stream.amounts[-1], stream.currency) * 7 / MONTH_DAYS
