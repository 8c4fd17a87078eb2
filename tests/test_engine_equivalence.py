"""Law 7: the same log says the same through the plain shard, any batch size, input partitions, processes, stops and kills; and
law 12: nothing about customers appears in what the process logs."""

from __future__ import annotations

import heapq
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from event_log import heard, read_log, subject, write_log
from shard_bench import Bench
from streams import (
    DAY_US,
    HOUR_US,
    MINUTE_US,
    NOON_US,
    account,
    by_arrival,
    delayed,
    full_life,
    label,
    moved,
    others,
    rate,
    transaction,
)

from dataflows.knowledge.offline import OfflineKnowledge
from operators.across import Across
from operators.customer_step import CustomerStep, make_policy
from operators.encode import OUTPUT_TOPICS
from operators.knowledge.board import Board
from operators.profiles import publishing_of
from state.digest import partition_of
from state.events import Event, Transaction
from state.records import Record
from state.settings_reading import load_settings

ROOT = Path(__file__).resolve().parent.parent
TOPICS = OUTPUT_TOPICS
PARTITIONS = 4
BUCKET_S = 86_400
SETTINGS = """
[shard]
count = 8
[state]
checkpoint_interval_ms = 50
[log]
batch_records_max = {batch}
[knowledge]
bucket_s = {bucket}
label_horizon_s = 604800.0
[profiles]
min_interval_s = 86400.0
max_delay_s = 259200.0
[detectors.transaction]
threshold = 0.02
[detectors.velocity]
threshold = 0.1
[detectors.random]
enabled = true
share = 0.05
"""
SECRETS = ("secretcustomer", "secretmerchant", "secrettext", "7654321.09")
WAIT_S = 60.0

Heard = dict[tuple[str, str], list[dict[str, Any]]]


class Log(NamedTuple):
    folders: dict[int, Path]
    records: int
    expected: Heard


def the_events(seed: int) -> list[Event]:
    """About 3,000 records of 30 customers: disorder, duplicates, reversals, lates, bursts, other topics; and at the end one
    quiet customer in every partition, so that every partition's clock comes as far."""
    random_ = random.Random(seed)
    events: list[Event] = []
    for number in range(30):
        customer_id = f"secretcustomer-{number}"
        own = full_life(seed + number, 70, 2 * DAY_US, customer_id)
        start_us = NOON_US + random_.randrange(20) * DAY_US
        own += [
            transaction(
                f"b-{n}", start_us + n * MINUTE_US, 765_432_109, customer_id=customer_id, merchant_name="secretmerchant"
            )
            for n in range(8)
        ]
        own += [
            delayed(
                label(one.time_us, one.transaction_id, customer_id=customer_id),
                random_.randrange(12 * HOUR_US, 5 * DAY_US),
            )
            for one in random_.sample([event for event in own if isinstance(event, Transaction)], 8)
        ]
        held = {"customer_id": customer_id, "account_id": "a-9", "kind": "mortgage", "interest_rate": 4.0 + number % 4}
        own.append(account(start_us + 3 * HOUR_US, -10_000_000, **held))
        own += [event for day in range(4) for event in others(start_us + day * DAY_US, customer_id)]
        for at in random_.sample(range(len(own)), 15):
            own[at] = delayed(own[at], random_.randrange(HOUR_US, 6 * DAY_US))
        again = [
            moved(event, arrival_us=event.arrival_us + random_.randrange(DAY_US)) for event in random_.sample(own, 5)
        ]
        events += own + again
    for week in range(12):
        events.append(rate(NOON_US + week * 7 * DAY_US + HOUR_US, random_.choice((2.0, 3.5, 5.0))))
    end_us = max(event.arrival_us for event in events) + 10 * DAY_US
    partitions: set[int] = set()
    for number in range(100):
        customer_id = f"secretcustomer-z{number}"
        if (partition := partition_of(customer_id.encode(), PARTITIONS)) not in partitions:
            partitions.add(partition)
            events.append(transaction("t-z", end_us, customer_id=customer_id, description="secrettext"))
    assert len(partitions) == PARTITIONS
    return by_arrival([moved(event) for event in events])


def without_position(said: Heard) -> Heard:
    """`late` names the place of a record in its log, which differs with the number of partitions."""
    return {
        key: [{name: value for name, value in body.items() if name not in ("partition", "offset")} for body in bodies]
        for key, bodies in said.items()
    }


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    folder = tmp_path_factory.mktemp("log")
    events = the_events(1)
    folders = {partitions: folder / str(partitions) for partitions in (1, PARTITIONS)}
    for partitions, path in folders.items():
        records = write_log(path, events, partitions, broken_every=50)
    config = folder / "segone.toml"
    config.write_text(SETTINGS.format(batch=2000, bucket=BUCKET_S))
    return Log(folders, records, by_the_plain_shard(folders[PARTITIONS], config))


def by_the_plain_shard(folder: Path, config: Path) -> Heard:
    """The yardstick: one shard for each partition, event by event, no engine; what they learn of is learned at the end of each bucket."""
    settings = load_settings(config, environment={})
    policy = make_policy(settings, CustomerStep(settings.detectors, settings.digest()), 1)
    board = Board()
    knowledge = OfflineKnowledge(settings, board)
    across = Across(settings.knowledge, board) if settings.knowledge.enabled else None
    benches = [
        Bench(settings.detectors, policy, config=settings.digest(), across=across, publishing=publishing_of(settings))
        for _ in range(PARTITIONS)
    ]
    said: Heard = {}
    logs = [[(event.arrival_us, at, event) for event in read_log(folder, at)] for at in range(PARTITIONS)]
    for arrival_us, partition, event in heapq.merge(*logs, key=lambda entry: entry[:2]):
        for begins_us, _ in knowledge.by_bucket([Record(event.TOPIC, partition, event.offset, arrival_us, None, b"")]):
            customers = {at: bench.shard.counters.customers for at, bench in enumerate(benches)}
            for output in knowledge.close(begins_us, customers) if begins_us is not None else ():
                body = orjson.loads(output.value)
                said.setdefault((output.topic, subject(body)), []).append(body)
        bench = benches[partition]
        bench.run([event])
        while bench.learned:
            knowledge.learn(bench.learned.pop(0))
    for bench in benches:
        bench.finish()
        for topic, body in zip(bench.topics, bench.said, strict=True):
            said.setdefault((topic, body["customer_id"]), []).append(body)
    return without_position(said)


def command(folder: Path, output: Path, batch: int, *more: str) -> list[str]:
    output.mkdir(parents=True, exist_ok=True)
    config = output / "segone.toml"
    config.write_text(SETTINGS.format(batch=batch, bucket=BUCKET_S))
    arguments = ["run", "--config", str(config), "--input", str(folder), "--output", str(output), *more]
    return [sys.executable, "-m", "dataflows.cli", *arguments]


def start(arguments: list[str]) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SEGONE__")}
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Waits for a clean end; returns what was printed. What was logged must not speak of customers (law 12)."""
    printed, logged = process.communicate(timeout=WAIT_S * 2)
    assert process.returncode == 0, logged
    for secret in SECRETS:
        assert secret not in logged, "law 12"
    return logged + printed  # the summary last, after what a slow machine reports on the way


def counts_in(text: str) -> dict[str, int]:
    """The accounting as the summary at the end tells it."""
    summary = "\n".join(line for line in text.splitlines() if not line.startswith("["))  # without lines of progress
    found = re.findall(r"(read|applied|duplicate|late|dead letters) ([0-9,]+)", summary)
    return {name: int(number.replace(",", "")) for name, number in found}


@pytest.mark.parametrize(
    ("partitions", "batch", "more"),
    [
        (PARTITIONS, 1, ()),
        (PARTITIONS, 7, ()),
        (PARTITIONS, 2000, ()),
        (1, 7, ()),
        (PARTITIONS, 500, ("--processes", "2")),
        (PARTITIONS, 2000, ("--processes", "4")),
    ],
    ids=["batches of 1", "batches of 7", "batches of 2000", "1 input partition", "2 processes", "4 processes"],
)
def test_the_engine_says_what_the_plain_shard_says(
    log: Log, tmp_path: Path, partitions: int, batch: int, more: tuple[str, ...]
) -> None:
    text = finish(start(command(log.folders[partitions], tmp_path, batch, *more)))
    assert without_position(heard(tmp_path, TOPICS)) == log.expected
    dead = sum(len(path.read_bytes().splitlines()) for path in tmp_path.glob("*.dlq/*.jsonl"))
    if not more:
        counts = counts_in(text)
        assert counts["read"] == log.records and counts["dead letters"] == dead
        assert counts.pop("read") == sum(counts.values()), "law 11"
    assert dead == sum(len(path.read_bytes().split(b"\n\n")) - 1 for path in log.folders[partitions].glob("*/*.jsonl"))


def test_the_yardstick_says_something_of_everything(log: Log) -> None:
    count: Counter[str] = Counter()
    for (topic, _), bodies in log.expected.items():
        for body in bodies:
            count[f"{body['type']} {body['state']}" if "type" in body else topic] += 1
    for kind in ("anomaly.velocity", "anomaly.transaction", "alert.duplicate_charge", "anomaly.geo"):
        assert count[f"{kind} OPEN"] > 5
    assert count["anomaly.velocity CLOSE"] > 5 and count["late"] > 5 and count["scores"] > 2_000
    assert sum(number for name, number in count.items() if name.endswith("RETRACT")) > 5


def committed(output: Path) -> int:
    """How much of the scores readers may see, in bytes."""
    return sum(int(path.read_text() or 0) for path in (output / "scores").glob("*.committed"))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Returns when the condition holds or the process has ended."""
    give_up_s = time.monotonic() + WAIT_S
    while process.poll() is None and not condition():
        assert time.monotonic() < give_up_s, "the worker made no progress"
        time.sleep(0.005)


def test_a_graceful_stop_in_the_middle_loses_and_repeats_nothing(log: Log, tmp_path: Path) -> None:
    process = start(command(log.folders[PARTITIONS], tmp_path, 1, "--follow"))
    wait_until(lambda: committed(tmp_path) > 0, process)
    process.send_signal(signal.SIGTERM)
    finish(process)
    first = heard(tmp_path, TOPICS)
    assert 0 < sum(map(len, first.values())) < sum(map(len, log.expected.values()))
    finish(start(command(log.folders[PARTITIONS], tmp_path, 2000)))
    assert without_position(heard(tmp_path, TOPICS)) == log.expected


def test_kills_at_any_moment_lose_and_repeat_nothing(log: Log, tmp_path: Path) -> None:
    random_ = random.Random(3)
    for _ in range(3):
        before = committed(tmp_path) if (tmp_path / "scores").exists() else 0
        process = start(command(log.folders[PARTITIONS], tmp_path, 1))
        wait_until(lambda before=before: committed(tmp_path) > before, process)  # type: ignore[misc]
        time.sleep(random_.random() / 10)  # a moment more, to be hit anywhere in an epoch
        process.kill()
        process.communicate()
    finish(start(command(log.folders[PARTITIONS], tmp_path, 2000)))
    assert without_position(heard(tmp_path, TOPICS)) == log.expected
