"""Replays any history through the production code: the same decoder, shard and detectors as a worker, without the engine.

DATA is a folder of topics in canonical form (<topic>/*.jsonl or .parquet, or <topic>.jsonl), or with --mapping any table
(Parquet, CSV, JSON Lines). Events are applied in the order of arrival. The output is an embedded log, as a worker writes it.

  segone replay payments.parquet --mapping config/mappings/fraud_handbook.toml --out out/replay --scores
  segone replay bank/events --out out/replay --from 2025-01-01 --to 2025-07-01
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from dataflows.commands.report import write_page
from dataflows.commands.run_folder import write_run_note
from dataflows.commands.summary import print_summary, write_report
from dataflows.files.sink import as_line, write_committed
from dataflows.history.mapping import file_sql, literal
from dataflows.history.ordered import History, open_history
from dataflows.knowledge.offline import OfflineKnowledge
from dataflows.loading import load_checked
from operators.across import Across
from operators.customer_step import CustomerStep, make_policy
from operators.dead_letter import dead_letter
from operators.decode import DecodeLimits, Decoder, Rejection
from operators.encode import encode, is_written
from operators.knowledge.board import Board
from operators.profiles import publishing_of
from operators.pseudonym import pseudonyms_of
from state.digest import partition_of
from state.events import BROADCAST, Event
from state.records import Output, Record
from state.settings import ConfigError, Settings
from state.shard import Shard
from state.step import Emission
from state.store import DiskStore
from state.times import EPOCH

EVICTIONS_MAX = 20_000
"""After so many customers had to leave memory, what was put into the store moves to its disk. Without any, it stays unused."""
BUFFER_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "data", type=Path, metavar="DATA", help="a folder of topics in canonical form, or with --mapping any table"
    )
    parser.add_argument("--mapping", type=Path, metavar="FILE", help="how rows become events (docs/mappings.md)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="an empty or new folder for the output topics"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, over config/default.toml")
    parser.add_argument("--scores", action="store_true", help="also write scores.parquet")
    parser.add_argument(
        "--from", dest="from_", metavar="T", help="only what arrived at T (RFC 3339 or a date, UTC) or later"
    )
    parser.add_argument("--to", metavar="T", help="only what arrived before T")
    parser.add_argument(
        "--report",
        action="store_true",
        help="also write report.md, a summary of what was found, and report.html, to look at (as segone report does)",
    )


def run(args: argparse.Namespace) -> int:
    settings = load_checked(args.config)
    from_us, to_us = time_argument("--from", args.from_), time_argument("--to", args.to)
    if from_us is not None and to_us is not None and from_us >= to_us:
        raise ConfigError(f"--from {args.from_} --to {args.to}: nothing lies between them; --to must be later")
    replay = Replay(settings, prepare_out(args.out))
    write_run_note(args.out, args.data, args.mapping)
    interrupted = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: interrupted.set())
    try:
        with open_history(args.data, args.mapping, from_us, to_us) as history:
            replay.run(history, interrupted, mapped=args.mapping is not None)
    finally:
        signal.signal(signal.SIGINT, before)
        replay.close()
    if args.scores:
        write_scores_parquet(args.out)
    if args.report:
        write_report(args.out, args.out / "report.md")
        write_page(args.out, settings, args.out / "report.html")
    print_summary(Console(), args.out, replay.totals(), replay.elapsed_s, replay.repairs)
    if interrupted.is_set():
        print(f"segone replay: interrupted; {args.out} holds what was found until then", file=sys.stderr)
        return 130
    return 0


def time_argument(flag: str, text: str | None) -> int | None:
    """An RFC 3339 time or a date, UTC where no offset is given, in microseconds."""
    if text is None:
        return None
    try:
        time_ = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"{flag} {text}: is not a time; write 2025-01-31 or 2025-01-31T12:00:00Z") from error
    since = (time_ if time_.tzinfo else time_.replace(tzinfo=UTC)) - EPOCH.replace(tzinfo=UTC)
    return since // timedelta(microseconds=1)


def prepare_out(out: Path) -> Path:
    """Makes the output folder; refuses one with topics in it, so that two runs never mix."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.glob("*/*.jsonl")):
            raise ConfigError(
                f"--out {out}: already holds the output of a run; name an empty folder, or delete it first"
            )
    except OSError as error:
        raise ConfigError(
            f"--out {out}: can't be used ({error.strerror}); name a folder that you may write to"
        ) from error
    return out


class LogWriter:
    """Appends messages to `<topic>/<partition>.jsonl` and notes the committed lengths at the end."""

    def __init__(self, folder: Path, partitions: int) -> None:
        self._folder = folder
        self._partitions = partitions
        self._buffers: dict[tuple[str, int], list[bytes]] = {}
        self._bytes = 0

    def write(self, output: Output) -> None:
        line = as_line(output)
        self._buffers.setdefault((output.topic, partition_of(output.key, self._partitions)), []).append(line)
        self._bytes += len(line)
        if self._bytes > BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        for (topic, partition), lines in self._buffers.items():
            path = self._folder / topic / f"{partition}.jsonl"
            path.parent.mkdir(exist_ok=True)
            with path.open("ab") as file:
                file.write(b"\n".join(lines) + b"\n")
        self._buffers.clear()
        self._bytes = 0

    def close(self) -> None:
        self.flush()
        for path in self._folder.glob("*/*.jsonl"):
            write_committed(path, path.stat().st_size)


class Replay:
    """One shard with all customers, fed in the order of arrival. The profiles live in a temporary store, so memory stays bounded."""

    def __init__(self, settings: Settings, out: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix=".state-", dir=out)
        self._decoder = Decoder(DecodeLimits(ahead_s_max=int(settings.shard.future_tolerance_s)))
        board = Board()
        self._knowledge = OfflineKnowledge(settings, board)
        across = Across(settings.knowledge, board) if settings.knowledge.enabled else None
        step = CustomerStep(settings.detectors, settings.digest(), across=across, publishing=publishing_of(settings))
        store = DiskStore.open(Path(self._folder.name), 0, map_bytes_max=settings.state.map_size_gb_max << 30)
        policy = make_policy(settings, step, 1)
        self._shard = Shard(
            0, step, msgspec.structs.replace(policy, dirty_customers_max=policy.hot_customers_max), store
        )
        self._shard.restore(None)
        self._pseudonyms = pseudonyms_of(settings)
        self._writer = LogWriter(out, settings.log.partitions)
        self.read = 0
        self.dead = 0
        self.broadcast = 0
        self._partitions: frozenset[int] = frozenset()
        """Of the history: rates of the market reach all of them from the first one on, as in a worker."""
        self.elapsed_s = 0.0

    def run(self, history: History, interrupted: threading.Event, *, mapped: bool) -> None:
        """Applies all records. A mapped table has one arrival clock; a log has one for each partition, as in a worker."""
        started = time.monotonic()
        self._partitions = history.partitions
        columns = (
            TextColumn("[progress.description]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(
            *columns, console=Console(stderr=True), refresh_per_second=2, disable=not sys.stderr.isatty()
        ) as progress:
            task = progress.add_task("replaying", total=history.rows, rate=0.0)
            for records in history.records():
                for begins_us, group in self._knowledge.by_bucket(records):
                    if begins_us is not None:
                        for output in self._knowledge.close(begins_us, {0: self._shard.counters.customers}):
                            self._writer.write(output)
                    self.apply(group, mapped=mapped)
                if self._shard.evicted >= EVICTIONS_MAX:
                    self._shard.evicted = 0
                    self._shard.checkpoint()
                    self._shard.proven()
                self.elapsed_s = time.monotonic() - started
                progress.update(task, completed=self.read, rate=self.read / max(self.elapsed_s, 1e-9))
                if interrupted.is_set():
                    break
        self._hear(self._shard.finish())

    def _hear(self, emissions: Iterable[Emission]) -> None:
        for emission in emissions:
            self._knowledge.learn(emission.body)
            if is_written(emission):
                self._writer.write(encode(emission, self._pseudonyms))

    def apply(self, records: list[Record], *, mapped: bool) -> None:
        """One batch: decode, group by source partition, apply, write."""
        by_partition: dict[int, list[Event]] = {}
        clocks_us: dict[int, int] = {}
        for record in records:
            partition = 0 if mapped else record.partition
            for read_by in self._partitions if record.topic in BROADCAST else (partition,):
                clocks_us[read_by] = max(clocks_us.get(read_by, 0), record.arrival_us)
            event = self._decoder.decode(record)
            if isinstance(event, Rejection):
                self.dead += 1
                self._writer.write(dead_letter(record, event))
            elif event.customer_id:
                by_partition.setdefault(partition, []).append(event)
            else:
                self.broadcast += 1
                for read_by in self._partitions:
                    by_partition.setdefault(read_by, []).append(event)
        self.read += len(records)
        for partition, clock_us in clocks_us.items():
            self._hear(self._shard.apply(by_partition.get(partition, ()), partition))
            self._hear(self._shard.advance(partition, clock_us))

    def totals(self) -> dict[str, int]:
        """How the records ended; they add up to those read."""
        counters = self._shard.counters
        return {
            "read": self.read,
            "applied": counters.applied + self.broadcast,
            "duplicate": counters.duplicate,
            "late": counters.late,
            "dead_letter": self.dead,
            "in_flight": self.read - counters.applied - self.broadcast - counters.duplicate - counters.late - self.dead,
        }

    @property
    def repairs(self) -> dict[str, int]:
        """What the decoder mended, by name."""
        return self._decoder.counts

    def close(self) -> None:
        self._writer.close()
        self._shard.close()
        self._folder.cleanup()


def write_scores_parquet(out: Path) -> None:
    """scores.parquet: transaction_id, customer_id, event_time, score, model, from the topic `scores`."""
    columns = (
        "{transaction_id: 'VARCHAR', customer_id: 'VARCHAR', event_time: 'VARCHAR', score: 'DOUBLE', model: 'VARCHAR'}"
    )
    files = [file_sql(path) for path in sorted((out / "scores").glob("*.jsonl"))]
    rows = f"read_json([{', '.join(files)}], format = 'newline_delimited', columns = {columns})"
    if not files:
        rows = "(SELECT '' AS transaction_id, '' AS customer_id, '1970-01-01' AS event_time, 0.0::DOUBLE AS score, '' AS model WHERE false)"
    with duckdb.connect(config={"threads": 2, "memory_limit": "512MB", "temp_directory": str(out)}) as db:
        db.execute(
            f"COPY (SELECT transaction_id, customer_id, event_time::TIMESTAMP AS event_time, score, model FROM {rows}) "
            f"TO {literal(str(out / 'scores.parquet'))} (FORMAT parquet)"
        )
