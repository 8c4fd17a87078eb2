"""Writing Kafka so that a read-committed reader sees each output exactly once, whatever crashes.

Each sink partition has a transactional id of its own, which fences every predecessor when it starts. Outputs are published
promptly in short transactions (`publisher`). A snapshot names the offsets up to which outputs are covered and the
ids beyond that the engine has yet to make again; a restart reads the ids from there and skips what is there (`tail`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from dataflows.batches import OutputBatch
from dataflows.kafka.client import Address, consumer, message_bytes_max, required_partitions, sink_name
from dataflows.kafka.publisher import Publisher
from dataflows.kafka.tail import Covered, Unmatched, ids_between, marks, watermarks
from state.digest import partition_of
from state.settings import ConfigError, KafkaSettings


class KafkaOutput(FixedPartitionedSink[OutputBatch, bytes]):
    """The output topics behind `sink_partitions` sink partitions, of which number i writes the Kafka partitions ≡ i.

    Every sink partition must be given an item in every epoch (ticks do that). The engine keeps snapshots of epochs that
    were never committed, and offers them at a later resume unless the repeated epoch has replaced them.

    Items are (route(key), OutputBatch); all outputs of one batch must have the same route.

    Attributes:
        parts: the sink partitions of this process, by number; their counters are plain ints.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str]) -> None:
        self.parts: dict[int, KafkaOutputPartition] = {}
        self.settings = settings
        self._topics = tuple(topics)
        self._counts: dict[str, int] = {}
        self._bytes_max: dict[str, int] = {}

    def route(self, key: bytes) -> str:
        """The engine's key for outputs with this Kafka key."""
        return str(partition_of(key, self.settings.sink_partitions))

    def list_parts(self) -> list[str]:
        """Names of the sink partitions: padded, since the engine numbers them in the order of their names.

        Raises:
            ConfigError: a topic is missing, or its partitions can't be shared out evenly.
            BrokerUnavailable: nobody answered within `start_timeout_s`.
        """
        if not self._counts:
            counts = required_partitions(self.settings, self._topics)
            uneven = [f"{topic} {count}" for topic, count in counts.items() if count % self.settings.sink_partitions]
            if uneven:
                raise ConfigError(
                    f"kafka.sink_partitions = {self.settings.sink_partitions}: must divide the partition count of every "
                    f"output topic, but not of: {', '.join(uneven)}. Choose a common divisor."
                )
            self._bytes_max = message_bytes_max(self.settings, counts)
            self._counts = counts
        return [f"{number:04d}" for number in range(self.settings.sink_partitions)]

    def part_fn(self, item_key: str) -> int:
        return int(item_key)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> KafkaOutputPartition:
        self.list_parts()
        number, stride = int(for_part), self.settings.sink_partitions
        transactional_id = sink_name(self.settings, number)
        publisher = Publisher(self.settings, transactional_id, self._counts, self._bytes_max)
        owned = [(topic, each) for topic, count in self._counts.items() for each in range(number, count, stride)]
        covered = self._covered(resume_state)
        publisher.fence()
        part = KafkaOutputPartition(self, publisher, owned, covered, transactional_id)
        self.parts[number] = part
        return part

    def _covered(self, resume_state: bytes | None) -> Covered:
        stride = self.settings.sink_partitions
        if resume_state is None:
            return Covered(stride, {}, {})
        covered = msgspec.msgpack.decode(resume_state, type=Covered)
        if covered.sink_partitions != stride:
            raise ConfigError(
                f"kafka.sink_partitions = {stride}: the recovery directory was written with {covered.sink_partitions}, "
                "which can't change while it is in use. Set it back, or begin with an empty recovery and state directory."
            )
        return covered


class KafkaOutputPartition(StatefulSinkPartition[OutputBatch, bytes]):
    """One sink partition: skips what a predecessor has written, hands the rest to its publisher.

    Attributes:
        skipped: outputs that were on Kafka already.
    """

    def __init__(
        self, sink: KafkaOutput, publisher: Publisher, owned: list[Address], covered: Covered, transactional_id: str
    ) -> None:
        self.skipped = 0
        self.publisher = publisher
        self._sink, self._settings = sink, sink.settings
        starts, ends = self._bounds(owned, covered, transactional_id)
        now_s = int(time.time())
        self.unmatched = Unmatched(covered.unmatched)
        for output_id in ids_between(self._settings, starts, ends):
            self.unmatched.add(output_id, now_s)
        publisher.ends.update(ends)
        publisher.start()

    def write_batch(self, values: list[OutputBatch]) -> None:
        """Raises what publishing failed with: BrokerUnavailable, KafkaRefused, Fenced."""
        outputs = [output for batch in values for output in batch.outputs]
        if self.unmatched:
            made = len(outputs)
            outputs = [output for output in outputs if not self.unmatched.match(output.id)]
            self.skipped += made - len(outputs)
        self.publisher.put(outputs)

    def snapshot(self) -> bytes:
        """msgpack of `Covered`, after all outputs so far have been committed."""
        # The others' turn comes next: together they wait for one commit, not for each.
        for part in list(self._sink.parts.values()):
            part.publisher.hurry()
        self.publisher.flush()
        ends = {f"{topic}/{number}": offset for (topic, number), offset in self.publisher.ends.items()}
        unmatched = self.unmatched.remaining(int(time.time()))
        return msgspec.msgpack.encode(Covered(self._settings.sink_partitions, ends, unmatched))

    def close(self) -> None:
        self.publisher.close()

    def _bounds(
        self, owned: list[Address], covered: Covered, transactional_id: str
    ) -> tuple[dict[Address, int], dict[Address, int]]:
        """Offsets between which outputs may be that the engine will make again.

        A partition that no snapshot knows begins at the mark that the first start of this transactional id left on the
        broker: the engine has no memory of a run that died before its first commit, but outputs of it may be there.
        """
        found = watermarks(self._settings, owned)
        ends = {address: high for address, (_, high) in found.items()}
        starts = {
            address: covered.ends[name] for address in owned if (name := f"{address[0]}/{address[1]}") in covered.ends
        }
        unknown = [address for address in owned if address not in starts]
        if unknown:
            group = consumer(self._settings, {"group.id": transactional_id})
            try:
                starts |= marks(self._settings, group, unknown)
                new = {address: ends[address] for address in unknown if address not in starts}
                if new:
                    self.publisher.mark(group, new)
                starts |= new
            finally:
                group.close()
        held = {
            address: low if not low <= starts[address] <= high else starts[address]
            for address, (low, high) in found.items()
        }
        return held, ends
