"""A deterministic stand-in for Bytewax 0.21.1: the same hooks in the same order, and every choice that the real one leaves to the
clock, the network and the scheduler is drawn from a seed.

What it keeps of the real protocol (src/inputs.rs, operators.rs, outputs.rs, recovery.rs of the engine):
- what shards report to knowledge keys goes the way of what goes to sinks, and keys are snapshotted after the shards;
- each source partition ends its epoch by itself, with a snapshot; it is asked for a batch of the next one only when everything of
  the epoch has been written and the recovery is committed on all processes;
- a shard's items come in the order of each source process, grouped into activations of any size; shards awoken in the epoch are
  snapshotted in the order of their keys, then the sink partitions written to;
- a shard may be notified at any time, also in the moment between its snapshot and the commit, and then speaks in the next epoch;
- rows are written before the fronts; an execution resumes at the lowest front of the one before; rows of an epoch that was
  never committed stay and are offered again if nothing replaces them;
- partitions and shards belong to any process, and to another one after a restart.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Any

from bytewax.inputs import AbortExecution

from dataflows.batches import KnowledgeBatch, OutputBatch
from dataflows.knowledge.logic import KnowledgeLogic
from dataflows.route import ShardBatch
from dataflows.shard_logic import ShardLogic
from dataflows.worker import Worker

SOURCE, SHARD, KEY, SINK = "records", "customers", "knowledge", "written"

EPOCHS_MAX = 3000

Point = Callable[[str], None]
Item = tuple[str, Any]


class Recovery:
    """What the engine keeps on the disk: a state for each step, key and epoch, and how far each process came."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str], dict[int, bytes]] = {}
        self._fronts: list[int] = [1]

    @property
    def resume_epoch(self) -> int:
        return min(self._fronts)

    def begin(self, processes: int) -> None:
        """A new execution: nobody has got further than where it resumes."""
        self._fronts = [self.resume_epoch] * processes

    def load(self, step: str) -> dict[str, bytes]:
        """The newest state of each key from before the epoch at which to resume."""
        found: dict[str, bytes] = {}
        for (of, key), states in sorted(self.rows.items()):
            epochs = [epoch for epoch in states if epoch < self.resume_epoch]
            if of == step and epochs:
                found[key] = states[max(epochs)]
        return found

    def write(self, step: str, key: str, epoch: int, state: bytes) -> None:
        self.rows.setdefault((step, key), {})[epoch] = state

    def advance(self, process: int, epoch: int) -> None:
        self._fronts[process] = epoch


class Process:
    """One process of the cluster: its worker, and what it was given of partitions and shards."""

    def __init__(self, number: int, worker: Worker) -> None:
        self.number = number
        self.worker = worker
        self.shards: dict[str, ShardLogic] = {}
        self.keys: dict[str, KnowledgeLogic] = {}
        self.sinks: dict[str, Any] = {}
        self.awoken_shards: set[str] = set()
        self.awoken_keys: set[str] = set()
        self.awoken_sinks: set[str] = set()


class Stopped(Exception):
    """A source has ended the execution of process `number` in good order."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Cluster:
    """One execution of the flow, from start to its end or death."""

    def __init__(
        self,
        workers: list[Worker],
        make_logic: Callable[[Worker, bytes | None], ShardLogic],
        recovery: Recovery,
        random_: random.Random,
        point: Point,
        between: Callable[[], None],
    ) -> None:
        """`between` is called between any two steps: the outside world goes on there."""
        recovery.begin(len(workers))
        self.processes = [Process(number, worker) for number, worker in enumerate(workers)]
        self.epoch = recovery.resume_epoch
        self._make_logic = make_logic
        self._recovery = recovery
        self._random = random_
        self._point = point
        self._between = between
        self._owners: dict[tuple[str, str], Process] = {}
        self._to_shards: dict[tuple[int, int], deque[Item]] = {}
        self._to_keys: dict[tuple[int, int], deque[Item]] = {}
        self._to_sinks: dict[tuple[str, int, int], deque[Item]] = {}
        self._asked: set[str] = set()
        self._early: list[tuple[int, Item]] = []
        self._rows: list[tuple[str, str, bytes]] = []
        self._pace = random_.choice((0.1, 0.3, 0.6))
        self._load()

    @property
    def quiet(self) -> bool:
        """Whether nothing is on its way to the shards and the knowledge keys."""
        return not any(self._to_shards.values()) and not any(self._to_keys.values())

    def run(self) -> None:
        """Epoch after epoch until all sources are at their end. Raises Stopped, or whatever the production code raises."""
        told = False
        while not told:
            assert self.epoch < EPOCHS_MAX, "it never ends"
            self._run_epoch()
            # Shards learn of the end in the last source's epoch or in the one after it.
            told = not self.sources and self._random.random() < 0.5
            self._close_epoch(told)

    def finish(self, numbers: list[int]) -> None:
        """After a clean end each process puts its affairs in order."""
        for number in numbers:
            self._point("worker.before_finish")
            self.processes[number].worker.finish()
            self._point("worker.finished")

    def notify(self) -> None:
        """The wall clock reaches the time that the shards asked for."""
        for process in self._shuffled():
            self._notify(process, lambda item, number=process.number: self._send_on(number, item))  # type: ignore[misc]

    # ---- the start

    def _load(self) -> None:
        first = self.processes[0].worker
        sources = self._recovery.load(SOURCE)
        self.sources: dict[str, Any] = {}
        for part in first.source.list_parts():
            worker = self._owner(SOURCE, part).worker
            self.sources[part] = worker.source.build_part(SOURCE, part, sources.get(part))
        for key, state in self._recovery.load(SHARD).items():
            process = self._owner(SHARD, key)
            process.shards[key] = self._make_logic(process.worker, state)
        for key, state in self._recovery.load(KEY).items():
            process = self._owner(KEY, key)
            process.keys[key] = self._make_key(process.worker, state)
        self._sink_parts = sorted(first.sink.list_parts())
        for part, state in self._recovery.load(SINK).items():
            process = self._owner(SINK, part)
            process.sinks[part] = process.worker.sink.build_part(SINK, part, state)
        self._point("engine.loaded")

    def _make_key(self, worker: Worker, resume: bytes | None) -> KnowledgeLogic:
        return KnowledgeLogic(resume, worker.open_key, worker.sink_partitions)

    def _owner(self, step: str, key: str) -> Process:
        if (step, key) not in self._owners:
            self._owners[step, key] = self._random.choice(self.processes)
        return self._owners[step, key]

    # ---- within an epoch

    def _run_epoch(self) -> None:
        running = sorted(self.sources)
        asks_left = self._random.choice((0, 3, 8, 1000))  # 0: all sleep through the epoch, unless it is their first
        while running:
            self._between()
            draw = self._random.random()
            if draw < 0.5:
                part = self._random.choice(running)
                asks = asks_left > 0 or part not in self._asked
                ended = asks and self._ask(part)
                if ended or not asks or self._random.random() < self._pace:
                    self._end_source_epoch(part)
                    running.remove(part)
                    if ended:
                        del self.sources[part]
                asks_left -= 1
            elif draw < 0.7:
                self._activate_shards(self._random.choice(self.processes), drain=False)
            elif draw < 0.85:
                self._activate_keys(self._random.choice(self.processes), drain=False)
            else:
                self._activate_sinks(self._random.choice(self.processes), drain=False)

    def _ask(self, part: str) -> bool:
        """Asks a source partition for a batch and routes it; True if it is at its end."""
        process = self._owner(SOURCE, part)
        self._asked.add(part)
        self._point("source.before_batch")
        try:
            batches = self.sources[part].next_batch()
        except StopIteration:
            return True
        except AbortExecution:
            raise Stopped(process.number) from None
        self._point("source.batch_taken")
        for key, item in process.worker.router(batches):
            if isinstance(item, ShardBatch):
                channel = (process.number, self._owner(SHARD, key).number)
                self._to_shards.setdefault(channel, deque()).append((key, item))
            else:
                self._send_to_sink(("source", process.number), (key, item))
        return False

    def _end_source_epoch(self, part: str) -> None:
        self._point("source.before_snapshot")
        state = self.sources[part].snapshot()
        self._point("source.snapshot_taken")
        self._rows.append((SOURCE, part, state))

    def _send_to_sink(self, origin: tuple[str, int], item: Item) -> None:
        part = self._sink_parts[self.processes[0].worker.sink.part_fn(item[0]) % len(self._sink_parts)]
        channel = (*origin, self._owner(SINK, part).number)
        self._to_sinks.setdefault(channel, deque()).append((part, item[1]))

    def _send_on(self, number: int, item: Item) -> None:
        """What a shard of process `number` has to say, to whom it concerns."""
        if isinstance(item[1], KnowledgeBatch):
            channel = (number, self._owner(KEY, item[0]).number)
            self._to_keys.setdefault(channel, deque()).append(item)
        else:
            self._send_to_sink(("shards", number), item)

    def _activate_shards(self, process: Process, *, drain: bool) -> None:
        """What has come so far (or a part of it) goes to the shards in the order of their keys, one call for each."""
        by_key: dict[str, list[ShardBatch]] = {}
        channels = [queue for (_, to), queue in sorted(self._to_shards.items()) if to == process.number and queue]
        self._random.shuffle(channels)
        for queue in channels:
            for _ in range(len(queue) if drain else self._random.randint(1, len(queue))):
                key, batch = queue.popleft()
                by_key.setdefault(key, []).append(batch)
        for key, batches in sorted(by_key.items()):
            if key not in process.shards:
                process.shards[key] = self._make_logic(process.worker, None)
            self._point("shard.before_batch")
            said, _ = process.shards[key].on_batch(batches)
            self._point("shard.batch_done")
            process.awoken_shards.add(key)
            for item in said:
                self._send_on(process.number, item)

    def _activate_keys(self, process: Process, *, drain: bool) -> None:
        """The same for the knowledge keys."""
        by_key: dict[str, list[KnowledgeBatch]] = {}
        channels = [queue for (_, to), queue in sorted(self._to_keys.items()) if to == process.number and queue]
        self._random.shuffle(channels)
        for queue in channels:
            for _ in range(len(queue) if drain else self._random.randint(1, len(queue))):
                key, batch = queue.popleft()
                by_key.setdefault(key, []).append(batch)
        for key, batches in sorted(by_key.items()):
            if key not in process.keys:
                process.keys[key] = self._make_key(process.worker, None)
            self._point("key.before_batch")
            said, _ = process.keys[key].on_batch(batches)
            self._point("key.batch_done")
            process.awoken_keys.add(key)
            for item in said:
                self._send_to_sink(("keys", process.number), item)

    def _activate_sinks(self, process: Process, *, drain: bool) -> None:
        by_part: dict[str, list[OutputBatch]] = {}
        channels = [queue for (*_, to), queue in sorted(self._to_sinks.items()) if to == process.number and queue]
        self._random.shuffle(channels)
        for queue in channels:
            for _ in range(len(queue) if drain else self._random.randint(1, len(queue))):
                part, batch = queue.popleft()
                by_part.setdefault(part, []).append(batch)
        for part, batches in sorted(by_part.items()):
            if part not in process.sinks:
                process.sinks[part] = process.worker.sink.build_part(SINK, part, None)
            self._point("sink.before_write")
            process.sinks[part].write_batch(batches)
            self._point("sink.written")
            process.awoken_sinks.add(part)

    def _notify(self, process: Process, send: Callable[[Item], None]) -> None:
        for key, logic in sorted(process.shards.items()):
            if logic.notify_at() is not None:
                said, _ = logic.on_notify()
                process.awoken_shards.add(key)
                for item in said:
                    send(item)

    # ---- the end of an epoch

    def _close_epoch(self, ended: bool) -> None:
        for process in self._shuffled():
            self._activate_shards(process, drain=True)
            if ended:
                self._end_shards(process)
            self._snapshot_shards(process)
            if not ended and self._random.random() < 0.5:
                self._notify(process, lambda item, number=process.number: self._early.append((number, item)))  # type: ignore[misc]
            self._write_rows(all_of_them=False)
        for process in self._shuffled():
            self._activate_keys(process, drain=True)
            for key in sorted(process.awoken_keys):
                self._point("key.before_snapshot")
                self._rows.append((KEY, key, process.keys[key].snapshot()))
                self._point("key.snapshot_taken")
            process.awoken_keys.clear()
            self._write_rows(all_of_them=False)
        for process in self._shuffled():
            self._activate_sinks(process, drain=True)
            for part in sorted(process.awoken_sinks):
                self._point("sink.before_snapshot")
                self._rows.append((SINK, part, process.sinks[part].snapshot()))
                self._point("sink.snapshot_taken")
            process.awoken_sinks.clear()
            self._write_rows(all_of_them=False)
        for number, item in self._early:  # timers spoke in the next epoch before this one is committed
            self._send_on(number, item)
        self._early.clear()
        if self._random.random() < 0.5:
            for process in self.processes:
                self._activate_keys(process, drain=False)
                self._activate_sinks(process, drain=False)
        self._write_rows(all_of_them=True)
        for process in self._shuffled():
            self._point("engine.before_front")
            self._recovery.advance(process.number, self.epoch + 1)
            self._point("engine.front_written")
        self._point("engine.committed")
        self.epoch += 1
        self._between()

    def _end_shards(self, process: Process) -> None:
        for key, logic in sorted(process.shards.items()):
            said, _ = logic.on_eof()
            process.awoken_shards.add(key)
            for item in said:
                self._send_on(process.number, item)
            self._point("shard.ended")

    def _snapshot_shards(self, process: Process) -> None:
        for key in sorted(process.awoken_shards):
            self._point("shard.before_snapshot")
            self._rows.append((SHARD, key, process.shards[key].snapshot()))
            self._point("shard.snapshot_taken")
        process.awoken_shards.clear()

    def _write_rows(self, *, all_of_them: bool) -> None:
        self._random.shuffle(self._rows)
        while self._rows and (all_of_them or self._random.random() < 0.5):
            self._point("engine.before_row")
            step, key, state = self._rows.pop()
            self._recovery.write(step, key, self.epoch, state)
            self._point("engine.row_written")

    def _shuffled(self) -> list[Process]:
        return self._random.sample(self.processes, len(self.processes))
