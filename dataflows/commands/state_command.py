"""`segone state inspect|verify|compact DIR`: a state folder seen from outside, with its worker stopped."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from rich.console import Console
from rich.table import Table

from dataflows.knowledge.shelf import base_path, increment_path, listing, read_versions
from state.settings import ConfigError
from state.store import shards_in
from state.store_check import ShardReport, compact_shard, inspect_shard, verify_shard
from state.store_error import StoreError

_ACTIONS = {
    "inspect": "what each shard and each store of knowledge holds: customers, timers, bytes, checkpoints",
    "verify": "reads every record, what was learned included, and reports damage; exit 1 if there is any",
    "compact": "rewrites each table without free pages (needs space for a copy of one shard)",
}


class Place(NamedTuple):
    """A store to look into: a shard of customers, or the store of a knowledge key, which has a folder like a state's."""

    name: str
    directory: Path
    shard: int

    @property
    def is_learned(self) -> bool:
        return not self.name.isdecimal()

    def told(self) -> dict[str, Any]:
        """What its JSON has beside a shard's."""
        return {"knowledge": self.name} if self.is_learned else {}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the command's arguments to its parser."""
    parser.description = "Looks into a state folder. The workers that use it must be stopped."
    actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(_ACTIONS) + "}")
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("directory", metavar="DIR", type=Path, help="the state folder (it contains shards/)")
        action.add_argument("--shard", type=int, help="this shard only")
        action.add_argument(
            "--json", action="store_true", help="one JSON object per shard (or store of knowledge), one a line"
        )


def run(args: argparse.Namespace) -> int:
    """Runs the command; 0 if all is well, 1 if a shard is damaged or could not be read. Raises ConfigError."""
    found = shards_in(args.directory)
    if not found:
        raise ConfigError(
            f"{args.directory}: no state folder (it would contain shards/0000, …). Give the [state] folder's path"
        )
    if args.shard is not None and args.shard not in found:
        raise ConfigError(f"--shard {args.shard}: {args.directory} has no such shard. It has {found[0]} to {found[-1]}")
    stores = [Place(f"{shard:04d}", args.directory, shard) for shard in (found if args.shard is None else [args.shard])]
    learned = [] if args.shard is not None else _learned_in(args.directory)
    if args.action == "compact":
        return _compact([*stores, *learned], args.json)
    return _report(stores, learned, args.action == "verify", args.json)


def _learned_in(directory: Path) -> list[Place]:
    """The stores of what is learned across customers: each is the only shard of a folder of its own."""
    folders = sorted((directory / "knowledge").glob("*/shards/0000"))
    return [Place(folder.parent.parent.name, folder.parent.parent, 0) for folder in folders]


def _report(stores: list[Place], learned: list[Place], verify: bool, as_json: bool) -> int:
    of_stores, of_learned = (_reports(places, verify, as_json) for places in (stores, learned))
    if not as_json:
        _print_table(of_stores, of_learned, verify)
    failures = 0
    for places, reports, what in ((stores, of_stores, "shards"), (learned, of_learned, "stores of knowledge")):
        unsound = len(places) - sum(not report.findings for report in reports.values())
        failures += unsound
        if verify and places and not as_json:
            print(f"{len(places)} {what} read, {unsound} with damage or unreadable")
    return 1 if failures else 0


def _reports(places: list[Place], verify: bool, as_json: bool) -> dict[str, ShardReport]:
    """What could be read, by name; what is wrong goes to standard error."""
    reports: dict[str, ShardReport] = {}
    for place in places:
        try:
            report = (verify_shard if verify else inspect_shard)(place.directory, place.shard)
        except StoreError as error:
            print(error, file=sys.stderr)
            continue
        if verify and place.is_learned:
            report = report._replace(findings=(*report.findings, *_shelf_findings(place)))
        reports[place.name] = report
        for finding in report.findings:
            print(finding, file=sys.stderr)
        if as_json:
            print(orjson.dumps(place.told() | report._asdict()).decode())
    return reports


def _shelf_findings(place: Place) -> list[str]:
    """Files with versions that can't be read."""
    folder = place.directory / "shelf"
    found = listing(folder)
    paths = [base_path(folder, bucket) for bucket in found.bases]
    paths += [increment_path(folder, bucket) for bucket in found.increments]
    findings: list[str] = []
    for path in paths:
        try:
            read_versions(place.name, path)
        except StoreError as error:
            findings.append(str(error))
    return findings


def _print_table(stores: dict[str, ShardReport], learned: dict[str, ShardReport], verify: bool) -> None:
    """A line per shard and one for all of them; then those of what was learned across customers."""
    columns = [
        name for name in ShardReport._fields if name not in ("shard", "findings") and (verify or name != "value_bytes")
    ]
    table = Table(box=None, pad_edge=False)
    for name in ("shard", *columns):
        table.add_column(name.replace("_", " "), justify="right")

    def add_rows(reports: dict[str, ShardReport]) -> None:
        for name, report in reports.items():
            table.add_row(name, *(f"{getattr(report, column):,}" for column in columns))

    add_rows(stores)
    sums = (
        "" if name.endswith("checkpoint") else f"{sum(getattr(report, name) for report in stores.values()):,}"
        for name in columns
    )
    table.add_row("all", *sums)
    add_rows(learned)
    Console(width=160).print(table)


def _compact(places: list[Place], as_json: bool) -> int:
    failures = 0
    for place in places:
        try:
            before, after = compact_shard(place.directory, place.shard)
        except StoreError as error:
            print(error, file=sys.stderr)
            failures += 1
            continue
        if as_json:
            told = place.told() | {"shard": place.shard, "bytes_before": before, "bytes_after": after}
            print(orjson.dumps(told).decode())
        else:
            name = place.name if place.is_learned else f"shard {place.name}"
            print(f"{name}: {before:,} bytes before, {after:,} after")
    return 1 if failures else 0
