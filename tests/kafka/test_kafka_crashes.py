"""Through kill -9 of the worker and of the broker, each output is on Kafka exactly once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from broker import Broker
from bytewax.recovery import init_db_dir
from confluent_kafka import Producer
from conftest import Topics
from talking import PATIENCE_S, committed

from dataflows.kafka.tail import ID_HEADER

SCRIPT = Path(__file__).with_name("flow_under_kill.py")
ROOT = Path(__file__).parents[2]
SEED = int(os.environ.get("SEGONE_TEST_SEED", "20240229"))
KILLS = int(os.environ.get("SEGONE_TEST_KILLS", "10"))
OUT_PARTITIONS = 4


class Feed:
    """Writes numbered records into two topics of two partitions until told to end."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self.sent = 0
        self._names = [f"{prefix}.in.a", f"{prefix}.in.b"]
        # The broker may be killed while we write; idempotence keeps our own retries from writing twice.
        self._producer = Producer({"bootstrap.servers": kafka, "enable.idempotence": True, "linger.ms": 0})
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._ending.set()
        self._thread.join()
        assert self._producer.flush(PATIENCE_S) == 0

    def _run(self) -> None:
        while not self._ending.wait(0.005):
            for n in range(self.sent, self.sent + 5):
                self._producer.produce(self._names[n % 3 == 0], b"%d" % n, b"c-%d" % (n % 17), n % 2)
            self.sent += 5
            self._producer.poll(0)


class Worker:
    """The flow of flow_under_kill.py as a process."""

    def __init__(self, kafka: str, prefix: str, recovery: Path) -> None:
        self._arguments = [sys.executable, str(SCRIPT), kafka, prefix, str(recovery)]
        self._errors = recovery / "stderr"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, threads: int, broker_timeout_s: float = 30.0) -> None:
        with self._errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [*self._arguments, str(threads), str(broker_timeout_s)],
                stderr=errors,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )

    def kill(self) -> None:
        assert self.process is not None
        assert self.process.poll() is None, f"ended by itself:\n{self._errors.read_text()[-3000:]}"
        self.process.kill()
        self.process.wait()

    def end(self) -> tuple[int, str]:
        """Wait until it ends by itself; its exit code and what it said."""
        assert self.process is not None
        try:
            return self.process.wait(PATIENCE_S), self._errors.read_text()
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGUSR1)  # it writes where each of its threads stands
            time.sleep(1)
            self.kill()
            pytest.fail(f"it does not end:\n{self._errors.read_text()[-5000:]}")

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


def numbers_seen(kafka: str, prefix: str) -> Counter[int]:
    """How often each number is in the output."""
    return Counter(int(seen.value or b"-1") for seen in committed(kafka, f"{prefix}.out", OUT_PARTITIONS))


def assert_each_input_has_one_output(kafka: str, prefix: str, sent: int) -> None:
    """Every number that was fed is in the input, and for every position of the input there is exactly one output."""
    positions = {
        f"{topic}/{seen.partition}/{seen.offset}": seen.value
        for topic in (f"{prefix}.in.a", f"{prefix}.in.b")
        for seen in committed(kafka, topic, 2)
    }
    assert {int(value or b"-1") for value in positions.values()} == set(range(sent))
    outputs = committed(kafka, f"{prefix}.out", OUT_PARTITIONS)
    times = Counter(seen.headers["source-position"].decode() for seen in outputs)
    repeated = {position: count for position, count in times.items() if count > 1}
    assert not repeated, f"{len(repeated)} positions have several outputs, first {sorted(repeated)[:5]}"
    assert not positions.keys() - times.keys(), "positions without an output"
    assert len({seen.headers[ID_HEADER] for seen in outputs}) == len(outputs) == len(positions)


def await_outputs(kafka: str, prefix: str, count: int) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while len(numbers_seen(kafka, prefix)) < count:
        assert time.monotonic() < deadline_s, f"outputs are missing: {len(numbers_seen(kafka, prefix))} of {count}"
        time.sleep(0.2)


def make_topics(topics: Topics) -> str:
    for name, partitions in (("in.a", 2), ("in.b", 2), ("out", OUT_PARTITIONS)):
        topics.create(name, partitions)
    return topics.prefix


def test_kill_9_of_the_worker_at_random_moments_neither_loses_nor_repeats(
    kafka: str, topics: Topics, tmp_path: Path
) -> None:
    print(f"seed {SEED} (SEGONE_TEST_SEED), {KILLS} kills (SEGONE_TEST_KILLS)")
    rng = random.Random(SEED)
    prefix = make_topics(topics)
    init_db_dir(tmp_path, 2)
    feed, worker = Feed(kafka, prefix), Worker(kafka, prefix, tmp_path)
    feed.start()
    try:
        for _ in range(KILLS):
            worker.start(threads=rng.choice([1, 2]))
            time.sleep(rng.uniform(0.9, 2.4))  # from before the first transaction to several epochs later
            worker.kill()
        worker.start(threads=1)
    finally:
        feed.end()
    await_outputs(kafka, prefix, feed.sent)
    assert worker.stop() == 0
    assert_each_input_has_one_output(kafka, prefix, feed.sent)


def test_kill_9_of_the_broker_under_load_neither_loses_nor_repeats(
    mortal_broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    kafka, prefix = mortal_broker.bootstrap, make_topics(topics)
    init_db_dir(tmp_path, 1)
    feed, worker = Feed(kafka, prefix), Worker(kafka, prefix, tmp_path)
    feed.start()
    try:
        worker.start(threads=1)
        await_outputs(kafka, prefix, 500)
        mortal_broker.kill()
        mortal_broker.restart()
        await_outputs(kafka, prefix, feed.sent)
    finally:
        feed.end()
    await_outputs(kafka, prefix, feed.sent)
    assert worker.stop() == 0
    assert_each_input_has_one_output(kafka, prefix, feed.sent)


def test_a_worker_whose_broker_is_gone_for_good_ends_with_an_error_that_says_so(
    mortal_broker: Broker, topics: Topics, tmp_path: Path
) -> None:
    kafka, prefix = mortal_broker.bootstrap, make_topics(topics)
    init_db_dir(tmp_path, 1)
    feed, worker = Feed(kafka, prefix), Worker(kafka, prefix, tmp_path)
    feed.start()
    try:
        worker.start(threads=1, broker_timeout_s=3.0)
        await_outputs(kafka, prefix, 100)
        mortal_broker.kill()
        code, said = worker.end()
        mortal_broker.restart()
    finally:
        feed.end()
    assert code == 1
    assert kafka in said
    assert "work continues from the last committed epoch" in said
    worker.start(threads=1)
    await_outputs(kafka, prefix, feed.sent)
    assert worker.stop() == 0
    assert_each_input_has_one_output(kafka, prefix, feed.sent)
