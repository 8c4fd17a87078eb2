"""The redo log: segments of records, appended to and cut, never rewritten.

A segment is a file `redo-<number>.log`: a header (magic, format version, shard, number, crc32), then records
(state/store_record.py). A segment is followed by the next one only right after a checkpoint, so a finished segment ends
with a checkpoint's record. Appending collects in memory and writes in large pieces: what is not yet written when the
process dies lies beyond the last token, so nobody counts on it.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from state.store_error import StoreError, damaged, newer, unopened, unwritten
from state.store_position import BEGINNING, LogPosition
from state.store_record import (
    CHECKPOINT,
    CHECKPOINT_MARK,
    HEAD_BYTES,
    NO_TIMER,
    DamageError,
    UnfinishedError,
    check_record,
    encode_record,
)

FORMAT_VERSION = 1
SEGMENT_HEADER_BYTES = 26
FLUSH_BYTES = 64 * 1024
UNFINISHED = 0
"""In place of a record's kind: here a segment ends in the middle of one."""

_MAGIC = b"SEGONELG"
_HEADER = struct.Struct("<8sHIQ")
_CRC = struct.Struct("<I")


class RedoLog:
    """The log of one shard. Every OSError becomes a StoreError; after one for want of space the log can be used on."""

    def __init__(
        self, folder: Path, shard: int, sync: bool, segment_bytes: int, crash_point: Callable[[str], None]
    ) -> None:
        """Finds the segments in `folder`; cut() must follow before anything is appended.

        `sync`: a checkpoint returns only when its bytes are on the disk. `segment_bytes`: a longer segment is followed
        by another after its next checkpoint. `crash_point` is called with a name between any two steps.
        """
        self._folder = folder
        self._shard = shard
        self._sync = sync
        self._segment_bytes = segment_bytes
        self._crash_point = crash_point
        self._sizes = find_segments(folder)
        self._end = BEGINNING
        self._fd: int | None = None
        self._segment = self._offset = 0
        """Of the segment being written, its number and how much of it is written; `cut` sets both."""
        self._pending: list[bytes | memoryview] = []
        self._pending_bytes = 0
        self._broken: StoreError | None = None
        """Set for good after a failed fsync."""

    @property
    def end(self) -> LogPosition:
        """The newest checkpoint."""
        return self._end

    @property
    def segments(self) -> int:
        """Number of files."""
        return len(self._sizes)

    @property
    def size_bytes(self) -> int:
        """Bytes in all segments, those waiting in memory not counted."""
        return sum(self._sizes.values())

    def append(self, record: bytes) -> None:
        """Adds a record. Raises StoreError if a piece had to be written and could not; the record is kept and will be
        written as soon as there is space."""
        self._pending.append(record)
        self._pending_bytes += len(record)
        if self._pending_bytes >= FLUSH_BYTES:
            self._flush()

    def checkpoint(self, meta: bytes) -> LogPosition:
        """Writes all that was appended and a checkpoint's record after it, and returns where that ends."""
        number = self._end.number + 1
        value = CHECKPOINT_MARK + struct.pack("<QQ", number, self._end.timeline) + meta
        self._pending.append(encode_record(CHECKPOINT, b"", value, NO_TIMER))
        self._pending_bytes += len(self._pending[-1])
        self._flush()
        if self._sync:
            self._sync_file()
        self._end = LogPosition(self._segment, self._offset, number, self._end.timeline)
        self._crash_point("log.checkpoint_written")
        if self._offset >= self._segment_bytes:
            self._close_segment()
        return self._end

    def read(self, after: LogPosition, until: LogPosition) -> Iterator[tuple[int, bytes, bytes]]:
        """(kind, id, record) of all records between two checkpoints, the later one's own record included.

        Raises StoreError if a segment is missing, a record is damaged, or the checkpoint `until` isn't in the log.
        """
        last: bytes | None = None
        for number in range(after.segment, until.segment + 1):
            if number not in self._sizes:
                if number == after.segment != until.segment:
                    continue
                raise _foreign(segment_path(self._folder, number), "this segment is missing")
            path = segment_path(self._folder, number)
            start = after.offset if number == after.segment else SEGMENT_HEADER_BYTES
            end = until.offset if number == until.segment else self._sizes[number]
            if end > self._sizes[number]:
                raise _foreign(path, f"the log ends at byte {self._sizes[number]}, the checkpoint at byte {end}")
            for offset, kind, key, record in read_segment(path, self._shard, start, end):
                if kind == UNFINISHED:
                    raise damaged(path, offset, "a record reaches beyond the checkpoint")
                last = record if kind == CHECKPOINT else None
                yield kind, key, record
        if last is None or checkpoint_identity(last) != (until.number, until.timeline):
            raise _foreign(segment_path(self._folder, until.segment), "another checkpoint stands in its place")

    def cut(self, at: LogPosition, timeline: int) -> None:
        """Discards everything beyond the checkpoint `at`, newest segment first, and begins a timeline there."""
        try:
            for number in sorted(self._sizes, reverse=True):
                if number > at.segment:
                    self._unlink(number)
            if at.segment in self._sizes:
                path = segment_path(self._folder, at.segment)
                self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                os.ftruncate(self._fd, at.offset)
                self._sizes[at.segment] = at.offset
        except OSError as error:
            raise unopened(self._folder, error) from error
        self._crash_point("log.cut")
        self._segment, self._offset = at.segment, at.offset
        self._end = at._replace(timeline=timeline)

    def drop_until(self, position: LogPosition) -> None:
        """Unlinks the segments that lie wholly before `position`, but never the one being written."""
        for number in sorted(self._sizes):
            behind = number < position.segment or (
                number == position.segment and self._sizes[number] <= position.offset
            )
            if behind and (self._fd is None or number != self._segment):
                self._unlink(number)

    def close(self) -> None:
        """Closes the file. What was appended since the last checkpoint is given up: no token covers it."""
        self._close_segment()

    def _flush(self) -> None:
        """Writes what is pending; what could not be written stays pending, so that a later call can go on."""
        if self._broken:
            raise self._broken
        fd = self._begin_segment() if self._fd is None else self._fd
        data = memoryview(b"".join(self._pending))
        written = 0
        self._crash_point("log.before_write")
        try:
            while written < len(data):
                written += os.pwrite(fd, data[written:], self._offset + written)
                self._crash_point("log.piece_written")
        except OSError as error:
            raise unwritten(segment_path(self._folder, self._segment), error) from error
        finally:
            if self._sync:  # has the kernel begin writing now, so that the checkpoint's fdatasync finds less to do
                os.posix_fadvise(fd, self._offset, written, os.POSIX_FADV_DONTNEED)
            self._offset += written
            self._sizes[self._segment] = self._offset
            self._pending = [data[written:]] if written < len(data) else []
            self._pending_bytes = len(data) - written

    def _begin_segment(self) -> int:
        number = self._segment + 1
        path = segment_path(self._folder, number)
        header = _HEADER.pack(_MAGIC, FORMAT_VERSION, self._shard, number)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unopened(path, error) from error
        self._crash_point("log.segment_created")
        try:
            if os.pwrite(fd, header + _CRC.pack(zlib.crc32(header)), 0) != SEGMENT_HEADER_BYTES:
                raise OSError(errno.ENOSPC, "No space left on device")
            if self._sync:
                sync_folder(self._folder)
        except OSError as error:
            os.close(fd)
            path.unlink()
            raise unwritten(path, error) from error
        self._crash_point("log.segment_begun")
        self._fd, self._segment, self._offset = fd, number, SEGMENT_HEADER_BYTES
        self._sizes[number] = SEGMENT_HEADER_BYTES
        return fd

    def _sync_file(self) -> None:
        """After a failed fsync the kernel may have dropped the pages: nothing may be built on this log any more."""
        self._crash_point("log.before_fsync")
        try:
            assert self._fd is not None
            os.fdatasync(self._fd)
        except OSError as error:
            self._broken = unwritten(segment_path(self._folder, self._segment), error)
            raise self._broken from error
        self._crash_point("log.fsynced")

    def _unlink(self, number: int) -> None:
        self._crash_point("log.before_unlink")
        try:
            (segment_path(self._folder, number)).unlink()
        except OSError as error:
            raise unopened(segment_path(self._folder, number), error) from error
        del self._sizes[number]
        self._crash_point("log.unlinked")

    def _close_segment(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def find_segments(folder: Path) -> dict[int, int]:
    """Number and size in bytes of each segment in a folder. Other files, as somebody's copy of a segment, are none."""
    sizes: dict[int, int] = {}
    for path in sorted(folder.glob("redo-*.log")):
        number = path.stem.removeprefix("redo-")
        if number.isdecimal() and path == segment_path(folder, int(number)):
            sizes[int(number)] = path.stat().st_size
    return sizes


def segment_path(folder: Path, number: int) -> Path:
    """The file of a segment."""
    return folder / f"redo-{number:010d}.log"


def read_segment(path: Path, shard: int, start: int, end: int | None) -> Iterator[tuple[int, int, bytes, bytes]]:
    """(offset, kind, id, record) of the records between two bytes of a segment (`end` None: all that there is).

    Bytes at the end that are no whole record, as a killed process leaves them, come last, with the kind UNFINISHED and nothing else.
    Raises StoreError for a damaged record, a header that doesn't fit, or a newer version.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unopened(path, error) from error
    _check_header(path, data, shard)
    end = len(data) if end is None else end
    offset = start
    while offset < end:
        try:
            header = check_record(data, offset)
        except DamageError as damage:
            # With a checkpoint behind it, this was whole once.
            if not isinstance(damage, UnfinishedError) or data.find(CHECKPOINT_MARK, offset) >= 0:
                raise damaged(path, offset, str(damage)) from damage
            yield offset, UNFINISHED, b"", b""
            return
        following = offset + header.record_bytes
        key_start = offset + HEAD_BYTES
        yield offset, header.kind, data[key_start : key_start + header.id_bytes], data[offset:following]
        offset = following
    if offset != end:
        raise damaged(path, offset, "a record reaches beyond the checkpoint")


def checkpoint_identity(record: bytes) -> tuple[int, int]:
    """Number and timeline in a checkpoint's record."""
    start = HEAD_BYTES + len(CHECKPOINT_MARK)
    number, timeline = struct.unpack_from("<QQ", record, start)
    return number, timeline


def checkpoint_meta(record: bytes) -> bytes:
    """The shard's own bytes in a checkpoint's record."""
    return record[HEAD_BYTES + len(CHECKPOINT_MARK) + 16 :]


def sync_folder(folder: Path) -> None:
    """Makes the creation and renaming of files in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _check_header(path: Path, data: bytes, shard: int) -> None:
    header, crc = data[: _HEADER.size], data[_HEADER.size : SEGMENT_HEADER_BYTES]
    if len(data) < SEGMENT_HEADER_BYTES or header[:8] != _MAGIC:
        raise damaged(path, 0, "no header of a redo log")
    _, version, owner, _ = _HEADER.unpack(header)
    if version > FORMAT_VERSION:
        raise newer(path, version, FORMAT_VERSION)
    if crc != _CRC.pack(zlib.crc32(header)):
        raise damaged(path, 0, "the header's crc32 differs")
    if owner != shard:
        raise StoreError(
            f"{path}: belongs to shard {owner}, not {shard}. Put each shard's folder back under its own number"
        )


def _foreign(path: Path, finding: str) -> StoreError:
    return StoreError(
        f"{path}: the checkpoint named by the recovery folder is not here ({finding}). The state folder and the recovery "
        "folder are not of the same moment (one was restored or deleted alone, or power failed with durability = "
        '"process"). Restore both from the same backup, or delete both and replay the input'
    )
