"""The cash-flow forecast: the balance of an account on each of the coming days, with bands.

Known recurring payments on their days, plus the habit by day of the week and by time since payday. Means and variances add up day by
day; the bands are those of a normal distribution, as wide as the account's past forecasts have shown to be necessary
(state/cash_habit.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from state.business_days import DAY_US, day_of
from state.cash_habit import MAIN_SHARE, CashHabit
from state.income import NO_INCOME
from state.recurring import Flow

HORIZON_DAYS = 30
KNOWN_DAYS_MAX = 60.0
"""A mean that fades is never known from more days."""
DRIFT = 0.5
"""Habits change, so the mean's error is larger than its days alone would give. Chosen by hand, so that bands of 7, 14 and 30 days
became about equally wide of their promise on development worlds (seeds 501, 502); not estimated."""
EVENED = 0.55
"""No account grows or shrinks month after month as its payments would have it: what a month leaves over is put aside or spent, what it
lacks is fetched or saved. Of it so much, spread over the days. On development worlds (seeds 501, 502) .5 to .7 are about equally good, and
the pinball loss 30 days ahead is a seventh smaller than with nothing."""
Z10 = 1.2815515655446004
"""Standard deviations from the median to the 10th and 90th percentile."""


class Outlook(NamedTuple):
    """The coming days of one account: index 0 is now, index k the end of the k-th day after today. Minor units."""

    day: int
    balance_minor: int
    means: list[float]
    sds: list[float]
    """Calibrated standard deviations."""
    everyday: list[float]
    """The part of `means` that no recurring payment makes, cumulative."""
    lows: list[float]
    """The means before what is expected to come in on the same day: banks collect in the small hours, wages come when they come."""
    flows: list[Flow]
    """The recurring payments of this account, in order of time."""
    currency: str
    usual_minor: float
    """What everyday movements alone come to in all these days."""

    def quantile(self, index: int, z: float) -> float:
        """The balance at `index` that is z standard deviations above the median."""
        return self.means[index] + z * self.sds[index]

    def index_of(self, flow: Flow) -> int:
        """The first index whose balance contains the flow: what is due today counts as tomorrow's."""
        return max(1, day_of(flow.due_us) - self.day)


def outlook(
    balance_minor: int,
    flows: Sequence[Flow],
    habit: CashHabit,
    from_us: int,
    currency: str,
    days: int = HORIZON_DAYS,
    evened: float = EVENED,
    drift: float = DRIFT,
) -> Outlook:
    """`flows` are those of the account from `from_us` on. A flow that comes with probability p adds p × amount to the mean and its
    doubt to the variance. Of what all this comes to in the end, the share `evened` is taken back, a part of it each day.
    `drift` is that of DRIFT."""
    today = day_of(from_us)
    steps, variances, incomes = [0.0] * (days + 1), [0.0] * (days + 1), [0.0] * (days + 1)
    for flow in flows:
        index = max(1, day_of(flow.due_us) - today)
        if index <= days:
            p, amount = flow.probability, flow.amount_minor
            steps[index] += p * amount
            if amount > 0.0:
                incomes[index] += p * amount
            variances[index] += p * flow.sd_minor * flow.sd_minor + p * (1.0 - p) * amount * amount
    usuals = habit.means(today, days, _paydays(flows, today) if habit.payday else ())
    usual_minor = sum(usuals)
    evening = -evened * (usual_minor + sum(steps)) / days
    means, sds, everyday, lows = [float(balance_minor)], [0.0], [0.0], [float(balance_minor)]
    mean, variance, spent = float(balance_minor), 0.0, 0.0
    known_days = max(1.0, min(float(habit.days), KNOWN_DAYS_MAX))
    for index, usual in enumerate(usuals, 1):
        spent += usual + evening
        mean += usual + evening + steps[index]
        variance += variances[index] + habit.variance
        means.append(mean)
        lows.append(mean - incomes[index])
        everyday.append(spent)
        # The mean itself is known from so many days only, and it drifts: that error grows with the days, not with their root.
        error = drift * index * index * habit.variance / known_days
        sds.append(habit.scale * math.sqrt(variance + error + 1.0))
    return Outlook(today, balance_minor, means, sds, everyday, lows, list(flows), currency, usual_minor)


def _paydays(flows: Sequence[Flow], today: int) -> list[int]:
    """The days on which main incomes are expected, ascending. What is overdue is expected tomorrow."""
    incomes = [flow for flow in flows if flow.amount_minor > 0.0 and flow.channel not in NO_INCOME]
    least = MAIN_SHARE * max((flow.amount_minor for flow in incomes), default=0.0)
    return sorted(max(today + 1, day_of(flow.due_us)) for flow in incomes if flow.amount_minor >= least)


def card_bill(flow: Flow, from_us: int, owed_minor: int, share: float) -> Flow:
    """The next bill of a credit card: the share usually paid of what is owed now and of what will be bought until then. In a month
    as much is bought as is paid on average."""
    remaining = min(1.0, max(0.0, (flow.due_us - from_us) / (30 * DAY_US)))
    amount = share * (owed_minor - remaining * flow.amount_minor)
    return flow._replace(amount_minor=-amount, sd_minor=min(flow.sd_minor, 0.15 * amount + 0.3 * remaining * amount))


def span_us(from_us: int, days: int = HORIZON_DAYS) -> tuple[int, int]:
    """The time for which `outlook` wants flows: [from, end of the last day)."""
    return from_us, (day_of(from_us) + days + 1) * DAY_US
