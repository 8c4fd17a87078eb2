"""What a worker said, read back from either log, and how two runs differ in it: per topic and customer, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from event_log import subject

from dataflows.files.sink import ALL_TOPICS, as_line
from state.records import Output

OUR_ID_HEADER = "segone-id"


class Place(NamedTuple):
    """Within one of these the order is promised: a topic and a customer, or for dead letters where they were read."""

    topic: str
    owner: str


class Item(NamedTuple):
    """What was said, and the name by which it is known."""

    id: str
    body: bytes


Said = dict[Place, list[Item]]


class Differences(NamedTuple):
    """`different`: said once in each run, but with another body or not in the same order. `first` names the first of each."""

    said: int
    lost: int
    duplicated: int
    different: int
    first: list[str]

    @property
    def none(self) -> bool:
        return not (self.lost or self.duplicated or self.different)


def in_files(output: Path) -> Said:
    """Everything in the output folder of a run that has ended."""
    said: Said = {}
    for topic in ALL_TOPICS:
        for path in sorted((output / topic).glob("*.jsonl")):
            for line in path.read_bytes().splitlines():
                place, name = _place(topic, line)
                said.setdefault(place, []).append(Item(name, line))
    return said


def on_kafka(outputs: Iterable[Output], *, headers: bool) -> Said:
    """What Kafka holds, in the form of files; with `headers` they count as part of the body."""
    said: Said = {}
    for output in outputs:
        line = as_line(output)
        place, name = _place(output.topic, line)
        others = [header for header in output.headers if header[0] != OUR_ID_HEADER]
        said.setdefault(place, []).append(Item(name, line + repr(others).encode() if headers else line))
    return said


def comparable(said: Said) -> Said:
    """Without what files and Kafka can't have in common: when a record arrived that is too broken to say so itself."""

    def common(place: Place, item: Item) -> Item:
        if not place.topic.endswith(".dlq"):
            return item
        line = orjson.loads(item.body)
        del line["arrived_at"]
        return Item(item.id, orjson.dumps(line))

    return {place: [common(place, item) for item in items] for place, items in said.items()}


def with_newest_profiles(said: Said) -> Said:
    """For runs in different numbers of parts: at the end of each part changed profiles are told. The newest of each customer are alike,
    but for how many there were."""

    def newest(items: list[Item]) -> list[Item]:
        body = orjson.loads(items[-1].body)
        body.pop("revision", None)
        return [Item("newest", orjson.dumps(body))]

    return {place: newest(items) if place.topic == "profiles" else items for place, items in said.items()}


def differences(reference: Said, found: Said) -> Differences:
    """How `found` deviates from `reference`."""
    lost = duplicated = different = 0
    first: list[str] = []

    def tell(what: str, place: Place, name: str) -> None:
        if len(first) < 10:
            first.append(f"{what}: {place.topic} of {place.owner}: {name}")

    for place in sorted({*reference, *found}):
        wanted, got = reference.get(place, []), found.get(place, [])
        if wanted == got:
            continue
        missing, surplus = _surplus(wanted, got), _surplus(got, wanted)
        lost += len(missing)
        duplicated += len(surplus)
        for name in missing:
            tell("lost", place, name)
        for name in surplus:
            tell("said too often", place, name)
        if not missing and not surplus:
            unlike = [(one, other) for one, other in zip(wanted, got, strict=True) if one != other]
            different += len(unlike)
            one, other = unlike[0]
            tell("different" if one.id == other.id else "in another order", place, f"{one.body!r} now {other.body!r}")
    return Differences(sum(map(len, found.values())), lost, duplicated, different, first)


def _surplus(these: list[Item], those: list[Item]) -> list[str]:
    """Names that are more often in `these`."""
    return sorted((Counter(item.id for item in these) - Counter(item.id for item in those)).elements())


def _place(topic: str, line: bytes) -> tuple[Place, str]:
    body: dict[str, Any] = orjson.loads(line)
    if topic.endswith(".dlq"):
        return Place(topic, f"partition {body['partition']}"), f"offset {body['offset']}"
    names = {"scores": ("transaction_id",), "late": ("topic", "partition", "offset")}
    names["detector_errors"] = ("detector", "topic", "event_id")
    names["examples"] = ("model", "transaction_id", "label")
    names["profiles"] = ("deleted",) if "deleted" in body else ("revision",)
    names["merchants"], names["models"] = ("scope", "effective_from"), ("version",)
    name = "/".join(str(body[part]) for part in names.get(topic, ("id",)))
    return Place(topic, subject(body)), name


def in_order_read(said: Said) -> Said:
    """Dead letters in the order of their records: those of one source partition may lie in several output partitions."""
    return {
        place: sorted(items, key=lambda item: int(item.id.split()[1])) if place.topic.endswith(".dlq") else items
        for place, items in said.items()
    }


def topics_of(said: Said) -> Iterator[tuple[str, int]]:
    """How much was said on each topic."""
    yield from sorted(Counter(place.topic for place, items in said.items() for _ in items).items())
