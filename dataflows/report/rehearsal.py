"""A customer's events once more through the production step, to see what the detectors saw: the usual band of amounts
at every transaction, and what each detector costs.

A customer's habits depend on that customer's own events and the settings alone, so with the settings of the run the
band is the one that its detectors judged by, bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any, NamedTuple

from operators.anomaly import amount
from operators.catalogue import CATALOGUE
from operators.customer_step import CustomerStep, make_policy
from operators.detector import HOOKS, Detector
from operators.view import View
from state.business_days import DAY_US, day_of
from state.categories import GROUPS
from state.customer import Customer
from state.events import Event, Transaction
from state.memory_store import MemoryStore
from state.settings import Settings
from state.shard import Shard
from state.windows import unpack_key

BATCH_EVENTS = 500
EXPECTED_DAYS = 45
"""How far ahead recurring payments are shown: the next month's, and one more of those that come twice."""


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


class Recurring(NamedTuple):
    """Payments that come back: when they came, newest last, and when they are expected; times in microseconds, amounts in minor
    units of `currency`, negative for money that leaves."""

    name: str
    status: str
    cadence: str
    channel: str
    currency: str
    account: str
    paid: tuple[tuple[int, int], ...]
    expected: tuple[tuple[int, int], ...]


class Cost(NamedTuple):
    """What all hooks of a detector took together, for each of `transactions` transactions."""

    detector: str
    transactions: int
    cost_us_mean: float


class Rehearsal:
    """Drives one shard of its own; its store is in memory and is thrown away."""

    def __init__(self, settings: Settings) -> None:
        self.bands: dict[str, list[Band]] = {}
        self.recurring: dict[str, list[Recurring]] = {}
        self._settings = settings
        self._spent_ns = {f"{detector.NAME}@{detector.VERSION}": 0 for detector in CATALOGUE}
        self._transactions = 0

    def run(self, events: Mapping[str, Iterable[Event]]) -> None:
        """Applies the events of each customer, in order of arrival; fills `bands` and `recurring` by
        customer."""
        step = CustomerStep(self._settings.detectors, self._settings.digest(), tuple(map(self._watched, CATALOGUE)))
        shard = Shard(0, step, make_policy(self._settings, step, 1), MemoryStore())
        shard.restore(None)
        for customer_id, of_customer in events.items():
            own = list(of_customer)
            self._transactions += sum(isinstance(event, Transaction) for event in own)
            for first in range(0, len(own), BATCH_EVENTS):
                shard.apply(own[first : first + BATCH_EVENTS], 0)
            shard.finish()
            if own:
                self.recurring[customer_id] = recurring_of(shard.customer(customer_id))

    def costs(self) -> list[Cost]:
        """The detectors that had something to do, slowest first."""
        costs = [
            Cost(name, self._transactions, spent_ns / self._transactions / 1000)
            for name, spent_ns in self._spent_ns.items()
            if spent_ns
        ]
        return sorted(costs, key=lambda cost: -cost.cost_us_mean)

    def _watched(self, detector: Detector) -> Any:
        """The detector with a watch around each of its hooks; all else stays as it is."""
        hooks = {
            hook: self._timed(f"{detector.NAME}@{detector.VERSION}", getattr(detector, hook))
            for hook in HOOKS
            if getattr(detector, hook, None) is not None
        }
        if detector.NAME == amount.NAME:
            hooks["step"] = self._noting_bands(hooks["step"])
        return SimpleNamespace(**{**vars(detector), **hooks})

    def _timed(self, name: str, hook: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start_ns = perf_counter_ns()
            try:
                return hook(*arguments)
            finally:
                self._spent_ns[name] += perf_counter_ns() - start_ns

        return timed

    def _noting_bands(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def noting(config: Any, state: Any, transaction: Transaction, view: View) -> Any:
            self._note_band(transaction, view)
            return step(config, state, transaction, view)

        return noting

    def _note_band(self, transaction: Transaction, view: View) -> None:
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


def recurring_of(customer: Customer) -> list[Recurring]:
    """The streams with a rhythm, as of the customer's newest event: proven ones first, those between own accounts last, then by
    what they move."""
    now_us = customer.newest_us
    expected: dict[int, list[tuple[int, int]]] = {}
    for flow in customer.expected_flows(now_us, now_us + EXPECTED_DAYS * DAY_US):
        expected.setdefault(flow.stream, []).append((flow.due_us, round(flow.amount_minor)))
    found = []
    for stream in customer.current_streams():
        if stream.rhythm is not None:
            sign = 1 if stream.credit else -1
            paid = zip(stream.days, stream.amounts, strict=True)
            found.append(
                Recurring(
                    stream.name,
                    stream.status(day_of(now_us)).name,
                    stream.rhythm.name,
                    stream.channel,
                    stream.currency,
                    stream.account,
                    tuple((day * DAY_US + DAY_US // 2, sign * amount_minor) for day, amount_minor in paid),
                    tuple(expected.get(stream.id, ())),
                )
            )
    rank = {"MATURE": 0, "EARLY": 1, "ENDED": 2}
    return sorted(
        found,
        key=lambda each: (
            each.name in customer.accounts,
            rank[each.status],
            -max(abs(minor) for _, minor in each.paid),
            each.name,
        ),
    )
