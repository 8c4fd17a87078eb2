"""`segone watch`: the report's page, live. A process of its own that reads what workers publish and shows it to browsers.

RUN is the output folder of a worker on the embedded log; without RUN, --config names a Kafka ([log] kind = "kafka"). It only reads:
committed lines, or committed messages without joining a group; it takes no lock and writes nothing, so it can't slow a worker.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import uvicorn

from dataflows.commands.report import KEY_BYTES, add_source_arguments, event_source
from dataflows.commands.run_folder import read_run_note, require_run
from dataflows.kafka.topics import silence_client
from dataflows.report.document import decode_limits
from dataflows.report.events import EventSource, read_events
from dataflows.report.pseudonyms import Pseudonyms
from dataflows.report.rehearsal import Rehearsal
from dataflows.report.story import story
from dataflows.watch.access import check_access
from dataflows.watch.app import make_app
from dataflows.watch.memory import Memory
from dataflows.watch.tails import FileTail, KafkaTail, LogReplaced, Tail
from state.settings import ConfigError, Settings
from state.settings_reading import load_settings

NICENESS = 10
"""Workers come first."""
STOP_S = 2
"""How long a stop waits for readers that are being answered."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", type=Path, nargs="?", help="output folder of segone run (embedded log)")
    parser.add_argument("--host", help="address to listen on ([watch] host, default 127.0.0.1); others need a token")
    parser.add_argument("--port", type=int, help="port ([watch] port); 0 takes a free one")
    parser.add_argument("--from-now", action="store_true", help="leave out what was said before")
    parser.add_argument("--reveal", action="store_true", help="show ids, counterparties and descriptions as they are")
    add_source_arguments(parser)


def run(args: argparse.Namespace) -> int:
    flags: dict[str, dict[str, Any]] = {"watch": {}}
    for key in ("host", "port"):
        if getattr(args, key) is not None:
            flags["watch"][key] = getattr(args, key)
    settings = load_settings(args.config, flags=flags)
    check_access(settings.watch)
    tail = _open_tail(args.run, settings, from_now=args.from_now)
    source = event_source(args.run, args.events, args.mapping) if args.run is not None or args.events else None
    pseudonyms = Pseudonyms(None if args.reveal else secrets.token_bytes(KEY_BYTES))
    memory = Memory(settings.watch, pseudonyms)
    stopping = threading.Event()
    with contextlib.suppress(OSError):  # a container may forbid it
        os.nice(NICENESS)
    reader = threading.Thread(target=follow, args=(tail, memory, settings.watch.poll_ms / 1000, stopping), daemon=True)
    reader.start()
    name = args.run.resolve().name if args.run is not None else settings.kafka.bootstrap_servers
    app = make_app(
        memory,
        settings.watch,
        pseudonyms,
        name,
        lambda customer: tell(customer, memory, source, settings, pseudonyms),
        lambda: tail.trouble,
    )
    try:
        _serve(app, settings)
    finally:
        stopping.set()
        reader.join(STOP_S)
    return 0


def _open_tail(run: Path | None, settings: Settings, *, from_now: bool) -> Tail:
    if run is not None:
        if read_run_note(run) is None:  # a worker that has just begun has left its note, and no topic yet
            require_run(run)
        return FileTail(run, from_now=from_now)
    if settings.log.kind != "kafka":
        raise ConfigError(
            'name RUN, the output folder of a worker, or with --config FILE a Kafka ([log] kind = "kafka")'
        )
    silence_client()
    return KafkaTail(settings.kafka, from_now=from_now)


def follow(tail: Tail, memory: Memory, poll_s: float, stopping: threading.Event) -> None:
    """Moves what is published into memory until asked to stop. What goes wrong is shown on the page, and tried again."""
    try:
        _follow(tail, memory, poll_s, stopping)
    finally:
        tail.trouble = "nothing is read any more: the reader has ended"  # a page that stands still must not look alive
        tail.close()


def _follow(tail: Tail, memory: Memory, poll_s: float, stopping: threading.Event) -> None:
    while not stopping.is_set():
        try:
            messages = tail.read(poll_s)
            if messages:
                memory.add(messages)
            elif isinstance(tail, FileTail):
                tail.trouble = ""
                stopping.wait(poll_s)
        except LogReplaced:
            memory.begin_anew()
        except (OSError, ConfigError) as error:
            tail.trouble = f"cannot read: {error}"
            stopping.wait(poll_s)


def tell(
    customer_id: str, memory: Memory, source: EventSource | None, settings: Settings, pseudonyms: Pseudonyms
) -> dict[str, Any]:
    """A customer's story as of now, from what is remembered and, where they can be found, the events."""
    try:
        events = read_events(source, [customer_id], decode_limits(settings)) if source is not None else None
    except (OSError, ConfigError):  # gone or changed since the start: the signals' evidence is still there
        events = None
    rehearsal = Rehearsal(settings)
    rehearsal.run(events or {})
    return story(
        customer_id,
        events[customer_id] if events is not None else None,
        memory.signals_of(customer_id),
        {},
        rehearsal.bands.get(customer_id, []),
        rehearsal.recurring.get(customer_id, []),
        memory.profile_of(customer_id),
        pseudonyms,
    )


def _serve(app: Any, settings: Settings) -> None:
    """Until SIGINT or SIGTERM."""
    listener = _listen(settings.watch.host, settings.watch.port)
    port = listener.getsockname()[1]
    config = uvicorn.Config(
        app, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=STOP_S, lifespan="off"
    )
    server = _Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    shown = f"[{settings.watch.host}]" if ":" in settings.watch.host else settings.watch.host
    print(f"watch: http://{shown}:{port}/ (Ctrl-C ends it)", flush=True)
    server.run(sockets=[listener])


class _Server(uvicorn.Server):
    """Leaves signals to us: the server's own way ends the process by the signal, and a stop that was asked for is no failure."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(
            f"[watch] {host}:{port}: cannot listen there ({error.strerror}); --host and --port name another place"
        ) from error
