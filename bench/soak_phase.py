"""A phase of the soak: a worker that is killed again and again, and what it said held against the reference."""

from __future__ import annotations

import argparse
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from said import Said, differences
from streams_under_load import world
from worker_process import WorkerProcess

from simulation.runs import Message

Range = tuple[float, float]

LIFE_S: Range = (0.3, 4.0)
"""How long a worker lives, counted for one half of them from their start, for the other from their first checkpoint."""

BOUNDED_LIFE_S: Range = (0.0, 0.5)
"""On complete input, where little time is enough for much work."""

RECORDS_PER_KILL = 400
RECORDS_PER_CUSTOMER = 300
DAYS = 180
FIRST_CHECKPOINT_S_MAX = 30.0
BOUNDED_SHARE = 0.2
"""Of the kills on the embedded log, those on input that is complete from the beginning."""

ONE_CHILD_SHARE, STOP_SHARE = 0.2, 0.1
"""Ends of a cluster by the death of one process, and ends of any worker by SIGTERM, which must exit with 0."""

BROKER_TIMEOUT_S = 30.0
PROGRESS_EVERY = 10

SETTINGS = """\
[log]
kind = "{kind}"
batch_records_max = 100
[kafka]
bootstrap_servers = "{bootstrap}"
broker_timeout_s = {broker_timeout_s}
[shard]
count = 16
allowed_lateness_s = 21600.0
[state]
dir = "{state}"
checkpoint_interval_ms = 200
[detectors.transaction]
threshold = 0.01
[detectors.velocity]
threshold = 0.05
count_min = 2
"""
"""Detectors that speak readily, so that there is much to lose; shorter lateness, so that timers fire and some is late."""


@dataclass
class Phase:
    """One row of the table."""

    name: str
    records: int
    kills: int = 0
    at_work: int = 0
    """Lives in which the worker got as far as a checkpoint."""
    one_process: int = 0
    stops: int = 0
    broker_kills: int = 0
    starts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    said: int = 0
    lost: int = 0
    duplicated: int = 0
    different: int = 0
    surprises: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not (self.lost or self.duplicated or self.different or self.surprises)


class Soak:
    """What all phases share: the input, the random numbers, the place for files."""

    def __init__(self, args: argparse.Namespace, folder: Path) -> None:
        self.args = args
        self.folder = folder
        self.rng = random.Random(args.seed)
        self.phases: list[Phase] = []
        records = args.records or max(8000, RECORDS_PER_KILL * args.kills)
        customers = max(30, records // RECORDS_PER_CUSTOMER)
        self.messages: list[Message] = world(customers, DAYS, args.seed, records)
        self._began_s = time.monotonic()

    def tell(self, text: str) -> None:
        print(f"[{time.monotonic() - self._began_s:6.1f} s] {text}", flush=True)

    def settings(self, name: str, kind: str, bootstrap: str = "", broker_timeout_s: float = BROKER_TIMEOUT_S) -> Path:
        """A settings file with a state folder of its own."""
        path = self.folder / f"{name}.toml"
        state = self.folder / name / "state"
        path.write_text(SETTINGS.format(kind=kind, bootstrap=bootstrap, broker_timeout_s=broker_timeout_s, state=state))
        return path

    def worker(self, name: str, config: Path, *arguments: str) -> WorkerProcess:
        (self.folder / name).mkdir(exist_ok=True)
        return WorkerProcess(self.folder / name / "worker.log", "--config", str(config), *arguments)

    def begin(self, name: str, records: int | None = None) -> tuple[Phase, float]:
        """A phase over so many records, by default the whole input."""
        phase = Phase(name, len(self.messages) if records is None else records)
        self.phases.append(phase)
        self.tell(f"{name}: {phase.records:,} records")
        return phase, time.monotonic()

    def judge(self, phase: Phase, began_s: float, reference: Said, found: Said) -> None:
        result = differences(reference, found)
        phase.said, phase.lost, phase.duplicated, phase.different, first = result
        phase.seconds = round(time.monotonic() - began_s, 1)
        self.tell(
            f"{phase.name}: said {phase.said:,}, lost {phase.lost}, duplicated {phase.duplicated}, different "
            f"{phase.different}, surprises {len(phase.surprises)} (seed {self.args.seed})"
        )
        for line in [*first, *phase.surprises]:
            print(f"    {line[:1000]}", flush=True)

    def kill_until(
        self,
        phase: Phase,
        worker: WorkerProcess,
        state: Path,
        kills: int,
        over: Callable[[], bool] = lambda: False,
        lives_s: Range = LIFE_S,
    ) -> None:
        """Starts and ends the worker until it has been killed `kills` times, or `over`."""
        while phase.kills < kills and not over():
            processes = self.rng.choice(self.args.processes)
            phase.starts[str(processes)] = phase.starts.get(str(processes), 0) + 1
            before = checkpoints(state)
            worker.start(processes)
            life_s = self.rng.uniform(*lives_s)
            if lives_s is not LIFE_S or self.rng.random() < 0.5:
                wait_until(
                    lambda: checkpoints(state) != before or worker.wait(0) is not None,  # noqa: B023
                    FIRST_CHECKPOINT_S_MAX,
                )
            code = worker.wait(life_s)
            phase.at_work += checkpoints(state) != before
            if code is not None:
                if not (code == 0 and over()):
                    phase.surprises.append(f"the worker ended by itself with {code}: {worker.told(600)}")
                if len(phase.surprises) > 3:
                    return
                continue
            self._end(phase, worker, processes)

    def _end(self, phase: Phase, worker: WorkerProcess, processes: int) -> None:
        how = self.rng.random()
        if how < STOP_SHARE:
            phase.stops += 1
            code = worker.stop(timeout_s=30)
            if code not in (0, -signal.SIGTERM):  # the latter: asked before it could hear, so nothing had begun
                phase.surprises.append(f"a stop by SIGTERM ended with {code}: {worker.told(600)}")
        elif processes > 1 and how < STOP_SHARE + ONE_CHILD_SHARE and worker.kill_child(self.rng.randrange(processes)):
            phase.one_process += 1
            phase.kills += 1
            code = worker.wait(30)
            if code != 1:
                phase.surprises.append(f"one of {processes} processes was killed, the exit code was {code}")
            worker.end()
        else:
            phase.kills += 1
            worker.kill()
        if how >= STOP_SHARE and phase.kills % PROGRESS_EVERY == 0:
            self.tell(f"{phase.name}: {phase.kills} kills")


def checkpoints(state: Path) -> int:
    """Bytes in the redo logs: something else after each checkpoint that touched a customer."""
    total = 0
    for path in state.glob("shards/*/redo-*.log"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def wait_until(condition: Callable[[], bool], patience_s: float) -> None:
    give_up_s = time.monotonic() + patience_s
    while not condition() and time.monotonic() < give_up_s:
        time.sleep(0.02)


def read_the_rest(phase: Phase, worker: WorkerProcess) -> None:
    """One undisturbed process reads what is left of bounded input."""
    code = worker.run(1, timeout_s=600)
    if code != 0:
        phase.surprises.append(f"the last run ended with {code}: {worker.told(600)}")
