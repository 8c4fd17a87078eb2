"""Dead letters: a rejected record with its original bytes, where it was read, and why it was refused."""

from __future__ import annotations

import json
from base64 import b64encode
from math import isfinite
from typing import Any

import orjson

from operators.decode import Rejection
from state.digest import digest128
from state.records import Output, Record
from state.times import rfc3339

TOPIC_SUFFIX = ".dlq"
HEADERS = ("dlq.code", "dlq.path", "dlq.message", "dlq.topic", "dlq.partition", "dlq.offset", "dlq.arrived_at")
WHOLE_HEADER = "dlq.original_bytes"
"""Only where the value is no more than the beginning of the original: how long that is."""


def dead_letter(record: Record, rejection: Rejection) -> Output:
    """The dead letter of a record: its key and value untouched, the rest in headers, one more if the value is cut.

    A record made from a row of a table has no bytes of its own: its value is the JSON of the row's fields.
    """
    texts = (
        rejection.code,
        rejection.path,
        rejection.message,
        record.topic,
        str(record.partition),
        str(record.offset),
        rfc3339(record.arrival_us),
    )
    headers = tuple((name, text.encode(errors="replace")) for name, text in zip(HEADERS, texts, strict=True))
    if record.whole_bytes:
        headers += ((WHOLE_HEADER, b"%d" % record.whole_bytes),)
    return Output(
        topic=record.topic + TOPIC_SUFFIX,
        key=record.key or b"",
        value=record.value or _json_of(record.body),
        id=digest128("dead letter", record.topic, str(record.partition), str(record.offset)),
        headers=headers,
    )


def _json_of(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, dict):  # JSON has no NaN, and null would be another value
        body = {
            name: str(value) if isinstance(value, float) and not isfinite(value) else value
            for name, value in body.items()
        }
    try:
        return orjson.dumps(body, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # What JSON proper has no room for, such as an integer beyond 64 bits or half of a surrogate pair.
        return json.dumps(body, default=str).encode()


def as_file_line(output: Output) -> bytes:
    """A dead letter as one JSON line (without the line feed) for the embedded log.

    `original` is the value as text, or `original_base64` when it is not UTF-8; `original_bytes` is there if it is cut.
    """
    header = {name.removeprefix("dlq."): value.decode() for name, value in output.headers if name.startswith("dlq.")}
    line: dict[str, Any] = {
        "code": header["code"],
        "path": header["path"],
        "message": header["message"],
        "topic": header["topic"],
        "partition": int(header["partition"]),
        "offset": int(header["offset"]),
        "arrived_at": header["arrived_at"],
    }
    if "original_bytes" in header:
        line["original_bytes"] = int(header["original_bytes"])
    value = output.value or b""
    try:
        line["original"] = value.decode()
    except UnicodeDecodeError:
        line["original_base64"] = b64encode(value).decode()
    return orjson.dumps(line)
