"""`segone simulate`: writes a synthetic bank and its truth."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from simulation.log import check_free, publish, write_events, write_truth
from simulation.settings import CLEAN, DIFFICULTIES, Dirt, WorldSettings
from simulation.summary import UNBALANCED, print_summary
from simulation.world import TRUTHS, World
from state.settings import ConfigError

DESCRIPTION = """Writes a deterministic synthetic bank: OUT/events, an embedded log of all input topics, and OUT/truth, what
was planted in it. The same settings give the same bytes on any machine. docs/simulation.md describes the world."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of a world, with the planted world of the documentation as default."""
    parser.description = DESCRIPTION
    add_world_arguments(parser)
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="where to write; an earlier world there is replaced"
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="processes that share the work (default 1)"
    )


def add_world_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what world it is, for whoever sends it elsewhere than to files."""
    world, dirt = WorldSettings(), Dirt()
    parser.add_argument(
        "--customers", type=int, default=world.customers, metavar="N", help=f"default {world.customers}"
    )
    parser.add_argument(
        "--days", type=int, default=world.days, metavar="D", help=f"length of the period (default {world.days})"
    )
    parser.add_argument("--seed", type=int, default=world.seed, metavar="S", help=f"default {world.seed}")
    parser.add_argument(
        "--start",
        type=date.fromisoformat,
        default=world.start,
        metavar="DATE",
        help=f"first day (default {world.start})",
    )
    parser.add_argument(
        "--difficulty", choices=tuple(DIFFICULTIES), default=world.difficulty, help="how clearly plants stand out"
    )
    parser.add_argument(
        "--partitions",
        type=int,
        default=world.partitions,
        metavar="P",
        help=f"of each topic (default {world.partitions})",
    )
    parser.add_argument("--clean", action="store_true", help="no dirt except what is asked for explicitly")
    helps = {
        "disorder": "share of records that arrive up to 48 h late",
        "duplicates": "share of records that are delivered twice",
        "reversals": "charges made in error and reversed, as a share of transactions",
        "malformed": "share of records of which a broken copy is sent too",
    }
    for name, text in helps.items():
        parser.add_argument(
            f"--{name}", type=float, metavar="SHARE", help=f"{text} (0 to 1, default {getattr(dirt, name)})"
        )


def world_settings(args: argparse.Namespace) -> WorldSettings:
    """Raises ConfigError for values that make no world."""
    usual = CLEAN if args.clean else Dirt()
    asked = {name: getattr(args, name) for name in ("disorder", "duplicates", "reversals", "malformed")}
    dirt = Dirt(**{name: getattr(usual, name) if value is None else value for name, value in asked.items()})
    return WorldSettings(args.customers, args.days, args.seed, args.difficulty, args.partitions, args.start, dirt)


def run(args: argparse.Namespace) -> int:
    """Returns 0, or 1 if some customer's books don't add up. Raises ConfigError."""
    settings = world_settings(args)
    if args.processes < 1:
        raise ConfigError(f"--processes: {args.processes} is not possible; give a number from 1")
    began_s = time.perf_counter()
    check_free(args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with (
        TemporaryDirectory(prefix=".simulate-", dir=args.out) as folder,
        Progress(*columns, console=console, disable=not sys.stderr.isatty()) as progress,
    ):
        world, made = World(settings, Path(folder)), Path(folder) / "made"
        lives = progress.add_task("customers", total=settings.customers)
        world.live(args.processes, lambda customers: progress.advance(lives, customers))
        records = progress.add_task("records", total=None)
        topics = write_events(made, world.lines(), settings.partitions, lambda count: progress.advance(records, count))
        write_truth(made, settings, {name: world.truth(name) for name in TRUTHS})
        publish(made, args.out)
    print_summary(Console(), world.tally, topics, time.perf_counter() - began_s)
    return 1 if world.tally[UNBALANCED] else 0
