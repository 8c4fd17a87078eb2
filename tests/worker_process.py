"""The real worker as a process of its own, to be killed and stopped; and a reader that looks on while it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from hashlib import blake2b
from pathlib import Path

from dataflows.files.sink import ALL_TOPICS, read_committed
from simulation.runs import Message
from state.digest import partition_of

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_S = 60.0
"""Nobody waits longer for a worker to end."""

LOOK_INTERVAL_S = 0.01

SMALL_STEPS = """\
[log]
partitions = 2
batch_records_max = 20
poll_ms = 10
[shard]
count = 4
allowed_lateness_s = 21600.0
[state]
checkpoint_interval_ms = 100
"""
"""Settings with which little input takes many batches and checkpoints."""

PARTITIONS = 2


class WorkerProcess:
    """`segone run` with fixed arguments; what it tells goes to `log`.

    `start` adds arguments of one start. With several processes it is a supervisor and its children.
    """

    def __init__(self, log: Path, *arguments: str, project: Path = ROOT) -> None:
        """`project`: where the code is, for another release than this one."""
        self.log = log
        self._project = project
        self.starts = 0
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self._told_from = 0

    def start(self, processes: int = 1, *arguments: str) -> None:
        command = [sys.executable, "-m", "dataflows.cli", "run", *self._arguments, *arguments]
        if processes > 1:
            command += ["--processes", str(processes)]
        self._told_from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self._project, stdout=log, stderr=log, start_new_session=True)
        self.starts += 1

    def wait(self, timeout_s: float = PATIENCE_S) -> int | None:
        """The exit code; None if it still runs."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def run(self, processes: int = 1, *arguments: str, timeout_s: float = PATIENCE_S) -> int | None:
        """Start, and wait for the end of a bounded run. One that doesn't end is killed: None."""
        self.start(processes, *arguments)
        return self._ended(timeout_s)

    def kill(self) -> None:
        """kill -9 of all its processes at once."""
        assert self._process is not None
        # Children have sessions of their own, so that a group would not reach them.
        for pid in [*self.children(), self._process.pid]:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def kill_child(self, number: int) -> bool:
        """kill -9 of one process of a cluster (number modulo their count); False if there is none yet."""
        children = self.children()
        if children:
            os.kill(children[number % len(children)], signal.SIGKILL)
        return bool(children)

    def kill_supervisor(self) -> None:
        """kill -9 of the started process alone."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def children(self) -> list[int]:
        assert self._process is not None
        listed = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        return [int(pid) for pid in listed.read_text().split()]

    def stop(self, number: int = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int | None:
        """Ask the started process to stop. Its exit code; None if it had to be killed."""
        assert self._process is not None
        self._process.send_signal(number)
        return self._ended(timeout_s)

    def end(self) -> None:
        """Leaves nothing running."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def told(self, chars: int = 2000) -> str:
        """The end of what it told since it was last started."""
        with self.log.open("rb") as log:
            log.seek(self._told_from)
            return log.read().decode(errors="replace")[-chars:]

    def _ended(self, timeout_s: float) -> int | None:
        code = self.wait(timeout_s)
        if code is None:
            self.kill()
        return code


def worker_on(folder: Path, config: Path, events: Path, *arguments: str, project: Path = ROOT) -> WorkerProcess:
    """A worker on the embedded log `events` that writes to `folder`/out; it isn't started yet."""
    folder.mkdir(exist_ok=True)
    places = ("--config", str(config), "--input", str(events), "--output", str(folder / "out"))
    return WorkerProcess(folder / "worker.log", *places, *arguments, project=project)


def append(events: Path, message: Message) -> None:
    """Writes a record of a synthetic bank at the end of its file."""
    path = events / message.topic / f"{partition_of(message.key, PARTITIONS)}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(message.value + b"\n")


class CommittedReader(threading.Thread):
    """Reads an output folder as far as `.committed` says, while it is being written. What it has read must stay for ever.

    `broken` tells what was taken back: a committed length that shrank, or bytes that a reader has seen and that changed.
    """

    def __init__(self, output: Path) -> None:
        super().__init__(daemon=True)
        self.broken: list[str] = []
        self._output = output
        self._seen: dict[Path, int] = {}
        self._digests: dict[Path, blake2b] = {}
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(LOOK_INTERVAL_S):
            self.look()

    def look(self) -> None:
        for topic in ALL_TOPICS:
            for path in (self._output / topic).glob("*.jsonl"):
                seen, committed = self._seen.get(path, 0), read_committed(path)
                if committed < seen:
                    self.broken.append(f"{path}: committed {committed} bytes after {seen}")
                if committed > seen:
                    self._read(path, seen, committed)

    def finish(self) -> list[str]:
        """Ends the reading; returns `broken`, after all that was seen has been held against what is there now."""
        self._ended.set()
        self.join()
        self.look()
        for path, seen in self._seen.items():
            if blake2b(path.read_bytes()[:seen]).digest() != self._digests[path].digest():
                self.broken.append(f"{path}: holds something else in its first {seen} bytes than readers saw")
        return self.broken

    @property
    def seen_bytes(self) -> int:
        return sum(self._seen.values())

    def _read(self, path: Path, start: int, end: int) -> None:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(end - start)
        if len(data) < end - start:
            self.broken.append(f"{path}: committed {end} bytes, but only {start + len(data)} are there")
        elif not data.endswith(b"\n"):
            self.broken.append(f"{path}: committed {end} bytes, which is within a line")
        self._seen[path] = start + len(data)
        self._digests.setdefault(path, blake2b()).update(data)
