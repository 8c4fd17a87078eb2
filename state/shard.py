"""The shard: a state machine over the profiles of its customers that knows no engine and no clock.

Tests, replay, simulation and Bytewax all drive the same object: `apply(events)`, `advance(partition, clock)`,
`checkpoint()`, `restore(token)`. What to say about an event is the business of the `CustomerStep` that it is given.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from typing import Final

import msgspec

from state.agenda import Agenda
from state.consents import decided
from state.counters import Counters, Ended
from state.customer import HELD_MAX, LABELS_MAX, RECENT_EVENTS_MAX, RECENT_MAX, SEEN_MAX, Customer
from state.digest import digest64
from state.events import TOPICS, Application, Consent, Event, Label, MarketRate, Transaction
from state.events import Account as AccountEvent
from state.frozen import UNKNOWN, freeze, thaw
from state.habits import learn, observe
from state.life_cycle import Outcome, Step, admit, book, classify, forget_waiting
from state.market import PAGE_CUSTOMERS, PENDING_MAX, Market, visits_due
from state.policy import Policy
from state.shard_meta import Meta, decode_meta, encode_meta
from state.signals import EventTrigger, late
from state.step import CustomerStep, Emission
from state.store import Store
from state.times import NEVER_US

WRITE_BEHIND_CHUNK: Final = 64


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
        self._agenda = self._empty_agenda()
        self._market = Market(store, {})
        self._unlisted: dict[str, Customer] = {}
        """Holders whom the store does not yet know as such."""
        self._received_at_visit = 0

    def apply(self, events: Iterable[Event], partition: int) -> list[Emission]:
        """Applies events of one source partition in the given order; returns what is to be said about them, in order."""
        out: list[Emission] = []
        wait_us = self.policy.reorder_wait_us
        for event in events:
            self.applying = None
            if not event.customer_id:
                assert isinstance(event, MarketRate), "only rates have no customer"
                self.applying = event
                self._market.read(event, partition)  # of no customer, so it is not counted as received
                continue
            self.counters.received += 1
            customer = self._load(event.customer_id)
            if partition != customer.partition:
                self._hear_rates(customer, out)
                customer.partition = partition
                customer.scheduled_us = None
                if customer.rates_heard is not None:
                    self._hold(customer)
            if event.arrival_us < customer.arrival_us:
                self.counters.disordered_arrivals += 1
            else:
                customer.arrival_us = event.arrival_us
            if self._market.waiting:
                self._hear_rates(customer, out)
            self._agenda.catch_up(customer, event.arrival_us, out)
            if wait_us:
                customer.held.append(event)
                self.counters.held += 1
                if len(customer.held) > HELD_MAX:
                    self._agenda.release(customer, 1, out)
            else:
                self._apply_one(customer, event, out)
            self._agenda.schedule(customer)
            self._touch(customer)
        self.applying = None  # what fails from here on is the fault of no record
        self._write_behind(self.policy.dirty_customers_max)
        return out

    def advance(self, partition: int, clock_us: int) -> list[Emission]:
        """Moves the arrival clock of a source partition; timers of its customers that it passes fire, in order of time. Some of its
        holders hear of the market's newest rates."""
        out: list[Emission] = []
        if clock_us > self._clocks_us.get(partition, 0):
            self._clocks_us[partition] = clock_us
            self._wake(partition, clock_us, out)
        if self._market.waiting:
            self._visit_holders(partition, visits_due(self.counters.received - self._received_at_visit), out)
            while self._market.pending(partition) > PENDING_MAX:
                self._visit_holders(partition, PAGE_CUSTOMERS, out)
        self._received_at_visit = self.counters.received
        self._write_behind(self.policy.dirty_customers_max)
        return out

    def finish(self) -> list[Emission]:
        """The end of bounded input: events held back for sorting are applied, all holders hear of the market's rates, and what the step
        was to tell later is told. Other timers whose time has not come stay."""
        out: list[Emission] = []
        if self.policy.reorder_wait_us or self._step.finishes:
            self._agenda.load(NEVER_US, self._load)
            for customer_id in self._agenda.customers():
                customer, said = self._load(customer_id), len(out)
                if customer.held:
                    self._hear_rates(customer, out)
                    self._agenda.release(customer, len(customer.held), out)
                    self._touch(customer)
                self._step.finish(customer, out)
                if len(out) > said:
                    self._touch(customer)
                self._agenda.schedule(customer)
        for partition in sorted(self._market.partitions):
            while self._market.pending(partition):
                self._visit_holders(partition, PAGE_CUSTOMERS, out)
        return out

    def _wake(self, partition: int, clock_us: int, out: list[Emission]) -> None:
        self._agenda.load(clock_us, self._load)
        for wake_us, customer_id in self._agenda.due(partition, clock_us):
            customer = self._load(customer_id)
            if self._agenda.wake_us(customer) != wake_us:
                continue
            customer.scheduled_us = None
            if customer.partition == partition:
                self._hear_rates(customer, out)
                self._agenda.catch_up(customer, clock_us, out)
            self._agenda.schedule(customer)
            self._touch(customer)

    def _hold(self, customer: Customer) -> None:
        """The customer is now a holder in its source partition, and hears of the rates that are read from now on."""
        customer.rates_heard = self._market.number(customer.partition)
        self._unlisted[customer.customer_id] = customer

    def _visit_holders(self, partition: int, count_max: int, out: list[Emission]) -> None:
        for customer in list(self._unlisted.values()):
            self._freeze(customer)
        for customer_id in self._market.turns(partition, count_max):
            was_hot = customer_id in self._hot
            customer = self._load(customer_id)
            if customer.partition == partition:
                self._hear_rates(customer, out)
                self._agenda.schedule(customer)
                self._touch(customer)
            if not was_hot:  # so that a rate does not drive those out of memory who have events
                self._evict(customer_id)

    def _hear_rates(self, customer: Customer, out: list[Emission]) -> None:
        """Tells a holder the rates that its source partition has read and it has not heard, each after what was due before it. Whoever
        takes out a loan in between hears of the rates after that."""
        if not self._market.waiting or (customer.rates_heard is None and not customer.held):
            return
        for number, rate in self._market.unheard(customer):
            self._agenda.catch_up(customer, rate.arrival_us, out)
            if customer.rates_heard is not None:
                self.applying = rate
                self._step.tell_rate(customer, rate, out)
                customer.rates_heard = number

    def _apply_held(self, customer: Customer, event: Event, out: list[Emission]) -> None:
        self.counters.held -= 1
        self._apply_one(customer, event, out)

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
            out.append(Emission(late(event, customer.newest_us, self.policy.lateness_us), event))

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
            self._withdraw(customer, step, transaction, out)
        book(customer, transaction)
        self._step.react(customer, transaction, out)
        if step.reversed_digest:  # by a reversal that had come before it: what was said just now, too
            self._withdraw(customer, step, transaction, out)
        return Outcome.APPLIED

    def _withdraw(self, customer: Customer, step: Step, transaction: Transaction, out: list[Emission]) -> None:
        digest, cause = step.reversed_digest, EventTrigger(Transaction.TOPIC, step.reversed_by)
        customer.awaiting.take(digest)
        self._step.reverse(customer, digest)
        for said in [s for s in customer.said if s.trigger == digest and s.state != "RETRACT"]:
            customer.said.remove(said)
            customer.timers = [t for t in customer.timers if t.episode != said.episode or t.name != said.type]
            self._step.withdraw(customer, said, cause, step.reversed_us, transaction, out)

    def _apply_other(self, customer: Customer, event: Event, out: list[Emission]) -> Outcome:
        status = f"\0{event.status}" if isinstance(event, Application) else ""
        digest = digest64(f"{event.TOPIC}\0{event.event_id}{status}")
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
            if event.kind in self._step.rated and customer.rates_heard is None:
                self._hold(customer)
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
        """Learns what can no longer be preceded, all topics in one order of time; what never was posted is forgotten."""
        horizon_us = customer.newest_us - 2 * self.policy.lateness_us
        recent = customer.recent
        while recent and (recent[0].time_us < horizon_us or len(recent) > RECENT_MAX):
            oldest = recent[0]
            if oldest.learned and oldest.posted:
                if customer.recent_events:
                    self._learn_events(customer, oldest.time_us, out)
                self._step.learn(customer, oldest, out)
                learn(customer, oldest, self.policy.fading_factor)
            customer.forget_matured()
        if customer.recent_events:
            self._learn_events(customer, horizon_us, out)

    def _learn_events(self, customer: Customer, until_us: int, out: list[Emission]) -> None:
        """Learns the recent events of other topics before a time."""
        while customer.recent_events and customer.recent_events[0].time_us < until_us:
            self._step.learn_event(customer, customer.recent_events.pop(0), out)

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
                if customer.rates_heard == UNKNOWN:
                    held = any(account.kind in self._step.rated for account in customer.accounts.values())
                    customer.rates_heard = 0 if held else None
        self._hot[customer_id] = customer
        if len(self._hot) > self.policy.hot_customers_max:
            self._evict(next(iter(self._hot)))
        return customer

    def _evict(self, customer_id: str) -> None:
        self._freeze(self._hot.pop(customer_id))
        self.evicted += 1

    def _touch(self, customer: Customer) -> None:
        self._dirty[customer.customer_id] = customer

    def _freeze(self, customer: Customer) -> None:
        if self._dirty.pop(customer.customer_id, None) is not None:
            frozen = freeze(customer, self._step.freeze_states(customer))
            holder_in = None if customer.rates_heard is None else customer.partition
            self._store.put(customer.customer_id, frozen, self._agenda.wake_us(customer), holder_in)
            self._unlisted.pop(customer.customer_id, None)

    def settle(self, changed_max: int) -> None:
        """Writes changed customers behind, all but the newest `changed_max`. To be called when a checkpoint comes near: at one event a
        batch each customer left would be one more for the checkpoint, in every shard."""
        self._write_behind(changed_max)

    def _write_behind(self, dirty_max: int) -> None:
        while len(self._dirty) > dirty_max:
            self._freeze(next(iter(self._dirty.values())))
        self._store.write_behind(WRITE_BEHIND_CHUNK)

    def checkpoint(self) -> bytes:
        """Hands every change to the store; returns the token from which exactly this state can be restored."""
        assert self.counters.difference == 0, "law 11: a record was lost or counted twice"
        for customer in list(self._dirty.values()):
            self._freeze(customer)
        return self._store.checkpoint(encode_meta(Meta(self._clocks_us, self.counters, market=self._market.partitions)))

    def proven(self) -> None:
        """The engine has committed the newest checkpoint: nothing before it will be asked for again."""
        self._store.proven()

    def restore(self, token: bytes | None) -> None:
        """Goes back to the state of `token`; None begins from nothing."""
        self._hot.clear()
        self._dirty.clear()
        self._unlisted.clear()
        self._agenda = self._empty_agenda()
        found = self._store.restore(token)
        meta = Meta({}, Counters()) if found is None else decode_meta(found)
        self._clocks_us, self.counters = meta.clocks_us, meta.counters
        self._market = Market(self._store, meta.market)
        self.counters_at_start = msgspec.structs.replace(self.counters)
        self._received_at_visit = self.counters.received
        for customer_id in meta.holders:  # none but in a state made before the store had an index of them
            customer = self._load(customer_id)
            self._touch(customer)
            self._freeze(customer)

    def _empty_agenda(self) -> Agenda:
        return Agenda(self.policy, self._store, self._hot, self._apply_held, self._step.on_timer)

    @property
    def changed_customers(self) -> int:
        """How many profiles have changed since they were last written."""
        return len(self._dirty)

    @property
    def tells_rates(self) -> bool:
        """Whether holders of loans have yet to hear of a rate."""
        return self._market.waiting

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
