"""What crosses the engine's edges: a record read from a topic, and an output to be written to one."""

from __future__ import annotations

from typing import Any

import msgspec


class Record(msgspec.Struct, gc=False):
    """One message as it was read, before anybody looked into it.

    `arrival_us` is the Kafka timestamp, or in files `arrived_at`, else the event's own time (UTC microseconds).
    `body` holds the parsed JSON when the reader had to parse it to learn the arrival time, so that nobody parses twice.
    `whole_bytes` is 0, or the length of a record so large that `value` holds its beginning only.
    """

    topic: str
    partition: int
    offset: int
    arrival_us: int
    key: bytes | None
    value: bytes
    body: Any = None
    whole_bytes: int = 0


class Output(msgspec.Struct, frozen=True, gc=False):
    """One message to be written. `id` (up to 32 bytes) is the same whenever the same thing is said again:
    the exactly-once sink recognises by it what a crashed predecessor had already written.
    `headers` come in addition to what the sink itself adds. Without a `value` it deletes what was written under its key (in Kafka's
    terms: a tombstone)."""

    topic: str
    key: bytes
    value: bytes | None
    id: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
