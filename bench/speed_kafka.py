"""A broker on a core of its own, what it is fed with, and what a read-committed reader finds in it."""

from __future__ import annotations

import argparse
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path

import orjson
from broker import Broker
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from dataflows.commands.init import run as init
from simulation.runs import Message
from state.digest import partition_of
from state.events import BROADCAST

PARTITIONS = 4
BEGIN_US = 1_735_689_600_000_000
WAIT_S = 5.0


@contextmanager
def broker_on(core: int) -> Iterator[str]:
    """A broker that may use one core only, once it has started; its address."""
    broker = Broker()
    try:
        broker.start()
        for thread in Path(f"/proc/{broker.pid}/task").iterdir():  # those that they start inherit it
            os.sched_setaffinity(int(thread.name), {core})
        yield broker.bootstrap
    finally:
        broker.stop()


def settings_file(folder: Path, bootstrap: str, name: str, **kafka: object) -> Path:
    """Settings of a flow with topics and a state of its own; its topics are made."""
    path = folder / f"{name}.toml"
    lines = [f"{key} = {orjson.dumps(value).decode()}" for key, value in kafka.items()]
    path.write_text(
        f'[log]\nkind = "kafka"\n[kafka]\nbootstrap_servers = "{bootstrap}"\ntopic_prefix = "{name}."\n'
        f'transactional_id = "{name}"\ngroup_id = "{name}"\n'
        + "\n".join(lines)
        + f'\n[state]\ndir = "{folder / name}-state"\n'
    )
    with redirect_stdout(StringIO()):
        init(argparse.Namespace(config=path, input=None, output=None, state=None))
    return path


def make_topic(bootstrap: str, topic: str, partitions: int = PARTITIONS) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(WAIT_S * 6)


def feed(bootstrap: str, prefix: str, messages: Iterable[Message]) -> int:
    """Sends messages to their topics and waits until all are there."""
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 20})
    sent = 0
    for message in messages:
        sent += 1
        count = 1 if message.topic in BROADCAST else PARTITIONS
        while True:
            try:
                producer.produce(
                    prefix + message.topic,
                    message.value,
                    message.key,
                    partition_of(message.key, count),
                    timestamp=message.arrival_us // 1000,
                )
                break
            except BufferError:
                producer.poll(0.1)
    if left := producer.flush(60.0):
        raise SystemExit(f"{left} records could not be sent to {bootstrap}")
    return sent


def payments(count: int, customers: int, seed: int, topic: str) -> Iterator[Message]:
    """The peers' payments: customers drawn by Zipf's law, each with about two payments a day."""
    rng = random.Random(seed)
    step_us = 86_400_000_000 // (2 * customers)
    for number in range(count):
        customer_id = f"c-{int(customers ** rng.random()):07d}"
        time_us = BEGIN_US + number * step_us
        body = {
            "id": f"t-{number}",
            "customer_id": customer_id,
            "time_us": time_us,
            "amount": rng.randrange(100, 20_000),
        }
        body |= {"currency": "EUR", "merchant_id": f"m-{rng.randrange(500)}", "channel": "card_present"}
        yield Message(topic, customer_id.encode(), orjson.dumps(body), time_us)


def committed(bootstrap: str, topic: str, expected: int) -> Counter[bytes]:
    """All values of a topic as a read-committed reader sees them; waits no longer than WAIT_S for the next."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "speed-reader", "isolation.level": "read_committed"}
    )
    found: Counter[bytes] = Counter()
    partitions = consumer.list_topics(topic, timeout=WAIT_S * 2).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    quiet_from_s = time.monotonic()
    while sum(found.values()) < expected and time.monotonic() < quiet_from_s + WAIT_S:
        for message in consumer.consume(1000, 0.5):
            quiet_from_s = time.monotonic()
            found[message.value() or b""] += 1
    consumer.close()
    return found
