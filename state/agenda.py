"""The agenda: what the arrival clock gives the customers of a shard to do, and when.

Two things wait for the clock: a customer's timers, and events held back to be sorted (`reorder_wait_us`). Each source partition has a
heap of wake-ups, which the shard goes through when the partition's clock moves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from heapq import heappop, heappush

from state.customer import Customer, Timer
from state.events import Event
from state.policy import Policy
from state.step import Emission
from state.store import Store
from state.times import NEVER_US

LOADED_AHEAD_US = 60_000_000
"""How far beyond the clock wake-ups are read from the store. Each reads a profile that is seldom in memory: a day of them would drive
everybody else out, and hold up the stream for seconds where there are a million customers."""
WAKES_MIN = 1024
"""So many wake-ups of a source partition are never too many."""


class Agenda:
    """The wake-ups of one shard. `apply` is given a held event whose turn has come, `fire` a timer that is due. `hot` are the customers
    in memory, by id: of all others the store knows when they wake."""

    def __init__(
        self,
        policy: Policy,
        store: Store,
        hot: Mapping[str, Customer],
        apply: Callable[[Customer, Event, list[Emission]], None],
        fire: Callable[[Customer, Timer, list[Emission]], None],
    ) -> None:
        self._policy = policy
        self._store = store
        self._hot = hot
        self._apply = apply
        self._fire = fire
        self._wakes: dict[int, list[tuple[int, str]]] = {}
        self._wakes_max: dict[int, int] = {}
        """By source partition: with more of them, those that nobody needs are dropped."""
        self._loaded_us = -1

    def catch_up(self, customer: Customer, clock_us: int, out: list[Emission]) -> None:
        """Does what the arrival clock has made due, moment by moment, so that it doesn't matter how often one looks:
        held events whose wait is over are applied, and with them all held ones of earlier event time; timers fire."""
        while customer.timers or customer.held:
            timer = min(customer.timers, default=None)
            if timer is not None and timer.due_us >= clock_us and not customer.held:
                return  # the usual case: nothing fires before it is due
            fire_us = NEVER_US if timer is None else self._policy.fires_us(timer.due_us, customer.customer_id)
            held_us = min((e.arrival_us for e in customer.held), default=NEVER_US)
            release_us = held_us + self._policy.reorder_wait_us
            if min(fire_us, release_us) >= clock_us:
                return
            if timer is not None and fire_us < release_us:
                self._take(customer, timer, out)
            else:
                edge_us = max(e.time_us for e in customer.held if e.arrival_us == held_us)
                self.release(customer, sum(e.time_us <= edge_us for e in customer.held), out)

    def release(self, customer: Customer, count: int, out: list[Emission]) -> None:
        """Applies the first `count` of the held events, in order of event time."""
        # Of the states of one transaction at the same time, pending comes first and reversed last, as in the alphabet.
        customer.held.sort(key=lambda e: (e.time_us, e.TOPIC, e.event_id, getattr(e, "status", "")))
        ready, customer.held = customer.held[:count], customer.held[count:]
        for event in ready:
            while customer.timers and min(customer.timers).due_us + self._policy.lateness_us < event.time_us:
                self._take(customer, min(customer.timers), out)
            self._apply(customer, event, out)

    def wake_us(self, customer: Customer) -> int | None:
        """When the arrival clock gives this customer something to do."""
        wake_us = None
        if customer.timers:
            wake_us = self._policy.fires_us(min(customer.timers).due_us, customer.customer_id)
        if customer.held:
            held_us = min(e.arrival_us for e in customer.held) + self._policy.reorder_wait_us
            wake_us = held_us if wake_us is None else min(wake_us, held_us)
        return wake_us

    def schedule(self, customer: Customer) -> None:
        """Puts down when to look at this customer again, unless that stands there already."""
        wake_us = self.wake_us(customer)
        if wake_us is not None and wake_us != customer.scheduled_us:
            customer.scheduled_us = wake_us
            wakes = self._wakes.setdefault(customer.partition, [])
            heappush(wakes, (wake_us, customer.customer_id))
            if len(wakes) > self._wakes_max.get(customer.partition, WAKES_MIN):
                self._prune(customer.partition)

    def due(self, partition: int, clock_us: int) -> Iterator[tuple[int, str]]:
        """(wake-up, customer) of all that lie before the clock, earliest first; each is taken from the heap. What is scheduled
        meanwhile comes in its turn, and a wake-up may be one that its customer has moved since."""
        heap = self._wakes.get(partition)
        while heap and heap[0][0] < clock_us:
            yield heappop(heap)

    def load(self, clock_us: int, customer: Callable[[str], Customer]) -> None:
        """Brings in what the store knows to be due."""
        if clock_us > self._loaded_us:
            self._loaded_us = clock_us + LOADED_AHEAD_US
            for _, customer_id in self._store.timers_until(self._loaded_us):
                found = customer(customer_id)
                found.scheduled_us = None
                self.schedule(found)

    def customers(self) -> list[str]:
        """All that have a wake-up, each once."""
        return sorted({customer_id for heap in self._wakes.values() for _, customer_id in heap})

    def _prune(self, partition: int) -> None:
        """Drops wake-ups that a customer has moved, or that the store will bring in again: a customer that left memory and came back
        does not know that it has one here. Costs as much as the pushes since the last time."""
        wakes = self._wakes[partition]
        wakes[:] = sorted({wake for wake in wakes if wake[0] <= self._loaded_us or self._stands(*wake)})
        self._wakes_max[partition] = max(WAKES_MIN, 2 * len(wakes))

    def _stands(self, wake_us: int, customer_id: str) -> bool:
        customer = self._hot.get(customer_id)
        return customer is not None and customer.scheduled_us == wake_us

    def _take(self, customer: Customer, timer: Timer, out: list[Emission]) -> None:
        customer.timers.remove(timer)
        self._fire(customer, timer, out)
