"""The published schemas: current, valid, and of one mind with the decoder and with what is written."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from decode_samples import FULL, record_of
from jsonschema import Draft202012Validator

from dataflows.commands import schemas as published
from operators.dead_letter import as_file_line, dead_letter
from operators.decode import Decoder, Rejection
from operators.encode import encode
from operators.fields import FIELDS
from state.events import TOPICS, Event
from state.signals import DetectorError, EventTrigger, Evidence, Late, Reason, Score, Signal, TimerTrigger, WindowSpan
from state.step import Emission

SCHEMAS = published.schemas()

# What a schema cannot say: the calendar, the clock, the currency's minor unit, how values from the JSON text round.
BEYOND_SCHEMAS = {"time.format", "time.range", "time.future", "amount.precision"}


def is_valid(name: str, body: Any) -> bool:
    return bool(Draft202012Validator(SCHEMAS[name]).is_valid(body))


def test_the_generated_files_are_current() -> None:
    assert published.main(["--check"]) == 0, "run `python -m dataflows.commands.schemas`"


def test_check_names_what_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert published.main(["--check", "--out", str(tmp_path)]) == 1
    assert "signal.json" in capsys.readouterr().err
    assert published.main(["--out", str(tmp_path)]) == 0
    assert published.main(["--check", "--out", str(tmp_path)]) == 0
    (tmp_path / "asyncapi.yaml").write_text("{}")
    assert published.main(["--check", "--out", str(tmp_path)]) == 1


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_a_valid_schema(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["description"]


def corpus(topic: str) -> Iterator[dict[str, Any]]:
    odd: tuple[Any, ...] = (
        None,
        True,
        0,
        -1,
        1.5,
        10**15,
        "",
        " ",
        " x",
        "x ",
        "x\ty",
        "x",
        "é" * 129,
        [],
        {},
        "-0",
        "0",
    )
    odd += (
        "12.34",
        "-12.34",
        "1e2",
        "1.123456",
        "EUR",
        "eur",
        "ZZZ",
        "debit",
        "other",
        "2025-03-04",
        "closed",
        "x" * 600,
    )
    odd += (
        "2025-03-04T12:34:56Z",
        "2025-03-04t12:34:56.5+01:00",
        "2025-03-04T12:34:56",
        "granted",
        "page",
        "fraud",
        0.5,
    )
    yield FULL[topic]
    for name in FULL[topic]:
        without = copy.copy(FULL[topic])
        del without[name]
        yield without
        for value in odd:
            yield FULL[topic] | {name: value}


@pytest.mark.parametrize("topic", TOPICS)
def test_the_decoder_accepts_exactly_what_the_schema_calls_valid(topic: str) -> None:
    validator = Draft202012Validator(SCHEMAS[topic])
    outcomes = set()
    for body in corpus(topic):
        result = Decoder().decode(record_of(topic, body))
        if isinstance(result, Rejection) and result.code in BEYOND_SCHEMAS:
            continue
        accepted = not isinstance(result, Rejection)
        assert validator.is_valid(body) is accepted, (body, result)
        outcomes.add(accepted)
    assert outcomes == {True, False}


@pytest.mark.parametrize("topic", TOPICS)
def test_the_schema_names_every_field_of_the_table(topic: str) -> None:
    table = FIELDS[topic]
    assert (
        set(SCHEMAS[topic]["properties"]) == {field.name for field in (*table.fields, *table.money)} == set(FULL[topic])
    )
    assert SCHEMAS[topic]["required"] == list(table.required)


SIGNAL = Signal(
    id="0" * 32,
    type="anomaly.geo",
    customer_id="c-1",
    event_time="2025-03-04T12:34:56.000000Z",
    state="OPEN",
    episode="e-1",
    revision=1,
    retracts=None,
    score=0.97,
    score_link="logit",
    score_base=-4.1,
    calibrated=True,
    confidence="HIGH",
    severity="HIGH",
    sensitive=False,
    details={"kind": "impossible", "km": 7210.0, "hours": 1.2},
    reasons=(Reason("SPEED_IMPOSSIBLE", "kmh", 6008.3, 80.0, 7.6, "too fast"),),
    evidence=Evidence(("t-1", "t-0"), (WindowSpan("24h", "2025-03-03T12:34:56Z", "2025-03-04T12:34:56Z"),)),
    counterfactual=None,
    forecast=None,
    inputs={},
    detector="geo@1",
    model=None,
    config="sha256:0",
    valid_until=None,
    trigger=EventTrigger("in.transactions", "t-1"),
)


def written(struct: msgspec.Struct) -> Any:
    return orjson.loads(msgspec.json.encode(struct))


def test_what_the_engine_writes_is_valid() -> None:
    assert is_valid("signal", written(SIGNAL))
    timer = msgspec.structs.replace(SIGNAL, trigger=TimerTrigger("salary", "2025-03-04T00:00:00Z"), model="m@1")
    assert is_valid("signal", written(timer))
    assert is_valid("score", written(Score("t-1", "c-1", "2025-03-04T12:34:56Z", 0.5, "fused@1")))
    assert is_valid(
        "late", written(Late("in.labels", 0, 1, "c-1", "e", "2025-03-04T12:34:56Z", "2025-03-09T12:34:56Z", 1.5))
    )
    error = DetectorError("geo@1", "c-1", "2025-03-04T12:34:56Z", "in.transactions", "t-1", "ValueError", "geo.py:12")
    assert is_valid("detector_error", written(error))
    for value in (b"{", b"\xff"):
        record = record_of("in.labels", value)
        rejection = Decoder().decode(record)
        assert isinstance(rejection, Rejection)
        assert is_valid("dead_letter", orjson.loads(as_file_line(dead_letter(record, rejection))))


@pytest.mark.parametrize(
    "change",
    [
        {"details": {}},
        {"details": {"kind": "teleport"}},
        {"score": 1.5},
        {"id": "T-1"},
        {"state": "SHUT"},
        {"revision": 0},
        {"trigger": {"topic": "in.transactions"}},
        {"reasons": [{"code": "X"}]},
    ],
)
def test_a_wrong_signal_is_invalid(change: dict[str, Any]) -> None:
    assert not is_valid("signal", written(SIGNAL) | change)


def test_a_retraction_need_not_repeat_its_details() -> None:
    assert is_valid("signal", written(SIGNAL) | {"state": "RETRACT", "details": {}, "retracts": "1" * 32})


def test_the_asyncapi_document_covers_every_topic_and_its_references_resolve() -> None:
    text = (published.DEPLOY / "asyncapi.yaml").read_text()
    document = json.loads("\n".join(line for line in text.splitlines() if not line.startswith("#")))
    outputs = {"signals.anomaly", "signals.intent", "signals.alert", "scores", "profiles", "examples", "models"}
    outputs |= {"merchants", "late", "detector_errors", *(f"{topic}.dlq" for topic in TOPICS)}
    assert set(document["channels"]) == outputs | set(TOPICS)
    received = {
        op["channel"]["$ref"].removeprefix("#/channels/")
        for op in document["operations"].values()
        if op["action"] == "receive"
    }
    assert received == set(TOPICS)
    for reference in references(document):
        if reference.startswith("./"):
            assert (published.DEPLOY / reference).is_file(), reference
        else:
            target = document
            for step in reference.removeprefix("#/").split("/"):
                target = target[step]


def test_the_headers_of_a_signal_are_those_of_the_asyncapi_document() -> None:
    event = Decoder().decode(record_of("in.transactions", FULL["in.transactions"]))
    assert isinstance(event, Event)
    headers = {name: value.decode() for name, value in encode(Emission(SIGNAL, event)).headers}
    described = published.asyncapi()["components"]["messages"]["signal"]["headers"]
    Draft202012Validator(described).validate(headers)
    assert headers.keys() == described["properties"].keys() - {"segone-id"}, "that one is the sink's"


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)
