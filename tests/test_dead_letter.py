"""Dead letters: the original bytes untouched, and everything that is needed to find and mend the cause."""

import re
from base64 import b64decode
from pathlib import Path

import orjson
import pytest
from decode_samples import ARRIVAL_US, FULL, record_of

from operators.dead_letter import HEADERS, as_file_line, dead_letter
from operators.decode import CODES, Decoder, Rejection
from operators.rules import REPAIRS
from state.records import Output, Record


def refuse(record: Record) -> Output:
    rejection = Decoder().decode(record)
    assert isinstance(rejection, Rejection)
    return dead_letter(record, rejection)


@pytest.mark.parametrize("value", [b"", b"{", b'{"a": 1}\r', b"\xff\x00\xfe", "ž{".encode(), b"x" * 70_000])
@pytest.mark.parametrize("key", [None, b"", b"c-1", b"\xff"])
def test_key_and_value_are_the_original_bytes(key: bytes | None, value: bytes) -> None:
    output = refuse(record_of("in.labels", value, key=key))
    assert (output.topic, output.key, output.value) == ("in.labels.dlq", key or b"", value)
    line = orjson.loads(as_file_line(output))
    original = line["original"].encode() if "original" in line else b64decode(line["original_base64"])
    assert original == value


def test_headers_and_line_say_what_where_and_when() -> None:
    record = record_of("in.transactions", FULL["in.transactions"] | {"currency": "EURO"}, key=b"c-1")
    output = refuse(record)
    headers = dict(output.headers)
    assert tuple(headers) == HEADERS
    assert headers["dlq.code"] == b"currency.unknown"
    assert headers["dlq.path"] == b"$.currency"
    assert (headers["dlq.topic"], headers["dlq.partition"], headers["dlq.offset"]) == (b"in.transactions", b"3", b"7")
    line = orjson.loads(as_file_line(output))
    assert list(line) == ["code", "path", "message", "topic", "partition", "offset", "arrived_at", "original"]
    assert (line["partition"], line["offset"], line["arrived_at"]) == (3, 7, "2025-03-04T12:34:56.000000Z")
    assert b"\n" not in as_file_line(output)


def test_a_number_that_json_does_not_know_is_kept_as_text() -> None:
    row = FULL["in.transactions"] | {"amount": float("nan"), "lat": float("-inf")}
    original = orjson.loads(refuse(Record("in.transactions", 0, 0, ARRIVAL_US, None, b"", row)).value)
    assert (original["amount"], original["lat"]) == ("nan", "-inf")


def test_a_row_of_a_table_is_kept_as_the_json_of_its_fields() -> None:
    body = FULL["in.transactions"] | {"amount": "12,50"}
    output = refuse(Record("in.transactions", 0, 1, ARRIVAL_US, b"c-1", b"", body))
    assert orjson.loads(output.value) == body


def test_the_id_names_the_place_and_nothing_else() -> None:
    first, again = refuse(record_of("in.labels", b"{")), refuse(record_of("in.labels", b"[]", key=b"c"))
    assert first.id == again.id
    others = [
        refuse(record_of("in.labels", b"{", offset=8)),
        refuse(record_of("in.labels", b"{", partition=4)),
        refuse(record_of("in.consents", b"{")),
    ]
    assert len({first.id, *(other.id for other in others)}) == 4
    assert len(first.id) <= 32


def test_messages_do_not_repeat_the_value() -> None:
    for name, value in FULL["in.transactions"].items():
        result = Decoder().decode(record_of("in.transactions", FULL["in.transactions"] | {name: f" secret {value} "}))
        if isinstance(result, Rejection):
            assert "secret" not in result.message


def test_the_documentation_lists_exactly_the_codes_and_repairs_of_the_code() -> None:
    text = (Path(__file__).parent.parent / "docs" / "dead-letters.md").read_text()
    codes, _, repairs = text.partition("## What is mended instead")
    assert re.findall(r"^\| `([a-z_.]+)` \|", codes, re.MULTILINE) == list(CODES)
    assert re.findall(r"^\| `([a-z_.]+)` \| (.+?)(?: \(512.*)? \|$", repairs, re.MULTILINE) == list(REPAIRS.items())
