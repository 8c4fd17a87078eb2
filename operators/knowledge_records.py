"""The records of the topics `merchants`, `models` and `examples`: what readers outside get of versions and examples."""

from __future__ import annotations

from typing import Any

import msgspec

from operators.knowledge.facts import Example
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.versions import ModelVersion
from state.times import rfc3339

Record = dict[str, Any]


def merchant_record(row: MerchantRow) -> Record:
    """A row as an object; its time as text."""
    return _with_time(row, "effective_from")


def model_record(version: ModelVersion) -> Record:
    """A version as an object; `payload` is base64."""
    return _with_time(version, "effective_from")


def example_record(example: Example) -> Record:
    """An example as an object."""
    return _with_time(example, "event_time", "time_us")


def record_fields(struct: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    """Name and type of each field of the record that is made of a struct of this type, for its schema."""
    names = {"effective_from_us": ("effective_from", str), "time_us": ("event_time", str)}
    return [names.get(field.name, (field.name, field.type)) for field in msgspec.structs.fields(struct)]


def _with_time(struct: msgspec.Struct, name: str, field: str = "effective_from_us") -> Record:
    return {
        (name if key == field else key): (rfc3339(value) if key == field else value)
        for key, value in msgspec.structs.asdict(struct).items()
    }
