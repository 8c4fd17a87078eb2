"""The shard: a state machine over the profiles of its customers that knows no engine and no clock.

Tests, replay, simulation and Bytewax all drive the same object: `apply(events)`, `advance(partition, clock)`,
`checkpoint()`, `restore(token)`. What to say about an event is the business of the `CustomerStep` that it is given.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from heapq import heappop, heappush
from typing import Any, Final

import msgspec

from state.consents import decided
from state.counters import Counters, Ended
from state.customer import HELD_MAX, LABELS_MAX, RECENT_EVENTS_MAX, RECENT_MAX, SEEN_MAX, Customer, Timer
from state.digest import digest64
from state.events import TOPICS, Application, Consent, Event, Label, MarketRate, Transaction
from state.events import Account as AccountEvent
from state.frozen import freeze, thaw
from state.habits import learn, mature, observe
from state.life_cycle import Outcome, admit, book, classify, forget_waiting
from state.signals import EventTrigger, Late
from state.step import CustomerStep, Emission
from state.store import Store
from state.times import NEVER_US, rfc3339
from state.windows import LENGTHS_US

DIRTY_SETTLED_MAX: Final = 4
"""Changed customers left unfrozen by `settle`, which the driver calls late in an epoch: the checkpoint then has little to do."""
WRITE_BEHIND_CHUNK: Final = 64
SERIES_MAX: Final = 4096
"""Series of market rates that are told apart."""


class Meta(msgspec.Struct, array_like=True):
    """What a checkpoint holds of the shard itself."""

    clocks_us: dict[int, int]
    counters: Counters
    holders: dict[str, int] = {}
    """Customers whom the market's rates concern, and their source partition."""
    rates_us: dict[int, dict[str, int]] = {}
    """Source partition → series → when its newest rate was observed."""


class Policy(msgspec.Struct, frozen=True):
    """What defines the contents of profiles, in the shard's own units."""

    lateness_us: int = 172_800_000_000
    reorder_wait_us: int = 0
    duplicate_horizon_us: int = 2_592_000_000_000
    fading_factor: float = 0.04
    hot_customers_max: int = 4096
    dirty_customers_max: int = 1024
    """Changed customers kept unfrozen between checkpoints."""

    @property
    def retention_us(self) -> int:
        """How long a transaction stays in the ring: late events look back a whole longest window, too."""
        return max(LENGTHS_US[-1], self.duplicate_horizon_us) + self.lateness_us

    @property
    def seen_us(self) -> int:
        """How long the ids of other topics are remembered: while they can still be applied, whatever the horizon."""
        return max(self.duplicate_horizon_us, self.lateness_us)

    @property
    def timer_delay_us(self) -> int:
        """How far the arrival clock must be past a timer's due time before it fires by itself. Where events are held back for
        sorting, those up to there come a wait late and are held for another; later ones fire it before they are applied."""
        return self.lateness_us + 2 * self.reorder_wait_us


class Shard:
    """One shard. `store` keeps the bytes of its customers; the hottest are live objects in `hot`, least recently used first."""

    def __init__(self, number: int, step: CustomerStep, policy: Policy, store: Store) -> None:
        self.number = number
        self.policy = policy
        self.counters = Counters()
        self.counters_at_start = Counters()
        """What had been counted when the state was restored."""
        self.applying: Event | None = None
        """The event in hand: if applying it raises, the driver knows which one it was."""
        self.evicted = 0
        """How often a customer had to leave memory."""
        self.hot_hits = 0
        """How often a customer was looked for and was in memory."""
        self.hot_misses = 0
        """How often one had to be read from the store, or was new."""
        self.ended = {topic: Ended() for topic in TOPICS}
        self._step = step
        self._store = store
        self._hot: dict[str, Customer] = {}
        self._dirty: dict[str, Customer] = {}
        self._clocks_us: dict[int, int] = {}
        self._wakes: dict[int, list[tuple[int, str]]] = {}
        self._wakes_loaded_us = -1
        self._holders: dict[str, int] = {}
        self._rates_us: dict[int, dict[str, int]] = {}

    # ---- events

    def apply(self, events: Iterable[Event], partition: int) -> list[Emission]:
        """Applies events of one source partition in the given order; returns what is to be said about them, in order."""
        out: list[Emission] = []
        wait_us = self.policy.reorder_wait_us
        for event in events:
            self.applying = None
            if not event.customer_id:
                self._tell_rate(event, partition, out)
                continue
            self.counters.received += 1
            customer = self._load(event.customer_id)
            if partition != customer.partition:
                customer.partition = partition
                customer.scheduled_us = None
                if customer.customer_id in self._holders:
                    self._holders[customer.customer_id] = partition
            if event.arrival_us < customer.arrival_us:
                self.counters.disordered_arrivals += 1
            else:
                customer.arrival_us = event.arrival_us
            self._catch_up(customer, event.arrival_us, out)
            if wait_us:
                customer.held.append(event)
                self.counters.held += 1
                if len(customer.held) > HELD_MAX:
                    self._apply_held(customer, 1, out)
            else:
                self._apply_one(customer, event, out)
            self._schedule(customer)
            self._touch(customer)
        self._write_behind(self.policy.dirty_customers_max)
        return out

    def _tell_rate(self, rate: Event, partition: int, out: list[Emission]) -> None:
        """A rate of the market concerns all at once: each source partition reads it, and its customers hear of it here. It is of
        no customer, so it is not counted as received. One observed before the newest of its series is no news."""
        assert isinstance(rate, MarketRate), "only rates have no customer"
        self.applying = rate
        newest_us = self._rates_us.setdefault(partition, {})
        series = f"{rate.series}\0{rate.product or ''}\0{rate.currency or ''}"
        if rate.time_us <= newest_us.get(series, -1) or (series not in newest_us and len(newest_us) >= SERIES_MAX):
            return
        newest_us[series] = rate.time_us
        for customer_id in sorted(holder for holder, where in self._holders.items() if where == partition):
            customer = self._load(customer_id)
            self._catch_up(customer, rate.arrival_us, out)
            self._step.tell_rate(customer, rate, out)
            self._schedule(customer)
            self._touch(customer)

    def advance(self, partition: int, clock_us: int) -> list[Emission]:
        """Moves the arrival clock of a source partition; timers of its customers that it passes fire, in order of time."""
        out: list[Emission] = []
        if clock_us <= self._clocks_us.get(partition, 0):
            return out
        self._clocks_us[partition] = clock_us
        self._load_wakes(clock_us)
        heap = self._wakes.get(partition)
        while heap and heap[0][0] < clock_us:
            wake_us, customer_id = heappop(heap)
            customer = self._load(customer_id)
            if self._wake_us(customer) != wake_us:
                continue
            customer.scheduled_us = None
            if customer.partition == partition:
                self._catch_up(customer, clock_us, out)
            self._schedule(customer)
            self._touch(customer)
        self._write_behind(self.policy.dirty_customers_max)
        return out

    def finish(self) -> list[Emission]:
        """The end of bounded input: events held back for sorting are applied. Timers whose time has not come stay."""
        out: list[Emission] = []
        if self.policy.reorder_wait_us:
            self._load_wakes(NEVER_US)
            for customer_id in sorted({customer_id for heap in self._wakes.values() for _, customer_id in heap}):
                customer = self._load(customer_id)
                if customer.held:
                    self._apply_held(customer, len(customer.held), out)
                    self._schedule(customer)
                    self._touch(customer)
        return out

    def _apply_one(self, customer: Customer, event: Event, out: list[Emission]) -> None:
        self.applying = event
        outcome = (
            self._apply_transaction(customer, event, out)
            if isinstance(event, Transaction)
            else self._apply_other(customer, event, out)
        )
        ended = self.ended[event.TOPIC]
        if outcome is Outcome.APPLIED:
            self.counters.applied += 1
            ended.applied += 1
        elif outcome is Outcome.DUPLICATE:
            self.counters.duplicate += 1
            ended.duplicate += 1
        else:
            self.counters.late += 1
            ended.late += 1
            out.append(Emission(_late(customer, event, self.policy.lateness_us), event))

    def _apply_transaction(self, customer: Customer, transaction: Transaction, out: list[Emission]) -> Outcome:
        step = classify(customer, transaction, self.policy.lateness_us)
        if step.outcome is not Outcome.APPLIED:
            return step.outcome
        self._see(customer, transaction.time_us, out)
        if step.new:
            customer.ring.advance(transaction.time_us)
            self._step.score(customer, transaction, step.digest, out)
            step = admit(customer, transaction, step.digest, self.policy.lateness_us)
            if len(customer.recent) > RECENT_MAX:
                self._mature(customer, out)
        if step.reversed_digest:
            customer.awaiting.take(step.reversed_digest)
            self._step.reverse(customer, step.reversed_digest)
            trigger = EventTrigger(Transaction.TOPIC, step.reversed_by)
            for said in [s for s in customer.said if s.trigger == step.reversed_digest and s.state != "RETRACT"]:
                customer.said.remove(said)
                customer.timers = [
                    timer for timer in customer.timers if timer.episode != said.episode or timer.name != said.type
                ]
                self._step.withdraw(customer, said, trigger, step.reversed_us, transaction, out)
        book(customer, transaction)
        self._step.react(customer, transaction, out)
        return Outcome.APPLIED

    def _apply_other(self, customer: Customer, event: Event, out: list[Emission]) -> Outcome:
        name = f"{event.TOPIC}\0{event.event_id}"
        if isinstance(event, Application):
            name += f"\0{event.status}"
        digest = digest64(name)
        if digest in customer.seen:
            return Outcome.DUPLICATE
        if event.time_us < customer.newest_us - self.policy.lateness_us:
            return Outcome.LATE
        customer.seen.add(digest, event.time_us)
        self._see(customer, event.time_us, out)
        if len(customer.seen) > SEEN_MAX:
            customer.seen.forget(0, SEEN_MAX)
        if isinstance(event, AccountEvent):
            observe(customer, event)
            if event.kind in self._step.rated:
                self._holders[customer.customer_id] = customer.partition
        elif isinstance(event, Consent):
            customer.consents[event.purpose] = decided(customer.consents.get(event.purpose), event)
        elif isinstance(event, Label) and (event.label in customer.labels or len(customer.labels) < LABELS_MAX):
            customer.labels[event.label] = customer.labels.get(event.label, 0) + 1
        if event.TOPIC in self._step.learns:
            insort(customer.recent_events, event, key=_in_time)
            if len(customer.recent_events) > RECENT_EVENTS_MAX:
                self._step.learn_event(customer, customer.recent_events.pop(0), out)
        self._step.react(customer, event, out)
        return Outcome.APPLIED

    def _see(self, customer: Customer, time_us: int, out: list[Emission]) -> None:
        """Moves the customer's newest event time on; what can no longer be preceded is learned."""
        if time_us > customer.newest_us:
            customer.newest_us = time_us
            self._mature(customer, out)
            forget_waiting(customer, time_us - 2 * self.policy.lateness_us)
            customer.seen.forget(time_us - self.policy.seen_us, SEEN_MAX)

    def _mature(self, customer: Customer, out: list[Emission]) -> None:
        """Learns what can no longer be preceded, all topics in one order of time."""

        def learn_events(until_us: int) -> None:
            while customer.recent_events and customer.recent_events[0].time_us < until_us:
                self._step.learn_event(customer, customer.recent_events.pop(0), out)

        def learn_one(recent: Any) -> None:
            if customer.recent_events:
                learn_events(recent.time_us)
            self._step.learn(customer, recent, out)
            learn(customer, recent, self.policy.fading_factor)

        horizon_us = customer.newest_us - 2 * self.policy.lateness_us
        mature(customer, horizon_us, RECENT_MAX, learn_one)
        if customer.recent_events:
            learn_events(horizon_us)

    # ---- sorting within reorder_wait, and timers

    def _catch_up(self, customer: Customer, clock_us: int, out: list[Emission]) -> None:
        """Does what the arrival clock has made due, moment by moment, so that it doesn't matter how often one looks:
        held events whose wait is over are applied, and with them all held ones of earlier event time; timers fire."""
        while customer.timers or customer.held:
            timer = min(customer.timers, default=None)
            fire_us = NEVER_US if timer is None else timer.due_us + self.policy.timer_delay_us
            held_us = min((e.arrival_us for e in customer.held), default=NEVER_US)
            release_us = held_us + self.policy.reorder_wait_us
            if min(fire_us, release_us) >= clock_us:
                return
            if timer is not None and fire_us < release_us:
                self._fire(customer, timer, out)
            else:
                edge_us = max(e.time_us for e in customer.held if e.arrival_us == held_us)
                self._apply_held(customer, sum(e.time_us <= edge_us for e in customer.held), out)

    def _apply_held(self, customer: Customer, count: int, out: list[Emission]) -> None:
        # Of the states of one transaction at the same time, pending comes first and reversed last, as in the alphabet.
        customer.held.sort(key=lambda e: (e.time_us, e.TOPIC, e.event_id, getattr(e, "status", "")))
        ready, customer.held = customer.held[:count], customer.held[count:]
        self.counters.held -= count
        for event in ready:
            while customer.timers and min(customer.timers).due_us + self.policy.lateness_us < event.time_us:
                self._fire(customer, min(customer.timers), out)
            self._apply_one(customer, event, out)

    def _fire(self, customer: Customer, timer: Timer, out: list[Emission]) -> None:
        customer.timers.remove(timer)
        self._step.on_timer(customer, timer, out)

    def _wake_us(self, customer: Customer) -> int | None:
        """When the arrival clock gives this customer something to do."""
        due_us = customer.next_timer_us()
        wake_us = None if due_us is None else due_us + self.policy.timer_delay_us
        if customer.held:
            held_us = min(e.arrival_us for e in customer.held) + self.policy.reorder_wait_us
            wake_us = held_us if wake_us is None else min(wake_us, held_us)
        return wake_us

    def _schedule(self, customer: Customer) -> None:
        wake_us = self._wake_us(customer)
        if wake_us is not None and wake_us != customer.scheduled_us:
            customer.scheduled_us = wake_us
            heappush(self._wakes.setdefault(customer.partition, []), (wake_us, customer.customer_id))

    def _load_wakes(self, clock_us: int) -> None:
        """Brings in what the store knows to be due, a day ahead, so that start-up need not read all customers."""
        if clock_us > self._wakes_loaded_us:
            self._wakes_loaded_us = clock_us + LENGTHS_US[1]
            for _, customer_id in self._store.timers_until(self._wakes_loaded_us):
                customer = self._load(customer_id)
                customer.scheduled_us = None
                self._schedule(customer)

    # ---- memory and store

    def _load(self, customer_id: str) -> Customer:
        customer = self._hot.pop(customer_id, None)
        if customer is not None:
            self.hot_hits += 1
        else:
            self.hot_misses += 1
            frozen = self._store.get(customer_id)
            if frozen is None:
                customer = Customer(customer_id, self.policy.retention_us)
                self.counters.customers += 1
            else:
                customer, states = thaw(customer_id, frozen, self.policy.retention_us)
                self._step.thaw_states(customer, states)
        self._hot[customer_id] = customer
        if len(self._hot) > self.policy.hot_customers_max:
            coldest = next(iter(self._hot))
            self._freeze(self._hot.pop(coldest))
            self.evicted += 1
        return customer

    def _touch(self, customer: Customer) -> None:
        self._dirty[customer.customer_id] = customer

    def _freeze(self, customer: Customer) -> None:
        if self._dirty.pop(customer.customer_id, None) is not None:
            frozen = freeze(customer, self._step.freeze_states(customer))
            self._store.put(customer.customer_id, frozen, self._wake_us(customer))

    def settle(self) -> None:
        """Writes changed customers behind, all but the newest few. To be called when a checkpoint is near."""
        self._write_behind(DIRTY_SETTLED_MAX)

    def _write_behind(self, dirty_max: int) -> None:
        while len(self._dirty) > dirty_max:
            self._freeze(next(iter(self._dirty.values())))
        self._store.write_behind(WRITE_BEHIND_CHUNK)

    def checkpoint(self) -> bytes:
        """Hands every change to the store; returns the token from which exactly this state can be restored."""
        assert self.counters.difference == 0, "law 11: a record was lost or counted twice"
        for customer in list(self._dirty.values()):
            self._freeze(customer)
        meta = Meta(self._clocks_us, self.counters, self._holders, self._rates_us)
        return self._store.checkpoint(msgspec.msgpack.encode(meta))

    def proven(self) -> None:
        """The engine has committed the newest checkpoint: nothing before it will be asked for again."""
        self._store.proven()

    def restore(self, token: bytes | None) -> None:
        """Goes back to the state of `token`; None begins from nothing."""
        self._hot.clear()
        self._dirty.clear()
        self._wakes.clear()
        self._wakes_loaded_us = -1
        found = self._store.restore(token)
        meta = Meta({}, Counters()) if found is None else msgspec.msgpack.decode(found, type=Meta)
        self._clocks_us, self.counters = meta.clocks_us, meta.counters
        self._holders, self._rates_us = meta.holders, meta.rates_us
        self.counters_at_start = msgspec.structs.replace(self.counters)

    @property
    def hot_customers(self) -> int:
        """How many live profiles are in memory."""
        return len(self._hot)

    def customer(self, customer_id: str) -> Customer:
        """The live profile, for queries and tests."""
        return self._load(customer_id)

    def close(self) -> None:
        self._store.close()


def _in_time(event: Event) -> tuple[int, str, str]:
    return event.time_us, event.TOPIC, event.event_id


def _late(customer: Customer, event: Event, lateness_us: int) -> Late:
    return Late(
        topic=event.TOPIC,
        partition=event.partition,
        offset=event.offset,
        customer_id=event.customer_id,
        event_id=event.event_id,
        event_time=rfc3339(event.time_us),
        arrived_at=rfc3339(event.arrival_us),
        late_by_s=(customer.newest_us - lateness_us - event.time_us) / 1e6,
    )
