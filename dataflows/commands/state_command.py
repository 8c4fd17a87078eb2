"""`segone state inspect|verify|compact DIR`: a state folder seen from outside, with its worker stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from state.settings import ConfigError
from state.store import shards_in
from state.store_check import ShardReport, compact_shard, inspect_shard, verify_shard
from state.store_error import StoreError

_ACTIONS = {
    "inspect": "what each shard holds: customers, timers, bytes, checkpoints",
    "verify": "reads every record and reports damage; exit 1 if there is any",
    "compact": "rewrites each table without free pages (needs space for a copy of one shard)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.description = "Looks into a state folder. The workers that use it must be stopped."
    actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(_ACTIONS) + "}")
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("directory", metavar="DIR", type=Path, help="the state folder (it contains shards/)")
        action.add_argument("--shard", type=int, help="this shard only")
        action.add_argument("--json", action="store_true", help="one JSON object per shard, one a line")


def run(args: argparse.Namespace) -> int:
    """Runs the command; 0 if all is well, 1 if a shard is damaged or could not be read. Raises ConfigError."""
    found = shards_in(args.directory)
    if not found:
        raise ConfigError(
            f"{args.directory}: no state folder (it would contain shards/0000, …). Give the [state] folder's path"
        )
    if args.shard is not None and args.shard not in found:
        raise ConfigError(f"--shard {args.shard}: {args.directory} has no such shard. It has {found[0]} to {found[-1]}")
    shards = found if args.shard is None else [args.shard]
    if args.action == "compact":
        return _compact(args.directory, shards, args.json)
    return _report(args.directory, shards, args.action == "verify", args.json)


def _report(directory: Path, shards: list[int], verify: bool, as_json: bool) -> int:
    reports: list[ShardReport] = []
    failures = 0
    for shard in shards:
        try:
            reports.append(verify_shard(directory, shard) if verify else inspect_shard(directory, shard))
        except StoreError as error:
            print(error, file=sys.stderr)
            failures += 1
    for report in reports:
        failures += bool(report.findings)
        for finding in report.findings:
            print(finding, file=sys.stderr)
        if as_json:
            print(orjson.dumps(report._asdict()).decode())
    if not as_json:
        _print_table(reports, verify)
        if verify:
            print(f"{len(shards)} shards read, {failures} with damage or unreadable")
    return 1 if failures else 0


def _print_table(reports: list[ShardReport], verify: bool) -> None:
    """A line per shard and one for all."""
    columns = [
        name for name in ShardReport._fields if name not in ("shard", "findings") and (verify or name != "value_bytes")
    ]
    table = Table(box=None, pad_edge=False)
    for name in ("shard", *columns):
        table.add_column(name.replace("_", " "), justify="right")
    for report in reports:
        table.add_row(f"{report.shard:04d}", *(f"{getattr(report, name):,}" for name in columns))
    sums = (
        "" if name.endswith("checkpoint") else f"{sum(getattr(report, name) for report in reports):,}"
        for name in columns
    )
    table.add_row("all", *sums)
    Console(width=160).print(table)


def _compact(directory: Path, shards: list[int], as_json: bool) -> int:
    failures = 0
    for shard in shards:
        try:
            before, after = compact_shard(directory, shard)
        except StoreError as error:
            print(error, file=sys.stderr)
            failures += 1
            continue
        if as_json:
            print(orjson.dumps({"shard": shard, "bytes_before": before, "bytes_after": after}).decode())
        else:
            print(f"shard {shard:04d}: {before:,} bytes before, {after:,} after")
    return 1 if failures else 0
