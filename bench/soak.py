"""The soak: kill -9 of the real worker, of the broker, of both logs under load, until it would have lost or repeated something.

Run from the checkout: `python bench/soak.py` (some minutes), `make soak` or `--kills 200` for the full length. A seeded
synthetic bank, with dirt, is first run undisturbed; that is the reference. Then the same input is fed while workers of 1,
2 and 4 processes are killed at random moments and started again. What a reader of committed output sees in the end must
be the reference: nothing lost, nothing twice, nothing different, per customer in the same order. docs/soak.md explains.
Exit code 1 on any difference or surprise; the folder is kept then.
"""

# ruff: noqa: E402  (the broker and the worker's process are the tests', which are no package)

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "kafka")]

from broker import Broker
from said import Said, comparable, differences, in_files, in_order_read, on_kafka, topics_of
from streams_under_load import (
    Feeder,
    FileLog,
    KafkaLog,
    KafkaReader,
    bursts,
    outputs_on_kafka,
    records_on_kafka,
    world,
)
from worker_process import CommittedReader, WorkerProcess

from dataflows.init import run as init
from dataflows.kafka_client import required_partitions
from dataflows.kafka_topics import client_settings
from simulation.runs import Message
from state.events import TOPICS
from state.settings import load_settings

Range = tuple[float, float]

LIFE_S: Range = (0.3, 4.0)
"""How long a worker lives, counted for one half of them from their start, for the other from their first checkpoint."""

BOUNDED_LIFE_S: Range = (0.0, 0.5)
"""On complete input, where little time is enough for much work."""

RECORDS_PER_KILL = 400
RECORDS_PER_CUSTOMER = 300
DAYS = 180
FIRST_CHECKPOINT_S_MAX = 15.0
BOUNDED_SHARE = 0.2
"""Of the kills on the embedded log, those on input that is complete from the beginning."""

ONE_CHILD_SHARE, STOP_SHARE = 0.2, 0.1
"""Ends of a cluster by the death of one process, and ends of any worker by SIGTERM, which must exit with 0."""

BROKER_TIMEOUT_S = 30.0
BROKER_GONE_TIMEOUT_S = 4.0
BROKER_GONE_EXIT_S_MAX = 30.0
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
    """Kills after the worker's first checkpoint."""
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

    def begin(self, name: str) -> tuple[Phase, float]:
        phase = Phase(name, len(self.messages))
        self.phases.append(phase)
        self.tell(f"{name}: {len(self.messages):,} records")
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
            if phase.kills % PROGRESS_EVERY == 0:
                self.tell(f"{phase.name}: {phase.kills} kills")

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


def finish_files(soak: Soak, phase: Phase, worker: WorkerProcess) -> None:
    code = worker.run(1, timeout_s=600)
    if code != 0:
        phase.surprises.append(f"the last run ended with {code}: {worker.told(600)}")


# ---- the embedded log


def soak_files(soak: Soak) -> Said:
    """Both phases on the embedded log; returns the reference."""
    folder, feed = soak.folder, list(bursts(soak.messages))
    complete = folder / "complete"
    log = FileLog(complete)
    for burst in feed:
        log.write(burst)
    phase, began_s = soak.begin("files, undisturbed")
    config = soak.settings("reference", "files")
    worker = soak.worker("reference", config, "--input", str(complete), "--output", str(folder / "reference" / "out"))
    finish_files(soak, phase, worker)
    reference = in_files(folder / "reference" / "out")
    soak.judge(phase, began_s, reference, reference)
    soak.tell(", ".join(f"{topic} {count:,}" for topic, count in topics_of(reference)))
    for bounded in (True, False):
        _kill_on_files(soak, reference, complete, bounded)
    return reference


def _kill_on_files(soak: Soak, reference: Said, complete: Path, bounded: bool) -> None:
    name = "files, complete" if bounded else "files, growing"
    phase, began_s = soak.begin(name)
    output = soak.folder / name / "out"
    config = soak.settings(name, "files")
    kills = round(soak.args.kills * BOUNDED_SHARE)
    if bounded:
        where = complete
        worker = soak.worker(name, config, "--input", str(where), "--output", str(output))
    else:
        where = soak.folder / name / "in"
        kills = soak.args.kills - soak.phases[-2].kills
        worker = soak.worker(name, config, "--input", str(where), "--output", str(output), "--follow")
    reader = CommittedReader(output)
    reader.start()
    state = soak.folder / name / "state"
    try:
        if bounded:
            ended = lambda: worker.starts > 0 and worker.wait(0) == 0  # noqa: E731
            soak.kill_until(phase, worker, state, kills, ended, BOUNDED_LIFE_S)
        else:
            feeder = Feeder(list(bursts(soak.messages)), FileLog(where).write, over_s=kills * 3.0)
            feeder.start()
            soak.kill_until(phase, worker, state, kills)
            soak.tell(f"{name}: {feeder.fed:,} records fed during the kills")
            worker.end()
            feeder.finish()
    finally:
        worker.end()
    worker = soak.worker(name, config, "--input", str(where), "--output", str(output))
    finish_files(soak, phase, worker)
    phase.surprises += reader.finish()
    soak.judge(phase, began_s, reference, in_files(output))


# ---- Kafka


class KafkaPhase:
    """A fresh broker with its topics, a feeder, a reader that looks on, and at the end the comparison."""

    def __init__(self, soak: Soak, name: str, broker_timeout_s: float = BROKER_TIMEOUT_S) -> None:
        self.soak = soak
        self.name = name
        self.phase, self._began_s = soak.begin(name)
        self.broker = Broker().start()
        self.config = soak.settings(name, "kafka", self.broker.bootstrap, broker_timeout_s)
        self.state = soak.folder / name / "state"
        self.worker = soak.worker(name, self.config)
        with (soak.folder / name / "init.log").open("w") as told, redirect_stdout(told):
            init(argparse.Namespace(config=self.config, input=None, output=None, state=None))
        kafka = client_settings(load_settings(self.config).kafka)
        self.log = KafkaLog(self.broker.bootstrap, required_partitions(kafka, TOPICS))
        self.reader = KafkaReader(self.broker.bootstrap)
        self.reader.start()

    def feeder(self, over_s: float) -> Feeder:
        feeder = Feeder(list(bursts(self.soak.messages)), self.log.write, over_s)
        feeder.start()
        return feeder

    def feed_all(self) -> None:
        self.log.write(self.soak.messages)

    def finish(self, reference: Said | None) -> Said:
        """Reads what is left with an undisturbed worker, then compares; without a reference the result is it."""
        bounded = self.soak.folder / f"{self.name}.bounded.toml"
        text = self.config.read_text().replace("[kafka]", "[kafka]\nend_at_high_watermark = true")
        bounded.write_text(text)
        worker = WorkerProcess(self.soak.folder / self.name / "worker.log", "--config", str(bounded))
        finish_files(self.soak, self.phase, worker)
        fed, sent = records_on_kafka(self.broker.bootstrap), len(self.soak.messages)
        if fed != sent:
            self.phase.surprises.append(
                f"the input topics hold {fed} records, {sent} were sent: the feeder is to blame"
            )
        outputs = outputs_on_kafka(self.broker.bootstrap)
        live = self.reader.finish(len(outputs))
        if Counter(live) != Counter(outputs):
            self.phase.surprises.append(f"a reader at work saw {len(live)} outputs, {len(outputs)} are there")
        found = on_kafka(outputs, headers=True)
        self.soak.judge(self.phase, self._began_s, found if reference is None else reference, found)
        self.broker.stop()
        return found if reference is not None else on_kafka(outputs, headers=True)

    def close(self) -> None:
        self.worker.end()
        self.broker.stop()


def soak_kafka(soak: Soak, in_file: Said | None) -> None:
    undisturbed = KafkaPhase(soak, "kafka, undisturbed")
    try:
        undisturbed.feed_all()
        reference = undisturbed.finish(None)
        if in_file is not None:
            compare_logs(soak, undisturbed, in_file)
    finally:
        undisturbed.close()
    for step in (kill_workers, kill_broker, lose_broker):
        step(soak, reference)


def compare_logs(soak: Soak, undisturbed: KafkaPhase, in_file: Said) -> None:
    phase, began_s = soak.begin("kafka against files")
    outputs = undisturbed.reader.read
    plain = in_order_read(comparable(on_kafka(outputs, headers=False)))
    soak.judge(phase, began_s, in_order_read(comparable(in_file)), plain)


def kill_workers(soak: Soak, reference: Said) -> None:
    work = KafkaPhase(soak, "kafka, workers killed")
    try:
        feeder = work.feeder(over_s=soak.args.kills * 3.5)
        soak.kill_until(work.phase, work.worker, work.state, soak.args.kills)
        soak.tell(f"{work.name}: {feeder.fed:,} records fed during the kills")
        work.worker.end()
        feeder.finish()
        work.finish(reference)
    finally:
        work.close()


def kill_broker(soak: Soak, reference: Said) -> None:
    """The broker dies and comes back while everybody goes on; the worker must live through it."""
    work = KafkaPhase(soak, "kafka, broker killed")
    try:
        feeder = work.feeder(over_s=soak.args.broker_kills * 8.0)
        processes = soak.rng.choice(soak.args.processes)
        work.phase.starts[str(processes)] = 1
        work.worker.start(processes)
        for _ in range(soak.args.broker_kills):
            time.sleep(soak.rng.uniform(1.0, 4.0))
            work.broker.kill()
            time.sleep(soak.rng.uniform(0.0, 2.0))
            work.broker.start()
            work.phase.broker_kills += 1
        time.sleep(3.0)
        if (code := work.worker.wait(0)) is not None:
            work.phase.surprises.append(f"the worker did not live through it: {code}: {work.worker.told(600)}")
        else:
            code = work.worker.stop(timeout_s=60)
            if code != 0:
                work.phase.surprises.append(f"a stop by SIGTERM ended with {code}: {work.worker.told(600)}")
        feeder.finish()
        work.finish(reference)
    finally:
        work.close()


def lose_broker(soak: Soak, reference: Said) -> None:
    """The broker stays away: the worker must say so and end; when it is back, nothing is lost."""
    work = KafkaPhase(soak, "kafka, broker away", BROKER_GONE_TIMEOUT_S)
    try:
        feeder = work.feeder(over_s=10.0)
        work.worker.start()
        time.sleep(5.0)
        work.broker.kill()
        work.phase.broker_kills = 1
        began_s = time.monotonic()
        code = work.worker.wait(BROKER_GONE_EXIT_S_MAX)
        took_s = time.monotonic() - began_s
        last = work.worker.told().strip().splitlines()[-1:]
        soak.tell(f"{work.name}: exit {code} after {took_s:.1f} s (broker_timeout_s {BROKER_GONE_TIMEOUT_S}): {last}")
        if code != 1:
            work.phase.surprises.append(f"exit code {code} after {took_s:.1f} s without the broker, not 1")
            work.worker.end()
        work.broker.start()
        feeder.finish()
        work.finish(reference)
    finally:
        work.close()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=["files", "kafka", "both"], default="both")
    parser.add_argument("--kills", type=int, default=12, help="of the worker, on each log (default 12)")
    parser.add_argument("--broker-kills", type=int, default=3, help="default 3")
    parser.add_argument("--records", type=int, help=f"of the input (default {RECORDS_PER_KILL} a kill)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", default="1,2,4", help="process counts to draw from (default 1,2,4)")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "soak.json", metavar="FILE")
    args = parser.parse_args()
    args.processes = [int(count) for count in args.processes.split(",")]
    return args


def table(phases: list[Phase]) -> Table:
    made = Table(title="soak", title_justify="left")
    headings = ("phase", "records", "kills", "at work", "one process", "stops", "broker", "starts", "s", "said")
    for heading in (*headings, "lost", "twice", "different", "surprises"):
        made.add_column(heading, justify="left" if heading == "phase" else "right")
    for p in phases:
        starts = " ".join(f"{count}×{processes}" for processes, count in sorted(p.starts.items()))
        numbers = (p.records, p.kills, p.at_work, p.one_process, p.stops, p.broker_kills, starts, p.seconds, p.said)
        made.add_row(p.name, *map(str, (*numbers, p.lost, p.duplicated, p.different, len(p.surprises))))
    return made


def main() -> int:
    args = parse_arguments()
    folder = Path(tempfile.mkdtemp(prefix="segone-soak-"))
    soak = Soak(args, folder)
    soak.tell(f"seed {args.seed}, {len(soak.messages):,} records, in {folder}")
    in_file = soak_files(soak) if args.log != "kafka" else None
    if args.log != "files":
        soak_kafka(soak, in_file)
    Console(width=160).print(table(soak.phases))
    passed = all(phase.passed for phase in soak.phases)
    args.json.parent.mkdir(parents=True, exist_ok=True)
    shown = {"seed": args.seed, "passed": passed, "phases": [asdict(phase) for phase in soak.phases]}
    args.json.write_bytes(orjson.dumps(shown, option=orjson.OPT_INDENT_2))
    if passed:
        shutil.rmtree(folder)
    else:
        print(f"FAILED with --seed {args.seed}; everything is kept in {folder}", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
