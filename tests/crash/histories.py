"""What the crash simulation reads: a small dirty stream from a seed, and what an undisturbed run makes of it.

The undisturbed run is no run of the engine: one record after the other goes through the decoder and a shard in memory.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
from event_log import subject

from dataflows.files.sink import as_line
from dataflows.knowledge.offline import OfflineKnowledge
from operators.across import Across
from operators.customer_step import CustomerStep, make_policy
from operators.dead_letter import dead_letter
from operators.decode import Decoder, Rejection, parse_json
from operators.encode import encode, is_written
from operators.knowledge.board import Board
from operators.profiles import publishing_of
from state.digest import partition_of, shard_of
from state.events import BROADCAST, TOPICS
from state.memory_store import MemoryStore
from state.records import Output, Record
from state.settings import Settings
from state.shard import Shard
from state.step import Emission
from state.times import rfc3339

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
START_US = 1_741_089_600_000_000  # 2025-03-04T12:00:00Z
SPAN_US = 40 * HOUR_US
PLACES = ((50.08, 14.44, "CZ"), (48.86, 2.35, "FR"), (40.71, -74.01, "US"), (-33.87, 151.21, "AU"))

Lines = list[tuple[int, bytes]]


@dataclass
class History:
    """An input folder: (topic, partition) -> (arrival in microseconds UTC, line without its end), in the order of arrival."""

    partitions: int
    lines: dict[tuple[str, int], Lines] = field(default_factory=dict)

    @property
    def newest_us(self) -> int:
        return max(lines[-1][0] for lines in self.lines.values())

    def count(self) -> int:
        return sum(len(lines) for lines in self.lines.values())

    def merged(self, partition: int) -> list[Record]:
        """The records of one source partition in the order in which they are to be applied."""
        logs = [
            [
                (arrival_us, order, offset, line)
                for offset, (arrival_us, line) in enumerate(self.lines[topic, partition])
            ]
            for order, topic in enumerate(TOPICS)
            if (topic, partition) in self.lines
        ]
        merged = heapq.merge(*logs, key=lambda entry: entry[:3])
        return [
            Record(TOPICS[order], partition, offset, arrival_us, None, line, _parsed(line))
            for arrival_us, order, offset, line in merged
        ]


@dataclass
class Expected:
    """What must come out: lines by topic and customer in order, dead letters, profiles, and how the records ended."""

    said: dict[tuple[str, str], list[bytes]] = field(default_factory=dict)
    letters: Counter[bytes] = field(default_factory=Counter)
    profiles: dict[str, bytes] = field(default_factory=dict)
    received: int = 0
    broadcast: int = 0


def make_history(seed: int, events: int, partitions: int) -> History:
    """About `events` records in 40 hours: a hot customer and some others, bursts, repeated charges, impossible journeys, reversals,
    pending ones, duplicates, late and broken records, delayed arrivals."""
    random_ = random.Random(f"history/{seed}")
    customers = [f"c-{number}" for number in range(random_.choice((3, 12, 30)))]
    arriving: list[tuple[int, str, str, bytes]] = []
    disorder = random_.random() < 0.6
    while len(arriving) < events:
        hot = random_.random() < 0.4
        customer_id = customers[0] if hot else random_.choice(customers)
        begin_us = START_US + random_.randrange(SPAN_US)
        for topic, time_us, body in _scene(random_, customer_id, begin_us, len(arriving)):
            delay_us = random_.choice((0, 0, random_.randrange(3 * HOUR_US))) if disorder else 0
            arrival_us = time_us + delay_us
            line = orjson.dumps(body | {"customer_id": customer_id, "arrived_at": rfc3339(arrival_us)})
            arriving.append((arrival_us, topic, customer_id, line))
            if random_.random() < 0.05:
                again_us = arrival_us + random_.randrange(HOUR_US)
                line = orjson.dumps(body | {"customer_id": customer_id, "arrived_at": rfc3339(again_us)})
                arriving.append((again_us, topic, customer_id, line))
    history = History(partitions)
    for arrival_us, topic, customer_id, line in sorted(arriving):
        log = history.lines.setdefault((topic, partition_of(customer_id.encode(), partitions)), [])
        log.append((arrival_us, line))
        if random_.random() < 0.1:
            # What can't say when it arrived came when the record before it did.
            log.append((arrival_us, random_.choice((b'{"transaction_id": "t-', b"no JSON at all", b"[]"))))
    for partition in range(partitions):  # as many partitions as there are files
        history.lines.setdefault(("in.transactions", partition), [(0, b"broken")])
    return history


def _scene(
    random_: random.Random, customer_id: str, time_us: int, number: int
) -> list[tuple[str, int, dict[str, Any]]]:
    """A few records of one customer that belong together: (topic, event time, fields)."""
    draw = random_.random()
    shop = _purchase(random_, f"t-{number}", time_us)
    if draw < 0.12:  # a burst, whose episode a timer ends
        return [
            _purchase(random_, f"t-{number}-{i}", time_us + i * random_.randrange(1, 3 * MINUTE_US))
            for i in range(random_.randrange(4, 9))
        ]
    if draw < 0.24:  # charged twice, and perhaps taken back
        again_us = time_us + random_.randrange(1, 20 * MINUTE_US)
        again = _dated(shop, again_us, transaction_id=f"t-{number}-again")
        back = _dated(again, again_us + random_.randrange(1, HOUR_US), status="reversed")
        return [shop, again] + ([back] if random_.random() < 0.5 else [])
    if draw < 0.32:  # somewhere else, sooner than one can travel
        lat, lon, country = random_.choice(PLACES[1:])
        return [
            shop,
            _dated(
                _purchase(random_, f"t-{number}-far", time_us),
                time_us + 20 * MINUTE_US,
                lat=lat,
                lon=lon,
                country=country,
            ),
        ]
    if draw < 0.40:
        return [
            _dated(shop, time_us, status="pending"),
            _dated(shop, time_us + random_.randrange(1, HOUR_US), status="posted"),
        ]
    if draw < 0.46:
        account = {"observed_at": rfc3339(time_us), "currency": "EUR", "balance": str(random_.randrange(10**5))}
        if random_.random() < 0.5:
            loan = {"kind": "mortgage", "balance": "-200000", "interest_rate": "5.0", "minimum_payment": "1500"}
            return [shop, ("in.accounts", time_us, account | {"account_id": "a-2"} | loan)]
        return [("in.accounts", time_us, account | {"account_id": "a-1", "kind": "current"})]
    if draw < 0.52:
        return [
            shop,
            (
                "in.labels",
                time_us + 5,
                {"labelled_at": rfc3339(time_us + 5), "label": "fraud", "transaction_id": f"t-{number}"},
            ),
        ]
    if draw < 0.57:
        rate = {"rate_id": f"r-{number}", "observed_at": rfc3339(time_us), "series": "euribor", "product": "mortgage"}
        return [("in.market", time_us, rate | {"value": random_.choice(("3.1", "2.0", "4.9"))})]
    if draw < 0.60:
        return [_dated(shop, time_us, currency="XXQ")]  # a dead letter
    if draw < 0.64:  # beyond the allowed lateness, if the customer has moved on
        topic, _, body = _dated(shop, time_us - 30 * HOUR_US)
        return [(topic, time_us, body)]
    return [shop]


def _purchase(random_: random.Random, transaction_id: str, time_us: int) -> tuple[str, int, dict[str, Any]]:
    lat, lon, country = PLACES[0]
    body = {
        "transaction_id": transaction_id,
        "booked_at": rfc3339(time_us),
        "amount": f"{random_.randrange(500, 20_000) / 100:.2f}",
        "currency": "EUR",
        "direction": "debit",
        "channel": "card_present",
        "merchant_id": f"m-{random_.randrange(6)}",
        "mcc": random_.choice(("5411", "5812", "8011")),
        "lat": lat,
        "lon": lon,
        "country": country,
    }
    return "in.transactions", time_us, body


def _dated(event: tuple[str, int, dict[str, Any]], time_us: int, **changes: Any) -> tuple[str, int, dict[str, Any]]:
    return event[0], time_us, event[2] | {"booked_at": rfc3339(time_us)} | changes


def undisturbed(history: History, settings: Settings, until_us: int | None) -> Expected:
    """What an undisturbed reader of the history says. `until_us`: a wall clock that goes on after the last arrival;
    without it the input ends there, and what is held back for sorting is applied."""
    expected = Expected()
    decoder = Decoder()
    board = Board()
    across = Across(settings.knowledge, board) if settings.knowledge.enabled else None
    step = CustomerStep(settings.detectors, settings.digest(), across=across, publishing=publishing_of(settings))
    policy = make_policy(settings, step, settings.shard.count)
    shards = [Shard(number, step, policy, MemoryStore()) for number in range(settings.shard.count)]
    knowledge = OfflineKnowledge(settings, board)

    def write(output: Output) -> None:
        line = as_line(output)
        expected.said.setdefault((output.topic, subject(orjson.loads(line))), []).append(line)

    def hear(emissions: list[Emission]) -> None:
        for emission in emissions:
            knowledge.learn(emission.body)
            if is_written(emission):
                write(encode(emission))

    logs = [history.merged(partition) for partition in range(history.partitions)]
    clocks_us = [0] * history.partitions
    for record in heapq.merge(*logs, key=lambda record: record.arrival_us):
        for begins_us, _ in knowledge.by_bucket([record]):
            if begins_us is not None:
                for partition, clock_us in enumerate(clocks_us):
                    for shard in shards:
                        hear(shard.advance(partition, clock_us))
                for output in knowledge.close(begins_us, {shard.number: shard.counters.customers for shard in shards}):
                    write(output)
        partition = record.partition
        for read_by in range(history.partitions) if record.topic in BROADCAST else (partition,):
            clocks_us[read_by] = max(clocks_us[read_by], record.arrival_us)
        event = decoder.decode(record)
        if isinstance(event, Rejection):
            expected.letters[as_line(dead_letter(record, event))] += 1
        elif not event.customer_id:  # every partition reads it
            expected.broadcast += 1
            for read_by in range(history.partitions):
                for shard in shards:
                    hear(shard.apply([event], read_by))
        else:
            expected.received += 1
            hear(shards[shard_of(event.customer_id, len(shards))].apply([event], partition))
    for partition, clock_us in enumerate(clocks_us):
        for shard in shards:
            hear(shard.advance(partition, until_us or clock_us))
            while shard._market.pending(partition):
                hear(shard.advance(partition, until_us or clock_us))
    for shard in shards:
        if until_us is None:
            hear(shard.finish())
        shard.checkpoint()
        for customer_id in shard._store.customers():
            profile = shard._store.get(customer_id)
            assert profile is not None
            expected.profiles[customer_id] = profile
    return expected


def _parsed(line: bytes) -> object:
    try:
        return parse_json(line)
    except ValueError:
        return None
