"""The parts of bench/run.py: each measures one thing in processes of its own and returns rows of a table."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from detectors import costs
from speed_kafka import PARTITIONS, broker_on, committed, feed, make_topic, payments, settings_file
from speed_latency import PATIENCE_AT_START_S, Reader, latencies_ms
from speed_simple import TOPIC_IN
from worker_seed import DAYS, seeded

from dataflows.knowledge.offline import OfflineKnowledge
from operators.across import Across
from operators.customer_step import CustomerStep, make_policy
from operators.decode import Decoder, Rejection
from operators.detector import HOOKS
from operators.encode import encode, is_written
from operators.knowledge.board import Board
from simulation.settings import WorldSettings
from simulation.world import stream
from state.events import Event
from state.memory_store import MemoryStore
from state.records import Record
from state.settings_reading import load_settings
from state.shard import Shard

ROOT = Path(__file__).resolve().parent.parent
QUIX_PYTHON = ROOT / ".cache" / "quix" / "bin" / "python"
"""`make bench` makes it: Quix pins a confluent-kafka that is older than ours."""
WORKER_CORE, BROKER_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
LOADS = (0.25, 0.5, 0.75)
BATCH = 500

Row = dict[str, Any]


class Sizes(NamedTuple):
    """How much is measured."""

    customers: int
    days: int
    payments: int
    payers: int
    residents: int
    """Customers of (e)."""
    load_s: float
    growth: tuple[int, ...]
    growth_checkpoints: int
    seed: int


def floor(sizes: Sizes, folder: Path) -> list[Row]:
    """(a) Decode, profile, detectors, learning across customers and encoding in a plain loop: no engine, no log, nothing durable."""
    settings, board = load_settings(environment={}), Board()
    knowledge, decoder = OfflineKnowledge(settings, board), Decoder()
    step = CustomerStep(settings.detectors, settings.digest(), across=Across(settings.knowledge, board))
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    records = [
        Record(message.topic, 0, number, message.arrival_us, message.key, message.value)
        for number, message in enumerate(world(sizes))
    ]
    with on_core(WORKER_CORE):
        began_s = time.process_time()
        for first in range(0, len(records), BATCH):
            for begins_us, group in knowledge.by_bucket(records[first : first + BATCH]):
                if begins_us is not None:
                    for _ in knowledge.close(begins_us, {0: shard.counters.customers}):
                        pass
                events: list[Event] = []
                for record in group:
                    event = decoder.decode(record)
                    if not isinstance(event, Rejection):
                        events.append(event)
                for emission in shard.apply(events, 0) + shard.advance(0, group[-1].arrival_us):
                    knowledge.learn(emission.body)
                    if is_written(emission):
                        encode(emission)
        cpu_s = time.process_time() - began_s
    return [row("a floor: plain loop", len(records), cpu_s)]


def embedded(sizes: Sizes, folder: Path) -> list[Row]:
    """(b) The worker on the embedded log."""
    found = run_on_files(bank(sizes, folder), folder / "embedded", folder / "embedded.json")
    return [row("b embedded log", found["events"], found["cpu_s"])]


def kafka(sizes: Sizes, folder: Path, bootstrap: str) -> list[Row]:
    """(c) The worker on Kafka, exactly once, with its checkpoints."""
    config = settings_file(folder, bootstrap, "full", end_at_high_watermark=True)
    feed(bootstrap, "full.", world(sizes))
    found = worker(folder / "kafka.json", "run", "--config", str(config))
    return [row("c Kafka, exactly once", found["events"], found["cpu_s"], found["events"] / found["wall_s"])]


def simple(sizes: Sizes, folder: Path, bootstrap: str) -> list[Row]:
    """(d) The peers' simple work: ours, by hand, Quix twice; their outputs must be equal."""
    make_topic(bootstrap, TOPIC_IN)
    count = feed(bootstrap, "", payments(sizes.payments, sizes.payers, sizes.seed, TOPIC_IN))
    quix = [str(QUIX_PYTHON), "bench/speed_quix.py"]
    contestants: dict[str, Callable[[str], list[str]]] = {
        "d simple work, ours, exactly once": lambda out: [
            sys.executable, "bench/speed_flow.py", bootstrap, out, str(folder / out),
        ],
        "d simple work, by hand, no guarantee": lambda out: [
            sys.executable, "bench/speed_loop.py", bootstrap, out, str(count),
        ],
    }  # fmt: skip
    if QUIX_PYTHON.exists():
        for guarantee in ("exactly-once", "at-least-once"):
            contestants[f"d simple work, Quix, {guarantee}"] = partial(_quix, quix, bootstrap, count, guarantee, folder)
    rows, expected = [], None
    for number, (name, command) in enumerate(contestants.items()):
        out = f"simple-{number}"
        make_topic(bootstrap, out)
        found = orjson.loads(pinned(command(out)).splitlines()[-1])
        said = committed(bootstrap, out, count)
        expected = said if expected is None else expected
        rows.append(row(name, count, found["cpu_s"]) | {"outputs": said.total(), "equal": said == expected})
    ours = rows[0]["events_per_cpu_s"]
    return [one | {"ours_to_this": round(ours / one["events_per_cpu_s"], 2)} for one in rows]


def _quix(quix: list[str], bootstrap: str, count: int, guarantee: str, folder: Path, out: str) -> list[str]:
    return [*quix, bootstrap, out, str(count), guarantee, str(folder / out)]


def latency(sizes: Sizes, folder: Path, bootstrap: str) -> list[Row]:
    """(e) From the producer to a read-committed reader of the score, at shares of what the worker does of these payments at most."""
    config = settings_file(folder, bootstrap, "live")
    lived_from = datetime.now(UTC).date() - timedelta(days=DAYS + 1)
    command = [*seeded(sizes.residents, sizes.seed, lived_from), "run", "--config", str(config)]
    with (folder / "live.log").open("ab") as log, on_core(WORKER_CORE):
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        with on_core(BROKER_CORE):  # who sends and who reads must not take time from the worker
            return _at_loads(sizes, bootstrap)
    finally:
        process.terminate()
        process.wait(60)


def _at_loads(sizes: Sizes, bootstrap: str) -> list[Row]:
    reader = Reader(bootstrap, "live.scores")
    reader.start()
    measure = partial(latencies_ms, bootstrap, "live.", customers=sizes.residents, partitions=PARTITIONS, reader=reader)
    # Until all is in place, and everybody has paid today: what a night and perhaps a week has left to do is done then.
    measure(rate=sizes.residents / sizes.load_s, duration_s=sizes.load_s + 1.0, patience_s=PATIENCE_AT_START_S)
    began_s = time.monotonic()
    measure(rate=float(sizes.residents), duration_s=1.0, patience_s=PATIENCE_AT_START_S)
    capacity = sizes.residents / (time.monotonic() - began_s)
    rows = []
    for load in LOADS:
        found = sorted(measure(rate=max(20.0, load * capacity), duration_s=sizes.load_s))
        quantiles = {f"p{share}_ms": round(found[int(share / 100 * (len(found) - 1))], 1) for share in (50, 99, 99.9)}
        rows.append(
            {"what": f"e latency at {load:.0%}", "events": len(found), "rate": round(load * capacity), **quantiles}
        )
    reader.enough.set()
    reader.join()
    return rows


def growth(sizes: Sizes, folder: Path) -> list[Row]:
    """(f) The real worker over stores of many customers (bench/worker.py)."""
    rows = []
    for customers in sizes.growth:
        result = folder / f"growth-{customers}.json"
        limits = ["--customers", str(customers), "--checkpoints", str(sizes.growth_checkpoints), "--rate", "1000"]
        places = ["--folder", str(folder.parent / "bench-worker"), "--json", str(result)]
        subprocess.run(
            [sys.executable, "bench/worker.py", *limits, *places], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
        )
        found = orjson.loads(result.read_bytes())
        wanted = ("cpu_us_per_event", "anonymous_mb", "disk_bytes_per_customer", "restart_warm_s", "restart_cold_s")
        rows.append({"what": f"f {customers:,} customers", **{name: found[name] for name in wanted}})
    return rows


def processes(sizes: Sizes, folder: Path) -> list[Row]:
    """(g) One process and two on the embedded log: wall time, on all cores, the start included."""
    events = bank(sizes, folder)
    lines = sum(path.read_bytes().count(b"\n") for path in events.glob("*/*.jsonl"))
    took_s: list[float] = []
    for number in (1, 2):
        out = folder / f"processes-{number}"
        command = [
            "-m",
            "dataflows.cli",
            "run",
            "--input",
            str(events),
            "--output",
            str(out),
            "--processes",
            str(number),
        ]
        began_s = time.monotonic()
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True)
        took_s.append(time.monotonic() - began_s)
    return [
        {
            "what": f"g {number} process(es)",
            "events": lines,
            "events_per_s": round(lines / s),
            "speedup": round(took_s[0] / s, 2),
        }
        for number, s in enumerate(took_s, 1)
    ]


def detectors(sizes: Sizes, folder: Path) -> list[Row]:
    """(h) What each detector's hooks take, in microseconds a transaction."""
    with on_core(WORKER_CORE):
        _, found = costs(sizes.customers, sizes.days, sizes.seed)
    return [
        {
            "what": f"h {name}",
            **{f"{hook}_us": round(spent[hook], 2) for hook in HOOKS},
            "says_in_1000": round(spent["found"], 2),
        }
        for name, spent in found.items()
    ]


def row(what: str, events: int, cpu_s: float, per_s: float | None = None) -> Row:
    found = {"what": what, "events": events, "cpu_s": round(cpu_s, 2), "events_per_cpu_s": round(events / cpu_s)}
    return found if per_s is None else found | {"events_per_s": round(per_s)}


def world(sizes: Sizes) -> Any:
    return stream(WorldSettings(sizes.customers, sizes.days, sizes.seed))


def bank(sizes: Sizes, folder: Path) -> Path:
    """The same world as an embedded log; made once."""
    out = folder / "bank"
    if not out.exists():
        wanted = ["--customers", sizes.customers, "--days", sizes.days, "--seed", sizes.seed, "--out", out]
        command = [sys.executable, "-m", "dataflows.cli", "simulate", *map(str, wanted)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return out / "events"


def run_on_files(events: Path, out: Path, result: Path) -> dict[str, float]:
    return worker(result, "run", "--input", str(events), "--output", str(out))


def worker(result: Path, *arguments: str) -> dict[str, float]:
    pinned([sys.executable, "bench/speed_worker.py", str(result), *arguments])
    found: dict[str, float] = orjson.loads(result.read_bytes())
    return found


class on_core:  # noqa: N801 - reads like open()
    """This process, and those that it starts, on one core."""

    def __init__(self, core: int) -> None:
        self._core = core
        self._allowed = os.sched_getaffinity(0)

    def __enter__(self) -> None:
        os.sched_setaffinity(0, {self._core})

    def __exit__(self, *_: object) -> None:
        os.sched_setaffinity(0, self._allowed)


def pinned(command: list[str]) -> str:
    """Runs a command on the worker's core; what it wrote to its output. Raises SystemExit with the end of its errors."""
    with on_core(WORKER_CORE):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def with_broker(wanted: set[str], sizes: Sizes, folder: Path) -> list[Row]:
    """(c), (d) and (e), as far as wanted, on one broker."""
    rows: list[Row] = []
    with broker_on(BROKER_CORE) as bootstrap:
        if "c" in wanted:
            rows += kafka(sizes, folder, bootstrap)
        if "d" in wanted:
            rows += simple(sizes, folder, bootstrap)
        if "e" in wanted:
            rows += latency(sizes, folder, bootstrap)
    return rows


PARTS: dict[str, Callable[[Sizes, Path], list[Row]]] = {
    "a": floor,
    "b": embedded,
    "f": growth,
    "g": processes,
    "h": detectors,
}
"""Those that need no broker."""
