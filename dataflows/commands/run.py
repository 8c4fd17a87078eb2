"""`segone run`: the worker, as one process or as a local cluster of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from bytewax._bytewax import cli_main
from bytewax.recovery import RecoveryConfig
from rich.console import Console

from dataflows.commands.run_folder import write_run_note
from dataflows.commands.summary import accounting, print_summary
from dataflows.garbage import collect_young_only
from dataflows.signals import build
from dataflows.worker import Worker
from state.settings import ConfigError, load_settings
from state.store_lock import FolderLock

PROGRESS_S = 5.0
PARENT_CHECK_S = 0.2
LOCK_PATIENCE_S = 5.0
"""How long a start waits for killed predecessors to be gone from the state folder."""

SUPERVISOR = "SEGONE_SUPERVISOR"
"""Environment of a supervised process: the supervisor's pid. The supervisor has locked the state folder for all of them."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, over config/default.toml")
    parser.add_argument("--input", metavar="DIR", help="embedded log to read: <topic>/<partition>.jsonl ([log] input)")
    parser.add_argument("--output", metavar="DIR", help="embedded log to write ([log] output)")
    parser.add_argument(
        "--state", metavar="DIR", help="state folder ([state] dir); by default .segone in the output folder"
    )
    parser.add_argument(
        "--follow", action="store_true", default=None, help="go on at the end of the input and wait for more"
    )
    parser.add_argument(
        "--examples", action="store_true", help="at the end of the input, print a few signals even if nobody is looking"
    )
    parser.add_argument(
        "--processes", type=int, default=1, metavar="N", help="local cluster of N processes (default 1)"
    )
    parser.add_argument(
        "--process-id", type=int, metavar="I", help="this process of a cluster started by hand: 0 to N-1"
    )
    parser.add_argument("--addresses", metavar="HOST:PORT;…", help="addresses of all processes of that cluster")


def run(args: argparse.Namespace) -> int:
    flags: dict[str, dict[str, Any]] = {"log": {}, "state": {}}
    for section, key in (("log", "input"), ("log", "output"), ("log", "follow"), ("state", "state")):
        value = getattr(args, key)
        if value is not None:
            flags[section]["dir" if key == "state" else key] = value
    if args.processes < 1 or (args.process_id is None) != (args.addresses is None):
        raise ConfigError("--processes: at least 1; --process-id and --addresses go together")
    if args.processes > 1 and args.process_id is not None:
        raise ConfigError("--processes: starts a local cluster; leave it out where --process-id names one process")
    settings = load_settings(args.config, flags=flags)
    worker = Worker.open(settings)
    started = time.monotonic()
    # Two clusters on one recovery folder would ruin it: the engine keeps only what its newest execution can resume from.
    lock = FolderLock(worker.state_dir, LOCK_PATIENCE_S) if not _supervised() and not args.process_id else None
    if lock is not None and settings.log.kind == "files":
        Path(settings.log.output).mkdir(parents=True, exist_ok=True)
        write_run_note(Path(settings.log.output), Path(settings.log.input))
    if args.processes > 1:
        assert lock is not None, "--process-id goes with --processes 1"
        code, totals = _supervise(args.processes, lock), None
    else:
        code, totals = 0, work(worker, args.process_id, args.addresses.split(";") if args.addresses else None)
    if code == 0 and args.process_id is None and settings.log.kind == "files":
        # Examples name customers: they are for a person who asked or is looking, not for the log of a container.
        examples = args.examples or sys.stdout.isatty()
        print_summary(Console(), Path(settings.log.output), totals, time.monotonic() - started, examples=examples)
    return code


def work(worker: Worker, process_id: int | None = None, addresses: list[str] | None = None) -> dict[str, int]:
    """Runs the flow until its input ends or somebody asks it to stop; returns how the records of this process ended."""
    stop_on_signals(worker.stopping)
    done = threading.Event()
    if _supervised():
        threading.Thread(target=_end_with_supervisor, args=(int(os.environ[SUPERVISOR]),), daemon=True).start()
    reporter = threading.Thread(
        target=_report_progress, args=(worker, done, accounting if process_id is None else share), daemon=True
    )
    reporter.start()
    collect_young_only()
    try:
        cli_main(
            build(worker),
            process_id=process_id,
            addresses=addresses,
            epoch_interval=timedelta(milliseconds=worker.settings.state.checkpoint_interval_ms),
            recovery_config=RecoveryConfig(str(worker.state_dir / "recovery")),
        )
    finally:
        done.set()
    worker.finish()
    if process_id is not None:
        print(f"process {process_id}: {share(worker.totals())}", file=sys.stderr)
    return worker.totals()


def share(totals: dict[str, int]) -> str:
    """One process's part in a cluster: what it read may have ended in another one."""
    ended = ", ".join(
        f"{name.replace('_', ' ')} {totals[name]:,}" for name in ("applied", "duplicate", "late", "dead_letter")
    )
    return f"read {totals['read']:,} here; ended here: {ended}"


def _supervised() -> bool:
    return SUPERVISOR in os.environ


def _end_with_supervisor(supervisor: int) -> None:
    """A process of a local cluster does not outlive its supervisor: it would keep the state locked."""
    while os.getppid() == supervisor:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)


def stop_on_signals(stopping: threading.Event) -> None:
    """SIGTERM and SIGINT ask for a graceful stop; a second one ends the process at once (nothing is lost, but recovery has more to do)."""

    def ask(number: int, _frame: object) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in STOP_SIGNALS:
        signal.signal(number, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _report_progress(worker: Worker, done: threading.Event, sentence: Callable[[dict[str, int]], str]) -> None:
    started, before = time.monotonic(), 0
    while not done.wait(PROGRESS_S):
        totals = worker.totals()
        rate = (totals["read"] - before) / PROGRESS_S
        before = totals["read"]
        if rate or not worker.settings.log.follow:
            print(f"[{time.monotonic() - started:5.0f} s] {sentence(totals)} · {rate:,.0f}/s", file=sys.stderr)


def _supervise(processes: int, lock: FolderLock) -> int:
    """Starts the same command once per process, passes signals on, and ends them all when one fails."""
    addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(processes))
    command = [sys.executable, "-m", "dataflows.cli", *_without(sys.argv[1:], "--processes"), "--addresses", addresses]
    environment = os.environ | {SUPERVISOR: str(os.getpid())}
    children: list[subprocess.Popen[bytes]] = []

    asked: list[int] = []  # noted here and passed on below, when there is somebody to pass it to
    for each in STOP_SIGNALS:
        signal.signal(each, lambda number, _frame: asked.append(number))
    # Blocked in the children until they can listen: a stop asked for while they start is not lost, nor kills them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    for process in range(processes):
        # A session of their own: Ctrl-C reaches them once, through us.
        arguments = [*command, "--process-id", str(process)]
        children.append(subprocess.Popen(arguments, start_new_session=True, env=environment, pass_fds=[lock.fileno()]))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    while any(child.poll() is None for child in children):
        while asked:
            number = asked.pop(0)
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(number)
        failed = [i for i, child in enumerate(children) if child.poll() not in (None, 0)]
        if failed:
            time.sleep(1.0)  # the engine ends the others by itself; who has not noticed is ended here
            for child in children:
                if child.poll() is None:
                    child.kill()
            code = children[failed[0]].returncode
            print(
                f"segone run: process {failed[0]} of {processes} ended with {code}; all were stopped, start again to go on",
                file=sys.stderr,
            )
            return 1
        time.sleep(0.05)
    return 1 if any(child.returncode for child in children) else 0


def _without(arguments: list[str], flag: str) -> list[str]:
    kept: list[str] = []
    skip = False
    for argument in arguments:
        if skip:
            skip = False
        elif argument == flag:
            skip = True
        elif not argument.startswith(f"{flag}="):
            kept.append(argument)
    return kept


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
