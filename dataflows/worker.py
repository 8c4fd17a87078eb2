"""A worker: the source, the shards and the sink that the settings ask for, and what they share in one process."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from dataflows.files.sink import ALL_TOPICS, FileOutput, require_unused_output
from dataflows.files.source import FileInput
from dataflows.kafka.publisher import Publisher
from dataflows.kafka.rights import require_rights
from dataflows.kafka.sink import KafkaOutput
from dataflows.kafka.source import KafkaInput
from dataflows.knowledge.board import BoardReader
from dataflows.knowledge.key import KnowledgeKey, newest_of_each
from dataflows.knowledge.machines import knowledge_keys, make_machine
from dataflows.knowledge.pacing import Pacemaker
from dataflows.knowledge.pins import read_pins, those_kept
from dataflows.knowledge.reporting import Reporter
from dataflows.knowledge.shelf import Fold, Shelf, shelf_folder
from dataflows.loading import require_tables
from dataflows.quarantine import Quarantine
from dataflows.route import Accounting, Router
from dataflows.shard_names import shard_names
from dataflows.state_note import is_made, naming_of, note_versions, prepare_state
from dataflows.tally import Tally
from dataflows.witness import Witness
from operators.across import Across
from operators.customer_step import CustomerStep, make_policy
from operators.decode import DecodeLimits, Decoder
from operators.knowledge.facts import MODEL_PREFIX
from operators.profiles import publishing_of
from state.events import BROADCAST, TOPICS
from state.settings import ConfigError, Settings
from state.shard import Shard
from state.store import DiskStore, shard_folder


class Worker:
    """Everything one process needs to run the flow. `source` and `sink` are Bytewax's, the rest is ours."""

    def __init__(
        self,
        settings: Settings,
        source: Any,
        sink: Any,
        sink_partitions: int,
        state_dir: Path,
        *,
        live: bool,
        pacemaker: Pacemaker | None = None,
    ) -> None:
        """`pacemaker`: what the source got, whose counts are told."""
        self.settings = settings
        self.source = source
        self.sink = sink
        self.sink_partitions = sink_partitions
        self.state_dir = state_dir
        self.live = live
        """Whether the wall clock stands in for the arrival clock when nothing comes."""
        self.stopping: threading.Event = source.stopping
        self.accounting = Accounting()
        self.tally = Tally()
        self.witness = Witness()
        self.decoder = Decoder(DecodeLimits(ahead_s_max=int(settings.shard.future_tolerance_s)))
        self.quarantine = Quarantine(state_dir)
        names = shard_names(settings.shard.count, naming_of(state_dir))
        self.router = Router(self.decoder, names, sink_partitions, self.accounting, self.quarantine)
        self.config_digest = settings.digest()
        self.shards: list[Shard] = []
        self.steps: list[CustomerStep] = []
        self.keys = knowledge_keys(settings)
        """Of the knowledge step."""
        self.board = BoardReader(state_dir, self.keys, settings.knowledge.bucket_us, live=live or settings.log.follow)
        self._opened: list[KnowledgeKey] = []
        self._pacemaker = pacemaker

    @classmethod
    def open(cls, settings: Settings) -> Worker:
        """Checks everything that can be checked before the first record; raises ConfigError."""
        require_tables(settings)
        return _open_kafka(settings) if settings.log.kind == "kafka" else _open_files(settings)

    def own_state(self) -> None:
        """To be called by who has the state folder to itself, before the flow starts: from now on this release writes in it."""
        note_versions(self.state_dir, self.settings)

    def open_shard(self, number: int) -> Shard:
        """The shard with its store; its state still has to be restored."""
        settings = self.settings
        across = Across(settings.knowledge, self.board.board) if settings.knowledge.enabled else None
        step = CustomerStep(settings.detectors, self.config_digest, across=across, publishing=publishing_of(settings))
        store = DiskStore.open(
            self.state_dir, number, settings.state.durability, map_bytes_max=settings.state.map_size_gb_max << 30
        )
        shard = Shard(number, step, make_policy(settings, step, settings.shard.count), store)
        self.shards.append(shard)
        self.steps.append(step)
        return shard

    def reporter(self, shard: int) -> Reporter:
        """What tells the knowledge keys of a shard."""
        return Reporter(shard, self.keys, self.settings.knowledge.merchant_keys, self.board)

    def open_key(self, name: str) -> KnowledgeKey:
        """A knowledge key with its store and shelf; its state still has to be restored."""
        settings = self.settings
        store = DiskStore.open(
            self.state_dir / "knowledge" / name,
            0,
            settings.state.durability,
            map_bytes_max=settings.state.map_size_gb_max << 30,
        )
        key = KnowledgeKey(
            make_machine(settings, name),
            store,
            Shelf(self.state_dir, name, sync=settings.state.durability == "power"),
            settings.knowledge.bucket_us,
            settings.shard.count * len(self.source.list_parts()),
            lambda: self._fold_of(name),
        )
        self._opened.append(key)
        return key

    def _fold_of(self, key: str) -> Fold:
        """How versions are let go that nobody needs any longer."""
        if not key.startswith(MODEL_PREFIX):
            return newest_of_each
        pins, kept = read_pins(self.state_dir), self.settings.knowledge.versions_kept
        return lambda versions: those_kept(versions, kept, pins)

    def totals(self) -> dict[str, int]:
        """How the records that this process read since it started have ended so far; `in_flight` is what is still on its way."""
        totals = {
            "read": sum(list(self.accounting.read.values())),
            "applied": self.accounting.broadcast,
            "duplicate": 0,
            "late": 0,
            "dead_letter": sum(list(self.accounting.dead.values())),
        }
        for shard in list(self.shards):
            for name in ("applied", "duplicate", "late"):
                totals[name] += getattr(shard.counters, name) - getattr(shard.counters_at_start, name)
        totals["in_flight"] = totals["read"] - sum(
            totals[name] for name in ("applied", "duplicate", "late", "dead_letter")
        )
        return totals

    def detector_errors(self) -> dict[str, int]:
        """Failures by detector, since this process started."""
        errors: Counter[str] = Counter()
        for step in list(self.steps):
            errors.update(step.detector_errors.copy())
        return dict(errors)

    def label_counts(self) -> dict[str, int]:
        """What became of labels and of transactions that waited for one (see Across), since this process started."""
        counts: Counter[str] = Counter()
        for step in list(self.steps):
            if step.across is not None:
                counts.update(step.across.counts.copy())
        return dict(counts)

    def unpaced(self) -> int:
        """How often a source partition of this process went on although not all knowledge of the bucket before was there."""
        return self._pacemaker.unpaced if self._pacemaker is not None else 0

    def lag(self) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
        """By topic and partition, what waits to be read by this process: records on Kafka, bytes in files."""
        if isinstance(self.source, KafkaInput):
            prefix = self.settings.kafka.topic_prefix
            lag = self.source.lag.copy()
            addresses = {name: name.removeprefix(prefix).rpartition("/") for name in lag}
            return {(topic, number): lag[name] for name, (topic, _, number) in addresses.items()}, {}
        return {}, self.source.lag_bytes()

    def unknown_ends(self) -> int:
        """Of how many Kafka partitions read here no broker has told how far they go."""
        return sum(self.source.unknown.copy().values()) if isinstance(self.source, KafkaInput) else 0

    def unheard_s(self) -> float:
        """For how long no broker has been heard, or nobody has looked; on files nobody need be."""
        heard_s = self.source.heard_s.copy() if isinstance(self.source, KafkaInput) else {}
        return time.monotonic() - min(heard_s.values()) if heard_s else 0.0

    def passed_over(self) -> int:
        """Records of this process that came too late to be merged in the order of arrival; in files there are none."""
        return sum(self.source.passed_over.copy().values()) if isinstance(self.source, KafkaInput) else 0

    def overdue(self) -> int:
        """Those of `passed_over` that came more than `merge_wait_ms` too late."""
        return sum(self.source.overdue.copy().values()) if isinstance(self.source, KafkaInput) else 0

    def store_bytes(self) -> dict[str, int]:
        """What the state of this process's shards takes on disk: by files, since a store belongs to its thread."""
        sizes: Counter[str] = Counter(table=0, log=0)
        for shard in list(self.shards):
            for path in shard_folder(self.state_dir, shard.number).glob("*"):
                with contextlib.suppress(FileNotFoundError):  # a segment of the log may just have been let go
                    sizes["table" if "mdb" in path.name else "log"] += path.stat().st_blocks * 512
        return dict(sizes)

    def publishers(self) -> list[Publisher]:
        """The transactional producers of this process; none on files."""
        return [part.publisher for part in list(self.sink.parts.values())] if isinstance(self.sink, KafkaOutput) else []

    def outputs_skipped(self) -> int:
        """Outputs that a predecessor had written to Kafka already."""
        return sum(part.skipped for part in list(self.sink.parts.values())) if isinstance(self.sink, KafkaOutput) else 0

    def finish(self) -> None:
        """After a clean end of the flow: what lies beyond the last commit is cut off, and readers may see the rest."""
        if isinstance(self.sink, FileOutput):
            for part in self.sink.parts:
                part.finish()
        for shard in self.shards:
            shard.close()
        for key in self._opened:
            key.close()


def _open_files(settings: Settings) -> Worker:
    if not settings.log.input or not settings.log.output:
        raise ConfigError(
            '[log] input and output: with kind = "files" both folders must be named (--input DIR --output DIR)'
        )
    folder, output = Path(settings.log.input), Path(settings.log.output)
    state_dir = settings.state_folder
    pacemaker = make_pacemaker(settings, state_dir, live=settings.log.follow)
    source = FileInput(
        folder,
        settings.log.batch_records_max,
        settings.log.follow,
        settings.log.poll_ms / 1000,
        threading.Event(),
        pacemaker,
    )
    if not is_made(state_dir):
        require_unused_output(output, state_dir)
    prepare_state(state_dir, settings)
    sink = FileOutput(output, settings.log.partitions, settings.state.durability == "power")
    return Worker(settings, source, sink, settings.log.partitions, state_dir, live=False, pacemaker=pacemaker)


def _open_kafka(settings: Settings) -> Worker:
    kafka = settings.kafka
    state_dir = settings.state_folder
    live = not kafka.end_at_high_watermark
    pacemaker = make_pacemaker(settings, state_dir, live=live)
    source = KafkaInput(
        kafka,
        [kafka.topic_prefix + topic for topic in TOPICS],
        threading.Event(),
        end_at_high_watermark=kafka.end_at_high_watermark,
        broadcast=frozenset(kafka.topic_prefix + topic for topic in BROADCAST),
        make_pace=pacemaker,
    )
    sink = KafkaOutput(kafka, [kafka.topic_prefix + topic for topic in ALL_TOPICS])
    # Asks the cluster now, so that what is wrong with the topics is said before the engine starts.
    source.list_parts()
    sink.list_parts()
    require_rights(kafka)
    prepare_state(state_dir, settings)
    return Worker(settings, source, sink, kafka.sink_partitions, state_dir, live=live, pacemaker=pacemaker)


def make_pacemaker(settings: Settings, state_dir: Path, *, live: bool) -> Pacemaker:
    """What source partitions wait for. On live streams patience is bounded."""
    shelves = [shelf_folder(state_dir, key) for key in knowledge_keys(settings)]
    knowledge = settings.knowledge
    return Pacemaker(shelves, knowledge.bucket_us, knowledge.pacing_wait_s if live else None)
