"""The published contracts: JSON Schema (2020-12) for every record and one AsyncAPI 3.0 document over all topics.

    python -m dataflows.commands.schemas            writes deploy/schemas/*.json and deploy/asyncapi.yaml
    python -m dataflows.commands.schemas --check    exits 1 and names the files that are not current

Input schemas come from the table that the decoder reads by (operators/fields.py), output schemas from the structs that
are written (state/signals.py), so neither can drift from the code.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path
from typing import Any

import msgspec
import orjson

from operators.dead_letter import HEADERS, TOPIC_SUFFIX
from operators.decode import CODES
from operators.encode import SIGNAL_TOPICS, SOURCE
from operators.fields import FIELDS, TopicFields
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.versions import ModelVersion
from operators.knowledge_records import ExampleRecord, record_fields
from state.events import BROADCAST, EVENT_TYPES, TOPICS
from state.money import AMOUNT_PATTERN, parse_balance
from state.profile import Profile
from state.signals import DetectorError, EventTrigger, Late, Score, Signal, TimerTrigger

Schema = dict[str, Any]

DEPLOY = Path(__file__).parents[2] / "deploy"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
_MONEY = {"type": ["string", "number"]}
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
_DAY = {"type": "string", "description": "a date or a time"}

# What `details` holds, by signal type. More keys may come; these stay.
DETAILS: dict[str, Schema] = {
    "anomaly.geo": {"kind": {"enum": ["impossible", "trip", "relocation"]}},
    "anomaly.category_surge": {"category": _TEXT, "observed": _MONEY, "usual": _MONEY},
    "anomaly.income_missed": {"stream": _TEXT, "expected_on": _DAY, "amount": _MONEY},
    "alert.overdraft_ahead": {"account_id": _TEXT, "date": _DAY, "shortfall": _MONEY},
    "anomaly.income_drop": {"stream": _TEXT, "old": _MONEY, "new": _MONEY},
    "alert.price_rise": {"stream": _TEXT, "old": _MONEY, "new": _MONEY},
    "alert.bill_changed": {"stream": _TEXT, "old": _MONEY, "new": _MONEY},
    "alert.new_subscription": {"stream": _TEXT, "amount": _MONEY, "cadence": _TEXT},
    "alert.fee": {"amount": _MONEY},
    "alert.bill_due": {"stream": _TEXT, "date": _DAY, "amount": _MONEY},
    "alert.duplicate_charge": {"amount": _MONEY},
    "intent.home_purchase": {"stage": _TEXT, "window": {}},
    "intent.churn": {"stage": _TEXT},
    "intent.life_event": {"kind": _TEXT},
    "intent.refinance": {"account_id": _TEXT},
    "intent.product": {"product": _TEXT, "expected_on": _DAY, "terms": {}},
}

_HEADERS: Schema = {
    "segone-id": {"description": "16 bytes that name this output; the engine's own"},
    "source-position": {
        "type": "string",
        "pattern": "^in\\.[a-z]+/[0-9]+/[0-9]+$",
        "description": "topic/partition/offset of the record that it came of; where a timer came due there is none",
    },
}


def _or_null(schema: Schema) -> Schema:
    """JSON null in an optional field means that it is absent."""
    if "enum" in schema:
        return {**schema, "enum": [*schema["enum"], None]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]} if "type" in schema else schema


def _money_schema(signed: bool) -> Schema:
    text = {"type": "string", "pattern": f"^{'-?' if signed else ''}{AMOUNT_PATTERN}$"}
    number = {"type": "number", "exclusiveMaximum": 1e15}
    number |= {"exclusiveMinimum": -1e15} if signed else {"minimum": 0}
    return {"anyOf": [text, number], "description": "digits beyond the currency's minor unit must be zeros"}


def input_schema(topic: str, table: TopicFields) -> Schema:
    """What the decoder accepts on `topic`, as far as a schema can say it."""
    properties: dict[str, Schema] = {}
    for field in table.fields:
        properties[field.name] = field.rule.schema if field.required else _or_null(field.rule.schema)
    for money in table.money:
        schema = _money_schema(money.parse is parse_balance)
        properties[money.name] = schema if money.required else _or_null(schema)
    schema = {
        "$schema": DIALECT,
        "$id": f"{topic}.json",
        "title": topic,
        "description": inspect.getdoc(EVENT_TYPES[topic]),
        "type": "object",
        "properties": properties,
        "required": list(table.required),
    }
    if table.money and "currency" not in table.required:
        named = [money.name for money in table.money]
        schema["allOf"] = [{"if": _given(name), "then": _given("currency")} for name in named]
    return schema


def _given(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _struct_schema(name: str, struct: type[msgspec.Struct]) -> Schema:
    (top,), components = msgspec.json.schema_components([struct], ref_template="#/$defs/{name}")
    own = components.pop(top["$ref"].rsplit("/", 1)[-1])
    schema = {"$schema": DIALECT, "$id": f"{name}.json", **own, "title": name}
    return schema | {"$defs": components} if components else schema


def signal_schema() -> Schema:
    """The Signal record, with what `details` must hold for each type."""
    # msgspec cannot describe a union of two structs that are told apart by their fields alone: described beside it.
    fields = [
        (field.name, Any if field.name == "trigger" else field.type, field.default)
        if field.default is not msgspec.NODEFAULT
        else (field.name, Any if field.name == "trigger" else field.type)
        for field in msgspec.structs.fields(Signal)
    ]
    schema = _struct_schema("signal", msgspec.defstruct("Signal", fields))
    schema["description"] = inspect.getdoc(Signal)
    triggers = [_struct_schema(struct.__name__, struct) for struct in (EventTrigger, TimerTrigger)]
    properties = schema["properties"]
    properties["trigger"] = {
        "anyOf": [{key: part for key, part in trigger.items() if not key.startswith("$")} for trigger in triggers]
    }
    properties["id"] = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
    properties["score"] = {"type": "number", "minimum": 0, "maximum": 1}
    properties["revision"] = {"type": "integer", "minimum": 1}
    properties["event_time"] = _TIME
    properties["valid_until"] = {"anyOf": [_TIME, {"type": "null"}]}
    schema["allOf"] = [
        {
            # A CLOSE or a RETRACT ends an episode; it need not say again what the episode is about.
            "if": {"properties": {"type": {"const": type_}, "state": {"enum": ["OPEN", "UPDATE"]}}},
            "then": {"properties": {"details": {"properties": details, "required": list(details)}}},
        }
        for type_, details in DETAILS.items()
    ]
    return schema


def profile_schema() -> Schema:
    """A customer's profile; in files, a line may tell instead that there is none any more."""
    schema = _struct_schema("profile", Profile)
    deletion = {
        "type": "object",
        "description": "In files only, for Kafka's tombstone.",
        "properties": {"customer_id": _TEXT, "deleted": {"const": True}},
        "required": ["customer_id", "deleted"],
    }
    head = {name: schema.pop(name) for name in ("$schema", "$id", "title", "description", "$defs")}
    return {**head, "anyOf": [schema, deletion]}


def signal_headers() -> Schema:
    """The Kafka headers of a signal: CloudEvents in binary mode, and where the triggering record was read."""
    properties = {
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": "the signal's id"},
        "ce_type": {"type": "string", "pattern": "^segone\\.", "description": "segone. and the signal's type"},
        "ce_source": {"const": SOURCE},
        "ce_subject": {"type": "string", "description": "the customer_id"},
        "ce_time": _TIME,
        "content-type": {"const": "application/json"},
    }
    return {"type": "object", "properties": properties | _HEADERS, "required": list(properties)}


def dead_letter_schema() -> Schema:
    """A dead letter as a line of the embedded log."""
    properties = {
        "code": {"enum": sorted(CODES)},
        "path": {"type": "string", "description": "JSON path of the value; $ is the whole record"},
        "message": _TEXT,
        "topic": {"enum": list(TOPICS)},
        "partition": {"type": "integer"},
        "offset": {"type": "integer"},
        "arrived_at": _TEXT,
    }
    return {
        "$schema": DIALECT,
        "$id": "dead_letter.json",
        "title": "dead_letter",
        "description": "A record that was refused. In Kafka its key and value are the original's and the rest are headers.",
        "type": "object",
        "properties": properties
        | {
            "original": _TEXT,
            "original_base64": {"type": "string", "contentEncoding": "base64"},
            "original_bytes": {
                "type": "integer",
                "description": "Only if no more than the beginning of the original is kept: its length",
            },
        },
        "required": list(properties),
        "oneOf": [{"required": ["original"]}, {"required": ["original_base64"]}],
    }


def record_schema(name: str, struct: type[msgspec.Struct]) -> Schema:
    """A record that is made of a struct whose own form is for the engine."""
    schema = _struct_schema(name, msgspec.defstruct(name, record_fields(struct)))
    return schema | {"description": inspect.getdoc(struct)}


def schemas() -> dict[str, Schema]:
    """All schemas by name."""
    outputs = {
        "signal": signal_schema(),
        "score": _struct_schema("score", Score),
        "profile": profile_schema(),
        "late": _struct_schema("late", Late),
        "detector_error": _struct_schema("detector_error", DetectorError),
        "dead_letter": dead_letter_schema(),
        "example": _struct_schema("example", ExampleRecord),
        "model": record_schema("model", ModelVersion),
        "merchant": record_schema("merchant", MerchantRow),
    }
    return {topic: input_schema(topic, FIELDS[topic]) for topic in TOPICS} | outputs


def asyncapi() -> Schema:
    """The AsyncAPI 3.0 document: what the engine receives and sends, topic by topic."""
    channels: dict[str, Schema] = {}
    operations: dict[str, Schema] = {}
    messages: dict[str, Schema] = {}

    def add(topic: str, action: str, message: str, description: str) -> None:
        reference = {"$ref": f"#/components/messages/{message}"}
        channels[topic] = {"address": topic, "description": description, "messages": {message: reference}}
        operations[f"{action} {topic}"] = {"action": action, "channel": {"$ref": f"#/channels/{topic}"}}

    def describe(message: str, schema: str, key: Schema, headers: Schema | None = None) -> None:
        payload = {"$ref": f"./schemas/{schema}.json"}
        messages[message] = {"name": message, "payload": payload, "bindings": {"kafka": {"key": key}}}
        if headers is not None:
            messages[message]["headers"] = headers

    customer = {"type": "string", "description": "the customer_id"}
    for topic in TOPICS:
        describe(topic, topic, {"type": "string"} if topic in BROADCAST else customer)
        add(topic, "receive", topic, inspect.getdoc(EVENT_TYPES[topic]) or topic)
    describe("signal", "signal", customer, signal_headers())
    for name in ("score", "profile", "late", "detector_error"):
        describe(name, name, customer, {"type": "object", "properties": _HEADERS})
    for topic in SIGNAL_TOPICS:
        add(topic, "send", "signal", f"Signals whose type begins with {topic.removeprefix('signals.')}.")
    add("scores", "send", "score", "The score of each transaction when it was first applied.")
    add(
        "profiles",
        "send",
        "profile",
        "The newest profile of each customer (compacted); a tombstone where it may no longer be published.",
    )
    add("late", "send", "late", "Records beyond the allowed lateness.")
    add("detector_errors", "send", "detector_error", "Detectors that failed; their records count as applied.")
    describe("example", "example", customer)
    describe("model", "model", {"type": "string", "description": "the model's name"})
    describe("merchant", "merchant", {"type": "string", "description": "the merchant_id"})
    add(
        "examples",
        "send",
        "example",
        "What a transaction looked like when it was scored, and what it turned out to be.",
    )
    add("models", "send", "model", "Versions of the models (compacted).")
    add("merchants", "send", "merchant", "What is known of merchants with fraud, and of all together (compacted).")
    headers = {"type": "object", "properties": dict.fromkeys(HEADERS, _TEXT), "required": list(HEADERS)}
    messages["dead_letter"] = {"name": "dead_letter", "headers": headers, "description": "The original key and value."}
    for topic in TOPICS:
        add(topic + TOPIC_SUFFIX, "send", "dead_letter", f"Records of {topic} that were refused.")
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Segment of One",
            "version": "1.0.0",
            "description": "Events in, signals out. One JSON object a record, UTF-8.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages},
    }


def documents() -> dict[Path, bytes]:
    """Every generated file below deploy/ with its contents."""
    option = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    files = {
        Path("schemas") / f"{name}.json": orjson.dumps(schema, option=option) for name, schema in schemas().items()
    }
    # JSON is YAML, and needs no library to write or to check.
    header = b"# Generated by `python -m dataflows.commands.schemas`; do not edit.\n"
    files[Path("asyncapi.yaml")] = header + orjson.dumps(asyncapi(), option=option)
    return files


def main(arguments: list[str] | None = None) -> int:
    """Writes or checks the generated files; see the module's first lines."""
    parser = argparse.ArgumentParser(
        prog="python -m dataflows.commands.schemas", description="Generates deploy/schemas and deploy/asyncapi.yaml."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file is not current")
    parser.add_argument("--out", type=Path, default=DEPLOY, help="the folder to write below (default: deploy)")
    options = parser.parse_args(arguments)
    stale = []
    for name, content in documents().items():
        path = options.out / name
        if path.exists() and path.read_bytes() == content:
            continue
        stale.append(path)
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    if options.check and stale:
        names = ", ".join(str(path) for path in stale)
        print(
            f"not current: {names}. Run `python -m dataflows.commands.schemas` and commit the result", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
