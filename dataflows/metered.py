"""The source as the flow sees it: the same records, and a note of when the loop moves, pauses and commits."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.batches import RecordBatch
from dataflows.engine_thread import keep_thread_state
from dataflows.tally import Tally
from dataflows.witness import Witness


class MeteredInput(FixedPartitionedSource[RecordBatch, bytes]):
    """A source whose partitions report to `tally`; names and states of the partitions are those of `source`."""

    def __init__(self, source: FixedPartitionedSource[RecordBatch, bytes], tally: Tally, witness: Witness) -> None:
        self._source, self._tally, self._witness = source, tally, witness

    def list_parts(self) -> list[str]:
        keep_thread_state()  # the first of our code that the engine calls, in each of its threads
        with self._witness:
            return self._source.list_parts()

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> MeteredPartition:
        with self._witness:
            part = self._source.build_part(step_id, for_part, resume_state)
        return MeteredPartition(part, self._tally, self._witness)


class MeteredPartition(StatefulSourcePartition[RecordBatch, bytes]):
    """Between its snapshot and the next call for a batch, the engine has committed the epoch: that is the pause of the stream."""

    def __init__(self, part: StatefulSourcePartition[RecordBatch, bytes], tally: Tally, witness: Witness) -> None:
        self._part, self._tally, self._witness = part, tally, witness
        self._closed_s: float | None = None
        self._rest_s = 0.0

    def next_batch(self) -> Iterable[RecordBatch]:
        tally = self._tally
        tally.beat()
        if self._closed_s is not None:
            tally.pause.observe(max(0.0, time.monotonic() - self._closed_s - self._rest_s))
            tally.committed()
            self._closed_s = None
        with self._witness:
            return self._part.next_batch()

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> bytes:
        self._closed_s = time.monotonic()
        awake = self._part.next_awake()
        # An idle partition rests a moment before it is asked again: no pause of a stream that has nothing to say.
        self._rest_s = 0.0 if awake is None else max(0.0, (awake - datetime.now(awake.tzinfo)).total_seconds())
        with self._witness:
            return self._part.snapshot()

    def close(self) -> None:
        self._part.close()
