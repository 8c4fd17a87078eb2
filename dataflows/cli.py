"""`segone`: one command for everything. Exit 0 on success, 2 on wrong use or configuration, 1 on failure."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import NamedTuple

from dataflows.failures import foreseen
from state.settings import ConfigError


class Command(NamedTuple):
    """A subcommand: its module has `add_arguments(parser)` and `run(arguments) -> exit code`."""

    module: str
    summary: str
    examples: tuple[tuple[str, str], ...]
    """Each a command line, and what it is for."""


COMMANDS = {
    "run": Command(
        "dataflows.commands.run",
        "the worker: events in, signals out, on Kafka or on the embedded log",
        (
            (
                "segone run --input bank/events --output out",
                "read a folder to its end; explain with segone explain out …",
            ),
            ("segone run --input bank/events --output out --follow", "and wait for more; Ctrl-C ends cleanly"),
            ("segone run --config kafka.toml", "on Kafka; `segone check` and `segone init` first"),
            ("segone run --config kafka.toml --processes 4", "on four cores of this machine"),
            ("SEGONE__STATE__DURABILITY=power segone run --config kafka.toml", "one setting from the environment"),
        ),
    ),
    "replay": Command(
        "dataflows.commands.replay",
        "any history through the production code",
        (
            ("segone replay bank/events --out out", "a folder of topics in canonical form"),
            (
                "segone replay cards.csv --mapping cards.toml --out out --scores",
                "any table; a mapping names its columns",
            ),
        ),
    ),
    "simulate": Command(
        "dataflows.commands.simulate",
        "a synthetic bank with planted truth",
        (("segone simulate --customers 500 --days 365 --seed 1 --out bank", "the same seed gives the same bytes"),),
    ),
    "score": Command(
        "simulation.scorecard_command",
        "precision, recall and false alarms of a run against the truth",
        (("segone score out --truth bank/truth", "what the signals of a run are worth"),),
    ),
    "explain": Command(
        "dataflows.commands.explain",
        "why something was said about a customer",
        (
            ("segone explain out 9eadadab8bada054bdbb3198589b0845", "one signal and its episode, to the last digit"),
            ("segone explain out --customer c-17", "everything that was said about a customer"),
            ("segone explain out --customer c-17 --json", "the signals as they are, one a line"),
        ),
    ),
    "report": Command(
        "dataflows.commands.report",
        "a page to look at: customers' stories and the fleet",
        (
            ("segone report out --out page.html", "all customers, and the stories behind the strongest signals"),
            ("segone report out --customer c-17 --out page.html", "one customer's story"),
            ("segone report out --type anomaly.geo --worst 20 --out page.html", "twenty customers behind one signal"),
            ("segone report out --truth bank/truth --out page.html", "with the scorecard"),
        ),
    ),
    "watch": Command(
        "dataflows.commands.watch",
        "the same page, live: a small read-only server",
        (
            ("segone watch out", "what the worker that writes to out says, at http://127.0.0.1:8011/"),
            ("segone watch --config kafka.toml", "from the signal topics on Kafka"),
            ("segone watch out --host 0.0.0.0", "for other machines; needs [watch] token_file"),
        ),
    ),
    "check": Command(
        "dataflows.commands.check",
        "settings, detectors, input and output, before the first record",
        (
            ("segone check --input bank/events --output out", "would this run start?"),
            ("segone check --config kafka.toml", "is the broker there, and are its topics as they must be?"),
        ),
    ),
    "init": Command(
        "dataflows.commands.init",
        "make the topics (Kafka) or folders, and the state folder",
        (
            ("segone init --config kafka.toml", "makes what is missing, leaves the rest alone"),
            ("segone init --input in --output out", "the folders of an embedded log"),
        ),
    ),
    "dlq": Command(
        "dataflows.commands.dlq",
        "list dead letters, and send them back after a fix",
        (
            ("segone dlq list out", "counts by code and topic, then the letters"),
            ("segone dlq redrive out --to bank/events --dry-run", "how many would be accepted now?"),
            ("segone dlq redrive out --to bank/events", "send those, each once"),
        ),
    ),
    "model": Command(
        "dataflows.commands.model",
        "the versions of the models: list, show, pin, roll back",
        (
            ("segone model list out/.segone", "what was learned when, how good it is, and what is in force"),
            ("segone model rollback out/.segone", "back to the version before"),
        ),
    ),
    "state": Command(
        "dataflows.commands.state_command",
        "inspect, verify or compact the state folder",
        (("segone state verify out/.segone", "is everything as it was written?"),),
    ),
}

FIRST_STEPS = (
    ("segone run --input bank/events --output out", "events of a folder in, explained signals out"),
    ("segone explain out --customer c-17", "what was said about a customer, and why"),
)
SETTINGS_NOTE = (
    "Settings: config/default.toml, then --config FILE, then SEGONE__SECTION__KEY in the environment, then flags.\n"
    "Exit codes: 0 success, 2 wrong use or configuration, 1 failure. SEGONE_DEBUG=1 shows where a failure came from."
)


def parser() -> argparse.ArgumentParser:
    """The top of the command line. Modules of commands are imported only when asked for: `--help` stays quick."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items()]
    top = argparse.ArgumentParser(
        prog="segone",
        usage="segone COMMAND …",
        description="Segment of One: a living profile per customer, updated on every transaction; explained signals,\n"
        "effectively once.\n\ncommands (each has its own --help):\n" + "\n".join(lines),
        epilog=f"{_examples(FIRST_STEPS)}\n\n{SETTINGS_NOTE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"segone {version('segone')}")
    top.add_argument("command", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    top.add_argument("arguments", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return top


def _examples(examples: Sequence[tuple[str, str]]) -> str:
    return "examples:\n" + "\n".join(f"  {line}\n      {purpose}" for line, purpose in examples)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; turns the errors that a person can mend into one clear line on standard error."""
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no Σ gets \u03a3 and not a traceback
    args = parser().parse_args(argv)
    try:
        code = _run(args.command, args.arguments)
        sys.stdout.flush()
    except ConfigError as error:
        return _failed(args.command, str(error), 2)
    except BrokenPipeError:
        # Whoever read our output has gone (`segone dlq list RUN | head`); what Python still holds goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return _failed(args.command, "interrupted", 130)
    except SystemExit:  # argparse: --help, or wrong use, both told already
        raise
    except BaseException as error:
        message = foreseen(error)
        if message is None:
            raise
        return _failed(args.command, message, 1)
    return code


def _open_closed_streams() -> None:
    """Whoever starts us may have closed standard streams. Their numbers must not fall to files of the state: the engine writes on 2."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_RDWR), mode))


def _run(name: str, arguments: Sequence[str]) -> int:
    command = COMMANDS[name]
    module = importlib.import_module(command.module)
    arguments_parser = argparse.ArgumentParser(
        prog=f"segone {name}",
        description=module.__doc__ or command.summary,
        epilog=f"{_examples(command.examples)}\n\n{SETTINGS_NOTE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(arguments_parser)
    return int(module.run(arguments_parser.parse_args(arguments)))


def _failed(command: str, message: str, code: int) -> int:
    if os.environ.get("SEGONE_DEBUG") == "1":
        traceback.print_exc()
    print(f"segone {command}: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
