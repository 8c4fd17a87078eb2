"""`segone` with a stopwatch inside: python bench/worker_probe.py OUT.jsonl run …

Appends one line per checkpoint to OUT.jsonl and notes in OUT.first when the first event was applied (seconds of the monotonic clock).

    pause_s      from the first shard's checkpoint until the source is asked for records again
    snapshot_s   of that, in the shards' checkpoints
    gap_s        the longest time between two batches of events within the epoch before
    events, applied, frozen   in the epoch; since the start; customers written in the epoch
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from time import monotonic

import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from dataflows import cli  # noqa: E402
from dataflows.batches import RecordBatch  # noqa: E402
from dataflows.files.source import FilePartition  # noqa: E402
from state.customer import Customer  # noqa: E402
from state.events import Event  # noqa: E402
from state.shard import Emission, Shard  # noqa: E402


class Probe:
    """Wraps a shard's methods; one thread only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("ab", buffering=0)
        self._applied = self._events = self._frozen = 0
        self._last_s: float | None = None
        self._gap_s = self._snapshot_s = 0.0
        self._checkpoint_s: float | None = None
        self._pause_s = 0.0
        apply, checkpoint, freeze = Shard.apply, Shard.checkpoint, Shard._freeze
        next_batch = FilePartition.next_batch

        def timed_apply(shard: Shard, events: Iterable[Event], partition: int) -> list[Emission]:
            listed = list(events)
            said = apply(shard, listed, partition)
            self._after_batch(len(listed))
            return said

        def timed_checkpoint(shard: Shard) -> bytes:
            began_s = monotonic()
            if self._checkpoint_s is None:
                self._checkpoint_s = began_s
            token = checkpoint(shard)
            self._snapshot_s += monotonic() - began_s
            return token

        def noted_next_batch(source: FilePartition) -> list[RecordBatch]:
            if self._checkpoint_s is not None and not self._pause_s:
                self._pause_s = monotonic() - self._checkpoint_s
            return next_batch(source)

        def counted_freeze(shard: Shard, customer: Customer) -> None:
            self._frozen += 1
            freeze(shard, customer)

        FilePartition.next_batch = noted_next_batch  # type: ignore[method-assign]
        Shard.apply, Shard.checkpoint, Shard._freeze = timed_apply, timed_checkpoint, counted_freeze  # type: ignore[method-assign]

    def _after_batch(self, count: int) -> None:
        now_s = monotonic()
        if not self._applied:
            self._path.with_suffix(".first").write_text(str(now_s))
        self._applied += count
        if self._checkpoint_s is not None:
            line = {
                "pause_s": self._pause_s,
                "snapshot_s": self._snapshot_s,
                "gap_s": self._gap_s,
                "events": self._events,
                "applied": self._applied,
                "frozen": self._frozen,
            }
            self._file.write(orjson.dumps(line) + b"\n")
            self._checkpoint_s, self._pause_s, self._snapshot_s, self._gap_s = None, 0.0, 0.0, 0.0
            self._events = self._frozen = 0
        elif self._last_s is not None:
            self._gap_s = max(self._gap_s, now_s - self._last_s)
        self._events += count
        self._last_s = now_s


if __name__ == "__main__":
    Probe(Path(sys.argv[1]))
    sys.exit(cli.main(sys.argv[2:]))
