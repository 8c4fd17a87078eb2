"""Customers who have lived through a simulated world, as the production shard keeps them: for benches that need real profiles."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns
from typing import Any, NamedTuple

import msgspec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dataflows.knowledge.offline import OfflineKnowledge  # noqa: E402
from operators.across import Across  # noqa: E402
from operators.catalogue import CATALOGUE  # noqa: E402
from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder, Rejection  # noqa: E402
from operators.knowledge.board import Board  # noqa: E402
from simulation.settings import WorldSettings  # noqa: E402
from simulation.world import stream  # noqa: E402
from state.customer import Customer  # noqa: E402
from state.events import Event, Transaction  # noqa: E402
from state.frozen import freeze  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.records import Record  # noqa: E402
from state.settings_reading import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402
from state.windows import HOUR_US  # noqa: E402

SPINE = ("amount", "novelty", "hour")
WORKS = {
    "whole": "the whole catalogue, and what waits for labels and outcomes",
    "catalogue": "the whole catalogue, nothing learned across customers",
    "spine": f"the profile with the detectors {', '.join(SPINE)} alone",
}
"""What a worker may be set to do, and hence to keep of a customer."""
BATCH = 500
ROUNDS = 7


class Lived(NamedTuple):
    shard: Shard
    step: CustomerStep
    customers: list[Customer]
    """Those with transactions, in the order of their first events."""
    newest: dict[str, Transaction]
    """Customer → newest transaction."""
    events: int

    def touch(self, number: int) -> None:
        """One more purchase for each customer, like the newest one and `number` hours after it."""
        for customer in self.customers:
            newest = self.newest[customer.customer_id]
            again = msgspec.structs.replace(
                newest,
                transaction_id=f"{newest.transaction_id}-{number}",
                time_us=newest.time_us + number * HOUR_US,
                arrival_us=newest.arrival_us + number * HOUR_US,
            )
            self.shard.apply([again], 0)

    def freeze(self) -> list[bytes]:
        return [freeze(customer, self.step.freeze_states(customer)) for customer in self.customers]


def best_us(work: Callable[[], object], count: int, prepare: Callable[[], object] = lambda: None) -> float:
    """Processor time per item in the best of ROUNDS."""
    rounds = []
    for _ in range(ROUNDS):
        prepare()
        began_ns = process_time_ns()
        work()
        rounds.append(process_time_ns() - began_ns)
    return min(rounds) / 1000 / count


def lived(work: str, world: WorldSettings) -> Lived:
    """What is left of a world after its last event; `work` is one of WORKS."""
    settings = load_settings(None, {}, _overrides(work))
    board = Board()
    knowledge = OfflineKnowledge(settings, board) if settings.knowledge.enabled else None
    across = Across(settings.knowledge, board) if knowledge is not None else None
    step = CustomerStep(settings.detectors, settings.digest(), across=across)
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    decoder, newest, count = Decoder(), dict[str, Transaction](), 0

    def apply(records: list[Record]) -> None:
        decoded = [decoder.decode(record) for record in records]
        events: list[Event] = [event for event in decoded if not isinstance(event, Rejection)]
        newest.update({event.customer_id: event for event in events if isinstance(event, Transaction)})
        for emission in shard.apply(events, 0) + shard.advance(0, records[-1].arrival_us):
            if knowledge is not None:
                knowledge.learn(emission.body)

    def take(records: list[Record]) -> None:
        for bucket, group in knowledge.by_bucket(records) if knowledge is not None else [(None, records)]:
            if knowledge is not None and bucket is not None:
                for _ in knowledge.close(bucket, {0: shard.counters.customers}):
                    pass
            apply(group)

    waiting: list[Record] = []
    for message in stream(world):
        waiting.append(Record(message.topic, 0, count, message.arrival_us, message.key, message.value))
        count += 1
        if len(waiting) == BATCH:
            take(waiting)
            waiting = []
    if waiting:
        take(waiting)
    return Lived(shard, step, [shard.customer(customer_id) for customer_id in newest], newest, count)


def _overrides(work: str) -> dict[str, Any]:
    if work == "whole":
        return {}
    switched = {d.NAME: {"enabled": work != "spine" or d.NAME in SPINE} for d in CATALOGUE}
    return {"detectors": switched, "knowledge": {"enabled": False}}
