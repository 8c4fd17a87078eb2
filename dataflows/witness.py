"""The first error that one of our steps raises, noted before the engine has it.

In a cluster the engine may report an error of a step as nothing but a lost connection, or abort the process while it unwinds: then
what was noted and told here is all that is left of the cause.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from types import TracebackType
from typing import Any

from bytewax.inputs import AbortExecution
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.batches import OutputBatch

NO_ERRORS = (StopIteration, AbortExecution, GeneratorExit)
"""The ends that a source may announce, and of a generator that the engine lets go."""


class Witness:
    """`with witness:` around all that the engine calls. `tell` hears the first error at once, `failure` keeps it."""

    def __init__(self) -> None:
        self.failure: BaseException | None = None
        self.tell: Callable[[BaseException], None] = lambda error: None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self.failure is None and not isinstance(error, NO_ERRORS):
            self.failure = error
            self.tell(error)


class WatchedLogic(StatefulBatchLogic[Any, Any, bytes]):
    """A stateful step whose errors are seen."""

    def __init__(self, logic: StatefulBatchLogic[Any, Any, bytes], witness: Witness) -> None:
        self._logic, self._witness = logic, witness

    def on_batch(self, values: list[Any]) -> tuple[Iterable[Any], bool]:
        with self._witness:
            return self._logic.on_batch(values)

    def on_notify(self) -> tuple[Iterable[Any], bool]:
        with self._witness:
            return self._logic.on_notify()

    def on_eof(self) -> tuple[Iterable[Any], bool]:
        with self._witness:
            return self._logic.on_eof()

    def notify_at(self) -> datetime | None:
        return self._logic.notify_at()

    def snapshot(self) -> bytes:
        with self._witness:
            return self._logic.snapshot()


class WatchedOutput(FixedPartitionedSink[OutputBatch, bytes]):
    """A sink whose errors are seen; names and states of the partitions are those of `sink`."""

    def __init__(self, sink: FixedPartitionedSink[OutputBatch, bytes], witness: Witness) -> None:
        self._sink, self._witness = sink, witness

    def list_parts(self) -> list[str]:
        with self._witness:
            return self._sink.list_parts()

    def part_fn(self, item_key: str) -> int:
        return self._sink.part_fn(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> WatchedOutputPartition:
        with self._witness:
            return WatchedOutputPartition(self._sink.build_part(step_id, for_part, resume_state), self._witness)


class WatchedOutputPartition(StatefulSinkPartition[OutputBatch, bytes]):
    """A partition of a WatchedOutput."""

    def __init__(self, part: StatefulSinkPartition[OutputBatch, bytes], witness: Witness) -> None:
        self._part, self._witness = part, witness

    def write_batch(self, values: list[OutputBatch]) -> None:
        with self._witness:
            self._part.write_batch(values)

    def snapshot(self) -> bytes:
        with self._witness:
            return self._part.snapshot()

    def close(self) -> None:
        self._part.close()
