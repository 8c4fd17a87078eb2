"""Reading back what was written before a restart: the consumer is closed however it ends. No broker is needed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Consumer
from talking import settings

from dataflows.kafka import tail
from dataflows.kafka.client import BrokerUnavailable
from dataflows.kafka.tail import ID_HEADER, ids_between
from state.settings import ConfigError

ADDRESS = ("signals.alert", 0)
SILENT = settings("localhost:1", broker_timeout_s=0.5)


class Message:
    def __init__(self, offset: int) -> None:
        self._offset = offset

    def topic(self) -> str:
        return ADDRESS[0]

    def partition(self) -> int:
        return ADDRESS[1]

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self._offset

    def headers(self) -> list[tuple[str, bytes]]:
        return [(ID_HEADER, b"id")]


class Reader:
    """A consumer that answers as the test says."""

    def __init__(self, consume: Callable[[], list[Message]]) -> None:
        self._consume = consume
        self.closed = 0

    def assign(self, _partitions: list[Any]) -> None: ...

    def consume(self, _messages_max: int, _wait_s: float) -> list[Message]:
        return self._consume()

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], list[Message]]], Reader]:
    def use(consume: Callable[[], list[Message]]) -> Reader:
        reader = Reader(consume)
        monkeypatch.setattr(tail, "consumer", lambda *_: reader)
        return reader

    return use


def test_after_the_last_id_it_is_closed(reading: Callable[..., Reader]) -> None:
    reader = reading(lambda: [Message(0), Message(1)])
    assert list(ids_between(SILENT, {ADDRESS: 0}, {ADDRESS: 2})) == [b"id", b"id"]
    assert reader.closed == 1


def test_it_is_closed_when_the_tail_is_too_long(
    reading: Callable[..., Reader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tail, "TAIL_IDS_MAX", 1)
    reader = reading(lambda: [Message(0), Message(1)])
    with pytest.raises(ConfigError):
        list(ids_between(SILENT, {ADDRESS: 0}, {ADDRESS: 9}))
    assert reader.closed == 1


def test_it_is_closed_when_whoever_asks_gives_up(reading: Callable[..., Reader]) -> None:
    reader = reading(lambda: [Message(0)])
    ids = ids_between(SILENT, {ADDRESS: 0}, {ADDRESS: 9})
    next(ids)
    ids.close()  # type: ignore[attr-defined]
    assert reader.closed == 1


def test_a_silent_broker_holds_up_neither_the_error_nor_the_close(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Consumer] = []

    def consumer(*arguments: Any) -> Consumer:
        made.append(real(*arguments))
        return made[-1]

    real = tail.consumer
    monkeypatch.setattr(tail, "consumer", consumer)
    began_s = time.monotonic()
    with pytest.raises(BrokerUnavailable):
        list(ids_between(SILENT, {ADDRESS: 0}, {ADDRESS: 9}))
    assert time.monotonic() - began_s < 20
    with pytest.raises(RuntimeError, match="closed"):
        made[0].consume(1, 0.1)
