"""What a profile weighs and what it costs to freeze and thaw it: bytes by part, microseconds a customer.

    python bench/profiles.py [--customers N] [--days D] [--seed S]

The customers are those of `segone simulate`, with its default dirt, as they are at the end of the period. `touched` applies one more
purchase to each before freezing, as between two checkpoints; `put` adds the record and the redo log, on a disk; `thaw` reads them back.
All times are processor time of this machine: compare within one run.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import process_time_ns

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402

from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder, Rejection  # noqa: E402
from simulation.settings import WorldSettings  # noqa: E402
from simulation.world import stream  # noqa: E402
from state import frozen  # noqa: E402
from state.customer import Customer  # noqa: E402
from state.events import Event, Transaction  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.records import Record  # noqa: E402
from state.settings_reading import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402
from state.store import DiskStore  # noqa: E402

ROUNDS = 7
LIVE = 4000


def events_of(settings: WorldSettings) -> list[Event]:
    """The decoded events of a world, in order of arrival."""
    decoder = Decoder()
    events: list[Event] = []
    for message in stream(settings):
        record = Record(message.topic, 0, len(events), message.arrival_us, message.key, message.value)
        event = decoder.decode(record)
        if not isinstance(event, Rejection) and event.customer_id:
            events.append(event)
    return events


def quantile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def print_bytes(frozen_profiles: list[bytes]) -> None:
    """Each part as it stands in the frozen bytes, decoded without types and encoded alone."""
    names = msgspec.structs.fields(frozen.Fields)
    decoded = [msgspec.msgpack.decode(raw[1:], strict=False) for raw in frozen_profiles]
    totals = [len(raw) for raw in frozen_profiles]
    print(f"{'part':<14}{'mean':>8}{'p50':>8}{'p99':>8}  bytes")
    print(f"{'all':<14}{sum(totals) / len(totals):>8.0f}{quantile(totals, 0.5):>8}{quantile(totals, 0.99):>8}")
    for i, field in enumerate(names):
        sizes = [len(msgspec.msgpack.encode(parts[i])) for parts in decoded]
        print(f"{field.name:<14}{sum(sizes) / len(sizes):>8.0f}{quantile(sizes, 0.5):>8}{quantile(sizes, 0.99):>8}")


def print_live(shard: Shard, step: CustomerStep, customers: list[Customer]) -> None:
    """What a profile takes as live objects: how much anonymous memory grows by LIVE of them."""
    raws = [frozen.freeze(customer, step.freeze_states(customer)) for customer in customers]
    live: list[Customer] = []
    before_kb = anonymous_kb()
    while len(live) < LIVE:
        thawed, states = frozen.thaw("c", raws[len(live) % len(raws)], shard.policy.retention_us)
        step.thaw_states(thawed, states)
        live.append(thawed)
    print(f"{'live, in memory':<24}{(anonymous_kb() - before_kb) * 1024 / LIVE:>8.0f} bytes")


def anonymous_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def best_us(work: Callable[[], None], count: int, prepare: Callable[[], None] = lambda: None) -> float:
    """Processor time per item in the best of ROUNDS."""
    rounds = []
    for _ in range(ROUNDS):
        prepare()
        began_ns = process_time_ns()
        work()
        rounds.append(process_time_ns() - began_ns)
    return min(rounds) / 1000 / count


def print_times(shard: Shard, step: CustomerStep, customers: list[Customer], purchases: list[Transaction]) -> None:
    count = len(customers)
    retention_us = shard.policy.retention_us
    frozen_profiles: list[bytes] = []
    number = 0

    def touch() -> None:
        nonlocal number
        number += 1
        for purchase in purchases:
            step_us = number * 3_600_000_000
            shard.apply(
                [
                    msgspec.structs.replace(
                        purchase,
                        transaction_id=f"{purchase.transaction_id}-{number}",
                        time_us=purchase.time_us + step_us,
                        arrival_us=purchase.arrival_us + step_us,
                    )
                ],
                0,
            )

    def freeze() -> None:
        frozen_profiles[:] = [frozen.freeze(customer, step.freeze_states(customer)) for customer in customers]

    def thaw() -> None:
        for customer, raw in zip(customers, frozen_profiles, strict=True):
            thawed, states = frozen.thaw(customer.customer_id, raw, retention_us)
            step.thaw_states(thawed, states)

    def freeze_cold() -> None:
        for customer in thawed:
            frozen.freeze(customer, step.freeze_states(customer))

    thawed: list[Customer] = []

    def thaw_all() -> None:
        thawed[:] = [
            frozen.thaw(customer.customer_id, raw, retention_us)[0]
            for customer, raw in zip(customers, frozen_profiles, strict=True)
        ]

    print(f"{'freeze, touched':<24}{best_us(freeze, count, touch):>8.1f} µs")
    print(f"{'freeze, unchanged':<24}{best_us(freeze, count):>8.1f} µs")
    print(f"{'thaw':<24}{best_us(thaw, count):>8.1f} µs")
    print(f"{'freeze, just thawed':<24}{best_us(freeze_cold, count, thaw_all):>8.1f} µs")
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore.open(Path(folder), 0)
        store.restore(None)

        def put() -> None:
            for customer, raw in zip(customers, frozen_profiles, strict=True):
                store.put(customer.customer_id, raw, None)
            store.checkpoint(b"")

        def move() -> None:
            store.proven()
            while store.write_behind(256):
                pass

        print(f"{'put and log':<24}{best_us(put, count, move):>8.1f} µs")
        print(f"{'into the table':<24}{best_us(move, count, put):>8.1f} µs")
        store.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seed", type=int, default=31)
    args = parser.parse_args()
    events = events_of(WorldSettings(args.customers, args.days, args.seed))
    settings = load_settings(environment={})
    step = CustomerStep(settings.detectors, settings.digest())
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    for first in range(0, len(events), 500):
        shard.apply(events[first : first + 500], 0)
    newest = {event.customer_id: event for event in events if isinstance(event, Transaction)}
    customers = [shard.customer(customer_id) for customer_id in newest]
    random.Random(args.seed).shuffle(customers)
    print(f"{len(events):,} events of {len(customers):,} customers in {args.days} days, seed {args.seed}")
    print_bytes([frozen.freeze(customer, step.freeze_states(customer)) for customer in customers])
    print_live(shard, step, customers)
    print_times(shard, step, customers, [newest[customer.customer_id] for customer in customers])


if __name__ == "__main__":
    main()
