"""From what was said to the bytes that are written: one JSON object per message, CloudEvents headers in binary mode."""

from __future__ import annotations

import msgspec

from state.digest import digest128
from state.events import Event
from state.records import Output
from state.signals import DetectorError, Late, Score, Signal
from state.step import Emission

_encode = msgspec.json.Encoder().encode

SIGNAL_TOPICS = ("signals.anomaly", "signals.intent", "signals.alert")
OUTPUT_TOPICS = (*SIGNAL_TOPICS, "scores", "late", "detector_errors")
SOURCE = "/segone"


def encode(emission: Emission) -> Output:
    """The message for one emission. Its id depends on what is said, never on when or where it is written."""
    body = emission.body
    key = body.customer_id.encode("utf-8", "surrogatepass")
    position = _position(emission.event)
    if isinstance(body, Score):
        return Output("scores", key, _encode(body), digest128("score", body.customer_id, body.transaction_id), position)
    if isinstance(body, Signal):
        topic = "signals." + body.type.partition(".")[0]
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", body.id.encode()),
            ("ce_type", b"segone." + body.type.encode()),
            ("ce_source", SOURCE.encode()),
            ("ce_subject", key),
            ("ce_time", body.event_time.encode()),
            ("content-type", b"application/json"),
            *position,
        )
        return Output(topic, key, _encode(body), bytes.fromhex(body.id), headers)
    if isinstance(body, Late):
        return Output(
            "late", key, _encode(body), digest128("late", body.topic, str(body.partition), str(body.offset)), position
        )
    if isinstance(body, DetectorError):
        id_ = digest128("detector_error", body.detector, body.customer_id, body.topic, body.event_id)
        return Output("detector_errors", key, _encode(body), id_, position)
    raise AssertionError(f"nothing is known of writing a {type(body).__name__}")


def _position(event: Event | None) -> tuple[tuple[str, bytes], ...]:
    if event is None:
        return ()
    return (("source-position", f"{event.TOPIC}/{event.partition}/{event.offset}".encode()),)
