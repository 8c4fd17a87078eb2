"""A shard on a bench: events in, what is said out as decoded JSON; with a store that can be restored without a disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import orjson

from dataflows.files.sink import as_line
from operators.across import Across
from operators.alerts import overdraft_outcomes
from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE
from operators.customer_step import CustomerStep
from operators.detector import Detector
from operators.encode import encode, is_written
from operators.intent import outlooks
from operators.knowledge.board import Board
from operators.knowledge.facts import Example, MerchantFact, ScoreCount
from operators.profiles import Publishing
from state.customer import Customer
from state.events import Event
from state.frozen import freeze, thaw
from state.memory_store import MemoryStore
from state.policy import Policy
from state.settings import KnowledgeSettings
from state.settings_reading import load_settings
from state.shard import Shard
from state.step import Emission
from state.windows import COUNTED

Said = dict[str, Any]
CONFIG = "sha256:bench"
TABLES: dict[str, dict[str, Any]] = load_settings(environment={}).detectors
PRODUCTION = Policy()
BY_ARRIVAL = (fused.NAME, outlooks.NAME, overdraft_outcomes.NAME)
"""States that follow what was scored and said, in the order of arrival."""


def loud(tables: Mapping[str, Mapping[str, Any]] = TABLES) -> dict[str, dict[str, Any]]:
    """The tables with every detector on, early and easily moved, so that short random streams make each of them speak.

    Works on the fields that a detector's Config has, so that a new detector needs no line here.
    """
    eager = {"enabled": True, "threshold": 0.02, "matured_min": 1, "count_min": 2, "share": 0.3}
    result = {name: dict(table) for name, table in tables.items()}
    for detector in CATALOGUE:
        known = {field.name for field in msgspec.structs.fields(detector.Config)}
        result.setdefault(detector.NAME, {}).update({key: value for key, value in eager.items() if key in known})
    result["transaction"] = {**result["transaction"], "threshold": 0.02}
    return result


def is_learned(emission: Emission) -> bool:
    return isinstance(emission.body, MerchantFact | Example | ScoreCount)


class RecallingStore(MemoryStore):
    """A store in memory that remembers all of its checkpoints; `generations` is shared by its successors."""

    def __init__(self, generations: dict[bytes, Any]) -> None:
        super().__init__()
        self._generations = generations

    def checkpoint(self, meta: bytes) -> bytes:
        token = str(len(self._generations)).encode()
        self._generations[token] = (dict(self._values), dict(self._timer_us), dict(self._holder_in), meta)
        return token

    def restore(self, token: bytes | None) -> bytes | None:
        if token is None:
            return None
        values, timers_us, holder_in, meta = self._generations[token]
        for customer_id, value in values.items():
            self.put(customer_id, value, timers_us.get(customer_id), holder_in.get(customer_id))
        return bytes(meta)


class Bench:
    """One shard with production settings, unless told otherwise. `said` gathers everything in order."""

    def __init__(
        self,
        tables: Mapping[str, Mapping[str, Any]] = TABLES,
        policy: Policy = PRODUCTION,
        detectors: tuple[Detector, ...] = CATALOGUE,
        config: str = CONFIG,
        across: Across | None = None,
        publishing: Publishing | None = None,
    ) -> None:
        """`across`: if not one whose board stays empty. `publishing`: what writes profiles, if anything does."""
        across = across or Across(KnowledgeSettings(), Board())
        self._arguments = (tables, config, detectors, across, publishing)
        self._policy = policy
        self._generations: dict[bytes, Any] = {}
        self.said: list[Said] = []
        self.topics: list[str] = []
        self.learned: list[Any] = []
        """What was told of customers to the knowledge step, in order: facts, examples, counts."""
        self._open(None)

    def _open(self, token: bytes | None) -> None:
        self.step = CustomerStep(*self._arguments)
        self.shard = Shard(0, self.step, self._policy, RecallingStore(self._generations))
        self.shard.restore(token)

    def restart(self) -> None:
        """A checkpoint, and a successor that begins from it."""
        self._open(self.shard.checkpoint())

    def apply(self, events: Sequence[Event], partition: int = 0) -> list[Said]:
        """One batch, as the engine gives it: the events, then how far the clock came."""
        emissions = self.shard.apply(events, partition)
        if events:
            emissions += self.shard.advance(partition, max(event.arrival_us for event in events))
        return self._hear(emissions)

    def advance(self, clock_us: int, partition: int = 0) -> list[Said]:
        return self._hear(self.shard.advance(partition, clock_us))

    def finish(self) -> list[Said]:
        return self._hear(self.shard.finish())

    def run(self, events: Iterable[Event]) -> Bench:
        """Event by event."""
        for event in events:
            self.apply([event])
        return self

    def _hear(self, emissions: list[Emission]) -> list[Said]:
        self.learned += [emission.body for emission in emissions if is_learned(emission)]
        outputs = [encode(emission) for emission in emissions if is_written(emission)]
        bodies = [orjson.loads(as_line(output)) for output in outputs]
        self.said += bodies
        self.topics += [output.topic for output in outputs]
        return bodies

    def on(self, topic: str) -> list[Said]:
        """What was said on a topic; "signals" stands for all of them."""
        return [
            body
            for name, body in zip(self.topics, self.said, strict=True)
            if name == topic or (topic == "signals" and name.startswith("signals."))
        ]

    def of(self, customer_id: str) -> list[Said]:
        return [body for body in self.said if body["customer_id"] == customer_id]


def refrozen(bench: Bench, customer_id: str) -> tuple[bytes, bytes]:
    """A customer's bytes, and those after thawing and freezing once more."""
    step, customer = bench.step, bench.shard.customer(customer_id)
    once = freeze(customer, step.freeze_states(customer))
    again, states = thaw(customer_id, once, customer.ring.retention_us)
    step.thaw_states(again, states)
    return once, freeze(again, step.freeze_states(again))


def profile(customer: Customer) -> dict[str, Any]:
    """What must not depend on the order of arrival: all of the profile except what was said and is to be done about it, what follows it
    (`BY_ARRIVAL`), the arrival itself, and when something that no longer counts had happened."""
    ring = customer.ring
    counted = [i for i in range(len(ring)) if ring.flags[i] & COUNTED]
    return {
        "newest_us": customer.newest_us,
        "anchor_us": ring.anchor_us,
        "windows": sorted(ring.totals.items()),
        "counted": [(ring.times[i], ring.amounts[i], ring.keys[i], ring.digests[i], ring.flags[i]) for i in counted],
        "known": sorted(ring.digests),
        "recent": [entry for entry in customer.recent if entry.learned],
        "recent_events": [(event.time_us, event.event_id) for event in customer.recent_events],
        "matured": customer.matured,
        "amounts": [(key, customer.amounts.get(key)) for key in customer.amounts],
        "merchants": list(customer.merchants),
        "countries": list(customer.countries),
        "devices": list(customer.devices),
        "states": {name: state for name, state in customer.states.items() if name not in BY_ARRIVAL},
        "streams": customer.streams,
        "hours": customer.hours,
        "place": customer.place,
        "balances": sorted(customer.balances.items()),
        "accounts": sorted(customer.accounts.items()),
        "labels": sorted(customer.labels.items()),
        "seen": list(customer.seen),
        "waiting": sorted(customer.waiting.items()),
        "refunds": sorted((key, refund.amount_minor) for key, refund in customer.refunds.items()),
    }
