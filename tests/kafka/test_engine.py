"""The whole engine on a real Kafka: it says what replay and the embedded log say, and under kill -9 nothing else."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest
from broker import Broker
from confluent_kafka.admin import AdminClient
from said import Said, comparable, differences, in_files, in_order_read, on_kafka
from talking import PATIENCE_S, Sent, committed, send
from worker_process import WorkerProcess

from dataflows.cli import main
from dataflows.files.sink import ALL_TOPICS
from simulation.runs import Message
from simulation.settings import Dirt, WorldSettings
from simulation.world import stream
from state.digest import partition_of
from state.events import TOPICS
from state.records import Output

PARTITIONS, RECORDS, SEED, PORTIONS = 2, 3000, 5, 6

SETTINGS = """\
[log]
kind = "{kind}"
partitions = 2
batch_records_max = 50
[kafka]
bootstrap_servers = "{bootstrap}"
transactional_id = "{name}"
partitions = 2
sink_partitions = 2
[shard]
count = 4
allowed_lateness_s = 21600.0
[state]
dir = "{state}"
checkpoint_interval_ms = 100
[detectors.transaction]
threshold = 0.02
[detectors.velocity]
threshold = 0.05
count_min = 2
"""


class Engine(NamedTuple):
    """Topics that nobody has written yet, and the settings of a worker on them."""

    bootstrap: str
    config: Path

    def feed(self, messages: list[Message]) -> None:
        send(self.bootstrap, [as_sent(message) for message in messages])

    def worker(self, *arguments: str) -> WorkerProcess:
        return WorkerProcess(self.config.parent / "worker.log", "--config", str(self.config), *arguments)

    def run_to_the_end(self) -> None:
        bounded = self.config.with_name("bounded.toml")
        bounded.write_text(self.config.read_text().replace("[kafka]", "[kafka]\nend_at_high_watermark = true"))
        worker = WorkerProcess(self.config.parent / "worker.log", "--config", str(bounded))
        assert worker.run() == 0, worker.told()

    def said(self, *, headers: bool = False) -> Said:
        """What a read-committed reader finds."""
        outputs = [
            Output(topic, seen.key or b"", seen.value, b"", tuple(seen.headers.items()))
            for topic in ALL_TOPICS
            for seen in committed(self.bootstrap, topic, PARTITIONS)
        ]
        return on_kafka(outputs, headers=headers)


@pytest.fixture(scope="module")
def messages() -> list[Message]:
    dirt = Dirt(disorder=0.1, duplicates=0.1, reversals=0.05, malformed=0.03)
    return list(islice(stream(WorldSettings(customers=12, days=120, seed=SEED, dirt=dirt)), RECORDS))


@pytest.fixture
def engine(own_broker: Broker | None, kafka: str, admin: AdminClient, tmp_path: Path) -> Iterator[Engine]:
    """The topics have their real names, so they are made for one test and removed after it."""
    if own_broker is None:
        pytest.skip(
            "makes and removes topics under their real names, and SEGONE_TEST_KAFKA names somebody else's broker"
        )
    config = settings(tmp_path, "kafka", kafka)
    assert main(["init", "--config", str(config)]) == 0
    yield Engine(kafka, config)
    for removed in admin.delete_topics([*TOPICS, *ALL_TOPICS], operation_timeout=PATIENCE_S).values():
        removed.result()
    give_up_s = time.monotonic() + PATIENCE_S
    while {*TOPICS, *ALL_TOPICS} & {*admin.list_topics(timeout=10).topics}:
        assert time.monotonic() < give_up_s, "the topics were not removed"
        time.sleep(0.05)


def settings(folder: Path, kind: str, bootstrap: str = "") -> Path:
    path = folder / f"{kind}.toml"
    name = f"engine-{uuid.uuid4().hex[:8]}"
    path.write_text(SETTINGS.format(kind=kind, bootstrap=bootstrap, name=name, state=folder / f"{kind}-state"))
    return path


def partition(message: Message) -> int:
    return 0 if message.topic == "in.market" else partition_of(message.key, PARTITIONS)


def as_sent(message: Message) -> Sent:
    return Sent(message.topic, partition(message), message.value, message.key, message.arrival_us // 1000)


def write_files(folder: Path, messages: list[Message]) -> None:
    for topic in TOPICS:
        (folder / topic).mkdir(parents=True)
        for number in range(1 if topic == "in.market" else PARTITIONS):
            records = [each for each in messages if each.topic == topic and partition(each) == number]
            (folder / topic / f"{number}.jsonl").write_bytes(b"".join(each.value + b"\n" for each in records))


def test_replay_and_the_flow_on_files_and_on_kafka_say_the_same_of_each_customer(
    engine: Engine, messages: list[Message], tmp_path: Path
) -> None:
    events, config = tmp_path / "events", settings(tmp_path, "files")
    write_files(events, messages)
    run, replayed = tmp_path / "run", tmp_path / "replayed"
    assert main(["run", "--config", str(config), "--input", str(events), "--output", str(run)]) == 0
    assert main(["replay", str(events), "--config", str(config), "--out", str(replayed)]) == 0
    engine.feed(messages)
    engine.run_to_the_end()
    in_run = in_order_read(comparable(in_files(run)))
    assert {place.topic for place in in_run} >= {"signals.anomaly", "scores", "late", "in.transactions.dlq"}
    assert differences(in_run, in_order_read(comparable(in_files(replayed)))).first == []
    assert differences(in_run, in_order_read(comparable(engine.said()))).first == []


def test_kill_9_of_workers_on_kafka_in_changing_numbers_leaves_what_an_undisturbed_run_leaves(
    engine: Engine, messages: list[Message], tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEGONE_TEST_SEED", "1"))
    print(f"SEGONE_TEST_SEED={seed}")
    rng = random.Random(seed)
    events, run = tmp_path / "events", tmp_path / "run"
    write_files(events, messages)
    config = settings(tmp_path, "files")
    assert main(["run", "--config", str(config), "--input", str(events), "--output", str(run)]) == 0
    worker = engine.worker()
    size = -(-RECORDS // PORTIONS)
    try:
        for number in range(PORTIONS):
            # While no worker reads, so that no record of one topic overtakes an earlier one of another.
            engine.feed(messages[number * size : (number + 1) * size])
            worker.start(1 + number % 2)
            await_checkpoint(tmp_path / "kafka-state")
            time.sleep(rng.uniform(0.0, 0.3))
            worker.kill()
    finally:
        worker.end()
    engine.run_to_the_end()
    reference = in_order_read(comparable(in_files(run)))
    assert differences(reference, in_order_read(comparable(engine.said()))).first == []


def await_checkpoint(state: Path) -> None:
    """Until the redo logs change, or a while: nothing may be left to read."""
    before = redo_bytes(state)
    give_up_s = time.monotonic() + 5
    while redo_bytes(state) == before and time.monotonic() < give_up_s:
        time.sleep(0.01)


def redo_bytes(state: Path) -> int:
    return sum(path.stat().st_size for path in state.glob("shards/*/redo-*.log") if path.exists())
