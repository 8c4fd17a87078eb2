"""A customer's events once more through the production step, to see what the detectors saw: the usual band of amounts
at every transaction, and what each detector costs.

A customer's habits depend on that customer's own events and the settings alone, so with the settings of the run the
band is the one that its detectors judged by, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any, NamedTuple

from operators.anomaly import amount
from operators.catalogue import CATALOGUE
from operators.customer_step import CustomerStep, make_policy
from operators.detector import Detector
from state.categories import GROUPS
from state.events import Event
from state.settings import Settings
from state.shard import Shard
from state.store import MemoryStore
from state.windows import unpack_key

BATCH_EVENTS = 500


class Band(NamedTuple):
    """What was usual for this customer in this group of shops just before a transaction: major units of `currency`, the
    middle two thirds between `low` and `high`."""

    transaction_id: str
    time_us: int
    currency: str
    group: str
    credit: bool
    low: float
    usual: float
    high: float


class Cost(NamedTuple):
    """What `step` of a detector took over `transactions` transactions."""

    detector: str
    transactions: int
    step_us_mean: float


class Rehearsal:
    """Drives one shard of its own; its store is in memory and is thrown away."""

    def __init__(self, settings: Settings) -> None:
        self.bands: dict[str, list[Band]] = {}
        self._settings = settings
        self._spent_ns: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._names = {detector.NAME: f"{detector.NAME}@{detector.VERSION}" for detector in CATALOGUE}

    def run(self, events: Mapping[str, Iterable[Event]]) -> None:
        """Applies the events of each customer, in order of arrival; fills `bands` by customer."""
        step = CustomerStep(self._settings.detectors, self._settings.digest(), tuple(map(self._watched, CATALOGUE)))
        shard = Shard(0, step, make_policy(self._settings, step, 1), MemoryStore())
        shard.restore(None)
        for of_customer in events.values():
            own = list(of_customer)
            for first in range(0, len(own), BATCH_EVENTS):
                shard.apply(own[first : first + BATCH_EVENTS], 0)
        shard.finish()

    def costs(self) -> list[Cost]:
        """The detectors that were asked, slowest first."""
        costs = [
            Cost(self._names[name], calls, self._spent_ns[name] / calls / 1000)
            for name, calls in self._calls.items()
            if calls
        ]
        return sorted(costs, key=lambda cost: -cost.step_us_mean)

    def _watched(self, detector: Detector) -> Any:
        """The detector with a watch around its `step`; all else stays as it is."""
        self._spent_ns[detector.NAME] = self._calls[detector.NAME] = 0

        def step(config: Any, state: Any, transaction: Any, view: Any) -> Any:
            if detector.NAME == amount.NAME:
                self._note_band(transaction, view)
            start_ns = perf_counter_ns()
            found = detector.step(config, state, transaction, view)
            self._spent_ns[detector.NAME] += perf_counter_ns() - start_ns
            self._calls[detector.NAME] += 1
            return found

        return SimpleNamespace(**{**vars(detector), "step": step})

    def _note_band(self, transaction: Any, view: Any) -> None:
        mean, sd = view.amount_mean, view.amount_sd
        _, credit, group = unpack_key(view.key)
        self.bands.setdefault(transaction.customer_id, []).append(
            Band(
                transaction.transaction_id,
                transaction.time_us,
                transaction.currency,
                GROUPS[group],
                bool(credit),
                max(0.0, math.expm1(mean - sd)),
                math.expm1(mean),
                math.expm1(mean + sd),
            )
        )
