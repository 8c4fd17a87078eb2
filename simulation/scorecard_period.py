"""Which time counts: the period, its second half, and each customer's first days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from simulation.scorecard_figures import DAYS_PER_YEAR
from simulation.scorecard_rules import DAY_US
from simulation.scorecard_run import Run
from simulation.scorecard_truth import Truth
from state.settings import ConfigError

COLD_START_DAYS = 60


@dataclass(frozen=True)
class Observed:
    """The period [start, end), who lived in it, and when each customer was first scored (empty if nobody was).
    `nameless` customers are known to world.json only: nothing was said or planted about them, but their quiet years
    count."""

    start_us: int
    end_us: int
    customer_ids: frozenset[str]
    nameless: int
    first_us: Mapping[str, int]
    notes: tuple[str, ...]

    @property
    def half_us(self) -> int:
        return self.start_us + (self.end_us - self.start_us) // 2

    @classmethod
    def of(cls, run: Run, truth: Truth) -> Observed:
        """Raises ConfigError if nothing tells the period."""
        world, notes = truth.world, []
        source, times_us = _known_times(run, truth)
        start_us = world.start_us if world.start_us is not None else min(times_us, default=0)
        end_us = world.end_us if world.end_us is not None else max(times_us, default=-1) + 1
        if world.start_us is None or world.end_us is None:
            notes.append(f"world.json tells no period; it was taken from the {source}")
        if start_us >= end_us:
            raise ConfigError(
                "the period is unknown or empty: neither world.json (start, end, customers) beside truth.jsonl "
                "nor the run's scores and signals tell it. Write world.json"
            )
        people = {case.customer_id for case in (*truth.cases, *truth.decoys) if case.customer_id}
        people.update(run.first_us, *run.alarms.values())
        nameless = max(0, (world.customers or 0) - len(people))
        if run.first_us and nameless > len(run.first_us):
            notes.append(
                f"world.json tells of {world.customers} customers, the run has scored only {len(run.first_us)}"
            )
        return cls(start_us, end_us, frozenset(people), nameless, run.first_us, tuple(notes))


def _known_times(run: Run, truth: Truth) -> tuple[str, list[int]]:
    """The best witness of the period and its times: scores (every transaction has one), else signals, else the truth
    itself."""
    if run.last_us is not None:
        return "scores", [*run.first_us.values(), run.last_us]
    told_us = [
        alarm.time_us for of_type in run.alarms.values() for of_customer in of_type.values() for alarm in of_customer
    ]
    if told_us:
        return "signals", told_us
    cases = (*truth.cases, *truth.decoys)
    return "truth", [us for case in cases for us in (case.start_us, case.end_us) if us is not None]


class Span:
    """For each customer an interval [from, until) that counts. Events are in it by their own time; observed is the part
    of it since the customer was first seen."""

    def __init__(
        self, seen: Observed, default_us: tuple[int, int], of_customer_us: Mapping[str, tuple[int, int]]
    ) -> None:
        self._default_us = default_us
        self._of_customer_us = of_customer_us
        self._nameless = seen.nameless
        self._first_us = seen.first_us
        self._observed_us: dict[str, int] = {}
        for customer_id in sorted(seen.customer_ids):
            from_us, until_us = self.observed_us(customer_id)
            self._observed_us[customer_id] = max(0, until_us - from_us)
        self._nameless_us = max(0, default_us[1] - default_us[0])

    def limits_us(self, customer_id: str) -> tuple[int, int]:
        return self._of_customer_us.get(customer_id, self._default_us)

    def observed_us(self, customer_id: str) -> tuple[int, int]:
        """The part of the interval in which the customer was there to be observed; empty (or reversed) if there is none."""
        from_us, until_us = self.limits_us(customer_id)
        return max(from_us, self._first_us.get(customer_id, from_us)), until_us

    def has(self, customer_id: str, time_us: int) -> bool:
        from_us, until_us = self.limits_us(customer_id)
        return from_us <= time_us < until_us

    def customers(self) -> int:
        """How many were observed at all."""
        observed = sum(observed_us > 0 for observed_us in self._observed_us.values())
        return observed + (self._nameless if self._nameless_us else 0)

    def years(self) -> float:
        """Customer-years observed."""
        observed_us = sum(self._observed_us.values()) + self._nameless * self._nameless_us
        return observed_us / (DAY_US * DAYS_PER_YEAR)

    def days(self, customer_id: str) -> int:
        """Observed time in whole days: the bootstrap draws like customers together, so it needs them to be alike."""
        return round(self._observed_us[customer_id] / DAY_US)

    def customers_by_days(self) -> Counter[int]:
        counted = Counter(round(observed_us / DAY_US) for observed_us in self._observed_us.values())
        counted[round(self._nameless_us / DAY_US)] += self._nameless
        return +counted


def second_half(seen: Observed) -> Span:
    return Span(seen, (seen.half_us, seen.end_us), {})


def cold_start(seen: Observed) -> Span | None:
    """Each customer's first days since the first score, wherever in the period they lie: in a world where all start
    together they would all be in the half that doesn't count. None if the run has no scores; a customer without one has
    no first days."""
    if not seen.first_us:
        return None
    first_days = {
        customer_id: (first_us, min(first_us + COLD_START_DAYS * DAY_US, seen.end_us))
        for customer_id, first_us in seen.first_us.items()
    }
    return Span(seen, (seen.end_us, seen.end_us), first_days)
