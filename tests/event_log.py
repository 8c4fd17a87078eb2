"""Events as an embedded log: canonical JSON lines in <topic>/<partition>.jsonl, in order of arrival, with some dirt between."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import orjson

from operators.decode import Decoder, Rejection, arrival_of, parse_json
from state.digest import partition_of
from state.events import BROADCAST, TOPICS, Account, Application, Event, Interaction, Label, MarketRate, Transaction
from state.money import format_minor
from state.records import Record
from state.times import rfc3339

BROKEN = (
    b'{"transaction_id":"x","customer_id":"c-1"',
    b"\xff\xfe",
    b'{"transaction_id":"x-1"}',
    b'["no","object"]',
    b'{"transaction_id":"x-2","customer_id":"c-1","booked_at":"2025-03-01T00:00:00Z","amount":"1.001","currency":"EUR","direction":"debit"}',
)
PLAIN: dict[type[Event], tuple[str, ...]] = {
    Transaction: (
        "transaction_id",
        "direction",
        "status",
        "channel",
        "merchant_id",
        "merchant_name",
        "mcc",
        "country",
        "lat",
        "lon",
        "original_transaction_id",
        "description",
    ),
    Account: ("account_id", "kind", "status", "interest_rate"),
    Interaction: ("interaction_id", "kind"),
    Application: ("application_id", "product", "status"),
    Label: ("label", "transaction_id"),
    MarketRate: ("rate_id", "series", "value", "product", "currency"),
}


def line_of(event: Event) -> bytes:
    """The canonical JSON of an event, with the time of its arrival."""
    body: dict[str, Any] = {
        "customer_id": event.customer_id,
        event.TIME_FIELD: rfc3339(event.time_us),
        "arrived_at": rfc3339(event.arrival_us),
    }
    body |= {name: value for name in PLAIN[type(event)] if (value := getattr(event, name)) is not None}
    if isinstance(event, Transaction):
        body |= {"currency": event.currency, "amount": format_minor(event.amount_minor, event.currency)}
    elif isinstance(event, Account):
        body |= {"currency": event.currency, "balance": format_minor(event.balance_minor, event.currency)}
    return orjson.dumps(body)


def write_log(folder: Path, events: Iterable[Event], partitions: int, broken_every: int = 0) -> int:
    """Writes the events in order of arrival; returns the number of records, the broken ones included."""
    lines: dict[tuple[str, int], list[bytes]] = defaultdict(list)
    random_ = random.Random(1)
    records = 0
    for number, event in enumerate(sorted(events, key=lambda event: event.arrival_us)):
        file = lines[event.TOPIC, partition_of(event.customer_id.encode(), partitions)]
        file.append(line_of(event))
        records += 1
        if broken_every and number % broken_every == 0:
            file += [random_.choice(BROKEN), b""]
            records += 1
    for (topic, partition), content in lines.items():
        path = folder / topic / f"{partition}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\n".join(content) + b"\n")
    return records


def read_log(folder: Path, partition: int) -> list[Event]:
    """The events of one partition of all topics, and of all partitions of the market's rates, in the order in which they are to be
    applied; broken records are left out."""
    found: list[tuple[int, int, int, Event | Rejection]] = []
    decoder = Decoder()
    paths = [
        (rank, topic, path)
        for rank, topic in enumerate(TOPICS)
        for path in sorted((folder / topic).glob("*.jsonl" if topic in BROADCAST else f"{partition}.jsonl"))
    ]
    for rank, topic, path in paths:
        arrival_us = 0
        for offset, line in enumerate(path.read_bytes().split(b"\n")):
            if line:
                arrival_us = _arrival(topic, line, arrival_us)
                event = decoder.decode(Record(topic, partition, offset, arrival_us, None, line))
                found.append((arrival_us, rank, offset, event))
    found.sort(key=lambda entry: entry[:3])
    return [entry[3] for entry in found if isinstance(entry[3], Event)]


def _arrival(topic: str, line: bytes, before_us: int) -> int:
    try:
        arrival_us = arrival_of(topic, parse_json(line))
    except ValueError:
        arrival_us = None
    return before_us if arrival_us is None else arrival_us


def subject(body: dict[str, Any]) -> str:
    """Whom or what a message is about."""
    return str(body.get("customer_id") or body.get("merchant_id") or body["name"])


def heard(folder: Path, topics: Sequence[str]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """What a run wrote, by topic and customer (merchant, model) in order. Everything is committed: a clean end leaves nothing beyond."""
    said: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for topic in topics:
        for path in sorted((folder / topic).glob("*.jsonl")):
            data = path.read_bytes()
            assert int(path.with_suffix(".committed").read_text()) == len(data), path
            for line in data.splitlines():
                body = orjson.loads(line)
                said[topic, subject(body)].append(body)
    return dict(said)
