"""`segone run`: the worker, as one process or as a local cluster of them."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import structlog
from bytewax._bytewax import cli_main
from bytewax.recovery import RecoveryConfig
from rich.console import Console

from dataflows.clock_step import ClockStep, end_when_set_back
from dataflows.commands.arguments import add_settings_arguments, settings_of
from dataflows.commands.cluster import STOP_SIGNALS, end_with_supervisor, supervise, supervised, tell_cause
from dataflows.commands.run_folder import write_run_note
from dataflows.commands.summary import accounting, print_summary
from dataflows.failures import Unforeseen, causes, foreseen, peer_is_gone
from dataflows.garbage import collect_young_only, leave_uncollected
from dataflows.log_lines import configure, readable, tell_start, where
from dataflows.metrics.endpoint import serve
from dataflows.signals import build
from dataflows.worker import Worker
from state.settings import ConfigError
from state.store_lock import FolderLock

PROGRESS_S = 5.0
LOCK_PATIENCE_S = 5.0
"""How long a start waits for killed predecessors to be gone from the state folder."""

_log = structlog.get_logger("segone.run")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_settings_arguments(parser)
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
    if args.processes < 1 or (args.process_id is None) != (args.addresses is None):
        raise ConfigError("--processes: at least 1; --process-id and --addresses go together")
    if args.processes > 1 and args.process_id is not None:
        raise ConfigError("--processes: starts a local cluster; leave it out where --process-id names one process")
    addresses = cluster_addresses(args.process_id, args.addresses)
    settings = settings_of(args)
    configure(settings.logs, args.process_id)
    worker = Worker.open(settings)
    started = time.monotonic()
    # Two clusters on one recovery folder would ruin it: the engine keeps only what its newest execution can resume from.
    lock = FolderLock(worker.state_dir, LOCK_PATIENCE_S) if not supervised() and not args.process_id else None
    if lock is not None and settings.log.kind == "files":
        Path(settings.log.output).mkdir(parents=True, exist_ok=True)
        write_run_note(Path(settings.log.output), Path(settings.log.input))
    if args.processes > 1:
        assert lock is not None, "--process-id goes with --processes 1"
        code, totals = supervise(args.processes, lock), None
    else:
        code, totals = 0, work(worker, args.process_id, addresses)
    if code == 0 and args.process_id is None and settings.log.kind == "files":
        # Examples name customers: they are for a person who asked or is looking, not for the log of a container.
        examples = args.examples or sys.stdout.isatty()
        elapsed_s, repairs = time.monotonic() - started, worker.decoder.counts
        print_summary(Console(), Path(settings.log.output), totals, elapsed_s, repairs, examples=examples)
    return code


def cluster_addresses(process_id: int | None, text: str | None) -> list[str] | None:
    """The addresses of a cluster started by hand; None where there is none. Raises ConfigError for what the engine would stumble over."""
    if process_id is None or text is None:
        return None
    addresses = text.split(";")
    for address in addresses:
        host, _, port = address.rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
            raise ConfigError(
                f"--addresses: {address!r} is no HOST:PORT; write HOST:PORT;HOST:PORT, one for each process"
            )
    if not 0 <= process_id < len(addresses):
        raise ConfigError(
            f"--process-id {process_id}: --addresses names {len(addresses)}, so give 0 to {len(addresses) - 1}"
        )
    return addresses


def work(worker: Worker, process_id: int | None = None, addresses: list[str] | None = None) -> dict[str, int]:
    """Runs the flow until its input ends or somebody asks it to stop; returns how the records of this process ended."""
    _allow_open_files()
    stop_on_signals(worker.stopping)
    done = threading.Event()
    if supervised():
        threading.Thread(target=end_with_supervisor, daemon=True).start()
    threading.Thread(target=_tell_stop, args=(worker.stopping,), daemon=True).start()
    tell_start(worker.settings, len(addresses) if addresses else 1)
    if readable(worker.settings.logs):
        sentence = accounting if process_id is None else share
        threading.Thread(target=_report_progress, args=(worker, done, sentence), daemon=True).start()
    worker.own_state()
    endpoint = serve(worker, process_id or 0 if supervised() else 0)
    worker.witness.tell = lambda error: _tell_end(error, process_id or 0)
    end = partial(_end_at_once, process_id or 0)
    threading.Thread(target=end_when_set_back, args=(end, done, ClockStep()), daemon=True).start()
    collect_young_only()
    try:
        cli_main(
            build(worker),
            process_id=process_id,
            addresses=addresses,
            epoch_interval=timedelta(milliseconds=worker.settings.state.checkpoint_interval_ms),
            recovery_config=RecoveryConfig(str(worker.state_dir / "recovery")),
        )
        worker.finish()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic of the engine is no Exception
        cause = worker.witness.failure or error
        if cause is error:
            _tell_end(error, process_id or 0)
        if foreseen(cause) is None:
            raise _bug(cause) from error
        raise cause from None
    finally:
        done.set()
        leave_uncollected()
        if endpoint is not None:
            endpoint.server_close()
    totals = worker.totals()
    alone = process_id is None  # else what was read here may have ended in another process: the difference says nothing
    _log.info(
        "ended",
        stopped=worker.stopping.is_set(),
        **{name: count for name, count in totals.items() if alone or name != "in_flight"},
        passed_over=worker.passed_over(),
        unpaced=worker.unpaced(),
    )
    return totals


def _allow_open_files() -> None:
    """As many as the machine grants: shards keep files open, and usual limits (1024) are meant for programs that can't count further."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _tell_end(error: BaseException, process: int) -> None:
    """Logs why this process ends, and tells the supervisor unless the cause lies in another process."""
    sentence = foreseen(error)
    if sentence is not None and peer_is_gone(error):
        _log.warning("stopped", reason=sentence)
        return
    told = sentence or str(_bug(error))
    _log.error("failed", error=told)
    tell_cause(process, told)


def _end_at_once(process: int, cause: str) -> None:
    """As a kill would: for a thread that finds the engine unable to move."""
    _log.error("failed", error=cause)
    tell_cause(process, cause)
    print(f"segone run: {cause}", file=sys.stderr, flush=True)
    os._exit(1)


def _bug(error: BaseException) -> Unforeseen:
    words = "".join(f" ({one})" for one in causes(error) if isinstance(one, AssertionError))
    return Unforeseen(f"a bug of segone: {where(error)}{words}. Please report it; SEGONE_DEBUG=1 shows all of it")


def share(totals: dict[str, int]) -> str:
    """One process's part in a cluster: what it read may have ended in another one."""
    ended = ", ".join(
        f"{name.replace('_', ' ')} {totals[name]:,}" for name in ("applied", "duplicate", "late", "dead_letter")
    )
    return f"read {totals['read']:,} here; ended here: {ended}"


def stop_on_signals(stopping: threading.Event) -> None:
    """SIGTERM and SIGINT ask for a graceful stop; a second one ends the process at once (nothing is lost, but recovery has more to do)."""

    def ask(number: int, _frame: object) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    for number in STOP_SIGNALS:
        signal.signal(number, ask)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


def _tell_stop(stopping: threading.Event) -> None:
    """In a thread: a signal handler may not log, it could interrupt a line."""
    stopping.wait()
    _log.info("stopping")


def _report_progress(worker: Worker, done: threading.Event, sentence: Callable[[dict[str, int]], str]) -> None:
    started, before = time.monotonic(), 0
    while not done.wait(PROGRESS_S):
        totals = worker.totals()
        rate = (totals["read"] - before) / PROGRESS_S
        before = totals["read"]
        if rate or not worker.settings.log.follow:
            print(f"[{time.monotonic() - started:5.0f} s] {sentence(totals)} · {rate:,.0f}/s", file=sys.stderr)
