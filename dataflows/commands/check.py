"""`segone check`: would a run with these settings start? Looks at everything, changes nothing.

Prints the effective settings (secrets masked) and each check; exit 0 if all are ok, 2 if one failed.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.table import Table

from dataflows.commands.arguments import add_settings_arguments, settings_of
from dataflows.commands.terminal import console, plain
from dataflows.files.partitions import count_partitions
from dataflows.files.sink import read_committed, require_unused_output
from dataflows.kafka.client import BrokerUnavailable, KafkaRefused, partition_counts
from dataflows.kafka.rights import require_rights
from dataflows.kafka.topics import faults, silence_client
from dataflows.state_note import is_made, prepare_state, require_unused
from state.events import TOPICS
from state.settings import ConfigError, Settings
from state.settings_shown import shown


class Result(NamedTuple):
    """One check: what it looked at, whether all is well, and what was found or is to be done."""

    subject: str
    ok: bool
    finding: str


add_arguments = add_settings_arguments


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    results = [_result(subject, look, settings) for subject, look in _checks(settings)]
    screen = console()
    table = Table(box=None, pad_edge=False, show_header=False)
    for line in effective(settings):
        screen.print(plain(line))
    screen.print()
    for result in results:
        state = plain("ok", "green") if result.ok else plain("failed", "bold red")
        table.add_row(plain(result.subject), state, plain(result.finding))
    screen.print(table)
    failed = [result.subject for result in results if not result.ok]
    if failed:
        print(f"segone check: {len(failed)} of {len(results)} checks failed: {', '.join(failed)}", file=sys.stderr)
        return 2
    return 0


def effective(settings: Settings) -> list[str]:
    """The settings that count, as TOML without the detectors' tables; what could be a secret is masked."""
    lines = []
    for section, table in shown(settings).items():
        nested = {key: value for key, value in table.items() if isinstance(value, dict)}
        lines += ["", f"[{section}]"]
        lines += [f"{key} = {_toml(value)}" for key, value in table.items() if key not in nested]
        for name, inner in nested.items():
            if inner:
                lines += ["", f"[{section}.{name}]", *(f'"{key}" = {_toml(inner[key])}' for key in inner)]
    return lines[1:]


def _toml(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _checks(settings: Settings) -> list[tuple[str, Callable[[Settings], str]]]:
    first: list[tuple[str, Callable[[Settings], str]]] = [("detectors", _look_at_detectors)]
    if settings.metrics.port:
        first.append(("metrics port", _look_at_port))
    if settings.log.kind == "kafka":
        return [*first, ("broker and topics", _look_at_topics), ("state folder", _look_at_state)]
    return [
        *first,
        ("input folder", _look_at_input),
        ("output folder", _look_at_output),
        ("state folder", _look_at_state),
    ]


def _result(subject: str, look: Callable[[Settings], str], settings: Settings) -> Result:
    try:
        return Result(subject, True, look(settings))
    except (ConfigError, BrokerUnavailable, KafkaRefused) as error:
        return Result(subject, False, str(error))
    except OSError as error:
        return Result(subject, False, f"{error.filename}: {error.strerror}; check the path and its permissions")


def _look_at_port(settings: Settings) -> str:
    address = (settings.metrics.host, settings.metrics.port)
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ConfigError(
            f"[metrics] host and port: cannot listen on {address[0]}:{address[1]} ({error.strerror}); choose another"
        ) from error
    return f"{address[0]}:{address[1]} is free"


def _look_at_detectors(settings: Settings) -> str:
    off = [name for name, table in settings.detectors.items() if table.get("enabled") is False]
    return f"config {settings.digest()}; off: {', '.join(off) or 'none'}"


def _look_at_input(settings: Settings) -> str:
    if not settings.log.input:
        raise ConfigError("[log] input: no folder is named; set it, or give --input DIR")
    folder = Path(settings.log.input)
    partitions = count_partitions(folder)
    found = []
    for topic in TOPICS:
        paths = list((folder / topic).glob("*.jsonl"))
        for path in paths:
            path.open("rb").close()
        if paths:
            found.append(f"{topic} {sum(path.stat().st_size for path in paths):,} bytes")
    return f"{folder}: {partitions} partitions; {', '.join(found)}"


def _look_at_output(settings: Settings) -> str:
    if not settings.log.output:
        raise ConfigError("[log] output: no folder is named; set it, or give --output DIR")
    output, state_dir = Path(settings.log.output), settings.state_folder
    if not is_made(state_dir):
        require_unused_output(output, state_dir)
    written = any(read_committed(path) for path in output.glob("*/*.jsonl"))
    return _writable(output, "[log] output") + (": a run would go on with what is there" if written else "")


def _look_at_state(settings: Settings) -> str:
    if settings.log.kind == "files" and not (settings.log.output or settings.state.dir):
        raise ConfigError(
            "[state] dir: not set, and there is no output folder to keep the state in; set one of the two"
        )
    folder = settings.state_folder
    if is_made(folder):
        prepare_state(folder, settings)  # it exists, so this only compares it with the settings
        return _writable(folder, "[state] dir") + ": fits the settings"
    require_unused(folder)
    return _writable(folder, "[state] dir") + ": a run would begin with a new state"


def _look_at_topics(settings: Settings) -> str:
    silence_client()
    present = partition_counts(settings.kafka)
    wrong = faults(settings.kafka, present)
    if wrong:
        raise ConfigError("; ".join(wrong))
    require_rights(settings.kafka)
    partitions = present[settings.kafka.topic_prefix + TOPICS[0]]
    return f"{settings.kafka.bootstrap_servers} answers; all topics are there and may be used, input with {partitions} partitions"


def _writable(folder: Path, setting: str) -> str:
    """Tries it: makes a nameless file in the folder, or in the nearest folder above it that exists."""
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise ConfigError(
            f"{setting}: {existing} cannot be written ({error.strerror}); check the path and its permissions"
        ) from error
    return f"{folder}: {'writable' if folder.exists() else 'can be made'}"
