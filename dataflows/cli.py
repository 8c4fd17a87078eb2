"""`segone`: one command for everything. Exit 0 on success, 2 on wrong use or configuration, 1 on failure."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from state.settings import ConfigError

COMMANDS = {
    "run": ("dataflows.run", "the worker: events in, signals out, on Kafka or on the embedded log"),
    "replay": ("dataflows.replay", "any history through the production code"),
    "simulate": ("dataflows.simulate", "a synthetic bank with planted truth"),
    "score": ("simulation.scorecard_command", "precision, recall and false alarms of a run against the truth"),
    "explain": ("dataflows.explain", "why something was said about a customer"),
    "check": ("dataflows.check", "settings, detectors, input and output, before the first record"),
    "init": ("dataflows.init", "make the topics (Kafka) or folders, and the state folder"),
    "dlq": ("dataflows.dlq", "list dead letters, and send them back after a fix"),
    "state": ("dataflows.state_command", "inspect, verify or compact the state folder"),
}


def parser() -> argparse.ArgumentParser:
    """The whole command line. Modules of commands are imported only when asked for: `--help` stays quick."""
    top = argparse.ArgumentParser(
        prog="segone",
        description="Segment of One: a living profile per customer, updated on every transaction; explained signals, effectively once.",
        epilog="Settings: config/default.toml, then --config FILE, then SEGONE__SECTION__KEY in the environment, then flags.",
    )
    top.add_argument(
        "command",
        choices=COMMANDS,
        metavar="COMMAND",
        help="; ".join(f"{name}: {text}" for name, (_, text) in COMMANDS.items()),
    )
    top.add_argument("arguments", nargs=argparse.REMAINDER, help="see `segone COMMAND --help`")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; turns the errors that a person can mend into one clear line."""
    args = parser().parse_args(argv)
    module_name, text = COMMANDS[args.command]
    try:
        module = importlib.import_module(module_name)
        command = argparse.ArgumentParser(
            prog=f"segone {args.command}",
            description=(module.__doc__ or text),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        return int(module.run(command.parse_args(args.arguments)))
    except ConfigError as error:
        print(f"segone {args.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"segone {args.command}: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
