"""The events of a few customers, out of the log that a run read: what a page shows beside the signals."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from dataflows.history.lines import lines_of, topic_files
from dataflows.history.ordered import open_history
from operators.decode import DecodeLimits, Decoder, Rejection, arrival_of, parse_json
from state.events import TOPICS, Event
from state.records import Record

EVENTS_MAX = 200_000
"""Of one customer: more can't be drawn, and are no person's."""


class EventSource(NamedTuple):
    """A folder of topics in canonical form, or with a mapping any table, as for `segone replay`."""

    data: Path
    mapping: Path | None = None


def read_events(source: EventSource, customers: Collection[str], limits: DecodeLimits) -> dict[str, list[Event]]:
    """The events of each of `customers`, in the order of arrival; rejected records are left out, for each customer the newest
    EVENTS_MAX are kept. Raises ConfigError for whatever is wrong with the paths."""
    found: dict[str, list[Event]] = {customer: [] for customer in customers}
    decoder = Decoder(limits)
    for record in _records(source, customers):
        event = decoder.decode(record)
        if not isinstance(event, Rejection) and event.customer_id in found:
            found[event.customer_id].append(event)
    order = {topic: number for number, topic in enumerate(TOPICS)}
    for events in found.values():
        events.sort(key=lambda event: (event.arrival_us, order[event.TOPIC], event.partition, event.offset))
        del events[:-EVENTS_MAX]
    return found


def _records(source: EventSource, customers: Collection[str]) -> Iterator[Record]:
    if not customers:
        return
    if source.mapping is None:
        files = topic_files(source.data)
        if all(file.path.suffix != ".parquet" for file in files):
            mentions = _mentions(customers)
            for file in files:
                yield from _lines_about(mentions, TOPICS[file.topic_order], file.path, file.partition)
            return
    with open_history(source.data, source.mapping, None, None) as history:
        for records in history.records():
            yield from records


def _mentions(customers: Collection[str]) -> re.Pattern[bytes]:
    """Finds lines that may be about the customers without parsing the others. JSON may write any character as an escape,
    so a line with a backslash may be about anybody."""
    names = sorted(customers)
    plain = b"|".join(re.escape(f'"{name}"'.encode("utf-8", "surrogatepass")) for name in names)
    return re.compile(rb"\\|" + plain)


def _lines_about(mentions: re.Pattern[bytes], topic: str, path: Path, partition: int) -> Iterator[Record]:
    for row, _, line, whole_bytes in lines_of(path):
        if not whole_bytes and mentions.search(line):
            try:
                body = parse_json(line)
            except ValueError:
                continue
            arrival_us = arrival_of(topic, body)
            if arrival_us is not None:
                yield Record(topic, partition, row, arrival_us, None, line, body)
