"""How long a payment takes from the producer to a read-committed reader of its score, with checkpoints running.

Event time is the wall clock's, so the payments come from many customers who have a past (bench/worker_seed.py), one after the other: in
a bank nobody pays every second.
"""

from __future__ import annotations

import random
import threading
import time

import orjson
from confluent_kafka import Consumer, Producer
from worker_seed import TRANSACTIONS, customer_name

from state.digest import partition_of
from state.times import rfc3339

PATIENCE_S = 10.0
PATIENCE_AT_START_S = 300.0
"""Until customers have been put in place."""
SETTLE_S = 2.0
"""At the beginning of each load, not counted."""


class Reader(threading.Thread):
    """Notes when each score could be read."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        super().__init__(daemon=True)
        self.seen_s: dict[str, float] = {}
        self.enough = threading.Event()
        properties = {"isolation.level": "read_committed", "auto.offset.reset": "latest", "fetch.wait.max.ms": 5}
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "speed-latency", **properties})
        self._consumer.subscribe([topic])

    def run(self) -> None:
        while not self.enough.is_set():
            # Not `consume` with a time: it waits for all of it while fewer messages come than asked for.
            first = self._consumer.poll(0.01)
            for message in [] if first is None else [first, *self._consumer.consume(500, 0)]:
                if message.error() is None:
                    self.seen_s.setdefault(orjson.loads(message.value() or b"{}")["transaction_id"], time.monotonic())
        self._consumer.close()


def latencies_ms(
    bootstrap: str,
    prefix: str,
    rate: float,
    duration_s: float,
    customers: int,
    partitions: int,
    reader: Reader,
    patience_s: float = PATIENCE_S,
) -> list[float]:
    """Of the payments sent at a steady rate, each one's latency in milliseconds; infinite for one that was not scored in time."""
    rng = random.Random(int(rate))
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    sent_s: dict[str, float] = {}
    began_s = time.monotonic()
    while (now_s := time.monotonic()) < began_s + duration_s:
        for number in range(len(sent_s), int((now_s - began_s) * rate)):
            fields = dict(rng.choice(TRANSACTIONS))
            customer_id = customer_name(number % customers)
            id_ = f"t-{rate:.0f}-{number}-{began_s}"
            fields |= {"transaction_id": id_, "customer_id": customer_id, "booked_at": rfc3339(time.time_ns() // 1000)}
            key = customer_id.encode()
            producer.produce(prefix + "in.transactions", orjson.dumps(fields), key, partition_of(key, partitions))
            sent_s[id_] = time.monotonic()
        producer.poll(0)
        time.sleep(0.001)
    producer.flush()
    give_up_s = time.monotonic() + patience_s
    while time.monotonic() < give_up_s and not sent_s.keys() <= reader.seen_s.keys():
        time.sleep(0.05)
    counted = {id_: at_s for id_, at_s in sent_s.items() if at_s >= began_s + min(SETTLE_S, duration_s / 2)}
    return [1000.0 * (reader.seen_s.get(id_, float("inf")) - at_s) for id_, at_s in counted.items()]
