"""How fast the synthetic bank is made: transactions per second of one core, in memory held.

    python bench/simulate.py [--customers N] [--days D]

Makes a world in one process, to files, with the default dirt, and prints per stage the time that passed and the processor
time that it took. The two differ where other programs want the same core.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from simulation.log import write_events, write_truth
from simulation.settings import WorldSettings
from simulation.world import TRUTHS, World, surroundings

T = TypeVar("T")


def measured(stage: str, transactions: Callable[[], int], work: Callable[[], T]) -> tuple[float, float]:
    """Does the work, prints what it cost and returns its seconds and processor seconds."""
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    work()
    wall_s, cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    print(f"{stage:<22}{wall_s:8.2f} s {cpu_s:8.2f} s cpu {transactions() / cpu_s:12,.0f} transactions/cpu s")
    return wall_s, cpu_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--days", type=int, default=540)
    args = parser.parse_args()
    settings = WorldSettings(customers=args.customers, days=args.days)
    surroundings(settings)
    with TemporaryDirectory(prefix="segone-bench-") as folder:
        out, work = Path(folder) / "out", Path(folder) / "work"
        work.mkdir()
        world = World(settings, work)

        def booked() -> int:
            return world.tally["transactions"]

        live = measured("lives, sorted runs", booked, world.live)
        merge = measured("merge and log", booked, lambda: write_events(out, world.lines(), settings.partitions))
        measured(
            "truth",
            booked,
            lambda: write_truth(out, settings, {kind: world.truth(kind) for kind in TRUTHS}),
        )
        wall_s, cpu_s = live[0] + merge[0], live[1] + merge[1]
        size_mb = sum(path.stat().st_size for path in out.rglob("*.jsonl")) / 1e6
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{booked():,} booked transactions, {size_mb:,.0f} MB of events, peak memory {peak_mb:,.0f} MB")
    print(f"{booked() / wall_s:,.0f} transactions/s, {booked() / cpu_s:,.0f} per second of one core")


if __name__ == "__main__":
    main()
