"""What a profile weighs and what it costs to freeze and thaw it: bytes by part, microseconds a customer.

    python bench/profiles.py [--work whole|catalogue|spine] [--customers N] [--days D] [--seed S]

The customers are those of `segone simulate`, with its default dirt, as they are at the end of the period. `in the table` is what LMDB takes
for such records, free pages included. `touched` applies one more purchase to each before freezing, as between two checkpoints; `still
changed` makes the compressed block anew each time, which one freezing in five does; `put` adds the record and the redo log, on a disk;
`thaw` reads them back. All times are processor time of this machine: compare within one run.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, str(Path(__file__).resolve().parent))

from lived import WORKS, Lived, best_us, lived

from simulation.settings import WorldSettings
from state import frozen, still
from state.customer import Customer
from state.shard import WRITE_BEHIND_CHUNK
from state.store import DiskStore

LIVE = 4000
COMPRESSED: dict[str, type[msgspec.Struct]] = {"moving": frozen.Moving, "still": still.Still}
STORED = 15_000
"""Of a shard, where a million customers have 64 of them."""
TOUCHED = 1_500
"""Of those between two checkpoints, at 10,000 events a second."""
CHANGE = 120
"""Bytes between the longest and the shortest of one customer's profiles."""


def quantile(values: list[int], share: float) -> int:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def table_bytes(frozen_profiles: list[bytes]) -> float:
    """What a profile takes in the store's table, beside the indexes, after STORED customers were written and then all twice more in random
    order, as the engine does it; each time a little longer or shorter."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        store = DiskStore.open(Path(folder), 0)
        store.restore(None)
        for numbers in (range(STORED), *(rng.sample(range(STORED), STORED) for _ in range(2))):
            for first in range(0, STORED, TOUCHED):
                for number in numbers[first : first + TOUCHED]:
                    profile = frozen_profiles[number % len(frozen_profiles)]
                    store.put(f"c-{number:010d}", profile[: rng.randrange(-CHANGE, 0)] + bytes(CHANGE // 2), None)
                store.checkpoint(b"")
                store.proven()
                while store.write_behind(WRITE_BEHIND_CHUNK):
                    pass
        bytes_each = store.sizes().table_bytes / STORED
        store.close()
    return bytes_each


def print_bytes(frozen_profiles: list[bytes]) -> None:
    """Each part as it stands in the frozen bytes, decoded without types and encoded alone; what is compressed also as it was before."""
    parts: dict[str, list[int]] = {"all": [len(raw) for raw in frozen_profiles]}
    for raw in frozen_profiles:
        fields = named(frozen.Fields, raw[1:])
        for name, part in fields.items():
            add(parts, name, part)
            if name in COMPRESSED:
                for field, value in named(COMPRESSED[name], still.decompressed(part)).items():
                    add(parts, f"  {field}, before", value)
                    for detector, state in value.items() if field == "states" else ():
                        add(parts, f"    {detector}", state)
    print(f"{'part':<22}{'mean':>8}{'p50':>8}{'p90':>8}{'p99':>8}  bytes")
    for name, sizes in parts.items():
        sizes += [0] * (len(frozen_profiles) - len(sizes))
        print(
            f"{name:<22}{sum(sizes) / len(sizes):>8.0f}{quantile(sizes, 0.5):>8}{quantile(sizes, 0.9):>8}{quantile(sizes, 0.99):>8}"
        )
    print(f"{'in the table':<22}{table_bytes(frozen_profiles):>8.0f}")


def named(type_: type[msgspec.Struct], encoded: bytes) -> dict[str, Any]:
    names = [field.name for field in msgspec.structs.fields(type_)]
    return dict(zip(names, msgspec.msgpack.decode(encoded, strict=False), strict=True))


def add(parts: dict[str, list[int]], name: str, part: object) -> None:
    parts.setdefault(name, []).append(len(msgspec.msgpack.encode(part)))


def print_live(of: Lived) -> None:
    """What a profile takes as live objects: how much anonymous memory grows by LIVE of them."""
    raws = of.freeze()
    live: list[Customer] = []
    before_kb = anonymous_kb()
    while len(live) < LIVE:
        thawed, states = frozen.thaw("c", raws[len(live) % len(raws)], of.shard.policy.retention_us)
        of.step.thaw_states(thawed, states)
        live.append(thawed)
    print(f"{'live, in memory':<24}{(anonymous_kb() - before_kb) * 1024 / LIVE:>8.0f} bytes")


def anonymous_kb() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def print_times(of: Lived) -> None:
    customers, step = of.customers, of.step
    count, retention_us = len(customers), of.shard.policy.retention_us
    frozen_profiles: list[bytes] = []
    numbers = itertools.count(1)

    def touch() -> None:
        of.touch(next(numbers))

    def freeze() -> None:
        frozen_profiles[:] = of.freeze()

    def thaw() -> None:
        for customer, raw in zip(customers, frozen_profiles, strict=True):
            thawed, states = frozen.thaw(customer.customer_id, raw, retention_us)
            step.thaw_states(thawed, states)

    def freeze_cold() -> None:
        for customer in thawed:
            frozen.freeze(customer, step.freeze_states(customer))

    def freeze_changed() -> None:
        for customer in customers:
            customer.still = None
            frozen.freeze(customer, step.freeze_states(customer))

    thawed: list[Customer] = []

    def thaw_all() -> None:
        thawed[:] = [
            frozen.thaw(customer.customer_id, raw, retention_us)[0]
            for customer, raw in zip(customers, frozen_profiles, strict=True)
        ]

    print(f"{'freeze, touched':<24}{best_us(freeze, count, touch):>8.1f} µs")
    print(f"{'freeze, unchanged':<24}{best_us(freeze, count):>8.1f} µs")
    print(f"{'freeze, still changed':<24}{best_us(freeze_changed, count):>8.1f} µs")
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
    parser.add_argument(
        "--work", choices=WORKS, default="whole", help="; ".join(f"{name}: {text}" for name, text in WORKS.items())
    )
    parser.add_argument("--customers", type=int, default=500)
    parser.add_argument("--days", type=int, default=150)
    parser.add_argument("--seed", type=int, default=31)
    args = parser.parse_args()
    of = lived(args.work, WorldSettings(args.customers, args.days, args.seed))
    random.Random(args.seed).shuffle(of.customers)
    print(
        f"{of.events:,} events of {len(of.customers):,} customers in {args.days} days, seed {args.seed}: {WORKS[args.work]}"
    )
    print_bytes(of.freeze())
    print_live(of)
    gc.collect()
    gc.freeze()  # as in the worker (dataflows/garbage.py), whose collections don't walk through profiles either
    print_times(of)


if __name__ == "__main__":
    main()
