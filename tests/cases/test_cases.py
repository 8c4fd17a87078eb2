"""Cases: hand-made streams and exactly the signals that they cause, straight through and with a restart between any two events.

A case file is TOML. `[defaults]` are the fields of every transaction; a transaction with `repeat = {count, every_s}` stands for
that many, with ids "name-0", "name-1", …; `others` are events of other topics, each with its `topic`; `[settings.<detector>]`
changes config/detectors.toml. Each of `expected` names the fields of a signal that matter; the signals must be as many, in
this order, and nothing else may be said.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from shard_bench import TABLES, Bench, Said

from dataflows.commands.schemas import signal_schema
from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE
from operators.decode import Decoder, Rejection
from state.events import EVENT_TYPES, Event, Transaction
from state.records import Record
from state.times import parse_rfc3339, rfc3339

FOLDER = Path(__file__).parent
SIGNAL = Draft202012Validator(signal_schema())
FILES = sorted(FOLDER.glob("*.toml"))
CASES = [
    pytest.param(file, case, id=f"{file.stem}: {case['name']}")
    for file in FILES
    for case in tomllib.loads(file.read_text("utf-8"))["case"]
]


def events_of(file: Path, case: dict[str, Any]) -> list[Event]:
    defaults = tomllib.loads(file.read_text("utf-8"))["defaults"]
    events: list[Event] = []
    for given in case["transactions"]:
        events += repeated(Transaction, defaults | given, len(events))
    for given in case.get("others", []):
        fields = {"customer_id": defaults["customer_id"]} | given
        events += repeated(EVENT_TYPES[fields.pop("topic")], fields, len(events))
    return sorted(events, key=lambda event: event.arrival_us)


def repeated(of: type[Event], given: dict[str, Any], offset: int) -> Iterator[Event]:
    repeat = given.get("repeat", {"count": 1, "every_s": 0})
    body = {key: value for key, value in given.items() if key != "repeat" and value != ""}
    start_us = parse_rfc3339(body[of.TIME_FIELD])
    names = [key for key in body if key in ("transaction_id", "interaction_id")]
    for number in range(repeat["count"]):
        numbered = {name: f"{body[name]}-{number}" for name in names} if "repeat" in given else {}
        time_us = start_us + number * repeat["every_s"] * 1_000_000
        fields = body | numbered | {of.TIME_FIELD: rfc3339(time_us)}
        arrival_us = parse_rfc3339(fields.get("arrived_at", fields[of.TIME_FIELD]))
        event = Decoder().decode(Record(of.TOPIC, 0, offset + number, arrival_us, None, orjson.dumps(fields)))
        assert not isinstance(event, Rejection), event
        yield event


def told(body: Said, expected: dict[str, Any]) -> dict[str, Any]:
    """Of a signal what the case speaks of; reasons by their code and, where it has `texts`, their text; evidence by transaction."""
    found = {key: body[key] for key in expected if key not in ("reasons", "texts", "evidence", "trigger")}
    found["reasons"] = [reason["code"] for reason in body["reasons"]]
    if "texts" in expected:
        found["texts"] = [reason["text"] for reason in body["reasons"]]
    found["evidence"] = body["evidence"]["transaction_ids"]
    found["trigger"] = body["trigger"].get("event_id") or body["trigger"]["timer"]
    return found


@pytest.mark.parametrize(("file", "case"), CASES)
@pytest.mark.parametrize("restarts", [False, True], ids=["straight", "restarted"])
def test_case(file: Path, case: dict[str, Any], restarts: bool) -> None:
    settings = tomllib.loads(file.read_text("utf-8")).get("settings", {})
    tables = {name: {**table, **settings.get(name, {})} for name, table in TABLES.items()}
    bench = Bench(tables)
    for event in events_of(file, case):
        bench.apply([event])
        if restarts:
            bench.restart()
    if "clock" in case:
        bench.advance(parse_rfc3339(case["clock"]))
    assert bench.on("detector_errors") == []
    signals = bench.on("signals")
    assert [(body["type"], body["state"]) for body in signals] == [(e["type"], e["state"]) for e in case["expected"]]
    for body, expected in zip(signals, case["expected"], strict=True):
        SIGNAL.validate(body)
        found = told(body, expected)
        score = expected.get("score")
        if score is not None:
            assert found.pop("score") == pytest.approx(score, abs=1e-12)
        assert found == {key: value for key, value in expected.items() if key != "score"}


def test_every_detector_has_a_case_file_and_every_file_a_detector() -> None:
    assert {file.stem for file in FILES} == {detector.NAME for detector in CATALOGUE} | {fused.NAME}


def test_every_reason_of_the_catalogue_appears_in_a_case() -> None:
    said = {code for parameter in CASES for expected in parameter.values[1]["expected"] for code in expected["reasons"]}
    assert said >= {
        "AMOUNT_UNUSUAL",
        "MERCHANT_NEW",
        "COUNTRY_NEW",
        "DEVICE_NEW",
        "HOUR_UNUSUAL",
        "VELOCITY_HIGH",
        "STRANGE_ONLINE_BURST",
        "SPEED_IMPOSSIBLE",
        "AWAY_FROM_USUAL",
        "JOURNEY_SPENDING",
        "STAYS_AWAY",
        "ENDED",
        "PLACE_NEW",
        "VISITS_SURGE",
        "CHARGED_TWICE",
        "RANDOM",
        "REVERSED",
        "QUIET",
        "BALANCE",
        "BILL_AHEAD",
        "EVERYDAY",
        "DAYS_BELOW",
        "INCOME_LATER",
        "CAME",
        "MONEY_CAME",
        "PASSED",
        "EASED",
        "INCOME_MISSED",
        "INCOME_AGAIN",
        "CAME_IN_TIME",
        "INCOME_LOWER",
        "AMOUNT_BACK",
        "NEW_USUAL",
        "PRICE_HIGHER",
        "AMOUNT_DIFFERENT",
        "NEXT_KNOWN",
        "DRAWN_AGAIN",
        "WELL_KNOWN",
        "FEE_CHARGED",
        "BILL_DUE",
        "PAID",
    }
