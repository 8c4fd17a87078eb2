"""`segone explain`: why something was said about a customer, from what the run itself wrote down.

For a signal: the sentence, the whole episode, the score with its base and contributions to the last digit (and whether they
really add up to it), each value beside the customer's own baseline, the evidence, and the versions that said it. Nothing is
computed again: this is what was known when it was said. Where the events of the run are found, the evidence is shown with amounts
and places, and what the customer usually spends as a line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from dataflows.commands.explanation import print_episode, print_overview
from dataflows.commands.past import Past, read_past
from dataflows.commands.report import add_source_arguments, event_source
from dataflows.commands.run_folder import require_run
from dataflows.commands.signal_reader import Found, read_signals
from dataflows.commands.terminal import console, harmless
from dataflows.report.document import decode_limits
from operators.encode import SIGNAL_TOPICS
from state.settings import ConfigError
from state.settings_reading import load_settings

EPISODES_SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, help="output folder of segone run or segone replay")
    parser.add_argument("signal_id", metavar="SIGNAL_ID", nargs="?", help="the id of a signal (32 hexadecimal digits)")
    parser.add_argument("--customer", metavar="ID", help="everything that was said about this customer")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=int,
        default=EPISODES_SHOWN,
        help=f"with --customer: explain the newest N episodes (default {EPISODES_SHOWN}; 0 for all)",
    )
    add_source_arguments(parser)
    parser.add_argument("--without-events", action="store_true", help="don't look for the transactions in the events")
    parser.add_argument("--json", action="store_true", help="the signals as they were written, one a line")


def run(args: argparse.Namespace) -> int:
    """0; 1 if nothing was found, or if a score is not what its parts add up to."""
    if (args.signal_id is None) == (args.customer is None):
        raise ConfigError("name either a SIGNAL_ID or --customer ID")
    if args.limit < 0:
        raise ConfigError(f"--limit {args.limit}: give 0 (all) or more")
    require_run(args.run)
    searched, found = (
        _of_customer(args.run, args.customer) if args.customer is not None else _of_signal(args.run, args.signal_id)
    )
    if not found:
        what = f"about customer {args.customer}" if args.customer is not None else f"with the id {args.signal_id}"
        print(
            f"segone explain: {args.run}: no signal {harmless(what)} among the {searched:,} signals there; "
            "check it for typing errors, and that this is the run that said it",
            file=sys.stderr,
        )
        return 1
    if args.json:
        for one in found:
            sys.stdout.buffer.write(one.line.value + b"\n")
        return 0
    return _print(found, args.customer, args.limit, _past(args, found[0].signal.customer_id))


def _past(args: argparse.Namespace, customer_id: str) -> Past | None:
    if args.without_events:
        return None
    source = event_source(args.run, args.events, args.mapping)
    return read_past(source, customer_id, decode_limits(load_settings(args.config)))


def _of_signal(run: Path, signal_id: str) -> tuple[int, list[Found]]:
    """How many signals were searched, and the whole episode of the one asked for: one pass to find it, one to collect."""
    searched, asked = 0, None
    for topic in SIGNAL_TOPICS:
        for one in read_signals(run, topic):
            searched += 1
            if one.signal.id == signal_id:
                asked = one
                break
        if asked is not None:
            return searched, _sorted(
                each for each in read_signals(run, topic) if each.signal.thread == asked.signal.thread
            )
    return searched, []


def _of_customer(run: Path, customer_id: str) -> tuple[int, list[Found]]:
    searched, found = 0, []
    for topic in SIGNAL_TOPICS:
        for one in read_signals(run, topic):
            searched += 1
            if one.signal.customer_id == customer_id:
                found.append(one)
    return searched, _sorted(found)


def _sorted(found: Iterator[Found] | list[Found]) -> list[Found]:
    return sorted(found, key=lambda one: (one.signal.event_time, one.signal.thread, one.signal.revision))


def _print(found: list[Found], customer: str | None, limit: int, past: Past | None) -> int:
    screen = console()
    episodes: dict[tuple[str, str, str], list[Found]] = {}
    for one in found:
        episodes.setdefault(one.signal.thread, []).append(one)
    if customer is not None:
        print_overview(screen, customer, found)
    shown = list(episodes.values())[-limit:] if customer is not None and limit else list(episodes.values())
    for episode in shown:
        print_episode(screen, episode, past)
    if len(shown) < len(episodes):
        left = len(episodes) - len(shown)
        screen.print(f"{left} older episodes are not explained here; --limit 0 explains all", style="dim")
    wrong = [one.signal.id for episode in shown for one in episode if one.signal.adds_up() is False]
    for signal_id in wrong:
        print(f"segone explain: {harmless(signal_id)}: its parts do not add up to its score", file=sys.stderr)
    return 1 if wrong else 0
