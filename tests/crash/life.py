"""The life of one engine under one seed: what it reads, how often and how it dies, and what has to hold all the while."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import orjson
from engine import SHARD, SINK, Cluster, Recovery, Stopped
from event_log import subject
from faults import ALL_POINTS, POWER_POINTS, Crash, Disk, Fuse
from histories import HOUR_US, Expected, History, make_history, undisturbed

from dataflows.files.sink import FileOutput, OutputFailed, read_committed
from dataflows.files.source import FileInput
from dataflows.shard_logic import ShardLogic
from dataflows.shard_names import shard_numbered
from dataflows.worker import Worker, make_pacemaker
from state.settings import Settings
from state.settings_reading import load_settings
from state.shard import Shard
from state.shard_meta import decode_meta
from state.store import DiskStore, shard_folder
from state.store_check import verify_shard
from state.store_error import StoreError
from state.store_position import decode_token

DAY_US = 86_400_000_000
DAY_S = 86_400.0
DEATHS_MAX = 6
STEPS_MAX = 500
"""Of a live stream that somehow doesn't die."""
DEFAULTS = load_settings(None, {})


class Readers:
    """Those who read the output while it is written. They stop at what is committed, and nothing of that may ever change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: dict[Path, bytes] = {}

    def look_at_all(self) -> None:
        for note in self._folder.glob("*/*.committed"):
            self.look(note.with_suffix(".jsonl"))

    def look(self, path: Path) -> None:
        """Reads one file anew."""
        seen = self._seen.get(path, b"")
        committed = read_committed(path)
        assert committed >= len(seen), f"{path}: readers saw {len(seen)} bytes, now {committed}"
        data = path.read_bytes()[:committed] if committed else b""
        assert len(data) == committed, f"{path}: ends before what is committed"
        assert data.startswith(seen), f"{path}: what readers saw has changed"
        assert data[-1:] in (b"", b"\n"), f"{path}: readers see half a line"
        self._seen[path] = data


class Life:
    """Everything that one seed decides, and the folders, the recovery and the readers that outlive each execution."""

    def __init__(self, seed: int, folder: Path, point: str | None = None) -> None:
        """`point`: the name of the point at which to die, instead of any."""
        self.random = random.Random(f"life/{seed}")
        choose = self.random.choice
        self._point = point
        self.power = point in POWER_POINTS or self.random.random() < 0.3
        self.live = self.random.random() < 0.35
        shard = {
            "count": choose((1, 4, 4)),
            "allowed_lateness_s": choose((3600.0, 6 * 3600.0)),
            "reorder_wait_s": choose((0.0, 0.0, 1800.0)),
        }
        self.settings: Settings = msgspec.structs.replace(
            DEFAULTS,
            shard=msgspec.structs.replace(DEFAULTS.shard, **shard),
            state=msgspec.structs.replace(DEFAULTS.state, durability="power" if self.power else "process"),
            knowledge=msgspec.structs.replace(DEFAULTS.knowledge, **self._knowledge(shard["reorder_wait_s"])),
            profiles=msgspec.structs.replace(
                DEFAULTS.profiles, min_interval_s=choose((0.0, 3600.0, DAY_S)), max_delay_s=choose((DAY_S, 3 * DAY_S))
            ),
        )
        self.batch_records_max = choose((1, 3, 10, 2000))
        self.sink_partitions = choose((1, 3))
        self.history: History = make_history(seed, 110, choose((1, 2, 3)))
        self.until_us = self.history.newest_us + 5 * DAY_US
        self.expected: Expected = undisturbed(self.history, self.settings, self.until_us if self.live else None)
        self.fuse = Fuse()
        self.disk = Disk(folder, self.fuse, self.random, choose((300, 2000, 1 << 20)))
        self.recovery = Recovery()
        self.input, self.output, self.state = folder / "in", folder / "out", folder / "state"
        self.readers = Readers(self.output)
        self.deaths: list[str] = []
        self.trace: list[str] = []
        self._waiting = sorted(
            (arrival_us, offset, path, line)
            for path, lines in self._files().items()
            for offset, (arrival_us, line) in enumerate(lines)
        )
        self._wall_us = 0
        self._half_line: tuple[Path, bytes] | None = None
        self._cluster: Cluster | None = None
        self._stop_in: int | None = None
        self._full_for: int | None = None
        self._ending = False

    def _knowledge(self, reorder_wait_s: float) -> dict[str, Any]:
        """On a live stream it is left to the wall clock in which bucket an event is that was held back for sorting: nothing is learned
        then, so that there is one right answer."""
        return {
            "enabled": self.random.random() < 0.8 and not (self.live and reorder_wait_s),
            "bucket_s": self.random.choice((3600, 6 * 3600, 86_400)),
            "merchant_keys": self.random.choice((1, 2)),
            "label_horizon_s": 6 * 3600.0,
            "awaiting_max": self.random.choice((3, 256)),
        }

    def live_it(self) -> None:
        """Dies again and again, then comes to its end, and everything is as if it had not died."""
        for path in self._files():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if not self.live:
            while self._to_come:
                self._feed()
        self.state.mkdir()
        for _ in range(1 if self._point else self.random.randint(2, DEATHS_MAX)):
            self._die_once()
        self._ending = True
        self.fuse.lay(None, None)
        self.trace.append(self._execute())
        assert self.trace[-1] == "ended"
        self.compare()

    # ---- one execution

    def _die_once(self) -> None:
        kind = "crash" if self._point else self.random.choices(("crash", "named", "full", "stop"), (5, 4, 2, 1))[0]
        left = int(2 ** self.random.uniform(0, 10))
        if self._point or kind == "named":
            name = self._point or self.random.choice(ALL_POINTS)
            self.fuse.lay(name, int(2 ** self.random.uniform(0, 4)) - 1 if self.deaths or not self._point else 0)
        elif kind == "stop":
            self.fuse.lay(None, None)
            self._stop_in = left
        else:
            self.fuse.lay(None, left, self._fill_disk if kind == "full" else None)
        if self.live and self._stop_in is None:
            self._stop_in = STEPS_MAX  # it would go on for ever
        self.trace.append(self._execute())

    def _round_clock(self) -> Callable[[], float]:
        """Rounds of the engine that take no time or long, so that batches shrink and grow."""
        chosen, now_s = random.Random(self.random.random()), 0.0

        def clock() -> float:
            nonlocal now_s
            now_s += chosen.choice((0.01, 0.15, 1.0))
            return now_s

        return clock

    def _execute(self) -> str:
        """One execution on one or more processes; how it ended."""
        self._full_for = None
        with (
            self.disk.seams(),
            patch("dataflows.shard_logic.datetime", self),
            patch("dataflows.batch_size.monotonic", self._round_clock()),
            patch("dataflows.files.source.FilePartition._is_idle", lambda _: self.live and not self._to_come),
        ):
            try:
                workers = [self._make_worker() for _ in range(self.random.choice((1, 1, 2, 3)))]
                interval_s = self.random.choice((1e-9, 1e9))  # all are written behind at once, or none: no real time

                def make_logic(worker: Worker, resume: bytes | None) -> ShardLogic:
                    def open_shard(number: int) -> Shard:
                        return self._open_shard(worker, number)

                    return ShardLogic(
                        resume,
                        open_shard,
                        self.sink_partitions,
                        self.live,
                        interval_s,
                        worker.quarantine,
                        worker.stopping.is_set,
                        worker.reporter if worker.keys else None,
                        tally=worker.tally,
                        accounting=worker.accounting,
                    )

                self._cluster = Cluster(workers, make_logic, self.recovery, self.random, self.fuse, self._between)
                self._cluster.run()
                self._cluster.finish(self.random.sample(range(len(workers)), len(workers)))
                ending = "ended"
            except Stopped as stopped:
                ending = self._stop(stopped.number)
            except Crash as crash:
                ending = f"crash {crash}"
                self.deaths.append(str(crash))
            except (StoreError, OutputFailed) as error:
                if self._full_for is None:
                    raise
                assert "free space" in str(error), f"says not what to do: {error}"
                ending = f"full disk, {type(error).__name__}"
            self.disk.free_space()
            self.disk.release()
        self._stop_in = None
        self._cluster = None
        if ending.startswith("crash"):
            self._damage()
        self.readers.look_at_all()
        return ending

    def _stop(self, number: int) -> str:
        """A source has stopped its process; the others do so, too, if they were asked, or are killed."""
        assert self._cluster is not None
        asked = [p.number for p in self._cluster.processes if p.worker.stopping.is_set()]
        others = [n for n in asked if n != number and (self._ending or self.random.random() < 0.5)]
        try:
            self._cluster.finish([number, *others])
        except Crash as crash:
            return f"crash {crash}"
        return "ended" if self._ending else "stopped"

    def _make_worker(self) -> Worker:
        make_pace = make_pacemaker(self.settings, self.state, live=False)
        source = FileInput(self.input, self.batch_records_max, self.live, 0.0, threading.Event(), make_pace)
        sink = FileOutput(self.output, self.sink_partitions, self.power)
        return Worker(self.settings, source, sink, self.sink_partitions, self.state, live=self.live)

    def _open_shard(self, worker: Worker, number: int) -> Shard:
        shard = worker.open_shard(number)
        hot, dirty = self.random.choice(((3, 2), (3, 50), (1000, 1), (1000, 1000)))
        shard.policy = msgspec.structs.replace(shard.policy, hot_customers_max=hot, dirty_customers_max=dirty)
        return shard

    # ---- the world outside

    def _between(self) -> None:
        while self.disk.noted:
            self.readers.look(self.disk.noted.pop())
        cluster = self._cluster
        if self._full_for is not None:
            self._full_for -= 1
            if self._full_for < 0:
                self.disk.free_space()
        if cluster is None:
            return
        if self._stop_in is not None:
            self._stop_in -= 1
            if self._stop_in < 0:
                self.random.choice(cluster.processes).worker.stopping.set()
        if self.live:
            self._live_on(cluster)

    def _live_on(self, cluster: Cluster) -> None:
        if self._waiting and self._half_line is None and self.random.random() < 0.5:
            # Time passes, but not beyond what comes next: timers fire because of the clock alone.
            later_us = self._wall_us + self.random.randrange(6 * HOUR_US)
            self._wall_us = max(self._wall_us, min(later_us, self._waiting[0][0] - 5))
        if self._to_come and self.random.random() < (0.9 if self._ending else 0.3):
            for _ in range(self.random.choice((1, 4, 20))):
                self._feed()
        elif self.random.random() < 0.2:
            cluster.notify()
        if self._ending and not self._to_come and self._all_is_read() and self._all_know_it(cluster):
            self._wall_us = self.until_us
            cluster.notify()
            while self._some_have_rates_to_hear(cluster):
                cluster.notify()
            for process in cluster.processes:
                process.worker.stopping.set()

    @property
    def _to_come(self) -> bool:
        return bool(self._waiting) or self._half_line is not None

    def _feed(self) -> None:
        """The next line arrives, sometimes in two pieces; its writer's disk is another one."""
        if self._full_for is not None and self._full_for >= 0:
            return
        if self._half_line is not None:
            path, rest = self._half_line
            self._append(path, rest)
            self._half_line = None
        elif self._waiting:
            arrival_us, _, path, line = self._waiting.pop(0)
            self._wall_us = max(self._wall_us, arrival_us)
            cut = self.random.randint(0, len(line)) if self.random.random() < 0.1 else len(line) + 1
            self._append(path, (line + b"\n")[:cut])
            if cut <= len(line):
                self._half_line = path, (line + b"\n")[cut:]

    def _append(self, path: Path, data: bytes) -> None:
        with path.open("ab") as file:
            file.write(data)

    def _all_is_read(self) -> bool:
        """Whether the sources have read what is there, and nothing is on its way to the shards: then they are caught up."""
        cluster = self._cluster
        if cluster is None or not cluster.quiet or self._half_line is not None:
            return False
        if len(cluster.sources) < self.history.partitions:
            return False  # one has ended, because of a stop: what comes after that is unread
        return all(
            file.position == file._path.stat().st_size
            for source in cluster.sources.values()
            for file in source._files
            if file._path.exists()
        )

    def _all_know_it(self, cluster: Cluster) -> bool:
        """Whether every shard was told by every source partition that nothing more is waiting."""
        told = [list(logic._clocks.values()) for process in cluster.processes for logic in process.shards.values()]
        return len(told) == self.settings.shard.count and all(
            len(clocks) == len(cluster.sources) and all(caught_up for _, caught_up in clocks) for clocks in told
        )

    def _some_have_rates_to_hear(self, cluster: Cluster) -> bool:
        shards = [logic._shard for process in cluster.processes for logic in process.shards.values()]
        return any(shard._market.waiting for shard in shards if shard is not None)

    def now(self, zone: tzinfo) -> datetime:
        """Stands for datetime.now: the wall clock, which passes over nothing that is still to be read."""
        return datetime.fromtimestamp((self._wall_us if self._all_is_read() else 0) / 1e6, zone)

    def _fill_disk(self) -> None:
        self._full_for = self.random.randrange(60)
        self.disk.fill()

    def _damage(self) -> None:
        """What the death does to the files."""
        outputs = sorted(self.output.glob("*/*.jsonl"))
        logs = sorted(self.state.glob("shards/*/redo-*.log"))
        if self.power and self.random.random() < 0.5:
            self.disk.fail_power(outputs + logs)
            return
        kept = {path: read_committed(path) for path in outputs}
        for part, state in self.recovery.load(SINK).items():
            for topic, length in orjson.loads(state).items():
                kept[self.output / topic / f"{int(part)}.jsonl"] = length
        for key, token in self.recovery.load(SHARD).items():
            folder = shard_folder(self.state, shard_numbered(key))
            at = decode_token(token, shard_numbered(key))
            for path in logs:
                if path.parent == folder:
                    number = int(path.stem[5:])
                    kept[path] = 1 << 40 if number < at.segment else at.offset if number == at.segment else 0
        if not self.power and self.random.random() < 0.5:
            self.disk.tear(kept)

    def _files(self) -> dict[Path, list[tuple[int, bytes]]]:
        return {self.input / topic / f"{part}.jsonl": lines for (topic, part), lines in self.history.lines.items()}

    # ---- the end

    def compare(self) -> None:
        """Output, dead letters, profiles and counts against those of the undisturbed run; the store is sound."""
        said: dict[tuple[str, str], list[bytes]] = {}
        letters: Counter[bytes] = Counter()
        for path in sorted(self.output.glob("*/*.jsonl")):
            assert read_committed(path) == path.stat().st_size, f"{path}: not all is committed after a clean end"
            for line in path.read_bytes().splitlines():
                if path.parent.name.endswith(".dlq"):
                    letters[line] += 1
                else:
                    said.setdefault((path.parent.name, subject(orjson.loads(line))), []).append(line)
        differing = [
            key for key in said.keys() | self.expected.said.keys() if said.get(key) != self.expected.said.get(key)
        ]
        for topic, customer in sorted(differing):
            got, due = said.get((topic, customer), []), self.expected.said.get((topic, customer), [])
            lost, extra = Counter(due) - Counter(got), Counter(got) - Counter(due)
            raise AssertionError(
                f"{topic} of {customer}: {len(lost)} lost, {len(extra)} doubled or different: {[*lost, *extra][:2]}"
            )
        assert letters == self.expected.letters, (
            f"dead letters differ: {[*(letters - self.expected.letters)][:2]} {[*(self.expected.letters - letters)][:2]}"
        )
        self._compare_state()

    def _compare_state(self) -> None:
        received = 0
        profiles: dict[str, bytes] = {}
        for key, token in self.recovery.load(SHARD).items():
            report = verify_shard(self.state, shard_numbered(key))
            assert report.findings == (), report.findings
            store = DiskStore.open(self.state, shard_numbered(key))
            try:
                meta = store.restore(token)
                assert meta is not None
                counters = decode_meta(meta).counters
                assert counters.received == counters.applied + counters.duplicate + counters.late + counters.held
                assert self.live or counters.held == 0
                received += counters.received
                for customer_id in store.customers():
                    profiles[customer_id] = store.get(customer_id) or b""
                assert counters.customers == sum(1 for _ in store.customers())
            finally:
                store.close()
        assert received == self.expected.received, (
            f"law 11: {received} of {self.expected.received} records were counted"
        )
        read = received + sum(self.expected.letters.values()) + self.expected.broadcast
        assert read == self.history.count()
        assert profiles.keys() == self.expected.profiles.keys()
        changed = [
            customer_id for customer_id, profile in profiles.items() if profile != self.expected.profiles[customer_id]
        ]
        assert not changed, f"profiles differ: {changed}"
