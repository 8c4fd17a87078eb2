"""What goes wrong, at a moment that a seed chooses: the process dies, its last writes are torn, the power fails, the disk is full.

A crash is an exception that no handler of the production code can soften. After it nothing is closed in good order:
`Disk.after_death` does what the kernel does for a dead process, then what the fault does to the files.
"""

from __future__ import annotations

import os
import random
import resource
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lmdb

from dataflows.files import sink as file_sink
from dataflows.knowledge.shelf import Shelf
from state.store import DiskStore

OPEN_FILES = Path("/proc/self/fd")

ENGINE_POINTS = (
    "engine.loaded", "source.before_batch", "source.batch_taken", "source.before_snapshot", "source.snapshot_taken",
    "shard.before_batch", "shard.batch_done", "shard.before_snapshot", "shard.snapshot_taken", "shard.ended",
    "key.before_batch", "key.batch_done", "key.before_snapshot", "key.snapshot_taken",
    "sink.before_write", "sink.written", "sink.before_snapshot", "sink.snapshot_taken", "sink.before_committed",
    "sink.committed", "engine.before_row", "engine.row_written", "engine.before_front", "engine.front_written",
    "engine.committed", "worker.before_finish", "worker.finished",
)  # fmt: skip
STORE_POINTS = (
    "log.segment_created", "log.segment_begun", "log.before_write", "log.piece_written", "log.checkpoint_written",
    "log.cut", "log.before_unlink", "log.unlinked", "table.before_commit", "table.committed",
)  # fmt: skip
SHELF_POINTS = (
    "shelf.cut", "shelf.before_rename", "shelf.written", "shelf.before_announcement", "shelf.announced", "shelf.compacted",
)  # fmt: skip
POWER_POINTS = ("log.before_fsync", "log.fsynced", "sink.before_fsync", "sink.fsynced")
ALL_POINTS = ENGINE_POINTS + STORE_POINTS + SHELF_POINTS + POWER_POINTS


class Crash(BaseException):
    """The end of a process."""


class Fuse:
    """Passes named points until the one at which it is to blow."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        """The names of all points since the fuse was laid."""
        self._name: str | None = None
        self._left: int | None = None
        self.full: Callable[[], None] | None = None
        """Fills the disk instead of ending the process."""

    def lay(self, name: str | None, left: int | None, full: Callable[[], None] | None = None) -> None:
        """Blows at the point after `left` more of that name (None: of any name); never if `left` is None."""
        self._name, self._left, self.full = name, left, full
        self.passed.clear()

    def __call__(self, name: str) -> None:
        self.passed.append(name)
        if self._left is None or (self._name is not None and name != self._name):
            return
        self._left -= 1
        if self._left < 0:
            self._left = None
            if self.full is None:
                raise Crash(name)
            self.full()


class Disk:
    """The files of one simulated machine, in `folder`. Use as a context: inside, production code runs with its seams open."""

    def __init__(self, folder: Path, fuse: Fuse, random_: random.Random, segment_bytes: int) -> None:
        self.folder = folder
        self.fuse = fuse
        self.noted: set[Path] = set()
        """Output files whose committed length was written since somebody looked."""
        self._random = random_
        self._segment_bytes = segment_bytes
        self._environments: list[Any] = []
        self._synced: dict[str, int] = {}
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    @contextmanager
    def seams(self) -> Iterator[None]:
        """Small buffers and budgets, crash points in store and sink, and a record of what was made durable."""
        with ExitStack() as stack:
            for name, value in {
                "dataflows.worker.DiskStore": self,
                "dataflows.worker.Shelf": self._open_shelf,
                "dataflows.knowledge.shelf.INCREMENTS_MAX": self._random.choice((1, 3)),
                "dataflows.files.sink.write_committed": self._write_committed(file_sink.write_committed),
                "lmdb.open": self._open_table(lmdb.open),
                "os.fsync": self._sync(os.fsync, "sink"),
                "os.fdatasync": self._sync(os.fdatasync, ""),
                "state.shard.WRITE_BEHIND_CHUNK": self._random.choice((1, 3, 64)),
                "state.shard.PENDING_MAX": self._random.choice((1, 64)),
                "state.market.PAGE_CUSTOMERS": self._random.choice((1, 2, 256)),
                "state.market.VISITS_IDLE_MAX": self._random.choice((1, 2, 32)),
                "state.market.VISITS_MIN": 1,
                "state.redo_log.FLUSH_BYTES": self._random.choice((300, 3000, 1 << 16)),
            }.items():
                stack.enter_context(patch(name, value))
            try:
                yield
            finally:
                self.free_space()
                self.release()

    def open(self, directory: Path, shard: int, durability: Any, **arguments: Any) -> DiskStore:
        """Stands for DiskStore.open."""
        return DiskStore.open(
            directory, shard, durability, segment_bytes=self._segment_bytes, crash_point=self.fuse, **arguments
        )

    def _open_shelf(self, state_dir: Path, key: str, **arguments: Any) -> Shelf:
        """Stands for Shelf."""
        return Shelf(state_dir, key, crash_point=self.fuse, **arguments)

    def fill(self) -> None:
        """From now on no file grows beyond a few bytes or KB: the kernel refuses, as on a full disk, in the middle of a write."""
        limit = self._random.choice((0, self._random.randrange(300), self._random.randrange(20_000)))
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, self._limits[1]))

    def free_space(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)

    def release(self) -> None:
        """What the kernel does when a process dies: mappings go, files are closed, and with them locks are given up."""
        for environment in self._environments:
            environment.close()
        self._environments.clear()
        for descriptor in list(OPEN_FILES.iterdir()):
            try:
                target = str(descriptor.readlink())
            except FileNotFoundError:
                continue  # the listing itself
            if target.startswith(f"{self.folder}/"):
                os.close(int(descriptor.name))

    def tear(self, kept_bytes: dict[Path, int]) -> None:
        """The last writes of a killed process: files end anywhere behind what is known to be kept, or hold zeros there."""
        for path, kept in kept_bytes.items():
            self._cut(path, kept, self._random.choice((True, False)))

    def fail_power(self, logs: list[Path]) -> None:
        """Whatever was not synced is lost from some byte on."""
        for path in logs:
            self._cut(path, self._synced.get(str(path), 0), self._random.random() < 0.3)
            self._synced[str(path)] = path.stat().st_size

    def _cut(self, path: Path, kept: int, zeros: bool) -> None:
        size = path.stat().st_size
        if size <= kept:
            return
        at = self._random.choice((kept, self._random.randint(kept, size)))
        os.truncate(path, at)
        if zeros:
            os.truncate(path, size)

    def _open_table(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def opened(*arguments: Any, **named: Any) -> Any:
            # Nothing is mapped beyond what these small tables need.
            environment = real(*arguments, **named | {"map_size": 1 << 20})
            self._environments.append(environment)
            return environment

        return opened

    def _sync(self, real: Callable[[int], None], owner: str) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            path = str((OPEN_FILES / str(descriptor)).readlink())
            sink = bool(owner) and path.endswith(".jsonl")
            if sink:
                self.fuse("sink.before_fsync")
            real(descriptor)
            self._synced[path] = os.fstat(descriptor).st_size
            if sink:
                self.fuse("sink.fsynced")

        return sync

    def _write_committed(self, real: Callable[[Path, int], None]) -> Callable[[Path, int], None]:
        def write(path: Path, length: int) -> None:
            with suppress(OSError):
                path.with_suffix(".committed.new").write_bytes(b"1")  # as a crash in the middle leaves it
            self.fuse("sink.before_committed")
            real(path, length)
            self.noted.add(path)
            self.fuse("sink.committed")

        return write
