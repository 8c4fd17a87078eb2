"""The state store of one shard: every customer's profile as opaque bytes, surviving any crash.

A put goes to the redo log at once and to the table (LMDB) later, only when the engine is known to have committed the
checkpoint that covers it. So the table never has to be rolled back, and restoring means: cut the log where the token
says and read what the table hasn't got yet. docs/state.md has the format and the argument.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, Self

from state.redo_log import RedoLog, checkpoint_meta
from state.store_error import StoreError, unopened
from state.store_lock import FolderLock
from state.store_position import BEGINNING, LogPosition, decode_token, encode_token
from state.store_record import CHECKPOINT, NO_TIMER, customer_record, holder_of, timer_of, value_of
from state.store_table import COPY_NAME, MAP_BYTES_MAX, Branch, Table, key_of
from state.store_timers import TimerHeap

SEGMENT_BYTES = 1024 * 1024
CHUNK_CUSTOMERS_MAX = 4096
"""Customers written to the table in one transaction."""
ABANDONED_MAX = 256
"""Timelines remembered as given up, of each restore one."""
LOOKAHEAD_US = 3_600_000_000
"""How far beyond the time asked for timers are read from the table, so that it is not asked for each moment."""

Durability = Literal["process", "power"]


class StoreSizes(NamedTuple):
    """How much a store holds. Bytes are the values' with their heads; `overlay` is what the table hasn't got yet."""

    customers: int
    overlay_customers: int
    overlay_bytes: int
    log_segments: int
    log_bytes: int
    table_bytes: int


class Store(Protocol):
    """What a shard needs of its store. Times in microseconds UTC; a customer has one timer at most, its earliest."""

    def restore(self, token: bytes | None) -> bytes | None:
        """Goes back to a token's checkpoint and returns its meta; must come first. None begins from nothing."""

    def get(self, customer_id: str) -> bytes | None:
        """The customer's newest value, None if it was never put."""

    def put(self, customer_id: str, value: bytes, timer_us: int | None, holder_in: int | None = None) -> None:
        """Replaces the customer's value, its timer and of which source partition it is a holder, if it is one; an empty value
        removes it. A StoreError (disk full) does not undo it."""

    def checkpoint(self, meta: bytes) -> bytes:
        """Makes all puts so far restorable and returns the token for it; `meta` comes back from restore."""

    def proven(self) -> None:
        """The engine has committed the newest checkpoint: no older one will ever be restored."""

    def write_behind(self, budget: int) -> int:
        """Moves up to `budget` customers to where they take no memory; returns how many could still be moved."""

    def timers_until(self, time_us: int) -> list[tuple[int, str]]:
        """(timer, customer) of all timers up to and including `time_us`, earliest first; they stay until changed by put."""

    def holders(self, partition: int, after: str, count_max: int) -> list[str]:
        """Holders of a source partition that come after the customer `after` ("": from the first), `count_max` at most; none is
        left out as long as there are more. Each store has an order of its own, which stays."""

    def customers(self) -> Iterator[str]:
        """All customers, in no particular order."""

    def sizes(self) -> StoreSizes:
        """How much the store holds."""

    def close(self) -> None:
        """Gives up what no token covers and releases files."""


def no_crash(name: str) -> None:
    """The crash point of production: nothing happens. Tests put one in its place that raises or kills the process."""


class _Batch(NamedTuple):
    """The records of one or more checkpoints, and the newest one's position and meta."""

    records: dict[str, bytes]
    until: LogPosition
    meta: bytes


class DiskStore:
    """The store in a folder: redo log, table and lock. Open it, restore it, then use it; one thread only."""

    def __init__(self, shard: int, lock: FolderLock, log: RedoLog, table: Table) -> None:
        """Use open()."""
        self.shard = shard
        self._lock = lock
        self._log = log
        self._table = table
        self._current: dict[str, bytes] = {}  # put since the newest checkpoint
        self._taken: list[_Batch] = []  # checkpoints that the engine may or may not have committed
        self._waiting: _Batch | None = None  # proven, to be moved after `moving`
        self._moving: _Batch | None = None  # proven, on the way into the table
        self._layers: list[dict[str, bytes]] = [self._current]  # all of these, newest first
        self._order: list[str] = []  # of `moving`: what isn't in the table yet, last key first
        self._timers = TimerHeap()  # all timers of the overlay, and the table's up to `loaded_until_us`
        self._loaded_until_us = -1

    @classmethod
    def open(
        cls,
        directory: Path,
        shard: int,
        durability: Durability = "process",
        *,
        map_bytes_max: int = MAP_BYTES_MAX,
        segment_bytes: int = SEGMENT_BYTES,
        crash_point: Callable[[str], None] = no_crash,
    ) -> Self:
        """Opens or creates `<directory>/shards/<shard, 4 digits>`. restore() must be called next.

        durability: "process" survives the death of the process at any moment; "power" also that of the machine.
        Raises StoreError if the folder is in use, not writable, damaged or written by a newer version.
        """
        folder = shard_folder(directory, shard)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise unopened(folder, error) from error
        lock = FolderLock(folder)
        try:
            sync = durability == "power"
            (folder / COPY_NAME).unlink(missing_ok=True)  # of a compaction that was killed: as large as the table
            table = Table(folder, shard, sync, map_bytes_max, crash_point)
            return cls(shard, lock, RedoLog(folder, shard, sync, segment_bytes, crash_point), table)
        except BaseException:
            lock.close()
            raise

    def restore(self, token: bytes | None) -> bytes | None:
        """Goes back to the checkpoint of `token` and returns its meta; without a token begins from nothing (None).

        Raises StoreError if the folder does not hold that checkpoint, or if there is no token although the engine once
        committed one. Nothing has been changed then.
        """
        branch = self._table.branch()
        at = BEGINNING if token is None else decode_token(token, self.shard)
        if at.timeline in branch.abandoned and at.number > branch.base.number:
            at = branch.base  # the engine offers what it never committed: see docs/state.md, abandoned checkpoints
        applied, meta = self._table.applied()
        records: dict[str, bytes] = {}
        if at == BEGINNING:
            self._refuse_if_committed()
        elif at.number < applied.number or (at.number == applied.number and at != applied):
            raise StoreError(
                f"shard {self.shard}: the recovery folder is older than {self._table.path} (checkpoint {at.number}, the table "
                f"is at {applied.number}). Restore both folders from the same backup, or delete both and replay the input"
            )
        elif at != applied:
            for kind, key, record in self._log.read(applied, at):
                if kind == CHECKPOINT:
                    meta = checkpoint_meta(record)
                else:
                    records[key.decode()] = record
        self._begin(at, branch, applied, _Batch(records, at, meta))
        return None if at == BEGINNING else meta

    def get(self, customer_id: str) -> bytes | None:
        record = self._overlay(customer_id) or self._table.get(customer_id)
        return (value_of(record) or None) if record is not None else None

    def put(self, customer_id: str, value: bytes, timer_us: int | None, holder_in: int | None = None) -> None:
        record = customer_record(customer_id, value, timer_us, holder_in)
        self._current[customer_id] = record
        if timer_us is not None:
            self._timers.push(timer_us, customer_id)
            if self._timers.overgrown:
                self._timers.prune(self._is_wanted)
        self._log.append(record)

    def checkpoint(self, meta: bytes) -> bytes:
        position = self._log.checkpoint(meta)
        self._taken.append(_Batch(self._current, position, meta))
        self._current = {}
        self._relayer()
        return encode_token(position, self.shard)

    def proven(self) -> None:
        if not self._taken:
            return
        if not self._table.committed:
            self._table.mark_committed()
        records = self._waiting.records if self._waiting else {}
        for batch in self._taken:
            records = {**records, **batch.records} if records else batch.records
        self._waiting = self._taken[-1]._replace(records=records)
        self._taken = []
        self._relayer()

    def write_behind(self, budget: int) -> int:
        while True:
            if self._moving is None and not self._begin_moving():
                return 0
            if budget <= 0 and self._order:
                break
            budget -= self._move(min(budget, CHUNK_CUSTOMERS_MAX))
        return len(self._order) + (len(self._waiting.records) if self._waiting else 0)

    def timers_until(self, time_us: int) -> list[tuple[int, str]]:
        if time_us > self._loaded_until_us:
            until_us = time_us + LOOKAHEAD_US
            for timer_us, customer_id in self._table.timers_between(self._loaded_until_us, until_us):
                self._timers.push(timer_us, customer_id)
            self._loaded_until_us = until_us
        return self._timers.due(time_us, self._timer_now)

    def holders(self, partition: int, after: str, count_max: int) -> list[str]:
        newer: dict[str, bytes] = {}
        for layer in reversed(self._layers):
            newer |= layer
        beyond = key_of(after.encode())
        while True:
            page = self._table.holders(partition, after, count_max)
            end = key_of(page[-1].encode()) if len(page) == count_max else None
            found = [(key_of(name.encode()), name) for name in page if name not in newer]
            for name, record in newer.items():
                key = key_of(name.encode())
                if holder_of(record) == partition and key > beyond and (end is None or key <= end):
                    found.append((key, name))
            if found or end is None:
                return [name for _, name in sorted(found)[:count_max]]
            after = page[-1]

    def customers(self) -> Iterator[str]:
        overlay = set().union(*self._layers)
        yield from (customer_id for customer_id in overlay if self.get(customer_id) is not None)
        for customer_id, _ in self._table.records():
            if customer_id not in overlay:
                yield customer_id

    def sizes(self) -> StoreSizes:
        overlay = set().union(*self._layers)
        in_table = sum(map(self._table.has, overlay))
        return StoreSizes(
            customers=self._table.count() + len(overlay) - in_table,
            overlay_customers=len(overlay),
            overlay_bytes=sum(len(record) for layer in self._layers for record in layer.values()),
            log_segments=self._log.segments,
            log_bytes=self._log.size_bytes,
            table_bytes=self._table.size_bytes(),
        )

    def close(self) -> None:
        self._log.close()
        self._table.close()
        self._lock.close()

    def _begin(self, at: LogPosition, branch: Branch, applied: LogPosition, batch: _Batch) -> None:
        """Makes `at` the end of the log and a new timeline's beginning; `batch` is what the table lacks up to it."""
        given_up = branch.abandoned if at == branch.base else (at.timeline,)
        abandoned = (*given_up, branch.timeline)[-ABANDONED_MAX:]
        timeline = secrets.randbits(63) + 1
        self._table.begin_branch(Branch(at, timeline, abandoned))
        if at != BEGINNING and not self._table.committed:
            self._table.mark_committed()
        self._log.cut(at, timeline)
        self._log.drop_until(applied)
        if batch.records:
            self._moving, self._order = batch, sorted(batch.records, reverse=True)
            self._relayer()
        for customer_id, record in batch.records.items():
            if timer_of(record) != NO_TIMER:
                self._timers.push(timer_of(record), customer_id)

    def _refuse_if_committed(self) -> None:
        if self._table.committed:
            raise StoreError(
                f"{self._table.path}: holds committed profiles, but the recovery folder knows no checkpoint of shard "
                f"{self.shard}. Beginning from nothing would wipe them: put the recovery folder back, or delete the state "
                "folder too and replay the input"
            )

    def _begin_moving(self) -> bool:
        """Takes up what is proven. A checkpoint without customers is worth a write only to let go of old segments."""
        waiting = self._waiting
        if waiting is None or (not waiting.records and self._log.segments <= 1):
            return False
        self._moving, self._waiting = waiting, None
        self._order = sorted(waiting.records, reverse=True)
        self._relayer()
        return True

    def _move(self, budget: int) -> int:
        """Writes up to `budget` customers of the moving batch to the table; after the last of them the log up to its
        checkpoint is let go."""
        assert self._moving is not None
        records, until, meta = self._moving
        chunk = self._order[-budget:] if budget > 0 else []
        done = len(chunk) == len(self._order)
        self._table.write([(owner, records[owner]) for owner in reversed(chunk)], (until, meta) if done else None)
        del self._order[len(self._order) - len(chunk) :]
        for owner in chunk:
            del records[owner]
        if done:
            self._moving = None
            self._relayer()
            self._log.drop_until(until)
        return len(chunk)

    def _relayer(self) -> None:
        """Lists anew what the table hasn't got yet, newest first."""
        batches = [*reversed(self._taken), self._waiting, self._moving]
        self._layers = [self._current, *(batch.records for batch in batches if batch)]

    def _overlay(self, customer_id: str) -> bytes | None:
        for layer in self._layers:
            if customer_id in layer:
                return layer[customer_id]
        return None

    def _timer_now(self, customer_id: str) -> int | None:
        record = self._overlay(customer_id)
        if record is None:
            return self._table.timer_of(customer_id)
        timer_us = timer_of(record)
        return None if timer_us == NO_TIMER else timer_us

    def _is_wanted(self, time_us: int, customer_id: str) -> bool:
        """Whether an entry of the heap is needed: the table's later timers are loaded when their time comes near."""
        record = self._overlay(customer_id)
        return time_us <= self._loaded_until_us if record is None else timer_of(record) == time_us


def shard_folder(directory: Path, shard: int) -> Path:
    """The folder of one shard in a state folder."""
    return directory / "shards" / f"{shard:04d}"


def shards_in(directory: Path) -> list[int]:
    """The shards that have a folder in a state folder."""
    return sorted(int(path.name) for path in (directory / "shards").glob("[0-9][0-9][0-9][0-9]") if path.is_dir())
