"""The embedded log as a source: `<topic>/<partition>.jsonl` folders, one source partition for each partition number.

A source partition reads its partition of all topics and merges by (arrival, topic order, offset). It needs no server, and what it
hands on is the same as the Kafka source's.
"""

from __future__ import annotations

import heapq
import os
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from time import monotonic
from typing import Any, BinaryIO

import orjson
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.batch_size import BatchSize
from dataflows.batches import RecordBatch
from dataflows.files.long_line import CHUNK_BYTES, LINE_BYTES_MAX, skip_line
from dataflows.files.partitions import count_partitions
from dataflows.files.same_file import tail_of
from dataflows.knowledge.pacing import POLL_S, Pace
from operators.decode import arrival_of, parse_json
from state.committed import DamagedNoteError, committed_length
from state.events import BROADCAST, TOPICS
from state.records import Record

IDLE_S = 1.0


class InputFailed(Exception):
    """A file of the input holds less than what was read of it, or something else: what is there now is not what the positions stand for."""


class TopicFile:
    """One growing file of one topic: complete lines from a byte position on, as records."""

    def __init__(
        self,
        name: str,
        path: Path,
        topic: str,
        partition: int,
        position: int,
        offset: int,
        arrival_us: int,
        tail: str = "",
    ) -> None:
        """`tail`: what `tail_of` said of the position when it was noted; empty if nobody knows."""
        self.name = name
        """In the state of the source partition."""
        self.topic = topic
        self.position = position
        """Bytes already handed on."""
        self.offset = offset
        """Line number of the next record to hand on."""
        self.ready: deque[tuple[Record, int, int]] = deque()
        """Records read ahead, each with the byte position and the offset behind it."""
        self.address = (topic, str(partition))
        self._path = path
        self._partition = partition
        self._read_position = position
        self._read_offset = offset
        self._arrival_us = arrival_us
        self.newest_us = arrival_us
        """Arrival of the newest record handed on."""
        self._looked_bytes = 0
        """How much of a line that is too long has been looked through without finding its end."""
        self._tail = (position, tail)
        """What was last noted of the file, and up to where."""
        self._inode = -1
        self._behind_end = False
        """Whether what was read last was the end of a line: then it still is, unless the file is another one."""

    def fill(self, *, follow: bool) -> bool:
        """Reads ahead when nothing is ready; False if there is nothing more. A last line without LF counts only at the end.

        Raises InputFailed if the file has shrunk, is gone or is another one: passing over as many bytes of it would lose records."""
        while not self.ready and self._read_on(follow):
            pass
        return bool(self.ready)

    def _read_on(self, follow: bool) -> bool:
        """Makes ready what the next chunk holds; False if it holds nothing yet. Empty lines are no records."""
        try:
            with self._path.open("rb") as file:
                self._require_same(file)
                file.seek(self._read_position)
                asked = CHUNK_BYTES
                chunk = file.read(self._limit(asked))
                end = chunk.rfind(b"\n") + 1
                if end == 0 and len(chunk) == asked:  # a long line: all of it, unless it is too long
                    asked = LINE_BYTES_MAX + 1
                    chunk += file.read(max(0, self._limit(asked) - len(chunk)))  # the note may tell less by now
                    end = chunk.rfind(b"\n") + 1
                    if end == 0 and len(chunk) == asked:
                        return self._cut(chunk[:LINE_BYTES_MAX], file, follow)
        except FileNotFoundError:
            if self._read_position:
                raise self._not_the_same("is gone") from None
            return False
        self._looked_bytes = 0
        if not follow and len(chunk) < asked:
            end = len(chunk)
        for line in chunk[:end].splitlines(keepends=True) if b"\r" not in chunk else _lines(chunk[:end]):
            self._read_position += len(line)
            value = line.rstrip(b"\r\n") if line.endswith(b"\n") else line
            if value:
                self.ready.append((self._record(value), self._read_position, self._read_offset + 1))
            self._read_offset += 1
            self._behind_end = line.endswith(b"\n")
        if not self.ready:
            self.position, self.offset = self._read_position, self._read_offset
        return end > 0

    def _cut(self, beginning: bytes, file: BinaryIO, follow: bool) -> bool:
        """Makes ready what is kept of a line that is too long, once its end is there."""
        if os.fstat(file.fileno()).st_size < self._read_position + self._looked_bytes:
            self._looked_bytes = 0  # its writer has begun it anew
        self._looked_bytes = max(self._looked_bytes, LINE_BYTES_MAX + 1)
        file.seek(self._read_position + self._looked_bytes)
        left, ended = skip_line(file, self._limit(sys.maxsize) - self._looked_bytes)
        self._looked_bytes += left
        if follow and not ended:
            return False
        length, self._looked_bytes = self._looked_bytes, 0
        self._behind_end = ended
        self._read_position += length
        record = Record(
            self.topic, self._partition, self._read_offset, self._arrival_us, None, beginning, None, length - ended
        )
        self._read_offset += 1
        self.ready.append((record, self._read_position, self._read_offset))
        return True

    def _require_same(self, file: BinaryIO) -> None:
        found = os.fstat(file.fileno())
        if found.st_size < self._read_position:
            raise self._not_the_same("is shorter now")
        if self._behind_end:  # seen at once, also where it was written anew in its place
            file.seek(self._read_position - 1)
            if file.read(1) != b"\n":
                raise self._not_the_same("holds other records now")
        if found.st_ino != self._inode:  # at the start, and when it was replaced since
            position, tail = self._tail
            if tail and tail_of(self._path, position) != tail:
                raise self._not_the_same("holds other records now")
            self._inode = found.st_ino

    def _not_the_same(self, finding: str) -> InputFailed:
        return InputFailed(
            f"{self._path}: {finding}, and {self._read_position} bytes of it were read before. Files of the input may only grow: put it "
            "back, or begin anew with new state and output folders"
        )

    def tail(self) -> str:
        """Of what was handed on: see `tail_of`."""
        if self._tail[0] != self.position or not self._tail[1]:  # else what was noted stays, looked at or not
            self._tail = (self.position, tail_of(self._path, self.position))
        return self._tail[1]

    def behind_bytes(self) -> int:
        """How much of the file has not been handed on: for another thread to ask. Nothing is opened."""
        try:
            return max(0, self._path.stat().st_size - self.position)
        except FileNotFoundError:
            return 0

    def _limit(self, bytes_max: int) -> int:
        """A writer that is still at work says how far its file is committed; readers stop there."""
        try:
            length = committed_length(self._path)
        except DamagedNoteError:
            return 0  # damaged since the start: what lies beyond the last good note may be no record
        return bytes_max if length is None else max(0, min(bytes_max, length - self._read_position))

    def _record(self, value: bytes) -> Record:
        body: object = None
        try:
            body = parse_json(value)
            arrival_us = arrival_of(self.topic, body)
        except ValueError:
            body, arrival_us = None, None
        if arrival_us is not None:
            self._arrival_us = arrival_us
        # A record that can't say when it arrived came when the one before it did.
        return Record(self.topic, self._partition, self._read_offset, self._arrival_us, None, value, body)


def _lines(data: bytes) -> list[bytes]:
    """Lines by LF alone: a lone CR does not end one."""
    return [line + b"\n" for line in data.split(b"\n")[:-1]] + (
        [data[data.rfind(b"\n") + 1 :]] if not data.endswith(b"\n") else []
    )


class FilePartition(StatefulSourcePartition[RecordBatch, bytes]):
    """One partition of the embedded log. Its state is {topic: [byte position, offset, last arrival]}, the arrival clock, and digests of
    what lies before the positions; of a topic that every partition reads, files of other partitions are there as "topic/partition"."""

    def __init__(
        self,
        folder: Path,
        partition: int,
        partitions: int,
        resume: bytes | None,
        batch_records_max: int,
        follow: bool,
        poll_s: float,
        stopping: Flag,
        pace: Pace,
    ) -> None:
        state: dict[str, Any] = orjson.loads(resume) if resume is not None else {"clock_us": 0, "topics": {}}
        tails: dict[str, str] = state.get("tails", {})  # a release of before noted none
        self._name = str(partition)
        self._clock_us: int = state["clock_us"]
        self._files = []
        for topic in TOPICS:
            for number in range(partitions) if topic in BROADCAST else (partition,):
                name = topic if number == partition else f"{topic}/{number}"
                position, offset, arrival_us = state["topics"].get(name, (0, 0, 0))
                path = folder / topic / f"{number}.jsonl"
                tail = tails.get(name, "")
                self._files.append(TopicFile(name, path, topic, number, position, offset, arrival_us, tail))
        self._size = BatchSize(batch_records_max)
        self._follow = follow
        self._poll = timedelta(seconds=poll_s)
        self._stopping = stopping
        self._pace = pace
        self._next_us: int | None = None
        self._idle_since_s: float | None = None
        self._tick = True
        self._snapshot_after_stop = False
        self._ended = False
        self._awake: datetime | None = None

    def lag_bytes(self) -> dict[tuple[str, str], int]:
        """By topic and partition, what was not handed on."""
        return {file.address: file.behind_bytes() for file in self._files if file.position or file.behind_bytes()}

    def next_batch(self) -> list[RecordBatch]:
        tick, self._tick = self._tick, False
        if self._stopping.is_set():
            # Quiet until our snapshot has been taken and the engine comes back: then all before is committed. An end of input,
            # not AbortExecution: another process may see the stop an epoch later, and would wait in vain for one that is gone.
            if self._snapshot_after_stop and tick:
                raise StopIteration
            self._snapshot_after_stop = True
            self._awake = datetime.now(UTC) + timedelta(milliseconds=5)
            return self._batch([], False, tick)
        self._size.asked()
        records = self._merge()
        if self._next_us is not None and self._next_us >= self._pace.until_us:
            # The last records of a bucket tell that they are: a message of its own would come a round later.
            may_enter = self._pace.approach(max(self._next_us, self._clock_us))
            if not records:
                if not may_enter:
                    return self._wait(tick)
                records = self._merge()
        caught_up = len(records) < self._size.records
        self._size.handed(len(records))
        self._pace.resting = not records and self._is_idle()
        self._awake = None
        if not records and self._follow:
            self._awake = datetime.now(UTC) + self._poll
        elif not records:
            if self._ended:
                raise StopIteration
            if not self._pace.met():
                return self._wait(tick)
            self._ended = self._pace.resting = True
        # The last batch goes to all shards, like a tick: each must learn how far the arrival clock came.
        return self._batch(records, caught_up, tick or self._ended)

    def _is_idle(self) -> bool:
        """Whether nothing has come for so long that others need not wait for this partition at the end of a bucket."""
        now_s = monotonic()
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        return self._follow and now_s - self._idle_since_s > IDLE_S

    def _wait(self, tick: bool) -> list[RecordBatch]:
        """At the end of a bucket, until the knowledge of it is there."""
        self._awake = datetime.now(UTC) + timedelta(seconds=POLL_S)
        return self._batch([], False, tick)

    def _batch(self, records: list[Record], caught_up: bool, tick: bool) -> list[RecordBatch]:
        tick = tick or self._pace.news
        if not records and not tick:
            return []
        self._pace.told()
        if records:
            self._idle_since_s = None
        return [
            RecordBatch(self._name, records, self._clock_us, caught_up, tick, self._pace.horizon_us, self._pace.nonce)
        ]

    def _merge(self) -> list[Record]:
        """Up to a batch of records in the order of (arrival, topic order, offset), as far as the pace allows. `_next_us` is
        then the arrival of the next one, if there is one to wait for."""
        heads = []
        for order, file in enumerate(self._files):
            if file.fill(follow=self._follow):
                record = file.ready[0][0]
                heads.append((record.arrival_us, order, record.offset))
        heapq.heapify(heads)
        records: list[Record] = []
        until_us = self._pace.until_us
        while heads and len(records) < self._size.records and heads[0][0] < until_us:
            _, order, _ = heads[0]
            file = self._files[order]
            record, file.position, file.offset = file.ready.popleft()
            records.append(record)
            file.newest_us = record.arrival_us
            if record.arrival_us > self._clock_us:
                self._clock_us = record.arrival_us
            if file.ready or file.fill(follow=self._follow):
                following = file.ready[0][0]
                heapq.heapreplace(heads, (following.arrival_us, order, following.offset))
            else:
                heapq.heappop(heads)
        self._next_us = heads[0][0] if heads else None
        return records

    def next_awake(self) -> datetime | None:
        return self._awake

    def snapshot(self) -> bytes:
        self._tick = True
        topics = {file.name: (file.position, file.offset, file.newest_us) for file in self._files}
        tails = {file.name: tail for file in self._files if (tail := file.tail())}
        return orjson.dumps({"clock_us": self._clock_us, "topics": topics, "tails": tails})


class FileInput(FixedPartitionedSource[RecordBatch, bytes]):
    """All partitions of an input folder. Raises ConfigError if the folder is missing, empty, or its topics are not co-partitioned."""

    def __init__(
        self,
        folder: Path,
        batch_records_max: int,
        follow: bool,
        poll_s: float,
        stopping: Flag,
        make_pace: Callable[[], Pace] = Pace.free,
    ) -> None:
        self.stopping = stopping
        self._folder = folder
        self._arguments = (batch_records_max, follow, poll_s, stopping)
        self._make_pace = make_pace
        self.partitions = count_partitions(folder)
        self._parts: list[FilePartition] = []

    def lag_bytes(self) -> dict[tuple[str, str], int]:
        """By topic and partition, what this process has not handed on."""
        return {address: lag for part in list(self._parts) for address, lag in part.lag_bytes().items()}

    def list_parts(self) -> list[str]:
        return [str(partition) for partition in range(self.partitions)]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> FilePartition:
        part = FilePartition(
            self._folder, int(for_part), self.partitions, resume_state, *self._arguments, self._make_pace()
        )
        self._parts.append(part)
        return part
