"""`segone score RUN --truth DIR`: arguments and exit codes."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console

from simulation.scorecard import score
from simulation.scorecard_report import as_json, as_markdown, print_tables
from simulation.scorecard_run import read_run
from simulation.scorecard_truth import read_truth
from state.settings import ConfigError

RESAMPLES = 1000
RESAMPLES_MAX = 100_000
SEED_MAX = 2**63 - 1
"""As large as a number in the JSON can be."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Holds a run's signals against planted truth: precision, recall, false alarms per customer-year, lead or delay "
        "and calibration of each signal type. Only the second half of the period counts. "
        "docs/scorecard.md has the rules."
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="output folder of segone run or segone replay")
    parser.add_argument(
        "--truth",
        metavar="DIR",
        type=Path,
        required=True,
        help="folder with truth.jsonl (and world.json, if there is one)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write every figure as JSON")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="also write the tables as Markdown")
    parser.add_argument(
        "--resamples",
        metavar="N",
        type=int,
        default=RESAMPLES,
        help=f"bootstrap resamples for the 95 %% intervals (default {RESAMPLES}; 0 for none)",
    )
    parser.add_argument("--seed", metavar="S", type=int, default=1, help="seed of the bootstrap (default 1)")


def run(args: argparse.Namespace) -> int:
    """Prints the scorecard; 0, or 2 with a message on stderr for wrong arguments, folders or files."""
    try:
        if not 0 <= args.resamples <= RESAMPLES_MAX:
            raise ConfigError(f"--resamples {args.resamples}: give a number from 0 to {RESAMPLES_MAX}")
        if not 0 <= args.seed <= SEED_MAX:
            raise ConfigError(f"--seed {args.seed}: give a number from 0 to {SEED_MAX}")
        truth = read_truth(args.truth)  # first: it is small, and a mistake in it shows at once
        card = score(read_run(args.run), truth, args.resamples, args.seed)
        _write(args.json, as_json(card))
        _write(args.markdown, as_markdown(card).encode())
    except ConfigError as error:
        print(f"segone score: {error}", file=sys.stderr)
        return 2
    print_tables(card, Console())
    return 0


def _write(path: Path | None, content: bytes) -> None:
    if path is None:
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't write there: {error.strerror}. Name a file in a folder that exists"
        ) from error
