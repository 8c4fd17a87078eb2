"""A local cluster: the same command once per process, watched by a supervisor that ends them all when one fails.

A process whose peer is gone ends, too, and often before the supervisor looks. So each tells the supervisor through a pipe why it
failed, unless it was for want of a peer, and the supervisor's last line names the process where it began.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

import structlog

from state.store_lock import FolderLock

SUPERVISOR = "SEGONE_SUPERVISOR"
"""Environment of a supervised process: the supervisor's pid. The supervisor has locked the state folder for all of them."""

CAUSES = "SEGONE_CAUSES"
"""Environment of a supervised process: the file descriptor of the pipe for the cause of its end."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
PARENT_CHECK_S = 0.2
LOOK_INTERVAL_S = 0.05
LAST_WORDS_S = 1.0
"""How long the others have to end by themselves, once one has failed."""
CAUSE_BYTES_MAX = 4000
"""Less than a pipe takes in one piece."""


def supervised() -> bool:
    return SUPERVISOR in os.environ


def end_with_supervisor() -> None:
    """A process of a local cluster does not outlive its supervisor: it would keep the state locked. Runs in a thread."""
    supervisor = int(os.environ[SUPERVISOR])
    while os.getppid() == supervisor:
        time.sleep(PARENT_CHECK_S)
    os._exit(1)


def tell_cause(process: int, cause: str) -> None:
    """For a supervised process that fails by itself."""
    if CAUSES in os.environ:
        with contextlib.suppress(OSError):
            os.write(int(os.environ[CAUSES]), f"process {process}: {cause}".encode()[:CAUSE_BYTES_MAX] + b"\n")


def supervise(processes: int, lock: FolderLock) -> int:
    """Starts the same command once per process, passes signals on, and ends them all when one fails. The exit code."""
    asked: list[int] = []  # noted here and passed on below, when there is somebody to pass it to
    for each in STOP_SIGNALS:
        signal.signal(each, lambda number, _frame: asked.append(number))
    heard, told = os.pipe()
    os.set_blocking(heard, False)
    children = _start(processes, lock, told)
    os.close(told)
    while any(child.poll() is None for child in children):
        while asked:
            number = asked.pop(0)
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    child.send_signal(number)
        if any(child.poll() for child in children):
            break
        time.sleep(LOOK_INTERVAL_S)
    code = 0
    if any(child.poll() for child in children):
        first = _first(children)
        _end(children)
        cause = _cause(heard, children, first)
        structlog.get_logger("segone.cluster").error("cluster ended", cause=cause)
        print(f"segone run: {cause}; all {processes} were stopped, start again to go on", file=sys.stderr)
        code = 1
    os.close(heard)
    return code


def _start(processes: int, lock: FolderLock, told: int) -> list[subprocess.Popen[bytes]]:
    addresses = ";".join(f"127.0.0.1:{port}" for port in _free_ports(processes))
    command = [sys.executable, "-m", "dataflows.cli", *_without(sys.argv[1:], "--processes"), "--addresses", addresses]
    environment = os.environ | {SUPERVISOR: str(os.getpid()), CAUSES: str(told)}
    # Blocked in the children until they can listen: a stop asked for while they start is not lost, nor kills them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    children = [
        # A session of their own: Ctrl-C reaches them once, through us.
        subprocess.Popen(
            [*command, "--process-id", str(process)],
            start_new_session=True,
            env=environment,
            pass_fds=[lock.fileno(), told],
        )
        for process in range(processes)
    ]
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return children


def _first(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """The process that was seen to fail, for when none says why. One killed from outside says nothing, so it comes first."""
    failed = [number for number, child in enumerate(children) if child.poll()]
    return min(failed, key=lambda number: children[number].returncode)


def _end(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """The engine ends the others by itself; who has not noticed is ended here."""
    give_up_s = time.monotonic() + LAST_WORDS_S
    while any(child.poll() is None for child in children) and time.monotonic() < give_up_s:
        time.sleep(LOOK_INTERVAL_S)
    for child in children:
        if child.poll() is None:
            child.kill()
            child.wait()


def _cause(heard: int, children: Sequence[subprocess.Popen[bytes]], first: int) -> str:
    try:
        told = os.read(heard, CAUSE_BYTES_MAX).decode(errors="replace")
    except BlockingIOError:
        told = ""
    if told:
        return told.splitlines()[0]
    code = children[first].returncode
    killed = code < 0 and code in {-each.value for each in signal.Signals}
    return f"process {first} {f'was killed by {signal.Signals(-code).name}' if killed else f'ended with {code}'}"


def _without(arguments: Sequence[str], flag: str) -> list[str]:
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
