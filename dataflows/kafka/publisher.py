"""Publishing outputs in short transactions, from a thread of its own.

A sink has no timer, and a commit takes several round trips: in the worker's thread it would stop the stream, and the last
outputs before a pause would wait for the next ones. So the worker only hands outputs over. The thread takes all that have
come, publishes them in one transaction, and meanwhile the next ones gather.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Container, Mapping, Sequence
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from dataflows.kafka.client import SLOW_BROKER_FACTOR, Address, BrokerUnavailable, KafkaRefused, Properties, producer
from dataflows.kafka.tail import ID_HEADER
from dataflows.kafka.watch import BrokerWatch
from dataflows.tally import LATENCY_S, Histogram
from state.digest import partition_of
from state.records import Output
from state.settings import KafkaSettings

PENDING_MAX = 20_000
"""Outputs handed over and not yet committed; beyond it the worker waits, and with it the stream."""

TRANSACTION_OUTPUTS_MAX = 5_000
CALL_TIMEOUT_S = 5.0
RETRY_PAUSE_S = 0.2
FRAMING_BYTES = 256
"""More than Kafka adds to a message that is alone in its batch."""
HEADERS_ROOM_BYTES = 8192
"""More than our headers take: only values that come so near to their topic's limit are measured exactly."""

OMITTED_HEADER = "segone-value-omitted"
"""On an output that is too large for its topic, in place of its value: how many bytes the value had."""
KEY_OMITTED_HEADER = "segone-key-omitted"
"""The same for the key: that of a dead letter may have any length."""

_log = logging.getLogger("segone.kafka")

_FENCED = frozenset({KafkaError._FENCED, KafkaError.PRODUCER_FENCED})
"""An invalid epoch alone is no proof of a successor: a transaction that timed out while the broker was away has one, too. Aborting
tells: after a time-out the producer gets a new epoch, beside a successor a fatal error."""
_NO_RETRY_MENDS = frozenset(
    {
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.INVALID_RECORD,
        KafkaError.POLICY_VIOLATION,
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)


Headers = list[tuple[str, bytes]]


class Fenced(KafkaRefused):
    """Another process has taken over this sink partition; this one must end."""


class Attempt:
    """One try at a transaction: what its delivery reports said. `ends` are offsets after the last delivered message.

    A report costs as much as a message, and a transaction commits only if each of its messages was delivered, in order. So at
    first a report is asked for the last one of each partition only; of all, `wary`, when it must be found out what failed.
    """

    def __init__(self, *, wary: bool) -> None:
        self.wary = wary
        self.ends: dict[Address, int] = {}
        self.failure: tuple[str, KafkaError] | None = None

    def report(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failure = self.failure or (message.topic(), error)
            return
        address = (message.topic(), message.partition())
        self.ends[address] = max(self.ends.get(address, 0), message.offset() + 1)


class Publisher:
    """One transactional producer. `ends` are the offsets after the last committed output of each partition.

    Args:
        partitions: partition count of each topic; an output's partition is crc32(key) mod that count.
        bytes_max: `max.message.bytes` of each topic. A value that doesn't fit is left out and its length put in a
            header: failing instead would fail again after each restart.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        transactional_id: str,
        partitions: Mapping[str, int],
        bytes_max: Mapping[str, int],
    ) -> None:
        self.ends: dict[Address, int] = {}
        self.published = 0
        self.omitted = 0
        self.retries = 0
        """Transactions that failed and were tried again."""
        self.failures = 0
        """Transactions that were given up: at most one, the worker ends with it."""
        self.transactions = Histogram(LATENCY_S)
        """How long each took, from its begin to its commit, retries included."""
        self._settings, self._id = settings, transactional_id
        self._partitions, self._bytes_max = partitions, bytes_max
        self._watch = BrokerWatch(settings)
        fixed: Properties = {
            "statistics.interval.ms": self._watch.interval_ms,
            # One batch must never exceed what the strictest topic accepts.
            "batch.size": min(1_000_000, *bytes_max.values()),
            "message.max.bytes": max(1_000_000, *bytes_max.values()),
        }
        self._producer = producer(settings, transactional_id, fixed, stats_cb=self._watch.on_statistics)
        self._changed = threading.Condition()
        self._pending: list[Output] = []
        self._in_flight = 0
        self._hurry = self._closing = False
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=f"publisher {transactional_id}", daemon=True)

    def fence(self) -> None:
        """End every predecessor with this transactional id: its open transaction is aborted, later ones are refused."""
        self._insist(self._producer.init_transactions, self._settings.start_timeout_s, "starting transactions")

    def mark(self, group: Consumer, offsets: Mapping[Address, int]) -> None:
        """Store offsets in the consumer group of `group`, in a transaction. Only before `start`."""
        stored = [TopicPartition(*address, offset) for address, offset in offsets.items()]
        send = partial(self._producer.send_offsets_to_transaction, stored, group.consumer_group_metadata())
        try:
            self._producer.begin_transaction()
            self._insist(send, self._settings.start_timeout_s, "storing where this sink begins")
            self._insist(
                self._producer.commit_transaction, self._settings.start_timeout_s, "storing where this sink begins"
            )
        except KafkaException as error:
            raise KafkaRefused(
                f"Kafka does not store where sink {self._id} begins, in the consumer group of that name: "
                f"{error.args[0].str()}. Check this user's rights (docs/security.md), then start again."
            ) from error

    @property
    def pending(self) -> int:
        """Outputs handed over and not yet committed."""
        return len(self._pending) + self._in_flight

    def start(self) -> None:
        self._thread.start()

    def put(self, outputs: Sequence[Output]) -> None:
        """Hand outputs over; returns before they are published. Raises what an earlier transaction failed with."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure or len(self._pending) < PENDING_MAX)
            self._raise_failure()
            self._pending.extend(outputs)
            self._changed.notify_all()

    def hurry(self) -> None:
        """Publish at once what was handed over, whatever the commit interval; doesn't wait for it."""
        with self._changed:
            self._hurry = bool(self._pending)
            self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all that was handed over is committed. Raises what failed instead."""
        self.hurry()
        with self._changed:
            self._changed.wait_for(lambda: self._failure or not (self._pending or self._in_flight))
            self._raise_failure()

    def close(self) -> None:
        """End the thread. What no `flush` has waited for is left to the next run, and nothing is raised: the engine closes
        its sinks while an error is on its way out, and a second one would hide the first."""
        with self._changed:
            self._closing = True
            self._pending = []
            self._changed.notify_all()
        self._thread.join(CALL_TIMEOUT_S)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        """The thread: transactions until closed or failed."""
        not_before_s = 0.0
        try:
            while outputs := self._next(not_before_s):
                not_before_s = time.monotonic() + self._settings.commit_interval_ms / 1000
                started_s = time.monotonic()
                ends = self._publish(outputs)
                self.transactions.observe(time.monotonic() - started_s)
                with self._changed:
                    self.ends |= ends
                    self.published += len(outputs)
                    self._in_flight = 0
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001  (handed to the worker, which raises it)
            with self._changed:
                self.failures += 1
                self._failure = error
                self._changed.notify_all()

    def _next(self, not_before_s: float) -> list[Output]:
        """Outputs of the next transaction; empty when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing)
            full = TRANSACTION_OUTPUTS_MAX
            ready = lambda: self._hurry or self._closing or len(self._pending) >= full  # noqa: E731
            self._changed.wait_for(ready, max(0.0, not_before_s - time.monotonic()))
            outputs, self._pending = self._pending[:full], self._pending[full:]
            self._in_flight = len(outputs)
            self._hurry = self._hurry and bool(self._pending)
            self._changed.notify_all()
            return outputs

    def _publish(self, outputs: list[Output]) -> dict[Address, int]:
        """Commit the outputs in one transaction, as often as it takes until no broker has answered for `broker_timeout_s`."""
        began_s = time.monotonic()
        addresses = self._addresses(outputs)
        last = dict(zip(addresses, range(len(addresses)), strict=True))
        attempt = Attempt(wary=False)
        while True:
            try:
                self._producer.begin_transaction()
                self._produce(outputs, addresses, range(len(outputs)) if attempt.wary else set(last.values()), attempt)
                self._insist(
                    self._producer.commit_transaction, self._settings.broker_timeout_s, "committing outputs", began_s
                )
            except KafkaException as error:
                self._recover(attempt, error.args[0], began_s)
                attempt = Attempt(wary=True)
                continue
            assert attempt.ends.keys() == last.keys(), "a committed transaction has reports of all that were asked for"
            return attempt.ends

    def _recover(self, attempt: Attempt, error: KafkaError, began_s: float) -> None:
        """Abort the transaction so that it can be tried again, or raise why it can't."""
        self._producer.poll(0)  # the report that names the topic may be waiting still
        topic, cause = attempt.failure or ("", error)
        self._raise_if_hopeless(cause, topic)
        self._raise_if_hopeless(error, topic)
        self.retries += 1
        _log.warning("transaction %s is tried again: %s", self._id, cause.str())
        timeout_s = self._settings.broker_timeout_s
        if self._left_s(began_s, timeout_s) < 0:
            raise self._given_up(began_s, "publishing outputs", cause)
        self._insist(self._producer.abort_transaction, timeout_s, "aborting a transaction", began_s)
        time.sleep(RETRY_PAUSE_S)

    def _addresses(self, outputs: Sequence[Output]) -> list[Address]:
        prefix, partitions = self._settings.topic_prefix, self._partitions
        names = {topic: prefix + topic for topic in {output.topic for output in outputs}}
        return [(name := names[output.topic], partition_of(output.key, partitions[name])) for output in outputs]

    def _produce(
        self, outputs: Sequence[Output], addresses: Sequence[Address], told: Container[int], attempt: Attempt
    ) -> None:
        """Hand the outputs to librdkafka. `told`: the places of those whose delivery is to be reported."""
        produce, bytes_max = self._producer.produce, self._bytes_max
        for at, (output, (topic, number)) in enumerate(zip(outputs, addresses, strict=True)):
            key, value = output.key, output.value
            headers: Headers = [(ID_HEADER, output.id), *output.headers]
            if value is not None and len(key) + len(value) + HEADERS_ROOM_BYTES > bytes_max[topic]:
                key, value = self._fitting(topic, key, value, headers)
            report = attempt.report if at in told else None
            while True:
                try:
                    produce(topic, value, key, number, report, None, 0, headers)  # by position: names cost a fifth more
                    break
                except BufferError:  # librdkafka's queue is full: let it send
                    self._producer.poll(0.05)

    def _fitting(self, topic: str, key: bytes, value: bytes, headers: Headers) -> tuple[bytes, bytes]:
        """Key and value if their topic accepts them, else nothing in place of the longer one, or of both, and headers that tell how
        long they were."""
        size = FRAMING_BYTES + len(key) + len(value) + sum(len(name) + len(text) + 10 for name, text in headers)
        room = self._bytes_max[topic] - size
        if room >= 0:
            return key, value
        _log.error("an output of %d bytes is larger than %s accepts: written without its value, or key", size, topic)
        self.omitted += 1
        if len(key) > len(value) or room + len(value) < 0:
            headers.append((KEY_OMITTED_HEADER, b"%d" % len(key)))
            room, key = room + len(key), b""
        if room < 0:
            headers.append((OMITTED_HEADER, b"%d" % len(value)))
            value = b""
        return key, value

    def _left_s(self, began_s: float, timeout_s: float) -> float:
        """How long brokers may still be silent, or answer without success, in what began at `began_s`."""
        now_s = time.monotonic()
        silent_s = now_s - max(began_s, self._watch.answered_s)
        return min(timeout_s - silent_s, SLOW_BROKER_FACTOR * timeout_s - (now_s - began_s))

    def _insist(self, call: object, timeout_s: float, doing: str, began_s: float | None = None) -> None:
        """Call a transactional function again for as long as its error can be retried and brokers are not silent for `timeout_s`."""
        assert callable(call)
        began_s = time.monotonic() if began_s is None else began_s
        while True:
            try:
                # Reports of how much was answered are heard during the call.
                call(max(0.1, min(CALL_TIMEOUT_S, self._left_s(began_s, timeout_s))))
                return
            except KafkaException as error:
                cause: KafkaError = error.args[0]
                if cause.txn_requires_abort():
                    raise
                self._raise_if_hopeless(cause, "")
                if not cause.retriable():
                    raise
                if self._left_s(began_s, timeout_s) < 0:
                    raise self._given_up(began_s, doing, cause) from error

    def _raise_if_hopeless(self, error: KafkaError, topic: str) -> None:
        if error.code() in _FENCED or (error.fatal() and error.code() == KafkaError.INVALID_PRODUCER_EPOCH):
            raise Fenced(
                f"transactional id {self._id} was taken over by another process ({error.str()}): this one is superseded "
                "and ends. If that is not intended, give each flow its own kafka.transactional_id."
            )
        if error.fatal() or error.code() in _NO_RETRY_MENDS:
            where = f"topic {topic}" if topic else f"transactional id {self._id}"
            raise KafkaRefused(
                f"Kafka refuses an output ({where}): {error.str()}. Check the topic's settings and this user's "
                "rights (docs/security.md)."
            )

    def _given_up(self, began_s: float, doing: str, error: KafkaError) -> BrokerUnavailable:
        after_s = time.monotonic() - began_s
        return BrokerUnavailable(
            f"{doing} did not succeed for {after_s:.1f} s at {self._settings.bootstrap_servers} (last error: {error.str()}). "
            "Nothing is lost: start again when the brokers answer, and work continues from the last committed epoch."
        )
