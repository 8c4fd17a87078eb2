"""Dead letters as they come back from Kafka: what is not whole says so, and is never sent again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dataflows.commands.redrive import decode_again
from dataflows.kafka.letters import letter_of
from operators.dead_letter import dead_letter
from operators.decode import Decoder, Rejection
from state.records import Record

NOBODY: Any = SimpleNamespace(arrival_us=lambda topic, body: 0)
TOO_LARGE = Rejection("record.too_large", "$", "more than 65536 bytes")


def message(value: bytes, *more: tuple[str, bytes]) -> Any:
    """A message of a dead-letter topic, with the headers that the sink gives it and those that the publisher adds."""
    written = dead_letter(Record("in.transactions", 1, 7, 0, None, value), TOO_LARGE)
    return SimpleNamespace(
        headers=lambda: [*written.headers, *more], value=lambda: value, partition=lambda: 3, offset=lambda: 5
    )


@pytest.mark.parametrize("header", ["segone-value-omitted", "dlq.original_bytes"])
def test_a_letter_without_its_whole_record_says_how_long_that_was_and_is_refused_as_too_large(header: str) -> None:
    letter = letter_of("in.transactions", message(b"", (header, b"2000000")))
    assert (letter.position, letter.original, letter.original_bytes) == ("in.transactions/1/7", b"", 2_000_000)
    again = decode_again(Decoder(), NOBODY, letter)
    assert isinstance(again, Rejection) and again.code == "record.too_large"


def test_a_whole_letter_is_read_as_it_is() -> None:
    letter = letter_of("in.transactions", message(b"{}"))
    assert (letter.place, letter.code, letter.original) == (("in.transactions.dlq", 3, 5), "record.too_large", b"{}")
    assert letter.original_bytes == 0
