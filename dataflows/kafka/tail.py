"""What an output partition has already written: how a restarted sink learns it, and forgets it again.

A crash leaves outputs on Kafka that belong to an epoch which the engine will run again. Their ids are read back from where
the last snapshot ended; each output that is made again is recognised by its id and not written twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from functools import partial

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from dataflows.kafka.client import Address, Properties, admin, consumer, insist, unavailable
from state.settings import ConfigError, KafkaSettings

ID_HEADER = "segone-id"

TAIL_IDS_MAX = 5_000_000
"""About a gigabyte. A tail beyond it means that the engine's recovery was lost while its outputs stayed."""

UNMATCHED_AGE_S_MAX = 7 * 86_400
"""An id that nothing has matched for so long never will be: what made it has changed (new configuration or models)."""

SCAN_CONSUME_S = 0.2
SCAN_CONSUME_MAX = 5_000


class Covered(msgspec.Struct):
    """Snapshot of a sink partition: `ends` per "topic/partition", up to which outputs are covered by the snapshot's epoch,
    except those whose ids are in `unmatched` (id: when each copy was found, in seconds since 1970)."""

    sink_partitions: int
    ends: dict[str, int]
    unmatched: dict[bytes, list[int]]


class Unmatched:
    """Ids found on Kafka that the engine has not made again yet."""

    def __init__(self, found: Mapping[bytes, list[int]]) -> None:
        self._found = {key: list(times) for key, times in found.items()}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, output_id: bytes, found_at_s: int) -> None:
        self._found.setdefault(output_id, []).append(found_at_s)

    def match(self, output_id: bytes) -> bool:
        """Whether this output is there already; each copy there matches once.

        >>> unmatched = Unmatched({b"a": [0]})
        >>> unmatched.match(b"a"), unmatched.match(b"a")
        (True, False)
        """
        if output_id not in self._found:
            return False
        times = self._found[output_id]
        times.pop()
        if not times:
            del self._found[output_id]
        return True

    def remaining(self, now_s: int) -> dict[bytes, list[int]]:
        """What a snapshot has to keep; ids beyond their age are forgotten."""
        oldest_s = now_s - UNMATCHED_AGE_S_MAX
        for output_id in [key for key, times in self._found.items() if times[-1] < oldest_s]:
            del self._found[output_id]
        return self._found


def watermarks(settings: KafkaSettings, addresses: list[Address]) -> dict[Address, tuple[int, int]]:
    """Lowest offset held and end offset of each partition."""
    client = admin(settings)
    low, high = (
        insist(settings, partial(_offsets, client, settings, addresses, spec), "asking how far the output topics go")
        for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
    )
    return {address: (low[address], high[address]) for address in addresses}


def _offsets(
    client: AdminClient, settings: KafkaSettings, addresses: list[Address], spec: OffsetSpec
) -> dict[Address, int]:
    wanted = {TopicPartition(*address): spec for address in addresses}
    futures = client.list_offsets(wanted, request_timeout=settings.start_timeout_s)
    return {(each.topic, each.partition): future.result().offset for each, future in futures.items()}


def marks(settings: KafkaSettings, group: Consumer, addresses: list[Address]) -> dict[Address, int]:
    """Where the first start of this sink partition found the ends of its partitions; those without a mark are left out."""
    partitions = [TopicPartition(*address) for address in addresses]
    stored = insist(settings, partial(_stored, settings, group, partitions), "asking where this sink began")
    return {(each.topic, each.partition): each.offset for each in stored if each.offset >= 0}


def _stored(settings: KafkaSettings, group: Consumer, partitions: list[TopicPartition]) -> list[TopicPartition]:
    """Offsets stored in the group. A partition whose offset could not be read must not pass for one that has none."""
    stored: list[TopicPartition] = group.committed(partitions, timeout=settings.start_timeout_s)
    for each in stored:
        if each.error is not None:
            raise KafkaException(each.error)
    return stored


def ids_between(settings: KafkaSettings, starts: Mapping[Address, int], ends: Mapping[Address, int]) -> Iterator[bytes]:
    """Ids of the committed outputs from `starts` (inclusive) to `ends` (exclusive).

    Raises:
        BrokerUnavailable: nothing came for `broker_timeout_s`.
        ConfigError: more than TAIL_IDS_MAX.
    """
    left = {address for address, start in starts.items() if start < ends[address]}
    if not left:
        return
    fixed: Properties = {
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.partition.eof": True,
    }
    reader = consumer(settings, fixed)
    try:
        reader.assign([TopicPartition(*address, starts[address]) for address in left])
        count, heard_s = 0, time.monotonic()
        while left:
            messages = reader.consume(SCAN_CONSUME_MAX, SCAN_CONSUME_S)
            if messages:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > settings.broker_timeout_s:
                raise unavailable(
                    settings, settings.broker_timeout_s, "reading back what was written before the restart"
                )
            for message in messages:
                address = (message.topic(), message.partition())
                error = message.error()
                if error is None:
                    if message.offset() + 1 >= ends[address]:
                        left.discard(address)
                    if message.offset() < ends[address]:
                        yield from (value for name, value in message.headers() or () if name == ID_HEADER)
                        count += 1
                elif error.code() == KafkaError._PARTITION_EOF and message.offset() >= ends[address]:
                    # An earlier end is only that of what is committed so far: more may become visible.
                    left.discard(address)
            if count > TAIL_IDS_MAX:
                raise ConfigError(
                    f"kafka.transactional_id = {settings.transactional_id}: more than {TAIL_IDS_MAX:,} outputs "
                    "were written since the last snapshot known here, so the engine's recovery directory seems to be lost "
                    "or replaced. Restore it; or, to begin anew, choose another prefix: outputs may then be written again."
                )
    finally:
        reader.close()
