"""`segone report`: a run as a page to look at, in one file that needs no network and no server.

The page tells customers' stories (transactions, what is usual for them, what was said and why, balances, what is expected)
and shows all customers at a glance. Ids are pseudonyms unless --reveal is given. It is drawn from what the run wrote, and
from the events that it read: RUN says where they are, --events DIR says it where they have moved.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from pathlib import Path

from dataflows.commands.run_folder import read_run_note, require_run
from dataflows.report.document import Nobody, Selection, report_document
from dataflows.report.events import EventSource
from dataflows.report.page import page
from dataflows.report.pseudonyms import Pseudonyms
from state.settings import ConfigError, Settings
from state.settings_reading import load_settings

STORIES = 5
STORIES_MAX = 200
KEY_BYTES = 32


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="output folder of segone run or segone replay")
    parser.add_argument("--out", metavar="FILE", type=Path, required=True, help="the page to write (HTML)")
    parser.add_argument("--customer", metavar="ID", help="tell this customer's story")
    parser.add_argument("--type", metavar="T", help="tell of the customers with the strongest signals of this type")
    parser.add_argument(
        "--worst",
        metavar="N",
        type=int,
        default=STORIES,
        help=f"how many customers to tell of: those with the strongest signals (default {STORIES}, at most {STORIES_MAX})",
    )
    parser.add_argument("--truth", metavar="DIR", type=Path, help="truth of a simulated bank: adds the scorecard")
    parser.add_argument("--reveal", action="store_true", help="show ids, counterparties and descriptions as they are")
    add_source_arguments(parser)


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--events", metavar="DIR", type=Path, help="the events that the run read (default: RUN knows)")
    parser.add_argument("--mapping", metavar="FILE", type=Path, help="with --events: how rows become events")
    parser.add_argument("--config", metavar="FILE", type=Path, help="settings of the run, over config/default.toml")


def run(args: argparse.Namespace) -> int:
    """0; 1 if nothing is known about whom the page should tell."""
    if args.customer is not None and args.type is not None:
        raise ConfigError("name either --customer ID or --type T")
    if not 0 <= args.worst <= STORIES_MAX:
        raise ConfigError(f"--worst {args.worst}: give a number from 0 to {STORIES_MAX}")
    require_run(args.run)
    settings = load_settings(args.config)
    selection = Selection(args.customer, args.type, args.worst)
    source = event_source(args.run, args.events, args.mapping)
    try:
        write_page(args.run, settings, args.out, selection, source, args.truth, reveal=args.reveal)
    except Nobody as error:
        print(f"segone report: {error}", file=sys.stderr)
        return 1
    print(f"report: {args.out.resolve()}")
    return 0


def event_source(run: Path, events: Path | None, mapping: Path | None) -> EventSource | None:
    """Where the events of a run are: as the flags say, else as the run noted; None if nothing is there any more."""
    if events is not None:
        if not events.exists():
            raise ConfigError(f"--events {events}: there is no such file or folder")
        return EventSource(events, mapping)
    if mapping is not None:
        raise ConfigError("--mapping: goes with --events DIR, which names the tables that it maps")
    note = read_run_note(run)
    if note is None or not Path(note.events).exists():
        return None
    return EventSource(Path(note.events), Path(note.mapping) if note.mapping is not None else None)


def write_page(
    run: Path,
    settings: Settings,
    out: Path,
    selection: Selection | None = None,
    source: EventSource | None = None,
    truth: Path | None = None,
    *,
    reveal: bool = False,
) -> None:
    """Writes the page about `run`. Pseudonyms are drawn anew for each page: two pages can't be laid side by side."""
    pseudonyms = Pseudonyms(None if reveal else secrets.token_bytes(KEY_BYTES))
    document = report_document(
        run, source or event_source(run, None, None), selection or Selection(), settings, truth, pseudonyms
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(page(document))
    except OSError as error:
        raise ConfigError(
            f"--out {out}: can't be written ({error.strerror}); name a file that you may write"
        ) from error
