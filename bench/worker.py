"""The real worker over a store of a million customers: pauses at checkpoints, cost, memory, disk and restart.

    python bench/worker.py [--customers 1000000] [--rate 10000] [--checkpoints 100] [--processes 1] [--access zipf|uniform]

The store is seeded once, through the production shards, with profiles of `segone simulate` under a million names; it is kept in
--folder, where the next run goes on with it. Then a writer appends transactions to an embedded log at the given rate, and
`segone run --follow` reads them.
Event time runs so fast that each customer has two transactions a day: windows move and entries mature as in life.

What is measured, and how:
pause      from the first shard's checkpoint of an epoch until the source is asked for records again: all snapshots and the engine's
           commit, during which nothing flows (bench/worker_probe.py, inside the worker)
lag        at the writer, once a second: lines written, less events applied
cpu        user and system time of all processes per applied event, after the first ten seconds
memory     anonymous memory (RssAnon), the largest sum over the processes
restart    from starting the process after kill -9 until the first event is applied, warm, and with the state's files dropped from the
           page cache (posix_fadvise); the writer does not stop, so there is always something to apply
"""

from __future__ import annotations

import argparse
import atexit
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.worker_seed import TRANSACTIONS, customer_name, note_begin, seed  # noqa: E402
from state.digest import partition_of  # noqa: E402
from state.times import rfc3339  # noqa: E402
from state.windows import DAY_US  # noqa: E402

PARTITIONS = 4
WRITE_S = 0.02
WARM_UP_S = 10.0
PER_CUSTOMER_AND_DAY = 2


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=10_000, help="transactions a second (default 10000)")
    parser.add_argument("--checkpoints", type=int, default=100, help="to measure (default 100)")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--access", choices=["zipf", "uniform"], default="zipf")
    parser.add_argument("--hot", type=int, default=40_000, help="live profiles per process (default 40000)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=ROOT / "out" / "bench-worker")
    parser.add_argument("--json", type=Path, default=ROOT / "bench" / "results" / "worker.json", metavar="FILE")
    return parser.parse_args()


class Writer(threading.Thread):
    """Appends transactions at a steady rate until told to stop."""

    def __init__(self, args: argparse.Namespace, folder: Path, begin_us: int) -> None:
        super().__init__(daemon=True)
        self.written = 0
        self.enough = threading.Event()
        self._random = random.Random(args.seed)
        self._customers, self._rate, self._zipf = args.customers, args.rate, args.access == "zipf"
        self._begin_us = begin_us
        self._run = secrets.token_hex(4)
        self._step_us = DAY_US / (PER_CUSTOMER_AND_DAY * args.customers)
        topic = folder / "in.transactions"
        self._files = [(topic / f"{partition}.jsonl").open("ab", buffering=0) for partition in range(PARTITIONS)]

    def run(self) -> None:
        began_s = time.monotonic()
        while not self.enough.wait(WRITE_S):
            due = int((time.monotonic() - began_s) * self._rate)
            pieces: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
            for number in range(self.written, due):
                customer_id, line = self._line(number)
                pieces[partition_of(customer_id.encode(), PARTITIONS)].append(line)
            for file, piece in zip(self._files, pieces, strict=True):
                file.write(b"".join(piece))
            self.written = due

    def newest_us(self) -> int:
        return self._begin_us + int(self.written * self._step_us)

    def _line(self, number: int) -> tuple[str, bytes]:
        draw = self._random.random()
        customer = int(self._customers**draw) if self._zipf else int(self._customers * draw)
        customer_id = customer_name(customer)
        fields = dict(self._random.choice(TRANSACTIONS))
        fields["transaction_id"] = f"t-{self._run}-{number:x}"
        fields["customer_id"] = customer_id
        fields["booked_at"] = rfc3339(self._begin_us + int(number * self._step_us))
        return customer_id, orjson.dumps(fields) + b"\n"


class Cluster:
    """The processes of one worker, each with the probe inside."""

    def __init__(self, args: argparse.Namespace, folder: Path, name: str) -> None:
        self.probes = [folder / f"{name}-{process}.jsonl" for process in range(args.processes)]
        for probe in self.probes:
            probe.unlink(missing_ok=True)
            probe.with_suffix(".first").unlink(missing_ok=True)
        common = ["run", "--config", str(folder / "worker.toml"), "--follow"]
        self.started_s = time.monotonic()
        self.processes: list[subprocess.Popen[bytes]] = []
        addresses = ";".join(f"127.0.0.1:{2101 + process}" for process in range(args.processes))
        for process, probe in enumerate(self.probes):
            place = ["--process-id", str(process), "--addresses", addresses] if args.processes > 1 else []
            command = [sys.executable, str(ROOT / "bench" / "worker_probe.py"), str(probe), *common, *place]
            with (folder / f"{name}-{process}.log").open("ab") as log:
                self.processes.append(subprocess.Popen(command, cwd=ROOT, stderr=log, stdout=log))
        atexit.register(self.end, signal.SIGKILL)  # a measurement that fails leaves none behind

    def ticks_s(self) -> float:
        """Processor seconds so far."""
        total = 0
        for process in self.processes:
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def anonymous_mb(self) -> float:
        total_kb = 0
        for process in self.processes:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            total_kb += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
        return total_kb / 1024

    def epochs(self) -> list[dict[str, float]]:
        """One entry per checkpoint and process; the processes' are merged by the caller where it matters."""
        return [orjson.loads(line) for probe in self.probes for line in whole_lines(probe)]

    def applied(self) -> int:
        newest = [whole_lines(probe) for probe in self.probes]
        return sum(int(orjson.loads(lines[-1])["applied"]) for lines in newest if lines)

    def first_applied_s(self, timeout_s: float) -> float:
        """Seconds from the start until the first event was applied in any process."""
        give_up_s = time.monotonic() + timeout_s
        while time.monotonic() < give_up_s:
            marks = [probe.with_suffix(".first") for probe in self.probes]
            found = [float(mark.read_text()) for mark in marks if mark.exists() and mark.read_text()]
            if found:
                return min(found) - self.started_s
            if any(process.poll() is not None for process in self.processes):
                break
            time.sleep(0.01)
        raise SystemExit(f"no event was applied; see {self.probes[0].with_suffix('.log')}")

    def check_alive(self) -> None:
        """Raises SystemExit when a process has ended: it makes no more checkpoints."""
        for process, probe in zip(self.processes, self.probes, strict=True):
            if process.poll() is not None:
                raise SystemExit(f"the worker ended by itself with {process.poll()}; see {probe.with_suffix('.log')}")

    def end(self, number: int) -> None:
        """Sends a signal to those that live, and waits until all have ended."""
        for process in self.processes:
            process.send_signal(number)
        for process in self.processes:
            process.wait(120)


def whole_lines(path: Path) -> list[bytes]:
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def drop_from_cache(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def disk_bytes(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def measure(args: argparse.Namespace, work: Path, begin_us: int) -> dict[str, object]:
    state = work / "state"
    (work / "worker.toml").write_text(
        f'[log]\nkind = "files"\ninput = "{work / "in"}"\noutput = "{work / "out"}"\npoll_ms = 5\n'
        f'[state]\ndir = "{state}"\n[shard]\nhot_customers_max = {args.hot}\n'
    )
    writer = Writer(args, work / "in", begin_us)
    cluster = Cluster(args, work, "first")
    writer.start()
    cluster.first_applied_s(60)
    time.sleep(WARM_UP_S)
    skipped, applied, cpu_s = len(cluster.epochs()), cluster.applied(), cluster.ticks_s()
    began_s = time.monotonic()
    memory_mb, lag = 0.0, 0
    while len(cluster.epochs()) - skipped < args.checkpoints * args.processes:
        time.sleep(1.0)
        cluster.check_alive()
        memory_mb = max(memory_mb, cluster.anonymous_mb())
        lag = max(lag, writer.written - cluster.applied())
        if sys.stderr.isatty():
            print(f"\r{len(cluster.epochs()) - skipped} checkpoints", end="", file=sys.stderr, flush=True)
    applied, cpu_s = cluster.applied() - applied, cluster.ticks_s() - cpu_s
    wall_s = time.monotonic() - began_s
    epochs = cluster.epochs()[skipped:]
    pauses_ms = [epoch["pause_s"] * 1000 for epoch in epochs]
    frozen = sum(epoch["frozen"] for epoch in epochs)
    result: dict[str, object] = {
        "events_per_s": round(applied / wall_s),
        "cpu_us_per_event": round(cpu_s / applied * 1e6, 1),
        "checkpoints": len(pauses_ms),
        "pause_ms_p50": round(quantile(pauses_ms, 0.5), 1),
        "pause_ms_p99": round(quantile(pauses_ms, 0.99), 1),
        "pause_ms_max": round(max(pauses_ms), 1),
        "snapshot_ms_p50": round(quantile([epoch["snapshot_s"] * 1000 for epoch in epochs], 0.5), 1),
        "snapshot_ms_p99": round(quantile([epoch["snapshot_s"] * 1000 for epoch in epochs], 0.99), 1),
        "gap_ms_max": round(max(epoch["gap_s"] * 1000 for epoch in epochs), 1),
        "frozen_per_event": round(frozen / max(1, sum(epoch["events"] for epoch in epochs)), 3),
        "lag_max": lag,
        "anonymous_mb": round(memory_mb),
    }
    result |= restarts(args, cluster, work, state)
    writer.enough.set()
    writer.join()
    note_begin(work, writer.newest_us())
    result["disk_bytes_per_customer"] = round(disk_bytes(state / "shards") / args.customers)
    return result


def restarts(args: argparse.Namespace, cluster: Cluster, work: Path, state: Path) -> dict[str, object]:
    times: dict[str, object] = {}
    for name in ("warm", "cold"):
        cluster.end(signal.SIGKILL)
        if name == "cold":
            drop_from_cache(state)
        cluster = Cluster(args, work, name)
        times[f"restart_{name}_s"] = round(cluster.first_applied_s(120), 2)
        time.sleep(3.0)
    cluster.end(signal.SIGKILL)
    return times


def main() -> None:
    args = parse_arguments()
    kept = args.folder / f"seeded-{args.customers}"
    begin_us = seed(kept, args.customers, args.seed, PARTITIONS)
    result = measure(args, kept, begin_us)
    shown = {
        "customers": args.customers,
        "rate": args.rate,
        "access": args.access,
        "processes": args.processes,
        **result,
    }
    for name, value in shown.items():
        print(f"{name:<26}{value}")
    args.json.parent.mkdir(parents=True, exist_ok=True)
    args.json.write_bytes(orjson.dumps(shown, option=orjson.OPT_INDENT_2))


if __name__ == "__main__":
    main()
