"""Reading Kafka: one engine partition per partition number, its topics merged by arrival.

The engine's recovery holds the positions. Partitions are polled without blocking, since one thread serves several of
them; an idle one asks the engine to be woken less often.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from dataflows.batch_size import BatchSize
from dataflows.batches import RecordBatch
from dataflows.kafka.arrival_merge import ArrivalMerge
from dataflows.kafka.client import insist, required_partitions
from dataflows.kafka.logs import KafkaLog, KafkaLogs
from dataflows.kafka.same_topics import SameTopics, Topic, require_same, topics_now
from dataflows.knowledge.pacing import Pace
from state.events import BROADCAST
from state.records import Record
from state.settings import ConfigError, KafkaSettings

IDLE_POLL_S_MIN, IDLE_POLL_S_MAX = 0.001, 0.008
STOPPING_POLL_S = 0.02
LAG_INTERVAL_S = 1.0


class Position(msgspec.Struct, array_like=True):
    """Where a log goes on: the next offset, the newest arrival handed on (microseconds UTC), and the id of the topic that this is
    told of (empty where it isn't known)."""

    next_offset: int
    newest_us: int
    topic_id: str = ""


class KafkaInput(FixedPartitionedSource[RecordBatch, bytes]):
    """The input topics as source partitions "0" … "P-1".

    Args:
        settings: the `[kafka]` table.
        topics: input topics in the order in which records of equal arrival are applied; all must exist.
        stopping: when set, partitions fall silent, wait until their epoch is committed and end the flow.
        end_at_high_watermark: end when everything that was there at the start has been read.
        broadcast: those of `topics` that have no customers; every source partition reads all their partitions.
        make_pace: makes what a source partition waits by at the ends of buckets.

    Attributes:
        lag: per "topic/partition", records on the broker that have not been handed on, as far as brokers have told.
        unknown: per source partition, of how many topics' partitions no broker has told how far they go.
        heard_s: per source partition, when it was last seen that a broker answers (monotonic clock).
        passed_over: per source partition, records that came too late to be merged in order.
        overdue: those of them that had arrived more than `merge_wait_ms` before what was handed on.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[str],
        stopping: threading.Event | None = None,
        *,
        end_at_high_watermark: bool = False,
        broadcast: frozenset[str] = BROADCAST,
        make_pace: Callable[[], Pace] = Pace.free,
    ) -> None:
        self.lag: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        self.heard_s: dict[str, float] = {}
        self.passed_over: dict[str, int] = {}
        self.overdue: dict[str, int] = {}
        self.settings = settings
        self._topics = tuple(topics)
        self.stopping = stopping or threading.Event()
        self.bounded = end_at_high_watermark
        self._broadcast = broadcast
        self.make_pace = make_pace
        self._counts: dict[str, int] = {}
        self.found: Mapping[str, Topic] = {}
        """The topics as they were at the start."""
        self._same: SameTopics | None = None

    def list_parts(self) -> list[str]:
        """Names of the source partitions.

        Raises:
            ConfigError: a topic is missing, or customers' topics differ in their partition count.
            BrokerUnavailable: nobody answered within `start_timeout_s`.
        """
        if not self._counts:
            self._counts = required_partitions(self.settings, self._topics)
        counts = {topic: count for topic, count in self._counts.items() if topic not in self._broadcast}
        if len(set(counts.values())) != 1:
            listed = ", ".join(f"{topic} {count}" for topic, count in counts.items()) or "none at all"
            raise ConfigError(
                f"kafka.bootstrap_servers = {self.settings.bootstrap_servers}: input topics keyed by customer must "
                f"have one and the same partition count, but have: {listed}. Recreate those that differ."
            )
        return [str(partition) for partition in range(next(iter(counts.values())))]

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> KafkaPartition:
        self.list_parts()
        if not self.found:
            ask = topics_now(self.settings, self._topics)
            self.found = insist(self.settings, ask, "asking for the ids of the input topics")
            self._same = None if self.bounded else SameTopics(self.found, ask)
        addresses = [(topic, number) for topic in self._topics for number in self._numbers(topic, for_part)]
        logs = [KafkaLog(topic, number, rank) for rank, (topic, number) in enumerate(addresses)]
        return KafkaPartition(for_part, logs, resume_state, self)

    def require_same_topics(self) -> None:
        """Raises KafkaRefused if a topic was made anew or has got other partitions."""
        if self._same is not None:
            self._same.require()

    def close(self) -> None:
        """To be called when its partitions close, which they do together."""
        if self._same is not None:
            self._same.close()

    def _numbers(self, topic: str, for_part: str) -> Sequence[int]:
        """Partition numbers of `topic` that the source partition reads."""
        if topic not in self._broadcast:
            return [int(for_part)]
        return range(self._counts[topic])


class KafkaPartition(StatefulSourcePartition[RecordBatch, bytes]):
    """Reads one partition number of all topics and hands its records on in the order of arrival."""

    def __init__(self, name: str, logs: Sequence[KafkaLog], resume_state: bytes | None, source: KafkaInput) -> None:
        self._name, self._source, self._settings = name, source, source.settings
        stored = msgspec.json.decode(resume_state, type=dict[str, Position]) if resume_state else {}
        for log in logs:
            if position := stored.pop(log.name, None):
                if not self._settings.accept_other_topics:
                    require_same(log.name, position.next_offset, position.topic_id, source.found[log.topic].id)
                log.next_offset, log.newest_us = position.next_offset, position.newest_us
        # A topic taken out of the configuration keeps its position for the day when it is put back.
        self._elsewhere = stored
        self._logs = logs
        self._merge = ArrivalMerge(logs, self._settings.merge_wait_ms * 1000)
        self._kafka = KafkaLogs(self._settings, logs, bounded=source.bounded)
        self._pace = source.make_pace()
        self._size = BatchSize(self._settings.batch_records_max)
        self._held_since_s: float | None = None
        self._listened_until_held_s = 0.0
        self._idle_since_s: float | None = None
        self._lag_told_s = 0.0
        self._tick, self._told_caught_up = True, False
        self._unproven: list[tuple[KafkaLog, int]] = []
        self._stop_seen = self._may_end = False
        self._idle_polls = 0
        self._awake_at: datetime | None = None

    def next_batch(self) -> list[RecordBatch]:
        """One batch or none.

        Raises:
            StopIteration: the end of a bounded read; or stopping, and the epoch is committed.
            BrokerUnavailable, KafkaRefused: see `KafkaLogs.fill`.
        """
        self._commit_proven()
        self._source.require_same_topics()
        if self._source.stopping.is_set():
            return self._fall_silent()
        self._size.asked()
        limit = self._size.records
        if self._merge.waiting < limit or self._merge.held_up_by():
            self._kafka.fill(limit)
        records = self._take(limit)
        self._size.handed(len(records))
        caught_up = self._kafka.exhausted
        ended = all(log.ended for log in self._logs) and self._pace.met()
        self._pace.resting = not records and (ended or self._is_idle(caught_up))
        self._tell()
        if records or self._tick or caught_up != self._told_caught_up or self._pace.news:
            return [self._batch(records, caught_up)]
        if ended:
            raise StopIteration
        self._rest(min(IDLE_POLL_S_MAX, IDLE_POLL_S_MIN * (1 << min(self._idle_polls, 10))))
        self._idle_polls += 1
        return []

    def next_awake(self) -> datetime | None:
        """When to be polled again: the same answer until then, since the engine may ask in between."""
        return self._awake_at

    def snapshot(self) -> bytes:
        """JSON: for each "topic/partition" its `Position`."""
        self._tick = True
        self._may_end = self._stop_seen
        positions = dict(self._elsewhere)
        for log in self._logs:
            if log.next_offset is not None:
                positions[log.name] = Position(log.next_offset, log.newest_us, self._source.found[log.topic].id)
        if self._settings.group_id:
            self._unproven = [(log, log.next_offset) for log in self._logs if log.next_offset is not None]
        return msgspec.json.encode(positions)

    def close(self) -> None:
        self._source.overdue[self._name] = self._merge.overdue
        self._source.passed_over[self._name] = self._merge.passed_over
        self._kafka.close()
        self._source.close()

    def _take(self, limit: int) -> list[Record]:
        """The next records, as far as the pace allows."""
        patient = self._patient()
        records = self._merge.take(limit, patient, self._pace.until_us)
        next_us = self._merge.next_us(patient)
        if next_us is not None and next_us >= self._pace.until_us:
            # The last records of a bucket tell that they are: a message of its own would come a round later.
            may_enter = self._pace.approach(max(next_us, self._merge.clock_us))
            if may_enter and not records:
                records = self._merge.take(limit, patient, self._pace.until_us)
        return records

    def _is_idle(self, caught_up: bool) -> bool:
        """Whether all has been read for so long that others need not wait for this partition at the end of a bucket."""
        now_s = time.monotonic()
        if not caught_up or self._idle_since_s is None:
            self._idle_since_s = now_s
        return caught_up and (now_s - self._idle_since_s) * 1000 > self._settings.merge_wait_ms

    def _batch(self, records: list[Record], caught_up: bool) -> RecordBatch:
        tick, self._tick = self._tick or self._pace.news, False
        self._told_caught_up = caught_up
        self._idle_polls, self._awake_at = 0, None
        self._pace.told()
        if records:
            self._idle_since_s = None
        clock_us = self._merge.clock_us
        return RecordBatch(self._name, records, clock_us, caught_up, tick, self._pace.horizon_us, self._pace.nonce)

    def _patient(self) -> bool:
        """Whether to wait for logs that hold up the others: for one not heard of yet, always; else for a while in which brokers
        answer, since those that are away bring nothing for the others either, and in which we listened. In a bounded read always:
        what is to come is known to be there, and a slow broker must not decide what a replay says."""
        if self._source.bounded:
            return True
        holding_up = self._merge.held_up_by()
        if not holding_up or not self._merge.waiting:
            self._held_since_s = None
            return True
        if self._held_since_s is None:
            self._held_since_s, self._listened_until_held_s = time.monotonic(), self._kafka.listened_s
        answered_s = self._kafka.answered_s - self._held_since_s
        waited_ms = min(answered_s, self._kafka.listened_s - self._listened_until_held_s) * 1000
        unheard_of = any(isinstance(log, KafkaLog) and not log.spoken for log in holding_up)
        return unheard_of or waited_ms < self._settings.merge_wait_ms

    def _commit_proven(self) -> None:
        """The engine asks for a batch after a snapshot only when the snapshot's epoch is committed."""
        if self._unproven:
            self._kafka.commit(self._unproven)
            self._unproven = []

    def _fall_silent(self) -> list[RecordBatch]:
        if self._may_end:
            # Not AbortExecution: another process may see the stop an epoch later, and would wait in vain for one that is gone.
            raise StopIteration
        self._stop_seen = True
        self._rest(STOPPING_POLL_S)
        return []

    def _rest(self, pause_s: float) -> None:
        self._awake_at = datetime.now(UTC) + timedelta(seconds=pause_s)

    def _tell(self) -> None:
        """Refresh the source's counters, about once a second."""
        now_s = time.monotonic()
        if now_s - self._lag_told_s > LAG_INTERVAL_S:
            self._lag_told_s = now_s
            self._source.overdue[self._name] = self._merge.overdue
            self._source.passed_over[self._name] = self._merge.passed_over
            lag = {log.name: behind for log in self._logs if (behind := self._kafka.lag(log)) is not None}
            self._source.lag.update(lag)
            self._source.unknown[self._name] = len(self._logs) - len(lag)
            self._source.heard_s[self._name] = self._kafka.answered_s
