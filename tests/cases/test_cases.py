"""Cases: hand-made streams and exactly the signals that they cause, straight through and with a restart between any two events.

A case file is TOML. `[defaults]` are the fields of every transaction; a transaction with `repeat = {count, every_s}` stands for
that many, with ids "name-0", "name-1", …; `[settings.<detector>]` changes config/detectors.toml. Each of `expected` names the fields of a
signal that matter; the signals must be as many, in this order, and nothing else may be said.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest
from shard_bench import TABLES, Bench, Said

from operators.anomaly import transaction as fused
from operators.catalogue import CATALOGUE
from operators.decode import Decoder, Rejection
from state.events import Event
from state.records import Record
from state.times import parse_rfc3339, rfc3339

FOLDER = Path(__file__).parent
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
        repeat = given.get("repeat")
        fields = {key: value for key, value in (defaults | given).items() if key != "repeat" and value != ""}
        for number in range(repeat["count"] if repeat else 1):
            body = dict(fields)
            if repeat:
                start_us = parse_rfc3339(fields["booked_at"])
                body["transaction_id"] = f"{fields['transaction_id']}-{number}"
                body["booked_at"] = rfc3339(start_us + number * repeat["every_s"] * 1_000_000)
            arrival_us = parse_rfc3339(body.get("arrived_at", body["booked_at"]))
            event = Decoder().decode(Record("in.transactions", 0, len(events), arrival_us, None, orjson.dumps(body)))
            assert not isinstance(event, Rejection), event
            events.append(event)
    return events


def told(body: Said, expected: dict[str, Any]) -> dict[str, Any]:
    """Of a signal what the case speaks of; reasons by their code, evidence by transaction."""
    found = {key: body[key] for key in expected if key not in ("reasons", "evidence", "trigger")}
    found["reasons"] = [reason["code"] for reason in body["reasons"]]
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
