"""From what was said to the bytes that are written: one JSON object per message, CloudEvents headers in binary mode."""

from __future__ import annotations

from hashlib import blake2b

import msgspec

from operators.knowledge.facts import Example, MerchantFact, ScoreCount
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.versions import ModelVersion
from operators.knowledge_records import example_record, merchant_record, model_record
from operators.pseudonym import Pseudonyms
from state.digest import digest128
from state.events import Event
from state.profile import Profile, ProfileWithdrawn
from state.records import Output
from state.signals import DetectorError, Late, Score, Signal
from state.step import Emission

_encode = msgspec.json.Encoder().encode

SIGNAL_TOPICS = ("signals.anomaly", "signals.intent", "signals.alert")
VERSION_TOPICS = ("models", "merchants")
"""Of these only the newest message of a key counts (compacted)."""
OUTPUT_TOPICS = (*SIGNAL_TOPICS, "scores", "profiles", "late", "detector_errors", "examples", *VERSION_TOPICS)
SOURCE = "/segone"


def encode(emission: Emission, pseudonyms: Pseudonyms | None = None) -> Output:
    """The message for one emission. Its id depends on what is said, never on when or where it is written. With `pseudonyms` nothing
    of the message is made from the customer's own id: not the key, nor any id."""
    body = emission.body if pseudonyms is None else pseudonyms.hide(emission.body)
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
    if isinstance(body, Profile | ProfileWithdrawn):
        value = _encode(body) if isinstance(body, Profile) else None
        return Output("profiles", key, value, digest128("profile", body.customer_id, str(body.revision)), position)
    if isinstance(body, Late):
        return Output(
            "late", key, _encode(body), digest128("late", body.topic, str(body.partition), str(body.offset)), position
        )
    if isinstance(body, DetectorError):
        id_ = digest128("detector_error", body.detector, body.customer_id, body.topic, body.event_id)
        return Output("detector_errors", key, _encode(body), id_, position)
    if isinstance(body, Example):
        id_ = digest128("example", body.model, body.customer_id, body.transaction_id, str(body.label))
        return Output("examples", key, _encode(example_record(body)), id_, position)
    raise AssertionError(f"nothing is known of writing a {type(body).__name__}")


def is_written(emission: Emission) -> bool:
    """Whether an emission goes to a topic; facts and counts are for the knowledge step alone."""
    return not isinstance(emission.body, MerchantFact | ScoreCount)


def encode_version(version: MerchantRow | ModelVersion) -> Output:
    """The message for a version. Its id has the contents in it: should a live stream that raced be read again after a crash, both
    versions are told."""
    if isinstance(version, MerchantRow):
        topic, key, value = "merchants", version.merchant_id, _encode(merchant_record(version))
    else:
        topic, key, value = "models", version.name, _encode(model_record(version))
    id_ = digest128(topic, key, str(version.effective_from_us), blake2b(value, digest_size=16).hexdigest())
    return Output(topic, key.encode("utf-8", "surrogatepass"), value, id_)


def _position(event: Event | None) -> tuple[tuple[str, bytes], ...]:
    if event is None:
        return ()
    return (("source-position", f"{event.TOPIC}/{event.partition}/{event.offset}".encode()),)
