"""The logs that one source partition reads through one Kafka consumer, and what is known of how far they go."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from confluent_kafka import OFFSET_BEGINNING, KafkaError, KafkaException, Message, TopicPartition

from dataflows.kafka.arrival_merge import Log
from dataflows.kafka.client import (
    RETRY_PAUSE_S,
    Address,
    BrokerUnavailable,
    KafkaRefused,
    Properties,
    consumer,
    insist,
    partition_counts,
    unavailable,
)
from dataflows.kafka.watch import BrokerWatch
from operators.rules import TIME_US_END
from state.records import Record
from state.settings import KafkaSettings

WAITING_MAX = 10_000
"""A log with more records waiting for the merge is paused until half of them have gone."""

SILENT_CLOSE_S = 1.0
"""How long a consumer that hears nothing is given to close."""

_log = logging.getLogger("segone.kafka")

_NO_RETRY_MENDS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    }
)
_GONE = frozenset({KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION})
"""A topic was deleted, or a broker that has just started does not know its topics yet."""


@dataclass(slots=True)
class KafkaLog(Log):
    """A Kafka partition being read. Offsets are of the next record; -1 stands for "not known yet"."""

    received: int = -1
    """Offset after the last record that has come from the broker."""
    exhausted_at: int = -1
    """High watermark up to which nothing more is to come: all received, or reported as the partition's end."""
    end: int = -1
    """In a bounded read, the high watermark at its start: nothing from there on is taken."""
    paused: bool = False
    arrived_us: int = 0
    """Newest arrival received in this life."""
    misstamped: bool = False
    """A record's timestamp was no time that we know, and this was told."""
    place: TopicPartition = field(init=False)

    def __post_init__(self) -> None:
        self.place = TopicPartition(self.topic, self.partition)

    @property
    def name(self) -> str:
        return f"{self.topic}/{self.partition}"

    @property
    def spoken(self) -> bool:
        """Anything has come from this log, if only the report of its end."""
        return self.received >= 0 or self.exhausted_at >= 0

    @property
    def ended(self) -> bool:
        """A bounded read has handed on everything below `end`."""
        return not self.waiting and max(self.received, self.exhausted_at) >= self.end >= 0


class KafkaLogs:
    """Reads its logs through one consumer, without blocking."""

    def __init__(self, settings: KafkaSettings, logs: Sequence[KafkaLog], *, bounded: bool) -> None:
        self.logs = logs
        self._settings = settings
        self._prefix_length = len(settings.topic_prefix)
        self._by_address: dict[Address, KafkaLog] = {(log.topic, log.partition): log for log in logs}
        self._watch = BrokerWatch(settings)
        # "error": a stored position that the log no longer holds must be seen, never skipped in silence.
        fixed: Properties = {
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "statistics.interval.ms": self._watch.interval_ms,
        }
        callbacks = {"stats_cb": self._watch.on_statistics, "error_cb": self._watch.on_error}
        self._consumer = consumer(settings, fixed, **callbacks)
        self._consumer.assign([TopicPartition(log.topic, log.partition, self._start(log)) for log in logs])
        if bounded:
            for log in logs:
                log.end = self._watermarks(log)[1]
                if log.next_offset is not None and log.next_offset >= log.end:
                    log.received = log.next_offset

    def fill(self, count_max: int) -> None:
        """Move what has come from the brokers, at most `count_max` records, to the logs' waiting records.

        Raises:
            BrokerUnavailable: no broker has answered for `broker_timeout_s`, or one log's for as long since reading began: sinks may
                take their time to open in between.
            KafkaRefused: a position is no longer held, a topic is gone or closed to us.
        """
        messages = self._consumer.consume(count_max, 0)
        if messages:
            self._watch.answered()
            self._sort_in(messages)
        self._watch.look()
        if len(messages) == count_max:
            # More may be waiting here, of logs that seem silent: slow is the worker, not the broker.
            self._watch.watched_s = 0.0
        watermarks = self._consumer.get_watermark_offsets
        for log in self.logs:
            self._judge(log, watermarks(log.place, cached=True)[1])

    @property
    def answered_s(self) -> float:
        """When a broker was last heard, on the monotonic clock."""
        return self._watch.answered_s

    @property
    def listened_s(self) -> float:
        """For how long brokers have been listened to, pauses of ours left out."""
        return self._watch.listened_s

    @property
    def exhausted(self) -> bool:
        """Everything that the brokers have was handed on, as far as one can know: a silent broker may have more."""
        return not self._watch.silent and not any(log.waiting or log.behind for log in self.logs)

    def commit(self, positions: Iterable[tuple[KafkaLog, int]]) -> None:
        """Tell the group's lag tools how far the engine has committed; that they don't hear it harms nothing else."""
        offsets = [TopicPartition(log.topic, log.partition, offset) for log, offset in positions]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=True)
        except KafkaException as error:
            _log.warning("positions were not committed to group %s: %s", self._settings.group_id, error.args[0].str())

    def lag(self, log: KafkaLog) -> int | None:
        """Records (and transaction marks) on the broker that have not been handed on; None before it has said how far the log goes."""
        high = self._high(log)
        if high < 0:
            return None
        handed_on = log.next_offset if log.next_offset is not None else 0
        return max(0, high - max(handed_on, log.exhausted_at if not log.waiting else 0))

    def close(self) -> None:
        """Close the consumer, which waits up to a minute for brokers that are away to answer the last `commit`: then it is left."""
        closing = threading.Thread(target=self._consumer.close, name="segone-close-consumer", daemon=True)
        closing.start()
        closing.join(SILENT_CLOSE_S if self._watch.silent else self._settings.broker_timeout_s)

    def _start(self, log: KafkaLog) -> int:
        if log.next_offset is not None:
            return log.next_offset
        if self._settings.auto_offset_reset == "earliest":
            return int(OFFSET_BEGINNING)
        log.next_offset = self._watermarks(log)[1]
        return log.next_offset

    def _watermarks(self, log: KafkaLog) -> tuple[int, int]:
        """Low and high watermark, asked of the broker."""
        ask = partial(self._consumer.get_watermark_offsets, log.place, timeout=self._settings.start_timeout_s)
        low, high = insist(self._settings, ask, f"asking how far {log.name} goes")
        return low, high

    def _high(self, log: KafkaLog) -> int:
        """High watermark as of the newest answer, without asking; negative before the first."""
        high: int = self._consumer.get_watermark_offsets(log.place, cached=True)[1]
        return high

    def _sort_in(self, messages: list[Message]) -> None:
        """Messages come in runs of one log; all records of a log share one string for its topic."""
        log: KafkaLog | None = None
        name = ""
        for message in messages:
            error = message.error()
            if error is not None:
                self._receive_error(message, error)
                continue
            topic, partition, offset = message.topic(), message.partition(), message.offset()
            if log is None or partition != log.partition or topic != log.topic:
                log = self._by_address[topic, partition]
                name = log.topic[self._prefix_length :]
            log.received = offset + 1
            if offset < log.end or log.end < 0:
                arrival_us = message.timestamp()[1] * 1000
                if arrival_us > log.arrived_us:
                    if arrival_us < TIME_US_END:
                        log.arrived_us = arrival_us
                    else:
                        arrival_us = self._instead(log)
                elif arrival_us < 0:
                    arrival_us = self._instead(log)
                value = message.value() or b""
                log.waiting.append(Record(name, partition, offset, arrival_us, message.key(), value))

    @staticmethod
    def _instead(log: KafkaLog) -> int:
        """The arrival of a record whose timestamp is none, or lies after the year 2200 (microseconds where milliseconds belong): the
        newest before it in its log, as in files. Taken at its word it would move the clocks of all customers of its partition, for good."""
        if not log.misstamped:
            log.misstamped = True
            _log.warning(
                "%s holds records whose timestamp is no time from 1970 to 2200: they count as arrived with those before",
                log.name,
            )
        return max(log.arrived_us, log.newest_us)

    def _receive_error(self, message: Message, error: KafkaError) -> None:
        code = error.code()
        log = self._by_address.get((message.topic(), message.partition()))
        if code == KafkaError._PARTITION_EOF and log is not None:
            self._watch.answered()
            log.exhausted_at = max(message.offset(), self._high(log))
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE) and log is not None:
            raise self._position_lost(log)
        elif code in _GONE:
            self._refuse_if_gone(message.topic(), error)
        elif code in _NO_RETRY_MENDS or error.fatal():
            raise KafkaRefused(
                f"Kafka does not let us read {message.topic()}/{message.partition()}: {error.str()}. "
                "Check this user's rights (docs/security.md)."
            )
        else:
            self._watch.on_error(error)

    def _refuse_if_gone(self, topic: str, error: KafkaError) -> None:
        """Raises KafkaRefused if the cluster does not name the topic for `start_timeout_s`. A broker that doesn't answer at all is
        the watch's business."""
        give_up_s = time.monotonic() + self._settings.start_timeout_s
        self._watch.on_error(error)
        while True:
            try:
                if topic in partition_counts(self._settings):
                    return
            except BrokerUnavailable:
                return
            if time.monotonic() > give_up_s:
                raise KafkaRefused(f"Kafka does not let us read {topic}: {error.str()}")
            time.sleep(RETRY_PAUSE_S)

    def _position_lost(self, log: KafkaLog) -> KafkaRefused:
        low, high = self._watermarks(log)
        return KafkaRefused(
            f"{log.name}: the position to continue from, offset {log.next_offset}, is not in the log any more "
            f"(it holds {low} to {high}). Retention removed records that were not read, or the topic was made anew. "
            "Nothing was skipped. To begin anew with what is there, start with an empty recovery and state directory."
        )

    def _judge(self, log: KafkaLog, high: int) -> None:
        """Decide whether the log is behind, and whether it should be paused; `high` as of `_high`."""
        if log.received >= high >= 0:
            log.exhausted_at = log.received
        spoken = log.spoken
        if log.end >= 0:
            log.behind = max(log.received, log.exhausted_at) < log.end
        else:
            log.behind = not spoken or high > log.exhausted_at
        if not spoken and self._watch.watched_s > self._settings.broker_timeout_s:
            raise unavailable(self._settings, self._settings.broker_timeout_s, f"waiting for {log.name} to speak")
        if not log.paused and len(log.waiting) > WAITING_MAX:
            self._consumer.pause([log.place])
            log.paused = True
        elif log.paused and len(log.waiting) < WAITING_MAX // 2:
            self._consumer.resume([log.place])
            log.paused = False
