"""The records of the topics `merchants`, `models` and `examples`: what readers outside get of versions and examples."""

from __future__ import annotations

from typing import Any

import msgspec

from operators.knowledge.facts import Example
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.schemas import schema_of
from operators.knowledge.versions import CHAMPION, SHADOW, ModelVersion
from state.times import rfc3339

Record = dict[str, Any]


def merchant_record(row: MerchantRow) -> Record:
    """A row as an object; its time as text."""
    return _with_time(row)


def model_record(version: ModelVersion) -> Record:
    """A version as an object; `payload` is base64."""
    return _with_time(version)


class ExampleRecord(msgspec.Struct, frozen=True):
    """What a transaction looked like when it was scored, and what it turned out to be. A `transaction_id` that begins with # is the
    64-bit digest of the id of one that nobody labelled; `weight` says for how many such it speaks. Of an intent's model it is no
    transaction but a week: what was foreseen, and the day before which the week ended ("product/loan:2025-03-06")."""

    model: str
    customer_id: str
    transaction_id: str
    event_time: str
    label: int
    weight: float
    features: dict[str, float]
    scores: dict[str, float]
    """By role (champion, shadow), in log-odds."""


def example_record(example: Example) -> ExampleRecord:
    """An example with its features by name."""
    schema = schema_of(example.model)
    assert schema is not None, f"examples are of models that are learned, {example.model} is none"
    seen = schema.unpack(example.features)
    names = (feature.name for feature in schema.layout.features)
    given = {CHAMPION: seen.champion, SHADOW: seen.shadow}
    return ExampleRecord(
        example.model,
        example.customer_id,
        example.transaction_id,
        rfc3339(example.time_us),
        example.label,
        example.weight,
        dict(zip(names, seen.values, strict=True)),
        {role: logit for role, logit in given.items() if logit is not None},
    )


def record_fields(struct: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    """Name and type of each field of the record that is made of a struct of this type, for its schema."""
    names = {"effective_from_us": ("effective_from", str)}
    return [names.get(field.name, (field.name, field.type)) for field in msgspec.structs.fields(struct)]


def _with_time(struct: MerchantRow | ModelVersion) -> Record:
    """As an object, with `effective_from` as text."""
    return {
        ("effective_from" if key == "effective_from_us" else key): (
            rfc3339(struct.effective_from_us) if key == "effective_from_us" else value
        )
        for key, value in msgspec.structs.asdict(struct).items()
    }
