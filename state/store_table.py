"""The table: every customer's newest committed record and the indexes of timers and holders, in LMDB.

One file, five sub-databases: `customers` (id -> record) and `tails` (state/store_pages.py), `timers` (time, 8 bytes big endian, and id ->
id), `holders` (source partition, 4 bytes big endian, and id -> id) and `about` (format version, shard, how much of the log has been
taken in, which timeline is being written). One thread, one process (the folder's lock sees to that), so LMDB's own lock file is not
needed; no reader stays open across a write.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import lmdb

from state.store_error import OUT_OF_MEANS, StoreError, newer, unopened
from state.store_pages import RecordPages, beyond
from state.store_position import BEGINNING, LogPosition
from state.store_record import (
    CHECKPOINT,
    HEAD_BYTES,
    NO_TIMER,
    DamageError,
    check_record,
    encode_record,
    header_at,
    holder_of,
    id_of,
    timer_of,
)

FORMAT_VERSION = 3
"""Format 1 had no holders, format 2 no tails; both are written on as format 3. The log's records go with it: a release that knows only
format 1 could not read them, and opens the table first."""
FILE_NAME = "customers.mdb"
COPY_NAME = "customers.mdb.compacted"
MAP_BYTES_FIRST = 64 * 1024 * 1024
MAP_BYTES_MAX = 256 * 1024 * 1024 * 1024

_SUB_DATABASES = 5
_POSITION_BYTES = 32
_PLAIN_KEY_BYTES_MAX = 400  # LMDB takes keys up to 511 bytes, 8 of them for the time in the index of timers
_PAGE_OF_CUSTOMERS = 1000
# What LMDB says of a full disk; of a write that the disk took only in part it says the last.
_OUT_OF_SPACE = ("No space left", "File too large", "Disk quota exceeded", "Input/output error")


class Branch(NamedTuple):
    """Which timeline is being written, where it began, and the timelines that were given up for it."""

    base: LogPosition
    timeline: int
    abandoned: tuple[int, ...]


class _Changes:
    """What is to be done to an index: keys to delete, and (key, id) to put."""

    def __init__(self) -> None:
        self.outdated: list[bytes] = []
        self.current: list[tuple[bytes, bytes]] = []

    def write(self, txn: Any, index: Any) -> None:
        for key in sorted(self.outdated):
            txn.delete(key, db=index)
        for key, owner in sorted(self.current):
            txn.put(key, owner, db=index)


class Table:
    """The LMDB side of one shard. Every LMDB error becomes a StoreError."""

    def __init__(
        self, folder: Path, shard: int, sync: bool, map_bytes_max: int, crash_point: Callable[[str], None]
    ) -> None:
        """Opens or creates the file. `sync`: each write is on the disk when it returns. The file may grow up to
        `map_bytes_max`. Raises StoreError for a damaged file, a newer version, another shard's file."""
        self.path = folder / FILE_NAME
        self._map_bytes_max = map_bytes_max
        self._crash_point = crash_point
        # A new file gets its name when its first pages are written: a full disk must not leave half of one behind.
        draft = self.path if self.path.exists() else self.path.with_suffix(".new")
        try:
            if draft != self.path:
                draft.unlink(missing_ok=True)
            self._env: Any = lmdb.open(
                str(draft), subdir=False, map_size=min(MAP_BYTES_FIRST, map_bytes_max), max_dbs=_SUB_DATABASES, mode=0o600,
                lock=False, sync=sync, readahead=False,
            )  # fmt: skip
            if draft != self.path:
                draft.replace(self.path)
        except OSError as error:
            raise unopened(self.path, error) from error
        except lmdb.Error as error:
            raise self._error(error) from error
        try:
            self._cover_map()
            with self._reported():
                self._customers: Any = self._env.open_db(b"customers")
                self._timers: Any = self._env.open_db(b"timers")
                self._holders: Any = self._env.open_db(b"holders")
                self._about: Any = self._env.open_db(b"about")
                tails = self._env.open_db(b"tails")
            self._pages = RecordPages(self._customers, tails, self._env.stat()["psize"])
            self._check_format(shard)
        except StoreError:
            self._env.close()
            raise

    def get(self, customer_id: str) -> bytes | None:
        """A customer's record, checked; None if there is none. Raises StoreError if it is damaged."""
        key = customer_id.encode()
        try:
            with self._env.begin(buffers=True) as txn:
                record = self._pages.get(txn, key_of(key))
        except lmdb.Error as error:
            raise self._error(error) from error
        if record is not None:
            self._check(record, key)
        return record

    def has(self, customer_id: str) -> bool:
        """Whether there is a record of the customer."""
        with self._reported(), self._env.begin(buffers=True) as txn:
            return self._pages.head(txn, key_of(customer_id.encode())) is not None

    def timer_of(self, customer_id: str) -> int | None:
        """A customer's timer (microseconds UTC), None if it has none or is unknown."""
        with self._reported(), self._env.begin(buffers=True) as txn:
            found = self._pages.head(txn, key_of(customer_id.encode()))
            timer_us = NO_TIMER if found is None else timer_of(found)
        return None if timer_us == NO_TIMER else timer_us

    def timers_between(self, after_us: int, until_us: int) -> list[tuple[int, str]]:
        """All (timer, customer) with after_us < timer <= until_us, earliest first."""
        with self._reported(), self._env.begin(db=self._timers) as txn, txn.cursor() as cursor:
            found: list[tuple[int, str]] = []
            placed = cursor.set_range(_time_key(max(after_us + 1, 0)))
            for key, customer_id in cursor if placed else ():  # iterating an unplaced cursor begins anew
                time_us = int.from_bytes(key[:8], "big")
                if time_us > until_us:
                    break
                found.append((time_us, customer_id.decode()))
        return found

    def holders(self, partition: int, after: str, count_max: int) -> list[str]:
        """Up to `count_max` holders of a source partition, in the order of their keys, those that come after `after` ("": all)."""
        prefix = _partition_key(partition)
        beyond = prefix + key_of(after.encode()) + b"\0" if after else prefix
        found: list[str] = []
        with self._reported(), self._env.begin(db=self._holders) as txn, txn.cursor() as cursor:
            placed = cursor.set_range(beyond)
            for key, customer_id in cursor if placed else ():  # iterating an unplaced cursor begins anew
                if len(found) == count_max or not key.startswith(prefix):
                    break
                found.append(customer_id.decode())
        return found

    def all_holders(self) -> set[tuple[int, str]]:
        """(source partition, customer) of the whole index."""
        with self._reported(), self._env.begin(db=self._holders) as txn, txn.cursor() as cursor:
            return {(int.from_bytes(key[:4], "big"), customer_id.decode()) for key, customer_id in cursor}

    def records(self) -> Iterator[tuple[str, bytes]]:
        """(customer, record) of all, in the order of the keys; every record is checked. Writes in between are allowed."""
        following = b""
        while True:
            with self._reported(), self._env.begin(buffers=True) as txn:
                page = self._pages.some(txn, following, _PAGE_OF_CUSTOMERS)
            for key, record in page:
                self._check(record, None)
                if key_of(id_of(record)) != key:
                    raise self._damaged(id_of(record), "stands under another customer's key")
                yield id_of(record).decode(), record
            if len(page) < _PAGE_OF_CUSTOMERS:
                return
            following = page[-1][0] + b"\0"

    def write(self, records: Sequence[tuple[str, bytes]], applied: tuple[LogPosition, bytes] | None) -> None:
        """Writes customers' records and their places in the indexes, in the order of the keys if they come so, as one transaction.

        `applied`: (position, meta) of the checkpoint up to which the log has now been taken in wholly.
        """

        def fill(txn: Any) -> None:
            timers, holders = _Changes(), _Changes()
            self._put_records(txn, records, timers, holders)
            timers.write(txn, self._timers)
            holders.write(txn, self._holders)
            if applied:
                position, meta = applied
                txn.put(b"applied", encode_record(CHECKPOINT, b"", position.encode() + meta, NO_TIMER), db=self._about)

        self._write(fill)

    def applied(self) -> tuple[LogPosition, bytes]:
        """(position, meta) of the checkpoint up to which the log has been taken in; BEGINNING if nothing has."""
        data = self._about_checked(b"applied")
        return (LogPosition.decode(data), data[_POSITION_BYTES:]) if data else (BEGINNING, b"")

    def branch(self) -> Branch:
        """The timeline being written."""
        data = self._about_checked(b"branch")
        if not data:
            return Branch(BEGINNING, 0, ())
        timeline, *abandoned = struct.unpack(f"<{(len(data) - _POSITION_BYTES) // 8}Q", data[_POSITION_BYTES:])
        return Branch(LogPosition.decode(data), timeline, tuple(abandoned))

    def begin_branch(self, branch: Branch) -> None:
        """Keeps which timeline is being written from now on."""
        numbers = (branch.timeline, *branch.abandoned)
        data = branch.base.encode() + struct.pack(f"<{len(numbers)}Q", *numbers)
        self._write(lambda txn: txn.put(b"branch", encode_record(CHECKPOINT, b"", data, NO_TIMER), db=self._about))

    @property
    def committed(self) -> bool:
        """Whether the engine has ever committed a checkpoint of this shard."""
        with self._reported(), self._env.begin(db=self._about) as txn:
            return txn.get(b"committed") is not None

    def mark_committed(self) -> None:
        """Keeps that the engine has committed a checkpoint: from now on the folder is never begun anew unasked."""
        self._write(lambda txn: txn.put(b"committed", b"\1", db=self._about))

    def stray_tails(self) -> int:
        """Number of tails in the pages that belong to no record."""
        with self._reported(), self._env.begin(buffers=True) as txn:
            return self._pages.stray_tails(txn)

    def count(self) -> int:
        """Number of customers."""
        with self._reported(), self._env.begin() as txn:
            return int(txn.stat(self._customers)["entries"])

    def timer_count(self) -> int:
        """Number of timers."""
        with self._reported(), self._env.begin() as txn:
            return int(txn.stat(self._timers)["entries"])

    def size_bytes(self) -> int:
        """Bytes that the file takes on the disk."""
        return self.path.stat().st_blocks * 512

    def copy_compacted(self, path: Path) -> None:
        """Writes a copy without free pages."""
        with self._reported():
            self._env.copy(str(path), compact=True)

    def close(self) -> None:
        """Closes the file."""
        self._env.close()

    def _put_records(self, txn: Any, records: Sequence[tuple[str, bytes]], timers: _Changes, holders: _Changes) -> None:
        """Puts the records, takes out those that are empty; what that changes in the indexes is added to `timers` and `holders`."""
        pages = self._pages
        for customer_id, record in records:
            owner = customer_id.encode()
            key = key_of(owner)
            old = pages.head(txn, key)
            old_tail_bytes = 0 if old is None else beyond(old)
            old_us = NO_TIMER if old is None else timer_of(old)
            new_us = timer_of(record)
            if old_us != new_us:
                if old_us != NO_TIMER:
                    timers.outdated.append(_time_key(old_us) + key)
                if new_us != NO_TIMER:
                    timers.current.append((_time_key(new_us) + key, owner))
            old_partition = None if old is None else holder_of(old)
            new_partition = holder_of(record)
            if old_partition != new_partition:
                if old_partition is not None:
                    holders.outdated.append(_partition_key(old_partition) + key)
                if new_partition is not None:
                    holders.current.append((_partition_key(new_partition) + key, owner))
            if header_at(record).value_bytes:
                pages.put(txn, key, record, old_tail_bytes)
            else:
                pages.delete(txn, key, old_tail_bytes)

    def _write(self, fill: Callable[[Any], object]) -> None:
        """One transaction, begun again with a larger map whenever the map is full."""
        while True:
            try:
                with self._env.begin(write=True, buffers=True) as txn:
                    fill(txn)
                    self._crash_point("table.before_commit")
            except lmdb.MapFullError as error:
                self._grow(error)
            except lmdb.Error as error:
                raise self._error(error) from error
            else:
                self._crash_point("table.committed")
                return

    def _grow(self, error: lmdb.MapFullError) -> None:
        map_bytes = self._env.info()["map_size"]
        if map_bytes >= self._map_bytes_max:
            raise StoreError(
                f"{self.path}: full at its limit of {self._map_bytes_max} bytes (map_bytes_max). Nothing that was committed "
                "is lost: raise the limit and restart the worker"
            ) from error
        self._env.set_mapsize(min(2 * map_bytes, self._map_bytes_max))

    def _cover_map(self) -> None:
        """A file that lost its end would kill the process (SIGBUS) when a page beyond it is read. Zeros there are
        found as damage instead. Pages that LMDB took but never wrote make a sound file short too, so this is no error."""
        pages = self._env.info()["last_pgno"] + 1
        wanted = pages * self._env.stat()["psize"]
        if self.path.stat().st_size < wanted:
            os.truncate(self.path, wanted)

    def _check_format(self, shard: int) -> None:
        with self._reported(), self._env.begin(db=self._about) as txn:
            found = txn.get(b"format")
        version, owner = struct.unpack("<HI", found) if found is not None else (0, shard)
        if version > FORMAT_VERSION:
            raise newer(self.path, version, FORMAT_VERSION)
        if owner != shard:
            raise StoreError(
                f"{self.path}: belongs to shard {owner}, not {shard}. Put each shard's folder back under its own number"
            )
        if version < FORMAT_VERSION:
            self._write(lambda txn: txn.put(b"format", struct.pack("<HI", FORMAT_VERSION, shard), db=self._about))

    def _about_checked(self, name: bytes) -> bytes:
        """The value of an entry of `about`, empty if there is none."""
        with self._reported(), self._env.begin(db=self._about) as txn:
            record = txn.get(name)
        if record is None:
            return b""
        self._check(record, b"")
        return bytes(record[HEAD_BYTES:])

    def _check(self, record: bytes, key: bytes | None) -> None:
        try:
            header = check_record(record)
        except DamageError as damage:
            raise self._damaged(key or b"", str(damage)) from damage
        if header.record_bytes != len(record) or (key is not None and id_of(record) != key):
            raise self._damaged(key or b"", "the record is not the one that was asked for")

    def _damaged(self, key: bytes, finding: str) -> StoreError:
        digest = hashlib.blake2b(key, digest_size=8).hexdigest()
        return StoreError(
            f"{self.path}: the record with key digest {digest} is damaged ({finding}). See `segone state verify`; restore "
            "the state folder together with the recovery folder from a backup, or delete both and replay the input"
        )

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise self._error(error) from error

    def _error(self, error: Exception) -> StoreError:
        text = str(error)
        if isinstance(error, lmdb.DiskError) or any(sign in text for sign in _OUT_OF_SPACE):
            return StoreError(
                f"{self.path}: cannot be written, no space left or the disk fails ({text}). Nothing that was committed is "
                "lost: free space, then restart the worker"
            )
        for number in OUT_OF_MEANS:  # lmdb tells no number
            if os.strerror(number) in text:
                return unopened(self.path, OSError(number, os.strerror(number)))
        if "Permission denied" in text or "Read-only" in text:
            return unopened(self.path, OSError(13, text))
        return StoreError(
            f"{self.path}: cannot be used ({text}). See `segone state verify`; restore the state folder together with the "
            "recovery folder from a backup, or delete both and replay the input"
        )


def key_of(customer_id: bytes) -> bytes:
    """The id itself, or for the few that are too long for a key its beginning and a digest of it."""
    if len(customer_id) <= _PLAIN_KEY_BYTES_MAX:
        return customer_id
    return customer_id[: _PLAIN_KEY_BYTES_MAX - 16] + hashlib.blake2b(customer_id, digest_size=32).digest()


def _time_key(time_us: int) -> bytes:
    return time_us.to_bytes(8, "big")


def _partition_key(partition: int) -> bytes:
    return partition.to_bytes(4, "big")
