"""What a shard asks of the customer step, and what it gets back. The step itself is in operators/customer_step.py."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from state.customer import Customer, Recent, Said, Timer
from state.events import Event, MarketRate, Transaction
from state.signals import EventTrigger


class Emission(msgspec.Struct, gc=False):
    """Something to be written: a Signal, Score, Late or DetectorError, and the event that caused it (None for timers)."""

    body: Any
    event: Event | None


class CustomerStep(Protocol):
    """What is done for one customer: score, react, learn, reverse, withdraw, and act on timers. Appends to `out`, never raises.

    `react` hears of every event that was applied, once it counts; `learns` names the topics whose events come to `learn_event`;
    `rated` the kinds of account whose holders are told of the market's rates by `tell_rate`; `finishes` says whether customers with
    timers are to be shown to `finish` when bounded input ends.
    """

    learns: frozenset[str]
    rated: frozenset[str]
    finishes: bool

    def score(self, customer: Customer, transaction: Transaction, digest: int, out: list[Emission]) -> None: ...
    def react(self, customer: Customer, event: Event, out: list[Emission]) -> None: ...
    def learn(self, customer: Customer, recent: Recent, out: list[Emission]) -> None: ...
    def learn_event(self, customer: Customer, event: Event, out: list[Emission]) -> None: ...
    def tell_rate(self, customer: Customer, rate: MarketRate, out: list[Emission]) -> None: ...
    def reverse(self, customer: Customer, digest: int) -> None: ...
    def withdraw(
        self,
        customer: Customer,
        said: Said,
        trigger: EventTrigger,
        time_us: int,
        event: Transaction,
        out: list[Emission],
    ) -> None: ...
    def on_timer(self, customer: Customer, timer: Timer, out: list[Emission]) -> None: ...
    def finish(self, customer: Customer, out: list[Emission]) -> None: ...
    def freeze_states(self, customer: Customer) -> dict[str, list[Any]]: ...
    def thaw_states(self, customer: Customer, states: dict[str, tuple[int, msgspec.Raw]]) -> None: ...
