"""Does this customer pay in a category much more often than before, and for weeks?

looks at   the days of payments in watched spending groups, against the customer's own rate, which is shrunk to a prior
needs      nothing: until the customer has shown a rate, the prior speaks
says       anomaly.category_surge, one OPEN per surge; sensitive for categories that tell of health
state      for each watched category the own rate (visits, weeks) and the running sum with its payments: under 1 KB
blind to   larger amounts at the usual rate; several visits within `same_matter_s`, which count as one (a dentist's bill and the
           pharmacy after it, the prescriptions of a year, a family's check-ups)
source     gamma-Poisson rate: Gelman et al., Bayesian Data Analysis, section 2.6; cumulative sum of log-likelihood ratios:
           Page, Biometrika 41, 1954, and Lucas, Counted data CUSUM's, Technometrics 27(2), 1985
"""

from __future__ import annotations

import math
from functools import cached_property

import msgspec

from operators.detector import DetectorConfig, Finding, Span
from operators.view import View
from state.categories import GROUPS
from state.customer import Customer, Recent
from state.events import Transaction
from state.signals import Reason
from state.windows import DAY_US

NAME = "category_surge"
VERSION = 1
SIGNAL = "anomaly.category_surge"
WEEK_US = 7 * DAY_US
EVIDENCE_MAX = 12


class Watched(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One category: spending groups that are one in the customer's mind, and what is usual among all customers."""

    groups: tuple[str, ...]
    weekly: float
    """Visits a week of an average customer."""
    weekly_surge_min: float
    """A surge has at least as many visits a week, however rare they were before."""
    sensitive: bool = False


class Config(DetectorConfig, frozen=True, kw_only=True, dict=True):
    categories: dict[str, Watched] = {}
    prior_weeks: float = 10.0
    factor: float = 4.0
    same_matter_s: Span = 259_200.0
    half_life_weeks: float = 52.0
    sum_max: float = 10.0

    @cached_property
    def of_group(self) -> dict[int, tuple[str, Watched]]:
        """The category that watches a spending group; where several do, the first of them."""
        found: dict[int, tuple[str, Watched]] = {}
        for category, watched in self.categories.items():
            for group, name in enumerate(GROUPS):
                if name in watched.groups:
                    found.setdefault(group, (category, watched))
        return found


class Series(msgspec.Struct, array_like=True):
    """The visits of one category. A run is what came since the sum last stood at zero; only runs that ended make the usual rate."""

    visits: float = 0.0
    weeks: float = 0.0
    sum: float = 0.0
    """Log-likelihood ratio of a surge against the usual rate, over the run; never below zero."""
    run_from_us: int = 0
    run_visits: int = 0
    run_ids: tuple[str, ...] = ()
    last_us: int = 0
    """When the last visit was that counted."""


class State(msgspec.Struct, array_like=True):
    since_us: int = 0
    """When the customer's first transaction was; from then on the weeks count."""
    series: dict[str, Series] = {}


def step(config: Config, state: State, transaction: Transaction, view: View) -> Finding | None:
    if transaction.direction == "credit":
        return None
    watching = config.of_group.get(view.key & 127)
    if watching is None:
        return None
    category, watched = watching
    known = state.series.get(category)
    series = msgspec.structs.replace(known) if known else Series(run_from_us=state.since_us or view.time_us)
    for recent in view.customer.recent:
        if recent.time_us > view.time_us:
            break
        if recent.learned and _counts(recent.key, watched):
            visit(config, watched, series, recent.time_us, recent.transaction_id)
    visit(config, watched, series, view.time_us, transaction.transaction_id)
    if series.sum <= 0.0 or series.last_us != view.time_us:
        return None
    usual = rate(config, watched, series) * 30 / 7
    days = max(30.0, (view.time_us - series.run_from_us) / DAY_US)
    observed = series.run_visits * 30 / days
    reason = Reason(
        code="VISITS_SURGE",
        feature="visits_30d",
        value=observed,
        baseline=usual,
        contribution=series.sum,
        text=f"{observed:.1f} {category} payments in 30 days, on days apart; this customer makes about {usual:.1f}",
    )
    return Finding(
        (reason,),
        details={"category": category, "observed": observed, "usual": usual},
        transaction_ids=series.run_ids,
        kind=category,
        sensitive=watched.sensitive,
        suspicious=False,
    )


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> None:
    if not state.since_us:
        state.since_us = recent.time_us
    if recent.key & 128:
        return
    watching = config.of_group.get(recent.key & 127)
    if watching is None:
        return
    category, watched = watching
    series = state.series.get(category)
    if series is None:
        series = state.series[category] = Series(run_from_us=state.since_us)
    visit(config, watched, series, recent.time_us, recent.transaction_id)


def visit(config: Config, watched: Watched, series: Series, time_us: int, transaction_id: str) -> None:
    """One more visit, in event-time order; one within `same_matter_s` of the last that counted belongs to it."""
    if series.last_us and time_us - series.last_us < config.same_matter_s * 1e6:
        return
    usual = rate(config, watched, series)
    surge = max(config.factor * usual, watched.weekly_surge_min)
    weeks = max(0, time_us - (series.last_us or series.run_from_us)) / WEEK_US
    series.sum -= (surge - usual) * weeks
    if series.sum <= 0.0:
        _end_run(config, series, time_us)
        usual = rate(config, watched, series)
        surge = max(config.factor * usual, watched.weekly_surge_min)
    series.sum = min(series.sum + math.log(surge / usual), config.sum_max)
    series.run_visits += 1
    series.run_ids = (*series.run_ids, transaction_id)[-EVIDENCE_MAX:]
    series.last_us = time_us


def rate(config: Config, watched: Watched, series: Series) -> float:
    """Usual visits a week: the mean of the gamma posterior, the prior being worth `prior_weeks`."""
    return (watched.weekly * config.prior_weeks + series.visits) / (config.prior_weeks + series.weeks)


def _end_run(config: Config, series: Series, time_us: int) -> None:
    """The run was no surge, or the surge is over: it becomes part of what is usual."""
    weeks = max(0, time_us - series.run_from_us) / WEEK_US
    fading = 0.5 ** (weeks / config.half_life_weeks)
    series.visits = series.visits * fading + series.run_visits
    series.weeks = series.weeks * fading + weeks
    series.sum, series.run_from_us, series.run_visits, series.run_ids = 0.0, time_us, 0, ()


def _counts(key: int, watched: Watched) -> bool:
    """Whether a payment with this key is a debit in a group that the category watches."""
    group = key & 127
    return not key & 128 and group < len(GROUPS) and GROUPS[group] in watched.groups
