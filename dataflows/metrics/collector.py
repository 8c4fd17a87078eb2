"""A worker's numbers as metrics. Nothing is counted here: the scrape reads what the worker has counted anyway.

Every label has few values, all of them ours: topics, outcomes, signal types and states, codes of dead letters, detectors, partition
numbers, models. No label holds anything that came in a record.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from itertools import product
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from dataflows.metrics.health import Health
from dataflows.metrics.models import in_force
from dataflows.tally import Histogram
from dataflows.worker import Worker
from operators.across import COUNTED as LABEL_OUTCOMES
from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE
from state.events import TOPICS

OUTCOMES = ("applied", "duplicate", "late")
STATES = ("OPEN", "UPDATE", "CLOSE", "RETRACT")
Labelled = Mapping[Any, float]
"""Values by their labels, in the order of the family's label names."""


class WorkerCollector(Collector):
    """All metrics of one worker, in the order of docs/operating.md."""

    def __init__(self, worker: Worker, health: Health) -> None:
        self._worker = worker
        self._health = health

    def collect(self) -> Iterator[Metric]:
        yield from self._build()
        yield from self._events()
        yield from self._times()
        yield from self._signals()
        yield from self._state()
        yield from self._checkpoints()
        yield from self._delivery()
        yield from self._models()

    def _build(self) -> Iterator[Metric]:
        libraries = {name: version(name) for name in ("bytewax", "river", "confluent-kafka", "lmdb")}
        build = {"version": version("segone"), "python": ".".join(map(str, sys.version_info[:3]))}
        build |= {name.replace("-", "_"): number for name, number in libraries.items()}
        yield InfoMetricFamily("segone_build", "What is running.", value=build)
        digest = {"digest": self._worker.config_digest}
        yield InfoMetricFamily("segone_config", "The settings that can change a signal.", value=digest)
        yield _gauge("segone_live", "1 if the loop moves (/healthz).", not self._health.not_live())
        yield _gauge("segone_ready", "1 if the worker is ready (/readyz).", not self._health.not_ready())
        beat_s = self._worker.tally.beat_s
        if beat_s is not None:
            help_ = "When the loop last moved, seconds since 1970."
            yield _gauge("segone_loop_last_moved_timestamp_seconds", help_, time.time() - time.monotonic() + beat_s)

    def _events(self) -> Iterator[Metric]:
        accounting, shards = self._worker.accounting, list(self._worker.shards)
        read = {(topic,): count for topic, count in accounting.read.copy().items()}
        yield _counter("segone_records_read", "Records read here.", ("topic",), read)
        # Zeros are told from the start: Prometheus sees no increase in what begins with its first event.
        ended: dict[tuple[str, str], float] = dict.fromkeys(product(TOPICS, (*OUTCOMES, "dead_letter")), 0)
        for shard in shards:
            for topic, counts in shard.ended.items():
                for outcome in OUTCOMES:
                    ended[topic, outcome] = ended.get((topic, outcome), 0) + getattr(counts, outcome)
        ended["in.market", "applied"] = ended.get(("in.market", "applied"), 0) + accounting.broadcast
        letters = accounting.dead.copy()
        for (topic, _), count in letters.items():
            ended[topic, "dead_letter"] = ended.get((topic, "dead_letter"), 0) + count
        help_ = (
            "Records that have ended here, each as exactly one outcome; in a cluster they may have been read elsewhere."
        )
        yield _counter("segone_events", help_, ("topic", "outcome"), ended)
        yield _counter("segone_dead_letters", "Rejected records by reason.", ("topic", "code"), letters)
        repairs = {(name,): count for name, count in self._worker.decoder.counts.copy().items()}
        yield _counter("segone_repairs", "Faults of records that were mended, not refused.", ("repair",), repairs)
        help_ = "Events held back for sorting ([shard] reorder_wait_s)."
        yield _gauge("segone_events_held", help_, sum(shard.counters.held for shard in shards))
        help_ = "Events that arrived before one of the same customer that was older by arrival."
        since = sum(s.counters.disordered_arrivals - s.counters_at_start.disordered_arrivals for s in shards)
        yield _counter("segone_disordered_arrivals", help_, (), {(): since})
        help_ = "Records that were handed on after some of other topics that had arrived later; between two senders a few are usual."
        yield _counter("segone_records_passed_over", help_, (), {(): self._worker.passed_over()})
        help_ = "Records that were handed on after some that had arrived more than [kafka] merge_wait_ms later."
        yield _counter("segone_records_overdue", help_, (), {(): self._worker.overdue()})
        help_ = "Records that did not add up at the last checkpoint; anything but 0 is a bug, and the checkpoint is refused."
        yield _gauge("segone_conservation_difference", help_, sum(self._worker.tally.conservation.copy().values()))
        yield from self._lag()

    def _lag(self) -> Iterator[Metric]:
        records, bytes_ = self._worker.lag()
        labels = ("topic", "partition")
        if records:
            yield _gauges("segone_lag_records", "Records on the broker that were not handed on.", labels, records)
        if bytes_:
            yield _gauges("segone_lag_bytes", "Bytes of the embedded log that were not handed on.", labels, bytes_)

    def _times(self) -> Iterator[Metric]:
        tally = self._worker.tally
        help_ = "From an event's own time to when a shard had dealt with it."
        ages = {(topic,): histogram for topic, histogram in tally.event_age.items() if any(histogram.counts)}
        yield _histogram("segone_event_age_seconds", help_, ("topic",), ages)
        help_ = "From a record's arrival in the log to when a shard had dealt with it."
        yield _histogram("segone_processing_latency_seconds", help_, (), {(): tally.latency})

    def _signals(self) -> Iterator[Metric]:
        help_ = "Signals said; what a restart says again counts again, though no reader sees it twice."
        types = {detector.SIGNAL for detector in CATALOGUE if detector.SIGNAL} | {fused.SIGNAL}
        said = dict.fromkeys(product(types, STATES), 0) | self._worker.tally.signals.copy()
        yield _counter("segone_signals", help_, ("type", "state"), said)
        errors = {(detector.NAME,): 0 for detector in CATALOGUE}
        errors |= {(detector,): count for detector, count in self._worker.detector_errors().items()}
        yield _counter("segone_detector_errors", "Failures of detectors.", ("detector",), errors)

    def _state(self) -> Iterator[Metric]:
        shards = list(self._worker.shards)
        yield _gauge("segone_shards", "Shards open here.", len(shards))
        yield _gauge(
            "segone_customers", "Customers known to the shards here.", sum(s.counters.customers for s in shards)
        )
        yield _gauge("segone_hot_customers", "Live profiles in memory.", sum(shard.hot_customers for shard in shards))
        for name, help_ in (
            ("hot_hits", "Customers that were looked for and were in memory."),
            ("hot_misses", "Customers that had to be read from the store, or were new."),
            ("evicted", "Customers that had to leave memory."),
        ):
            yield _counter(f"segone_{name}", help_, (), {(): sum(getattr(shard, name) for shard in shards)})
        telling = sum(shard.tells_rates for shard in shards)
        yield _gauge(
            "segone_shards_telling_rates", "Shards with holders of loans who have yet to hear of a rate.", telling
        )
        stored = {(part,): size for part, size in self._worker.store_bytes().items()}
        yield _gauges("segone_store_bytes", "Space that the state of the shards here takes on disk.", ("part",), stored)
        disk = shutil.disk_usage(self._worker.state_dir)
        yield _gauge("segone_state_disk_free_bytes", "Free space on the disk of the state folder.", disk.free)
        yield _gauge("segone_state_disk_size_bytes", "Size of the disk of the state folder.", disk.total)

    def _checkpoints(self) -> Iterator[Metric]:
        tally = self._worker.tally
        help_ = "Per epoch, how long the snapshots of all shards here took together."
        yield _histogram("segone_checkpoint_seconds", help_, (), {(): tally.checkpoint})
        help_ = "Per epoch and source partition, how long nothing was read: snapshots, flush of the sinks, commit of the engine."
        yield _histogram("segone_checkpoint_pause_seconds", help_, (), {(): tally.pause})
        yield _counter("segone_checkpoints", "Epochs committed.", (), {(): tally.commits})
        if tally.committed_at is not None:
            help_ = "When an epoch was last seen to be committed, seconds since 1970."
            yield _gauge("segone_checkpoint_last_timestamp_seconds", help_, tally.committed_at)

    def _delivery(self) -> Iterator[Metric]:
        publishers = self._worker.publishers()
        if not publishers:
            return
        for name, help_ in (
            ("published", "Outputs committed to Kafka."),
            ("retries", "Transactions that failed and were tried again."),
            ("failures", "Transactions that were given up; the worker ends."),
            ("omitted", "Outputs too large for their topic, written without their value."),
        ):
            name_ = {"published": "outputs_published", "omitted": "outputs_omitted"}.get(name, f"delivery_{name}")
            yield _counter(f"segone_{name_}", help_, (), {(): sum(getattr(each, name) for each in publishers)})
        skipped = self._worker.outputs_skipped()
        yield _counter("segone_outputs_skipped", "Outputs that were on Kafka already.", (), {(): skipped})
        yield _gauge("segone_outputs_pending", "Outputs not yet committed.", sum(each.pending for each in publishers))
        together = Histogram(publishers[0].transactions.bounds)
        for each in publishers:
            together.add(each.transactions)
        help_ = "How long a transaction took, from its begin to its commit, retries included."
        yield _histogram("segone_transaction_seconds", help_, (), {(): together})

    def _models(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("segone_model_info", "Models in force: always 1.", labels=("model", "role", "version"))
        effective = GaugeMetricFamily(
            "segone_model_effective_timestamp_seconds",
            "Since when (arrival clock) a model is in force.",
            labels=("model", "role"),
        )
        quality = GaugeMetricFamily(
            "segone_model_quality",
            "Measures of a model on labels that came after it.",
            labels=("model", "role", "measure"),
        )
        drifts = GaugeMetricFamily(
            "segone_model_drifts", "How often a model's learner found that errors had grown.", labels=("model", "role")
        )
        for status in in_force(self._worker.board.board):
            labels = (status.name, status.role)
            info.add_metric((*labels, status.version), 1.0)
            if status.effective_from_us is not None:
                effective.add_metric(labels, status.effective_from_us / 1e6)
            if status.drifts is not None:
                drifts.add_metric(labels, status.drifts)
            for measure, value in status.quality.items():
                quality.add_metric((*labels, measure), value)
        yield from (info, effective, quality, drifts)
        joins = {(name,): 0 for name in LABEL_OUTCOMES}
        joins |= {(name,): count for name, count in self._worker.label_counts().items()}
        yield _counter("segone_label_joins", "What became of labels and of what waits for one.", ("outcome",), joins)
        help_ = (
            "How often records were handed on before all knowledge of the bucket before was there (live streams only)."
        )
        yield _counter("segone_unpaced", help_, (), {(): self._worker.unpaced()})


def _gauge(name: str, help_: str, value: float) -> Metric:
    return GaugeMetricFamily(name, help_, value=float(value))


def _gauges(name: str, help_: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _counter(name: str, help_: str, labels: tuple[str, ...], values: Labelled) -> Metric:
    family = CounterMetricFamily(name, help_, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _histogram(name: str, help_: str, labels: tuple[str, ...], values: Mapping[Any, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, help_, labels=labels)
    for key, histogram in sorted(values.items()):
        family.add_metric(key, histogram.cumulative(), histogram.sum)
    return family
