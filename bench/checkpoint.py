"""What it costs to keep profiles safe: the state store beside Bytewax's own recovery, on values of the same size.

Run from the checkout: `python -m bench.checkpoint` (under a minute), or `--customers 1000000` for the full size.
The values are random bytes (`--value-bytes`), then real profiles of simulated customers (`--days`, `--lived`): those of three
detectors, and those of the whole catalogue, of which it also says what freezing costs after one more purchase.
Prints: CPU time per touched customer for put and log, for the checkpoint, and for the later move into the table; the
pause of a checkpoint over all shards of one process at a fixed rate; bytes on disk; the time to restart; the same
touches with Bytewax's recovery pickled per key. All numbers are this machine's: compare within one run.
"""

from __future__ import annotations

import argparse
import gc
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from statistics import median
from typing import NamedTuple

from bench.lived import WORKS, best_us, lived
from simulation.settings import WorldSettings
from state.store import DiskStore

RATE_PER_S = 10_000
DIRTY_CUSTOMERS = 256  # what the engine leaves for the checkpoint itself


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=30_000)
    parser.add_argument("--shards", type=int, default=64)
    parser.add_argument("--value-bytes", type=int, default=3000)
    parser.add_argument(
        "--lived", type=int, default=60, help="simulated customers whose profiles are values; 0 leaves them out"
    )
    parser.add_argument("--days", type=int, default=150, help="how long they have lived")
    parser.add_argument("--checkpoints", type=int, default=20, help="for the pauses")
    parser.add_argument("--durability", choices=["process", "power", "both"], default="both")
    parser.add_argument("--bytewax-keys", type=int, default=20_000, help="0 leaves the comparison out")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--directory", type=Path, help="where the stores go (default: a temporary folder)")
    parser.add_argument("--bytewax-flow", choices=["plain", "recovery"], help=argparse.SUPPRESS)
    return parser.parse_args()


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


class Source(NamedTuple):
    """Where values come from."""

    name: str
    value_bytes: int
    """On average."""
    value: Callable[[], bytes]


def random_bytes(value_bytes: int) -> Source:
    pool = os.urandom(value_bytes + 65_536)

    def value() -> bytes:
        start = random.randrange(65_536)
        return pool[start : start + value_bytes]

    return Source("random bytes", value_bytes, value)


def profiles(args: argparse.Namespace, work: str) -> Source:
    """Profiles as they are; says what freezing them takes."""
    of = lived(work, WorldSettings(args.lived, args.days, args.seed))
    numbers = count(1)
    gc.freeze()  # as in the worker (dataflows/garbage.py)
    frozen_us = best_us(of.freeze, len(of.customers), lambda: of.touch(next(numbers)))
    values = [bytearray(raw) for raw in of.freeze()]
    sizes = sorted(map(len, values))
    print(
        f"{work}: {WORKS[work]}\n  profiles of {len(values)} customers after {args.days} days: {sizes[len(sizes) // 2]:,} bytes (median); "
        f"to freeze one after one more purchase {frozen_us:.1f} us of CPU"
    )
    return Source(f"profiles, {work}", sum(sizes) // len(sizes), lambda: bytes(random.choice(values)))


class Stores:
    """All shards of one process; customer number n belongs to shard n modulo their count."""

    def __init__(
        self, shards: int, directory: Path, durability: str, tokens: list[bytes] | None, source: Source
    ) -> None:
        self.shards = [DiskStore.open(directory, shard, durability) for shard in range(shards)]
        self.tokens = [store.restore(tokens[shard] if tokens else None) for shard, store in enumerate(self.shards)]
        self.source = source
        self.puts = 0

    def values(self, count: int) -> list[bytes]:
        """Values made beforehand, so that making them is not measured; each is an object of its own, as in life."""
        return [self.source.value() for _ in range(count)]

    def put(self, customers: list[int], values: list[bytes]) -> None:
        shards, count = self.shards, len(self.shards)
        for customer, value in zip(customers, values, strict=True):
            self.puts += 1
            shards[customer % count].put(f"c-{customer:09d}", value, 10**15 + self.puts)

    def checkpoint(self) -> None:
        self.tokens = [store.checkpoint(b"clock") for store in self.shards]

    def prove(self) -> None:
        for store in self.shards:
            store.proven()

    def write_behind(self, budget: int) -> int:
        return sum(store.write_behind(budget) for store in self.shards)

    def close(self) -> None:
        for store in self.shards:
            store.close()


def fill(stores: Stores, customers: int) -> None:
    for start in range(0, customers, 20_000):
        numbers = list(range(start, min(start + 20_000, customers)))
        stores.put(numbers, stores.values(len(numbers)))
        stores.checkpoint()
        stores.prove()
        stores.write_behind(4096)


def measure_cost(stores: Stores, customers: int, touched: int, rounds: int) -> None:
    """CPU time (user and system) per touched customer, step by step."""
    costs_us: list[list[float]] = []
    for _ in range(rounds):
        numbers = random.sample(range(customers), touched)
        values = stores.values(touched)
        marks = [time.process_time()]
        stores.put(numbers, values)
        marks.append(time.process_time())
        stores.checkpoint()
        marks.append(time.process_time())
        stores.prove()
        while stores.write_behind(256):
            pass
        marks.append(time.process_time())
        costs_us.append([(end - begin) * 1e6 / touched for begin, end in pairwise(marks)])
    for name, choose in (("median", median), ("best", min)):
        put_us, checkpoint_us, table_us = (choose(column) for column in zip(*costs_us, strict=True))
        print(
            f"  CPU per touched customer   put and log {put_us:.1f} us, checkpoint {checkpoint_us:.2f} us, "
            f"table {table_us:.1f} us, together {put_us + checkpoint_us + table_us:.1f} us ({name} of {rounds} rounds)"
        )


def measure_pauses(stores: Stores, customers: int, checkpoints: int) -> None:
    """One second of 10,000 events between two checkpoints, of which the last customers are put at the checkpoint.

    Between the checkpoints, 50 steps of 200 events each put customers and move what is proven; their longest is reported too.
    """
    pauses: list[float] = []
    pauses_cpu: list[float] = []
    steps: list[float] = []
    for _ in range(checkpoints):
        numbers = random.choices(range(customers), k=RATE_PER_S)
        values = stores.values(RATE_PER_S)
        early = RATE_PER_S - DIRTY_CUSTOMERS
        for start in range(0, early, 200):
            begun = time.perf_counter()
            end = min(start + 200, early)
            stores.put(numbers[start:end], values[start:end])
            one = stores.shards[(start // 200) % len(stores.shards)]
            one.write_behind(256)
            stores.shards[-1 - (start // 200) % len(stores.shards)].write_behind(256)
            steps.append(time.perf_counter() - begun)
        begun, begun_cpu = time.perf_counter(), time.process_time()
        stores.put(numbers[early:], values[early:])
        stores.checkpoint()
        pauses.append(time.perf_counter() - begun)
        pauses_cpu.append(time.process_time() - begun_cpu)
        stores.prove()
    while stores.write_behind(256):
        pass
    print(
        f"  pause at a checkpoint      p50 {percentile(pauses, 0.5) * 1e3:.1f} ms, p99 {percentile(pauses, 0.99) * 1e3:.1f} ms; "
        f"CPU in it p50 {percentile(pauses_cpu, 0.5) * 1e3:.1f} ms, p99 {percentile(pauses_cpu, 0.99) * 1e3:.1f} ms "
        f"({checkpoints} checkpoints, {DIRTY_CUSTOMERS} customers left for each)"
    )
    print(
        f"  step of 200 events         p50 {percentile(steps, 0.5) * 1e3:.1f} ms, p99 {percentile(steps, 0.99) * 1e3:.1f} ms"
    )


def measure_restart(stores: Stores, directory: Path, durability: str) -> None:
    """Open and restore all shards, then read one customer of each: what must happen before the first event."""
    begun = time.perf_counter()
    stores = Stores(len(stores.shards), directory, durability, stores.tokens, stores.source)
    opened = time.perf_counter()
    for shard, store in enumerate(stores.shards):
        assert store.get(f"c-{shard:09d}") is not None
    print(
        f"  restart                    {opened - begun:.2f} s to restore, {time.perf_counter() - begun:.2f} s with a read of each shard"
    )
    stores.close()


def measure_store(args: argparse.Namespace, directory: Path, durability: str, source: Source) -> None:
    print(
        f'state store, durability = "{durability}", {args.customers:,} customers of {source.value_bytes:,} bytes ({source.name}), '
        f"{args.shards} shards"
    )
    random.seed(args.seed)
    stores = Stores(args.shards, directory, durability, None, source)
    begun = time.perf_counter()
    fill(stores, args.customers)
    print(f"  fill                       {args.customers / (time.perf_counter() - begun):,.0f} customers/s")
    measure_cost(stores, args.customers, min(20_000, args.customers), rounds=5)
    measure_pauses(stores, args.customers, args.checkpoints)
    sizes = [store.sizes() for store in stores.shards]
    table, log = sum(size.table_bytes for size in sizes), sum(size.log_bytes for size in sizes)
    print(
        f"  disk per customer          {table / args.customers:,.0f} bytes in the tables, {log / args.customers:,.0f} in the logs"
    )
    stores.close()
    measure_restart(stores, directory, durability)


def bytewax_flow(keys: int, value_bytes: int, epochs: int, recovery: bool, seed: int) -> None:
    """Touches every key once per epoch; each batch of the source is an epoch. Prints the CPU seconds of the epochs."""
    from datetime import timedelta

    import bytewax.operators as op
    from bytewax.dataflow import Dataflow
    from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
    from bytewax.operators import StatefulBatchLogic
    from bytewax.outputs import DynamicSink, StatelessSinkPartition
    from bytewax.recovery import RecoveryConfig, init_db_dir
    from bytewax.testing import run_main

    pool = random.Random(seed).randbytes(value_bytes + 65_536)
    marks: list[float] = []

    class Touches(StatefulSourcePartition):
        def next_batch(self):
            marks.append(time.process_time())
            if len(marks) > epochs + 1:
                usage = marks[-1] - marks[1]
                print(f"{usage} {epochs} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss}", flush=True)
                os._exit(0)  # a regular end would snapshot every key once more
            return [(f"c-{key:09d}", len(marks)) for key in range(keys)]

        def snapshot(self):
            return len(marks)

    class Source(FixedPartitionedSource):
        def list_parts(self):
            return ["0"]

        def build_part(self, step_id, for_part, resume_state):
            return Touches()

    class Profile(StatefulBatchLogic):
        def __init__(self):
            self.start = 0

        def on_batch(self, values):
            self.start = (self.start + 997 * values[-1]) % 65_536
            return [], StatefulBatchLogic.RETAIN

        def snapshot(self):
            return pool[self.start : self.start + value_bytes]

    class Nowhere(DynamicSink):
        def build(self, step_id, worker_index, worker_count):
            return NowherePartition()

    class NowherePartition(StatelessSinkPartition):
        def write_batch(self, items):
            return None

    flow = Dataflow("touches")
    stream = op.input("in", flow, Source())
    stream = op.stateful_batch("profile", stream, lambda _: Profile())
    op.output("out", stream, Nowhere())
    with tempfile.TemporaryDirectory() as folder:
        config = None
        if recovery:
            init_db_dir(Path(folder), 1)
            config = RecoveryConfig(folder)
        run_main(flow, epoch_interval=timedelta(0), recovery_config=config)


def compare_with_bytewax(args: argparse.Namespace, value_bytes: int, epochs: int = 5) -> None:
    """The difference between the flow with and without recovery is what recovery costs."""
    cpu_s: dict[str, float] = {}
    for kind in ("plain", "recovery"):
        arguments = [
            "--bytewax-flow",
            kind,
            "--bytewax-keys",
            str(args.bytewax_keys),
            "--value-bytes",
            str(value_bytes),
        ]
        done = subprocess.run(
            [sys.executable, "-m", "bench.checkpoint", *arguments, "--checkpoints", str(epochs)],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        cpu_s[kind] = float(done.stdout.split()[0])
    per_key_us = (cpu_s["recovery"] - cpu_s["plain"]) / (args.bytewax_keys * epochs) * 1e6
    stall_ms = (cpu_s["recovery"] - cpu_s["plain"]) / epochs * 1e3
    print(
        f"Bytewax's own recovery, pickled per key, {args.bytewax_keys:,} keys of {value_bytes:,} bytes touched per epoch"
    )
    print(
        f"  CPU per touched customer   {per_key_us:.1f} us, all of it while the stream stands still ({stall_ms:,.0f} ms an epoch)"
    )


def main() -> None:
    args = parse_arguments()
    if args.bytewax_flow:
        bytewax_flow(args.bytewax_keys, args.value_bytes, args.checkpoints, args.bytewax_flow == "recovery", args.seed)
        return
    sources = [lambda: random_bytes(args.value_bytes)]
    if args.lived:
        sources += [lambda: profiles(args, "spine"), lambda: profiles(args, "catalogue")]
    for make in sources:
        source = make()
        for durability in ("process", "power") if args.durability == "both" else (args.durability,):
            with tempfile.TemporaryDirectory(dir=args.directory) as folder:
                measure_store(args, Path(folder), durability, source)
        if args.bytewax_keys:
            compare_with_bytewax(args, source.value_bytes)


if __name__ == "__main__":
    main()
