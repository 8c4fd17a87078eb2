"""How fast it is: one table and one JSON file, every ratio measured within one run (docs/bench.md says how to read it).

    python bench/run.py [--quick] [--only c,d] [--json out/bench.json]

a floor          decode, profile, detectors in a plain loop
b embedded log   the worker on files
c Kafka          the worker on a real broker, exactly once, checkpoints on
d simple work    the peers' work in our engine, by hand, in Quix Streams: same data, same broker, outputs compared
e latency        at 25, 50 and 75 % of what it does at most, to a read-committed reader
f growth         10,000 to 1,000,000 customers (5,000,000 with --five-million)
g processes      one and two
h detectors      what each one's hooks take

The worker has one core and the broker another; processor time is user and system time of the worker from its first record on.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "kafka")]

from speed_parts import BROKER_CORE, PARTS, WORKER_CORE, Row, Sizes, with_broker  # noqa: E402

FULL = Sizes(1_000, 120, 400_000, 20_000, 20_000, 30.0, (10_000, 100_000, 1_000_000), 30, 1)
QUICK = Sizes(100, 60, 60_000, 5_000, 4_000, 6.0, (10_000,), 3, 1)
ALL = ("a", "b", "c", "d", "e", "f", "g", "h")
BROKERED = frozenset(("c", "d", "e"))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: some minutes, rough figures")
    parser.add_argument("--only", default=",".join(ALL), metavar="a,b,…", help="the parts to measure (default: all)")
    parser.add_argument("--five-million", action="store_true", help="growth up to 5,000,000 customers (40 GB of disk)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path, default=ROOT / "out" / "bench.json", metavar="FILE")
    args = parser.parse_args()
    args.only = set(args.only.split(","))
    if unknown := args.only - set(ALL):
        parser.error(f"--only: there is no part {', '.join(sorted(unknown))}; there are {', '.join(ALL)}")
    return args


def measure(wanted: set[str], sizes: Sizes, folder: Path) -> list[Row]:
    rows: list[Row] = []
    for part in ALL:
        if part in wanted and part in PARTS:
            rows += PARTS[part](sizes, folder)
        elif part == "c" and wanted & BROKERED:
            rows += with_broker(wanted & BROKERED, sizes, folder)
    return rows


def show(rows: list[Row]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    for part in ALL:
        own = [one for one in rows if one["what"].startswith(f"{part} ")]
        if own:
            names = list(dict.fromkeys(name for one in own for name in one))
            table = Table(*names)
            for one in own:
                table.add_row(
                    *(f"{value:,}" if isinstance(value := one.get(name, ""), int) else str(value) for name in names)
                )
            console.print(table)


def main() -> None:
    args = parse_arguments()
    sizes = (QUICK if args.quick else FULL)._replace(seed=args.seed)
    if args.five_million:
        sizes = sizes._replace(growth=(*sizes.growth, 5_000_000))
    args.json.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=args.json.parent))
    loads = [os.getloadavg()[0]]
    try:
        rows = measure(args.only, sizes, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    loads.append(os.getloadavg()[0])
    show(rows)
    machine = {"python": platform.python_version(), "cores": os.cpu_count(), "cores_used": [WORKER_CORE, BROKER_CORE]}
    found = {"machine": machine | {"load_before_after": loads}, "sizes": sizes._asdict(), "rows": rows}
    args.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    print(f"load of the machine before and after: {loads[0]:.1f}, {loads[1]:.1f}; all figures: {args.json}")


if __name__ == "__main__":
    main()
