"""The soak: kill -9 of the real worker, of the broker, of both logs under load, until it would have lost or repeated something.

Run from the checkout: `python bench/soak.py` (some minutes), `make soak` or `--kills 200` for the full length. A seeded
synthetic bank, with dirt, is first run undisturbed; that is the reference. Then the same input is fed while workers of 1,
2 and 4 processes are killed at random moments and started again. What a reader of committed output sees in the end must
be the reference: nothing lost, nothing twice, nothing different, per customer in the same order. docs/soak.md explains.
Exit code 1 on any difference or surprise; the folder is kept then.
"""

# ruff: noqa: E402  (the broker and the worker's process are the tests', which are no package)

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "kafka")]

from soak_files import soak_files
from soak_kafka import soak_kafka
from soak_phase import RECORDS_PER_KILL, Phase, Soak


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=["files", "kafka", "both"], default="both")
    parser.add_argument("--kills", type=int, default=12, help="of the worker, on each log (default 12)")
    parser.add_argument("--broker-kills", type=int, default=3, help="default 3")
    parser.add_argument("--records", type=int, help=f"of the input (default {RECORDS_PER_KILL} a kill)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", default="1,2,4", help="process counts to draw from (default 1,2,4)")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "soak.json", metavar="FILE")
    args = parser.parse_args()
    args.processes = [int(count) for count in args.processes.split(",")]
    return args


def table(phases: list[Phase]) -> Table:
    made = Table(title="soak", title_justify="left")
    headings = ("phase", "records", "kills", "at work", "one process", "stops", "broker", "starts", "s", "said")
    for heading in (*headings, "lost", "twice", "different", "surprises"):
        made.add_column(heading, justify="left" if heading == "phase" else "right")
    for p in phases:
        starts = " ".join(f"{count}×{processes}" for processes, count in sorted(p.starts.items()))
        numbers = (p.records, p.kills, p.at_work, p.one_process, p.stops, p.broker_kills, starts, p.seconds, p.said)
        made.add_row(p.name, *map(str, (*numbers, p.lost, p.duplicated, p.different, len(p.surprises))))
    return made


def main() -> int:
    args = parse_arguments()
    folder = Path(tempfile.mkdtemp(prefix="segone-soak-"))
    soak = Soak(args, folder)
    soak.tell(f"seed {args.seed}, {len(soak.messages):,} records, in {folder}")
    in_file = soak_files(soak) if args.log != "kafka" else None
    if args.log != "files":
        soak_kafka(soak, in_file)
    Console(width=160).print(table(soak.phases))
    passed = all(phase.passed for phase in soak.phases)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    shown = {"seed": args.seed, "passed": passed, "phases": [asdict(phase) for phase in soak.phases]}
    args.json.write_bytes(orjson.dumps(shown, option=orjson.OPT_INDENT_2))
    if passed:
        shutil.rmtree(folder)
    else:
        print(f"FAILED with --seed {args.seed}; everything is kept in {folder}", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
