"""From source batches to shards: decode each record, send the good ones to their shard and the others to the dead letters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dataflows.batches import OutputBatch, RecordBatch
from dataflows.quarantine import Quarantine
from operators.dead_letter import dead_letter
from operators.decode import Decoder, Rejection
from state.digest import partition_of, shard_of
from state.events import BROADCAST, Event
from state.records import Output

FIRST = "0"
"""The source partition that counts what all of them read."""


class ShardBatch(NamedTuple):
    """All events of one shard in one source batch, and how far the arrival clock of that source partition is.

    `tick` marks the first batch of an epoch, which every shard gets, with or without events. `routed` counts the events that this
    source partition has sent to this shard since the processes started, these included: the shard checks that none was lost.
    `horizon_us` and `nonce` as in RecordBatch. `broadcast` of the events are rates of the market, which go to every shard and
    are not counted in `routed`.
    """

    shard: int
    partition: int
    events: list[Event]
    clock_us: int
    caught_up: bool
    routed: int
    horizon_us: int = 0
    nonce: int = 0
    broadcast: int = 0


class Accounting:
    """What this process read: plain integers for the metrics and the summary at the end. Shards count the rest."""

    def __init__(self) -> None:
        self.read: dict[str, int] = {}
        """By topic."""
        self.dead: Counter[tuple[str, str]] = Counter()
        """By topic and code."""
        self.broadcast = 0
        """Records of `in.market`, which belong to no customer. Every source partition reads them all; partition "0" counts them."""
        self.routed: Counter[tuple[str, int]] = Counter()
        """By source partition and shard."""

    @property
    def difference(self) -> int:
        """Law 11 as far as the router: records read that became neither dead letter nor broadcast nor were sent to a shard.
        Only between batches: not to be asked by another thread."""
        return sum(self.read.values()) - sum(self.dead.values()) - self.broadcast - sum(self.routed.values())


class Router:
    """Decodes and routes. Knows the shards' names in the engine and the sink's partition count; keeps no state."""

    def __init__(
        self,
        decoder: Decoder,
        shard_names: Sequence[str],
        sink_partitions: int,
        accounting: Accounting,
        quarantine: Quarantine,
    ) -> None:
        self._decoder = decoder
        self._uncounted = decoder.uncounted()
        """For what partition "0" counts, repairs included."""
        self._shard_names = shard_names
        self._shards = len(shard_names)
        self._sink_partitions = sink_partitions
        self._accounting = accounting
        self._quarantine = quarantine

    def __call__(self, batches: Iterable[RecordBatch]) -> Iterable[tuple[str, ShardBatch | OutputBatch]]:
        for batch in batches:
            yield from self._route(batch)

    def _route(self, batch: RecordBatch) -> Iterable[tuple[str, ShardBatch | OutputBatch]]:
        by_shard: dict[int, list[Event]] = {}
        letters: list[Output] = []
        accounting = self._accounting
        quarantine = self._quarantine
        every_shard = range(self._shards)
        rates = 0
        first = batch.source == FIRST
        decode = self._decoder.decode
        for record in batch.records:
            counted = first or record.topic not in BROADCAST
            if counted:
                accounting.read[record.topic] = accounting.read.get(record.topic, 0) + 1
            event = decode(record) if counted else self._uncounted.decode(record)
            if quarantine:
                event = quarantine.rejection((record.topic, record.partition, record.offset)) or event
            if isinstance(event, Rejection):
                if counted:
                    letters.append(dead_letter(record, event))
                    accounting.dead[record.topic, event.code] += 1
            elif event.customer_id:
                by_shard.setdefault(shard_of(event.customer_id, self._shards), []).append(event)
            else:
                accounting.broadcast += counted
                rates += 1
                for shard in every_shard:
                    by_shard.setdefault(shard, []).append(event)
        for shard in every_shard if batch.tick else by_shard:
            events = by_shard.get(shard, [])
            address = (batch.source, shard)
            accounting.routed[address] += len(events) - rates
            item = ShardBatch(
                shard,
                int(batch.source),
                events,
                batch.clock_us,
                batch.caught_up,
                accounting.routed[address],
                batch.horizon_us,
                batch.nonce,
                rates,
            )
            yield self._shard_names[shard], item
        yield from to_sink(letters, self._sink_partitions, proof=True)
        if batch.tick:
            for partition in range(self._sink_partitions):
                yield str(partition), OutputBatch([], proof=True)


def to_sink(outputs: list[Output], partitions: int, *, proof: bool) -> Iterable[tuple[str, OutputBatch]]:
    """Outputs grouped by the sink partition that alone writes them: crc32 of the key."""
    if partitions == 1:
        if outputs:
            yield "0", OutputBatch(outputs, proof)
        return
    by_partition: dict[int, list[Output]] = {}
    for output in outputs:
        by_partition.setdefault(partition_of(output.key, partitions), []).append(output)
    for partition, group in by_partition.items():
        yield str(partition), OutputBatch(group, proof)
