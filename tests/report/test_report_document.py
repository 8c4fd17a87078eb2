"""What the page is told: the band that the detectors judged by, final transactions, pseudonyms that leak nothing, and plain errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from cli_samples import FIRST_S, as_line, reason, segone, signal, transaction, write_log, write_signals
from demo_run import Demo
from hypothesis import given
from hypothesis import strategies as st

from dataflows.cli import main
from dataflows.commands.signal_reader import read_signals
from dataflows.report import page as page_module
from dataflows.report.document import Selection, decode_limits, report_document
from dataflows.report.events import EventSource, read_events
from dataflows.report.outlook import fan_of
from dataflows.report.page import as_inline_json, page
from dataflows.report.pseudonyms import Pseudonyms
from dataflows.report.rehearsal import Rehearsal
from operators.encode import SIGNAL_TOPICS
from state.settings_reading import load_settings

SETTINGS = load_settings(environment={})
OPENLY = Pseudonyms(None)


def document_of(run: Path, source: Path | None, **selection: Any) -> dict[str, Any]:
    found = EventSource(source) if source is not None else None
    return report_document(run, found, Selection(**selection), SETTINGS, None, OPENLY)


def replayed(tmp_path: Path, records: list[dict[str, Any]]) -> tuple[Path, Path]:
    """The folder of events, and what a replay of them said."""
    write_log(tmp_path / "in", "in.transactions", [(each["customer_id"], as_line(each)) for each in records])
    assert main(["replay", str(tmp_path / "in"), "--out", str(tmp_path / "run")]) == 0
    return tmp_path / "in", tmp_path / "run"


def test_the_band_is_the_one_that_the_detectors_judged_by(demo: Demo) -> None:
    told = [
        (found.signal, one)
        for topic in SIGNAL_TOPICS
        for found in read_signals(demo.run, topic)
        for one in found.signal.reasons
        if one.code == "AMOUNT_UNUSUAL"
    ]
    assert told, "the demo run must hold an unusual amount"
    customers = {said.customer_id for said, _ in told}
    rehearsal = Rehearsal(SETTINGS)
    rehearsal.run(read_events(EventSource(demo.events), customers, decode_limits(SETTINGS)))
    for said, one in told:
        bands = rehearsal.bands[said.customer_id]
        band = next(each for each in bands if each.transaction_id == said.trigger["event_id"])
        assert band.usual == one.baseline
        assert band.low < band.usual < band.high
    assert {cost.detector.partition("@")[0] for cost in rehearsal.costs()} >= {"amount", "geo", "velocity"}


def test_all_of_a_customers_transactions_are_told_as_they_finally_are(tmp_path: Path) -> None:
    pending = transaction(1, 0, status="pending")
    events, run = replayed(
        tmp_path,
        [
            pending,
            transaction(1, 0, status="posted", amount="21.00"),
            transaction(1, 0, status="pending"),  # a duplicate: nothing changes
            transaction(1, 1),
            transaction(1, 2, status="reversed", original_transaction_id="t-1-1", amount=transaction(1, 1)["amount"]),
            transaction(2, 0),
        ],
    )
    (story,) = document_of(run, events, customer="c-1")["stories"]
    columns = story["transactions"]
    assert columns["id"] == ["t-1-0", "t-1-1", "t-1-2"]
    assert columns["amount"][0] == "21.00"
    assert [columns["texts"][i] for i in columns["status"]] == ["posted", "reversed", "reversed"]
    assert columns["time"][1] == (FIRST_S + 43_200 + 60) * 1000


def test_the_same_is_told_from_lines_parquet_and_escaped_json(tmp_path: Path) -> None:
    import duckdb

    records = [transaction(customer, number) for number in range(4) for customer in (1, 2)]
    write_log(tmp_path / "lines", "in.transactions", [(each["customer_id"], as_line(each)) for each in records])
    escaped = tmp_path / "escaped" / "in.transactions.jsonl"
    escaped.parent.mkdir()
    escaped.write_text("".join(json.dumps(each).replace("c-1", "\\u0063-1") + "\n" for each in records))
    (tmp_path / "tables" / "in.transactions").mkdir(parents=True)
    target = tmp_path / "tables" / "in.transactions" / "0.parquet"
    duckdb.sql(f"COPY (FROM read_json('{tmp_path}/lines/in.transactions/*.jsonl')) TO '{target}'")
    found = [
        read_events(EventSource(tmp_path / name), ["c-1"], decode_limits(SETTINGS))["c-1"]
        for name in ("lines", "escaped", "tables")
    ]
    told = [[(event.event_id, event.time_us) for event in events] for events in found]
    assert len(told[0]) == 4
    assert told[0] == told[1] == told[2]


def test_a_page_with_pseudonyms_holds_no_id_of_anybody(demo: Demo, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert main(["report", str(demo.run), "--worst", "6", "--out", str(out)]) == 0
    text = out.read_text("utf-8")
    assert '"revealed":false' in text
    names = set()
    for path in demo.events.glob("*/*.jsonl"):
        for line in path.read_bytes().splitlines():
            try:
                body = orjson.loads(line)
            except orjson.JSONDecodeError:
                continue
            if isinstance(body, dict):
                names |= {
                    body.get(key) for key in ("customer_id", "transaction_id", "account_id", "card_id", "device_id")
                }
                names |= {body.get("counterparty")}
    words = set(re.findall(r"[\w-]{6,}", text))
    known = {name for name in names if isinstance(name, str) and len(name) >= 6}
    assert known
    assert not known & words
    assert not [name for name in known if " " in name and name in text]


def test_pseudonyms_differ_between_pages_and_agree_within_one(demo: Demo) -> None:
    one, other = Pseudonyms(b"1" * 32), Pseudonyms(b"2" * 32)
    first, second = (
        report_document(demo.run, EventSource(demo.events), Selection(worst=2), SETTINGS, None, each)
        for each in (one, other)
    )
    assert not {story["key"] for story in first["stories"]} & {story["key"] for story in second["stories"]}
    story = first["stories"][0]
    evidence = {id_ for said in story["signals"] for id_ in said["evidence"]["transaction_ids"]}
    assert evidence
    assert evidence <= set(story["transactions"]["id"])


@given(st.text(max_size=30), st.text(max_size=30))
def test_json_in_the_page_can_end_no_element_and_stays_the_same(key: str, value: str) -> None:
    body = {key.encode("utf-8", "ignore").decode(): [value.encode("utf-8", "ignore").decode(), "</script>"]}
    text = as_inline_json(body)
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == body


def test_every_script_is_part_of_the_page() -> None:
    folder = Path(page_module.__file__).parent / "static"
    assert sorted(page_module.SCRIPTS) == sorted(path.name for path in folder.glob("*.js"))


def test_text_that_looks_like_a_place_in_the_template_is_text() -> None:
    text = page({"run": "{{script}}{{data}}{{style}}"}).decode()
    assert "{{script}}{{data}}{{style}}" in text
    assert text.count("<script") == 2


@pytest.mark.parametrize(
    "forecast",
    [
        {"balance": [{"date": "2025-01-02", "p10": "1.5", "p50": 2, "p90": 3.5}], "shortfall": {"p10": 1}},
        {"points": [{"date": "2025-01-02", "p10": "1.5", "p50": 2, "p90": 3.5}]},
        {"days": [{"on": "2025-01-02", "quantiles": {"0.1": 1.5, "0.5": 2, "0.9": 3.5}}]},
        {"dates": ["2025-01-02"], "quantiles": {"10": [1.5], "50": [2], "90": [3.5]}},
        {"start": "2025-01-02", "p10": [1.5], "median": [2], "p90": ["3.5"]},
    ],
)
def test_a_forecast_is_understood_in_several_spellings(forecast: dict[str, Any]) -> None:
    assert fan_of(forecast) == [[1735776000000, {"10": 1.5, "50": 2.0, "90": 3.5}]]


@pytest.mark.parametrize(
    "forecast", [None, {}, [], "soon", {"points": [1, None, {"date": 3}]}, {"dates": "x", "p10": {}}]
)
def test_a_forecast_that_is_none_draws_nothing(forecast: Any) -> None:
    assert fan_of(forecast) == []


def test_without_its_events_the_page_is_drawn_from_the_evidence_and_says_so(tmp_path: Path) -> None:
    write_signals(tmp_path, signal(details={"stream": "rent", "expected_on": "2025-03-09", "amount": "900.00"}))
    (story,) = document_of(tmp_path, None, customer="c-1")["stories"]
    assert "from the signals' evidence alone" in story["notes"][0]
    assert story["transactions"]["id"] == []
    assert story["outlook"]["streams"] == [
        {"name": "rent", "status": None, "about": "", "currency": "", "next": [[1741478400000, "900.00", False]]}
    ]


def test_recurring_payments_are_told_with_when_they_came_and_come_next(tmp_path: Path) -> None:
    rent = {
        "counterparty": "Ordano Housing",
        "channel": "standing_order",
        "mcc": None,
        "merchant_id": None,
        "amount": "900.00",
    }
    bought = [transaction(1, number) for number in range(2, 330)]
    paid = [
        transaction(1, month, transaction_id=f"rent-{month}", booked_at=f"2025-{month:02d}-03T08:00:00Z", **rent)
        for month in range(1, 7)
    ]
    records = sorted(bought + paid, key=lambda each: each["booked_at"])
    events, run = replayed(tmp_path, records)
    (story,) = document_of(run, events, customer="c-1")["stories"]
    (stream,) = [each for each in story["outlook"]["streams"] if each["name"] == "Ordano Housing"]
    assert (stream["status"], stream["about"]) == ("MATURE", "monthly, standing order")
    came = [time for time, amount, seen in stream["next"] if seen]
    expected = [time for time, amount, seen in stream["next"] if not seen]
    assert len(came) == 6
    assert {amount for _, amount, _ in stream["next"]} == {"-900.00"}
    (july,) = [time for time in expected if time < 1_753_920_000_000]
    assert abs(july - 1_751_500_800_000) <= 3 * 86_400_000  # the 3rd of July, give or take a weekend
    told = report_document(run, EventSource(events), Selection("c-1"), SETTINGS, None, Pseudonyms(b"k" * 32))
    assert "Ordano" not in json.dumps(told)


def test_what_was_retracted_is_not_among_the_strongest(tmp_path: Path) -> None:
    strong = signal(id="1" * 32, score=0.9)
    taken_back = signal(id="2" * 32, score=0.9, state="RETRACT", retracts="1" * 32, revision=2)
    weak = signal(id="3" * 32, customer_id="c-2", episode="t-9")
    write_signals(tmp_path, strong, taken_back, weak)
    document = document_of(tmp_path, None, type="anomaly.geo", worst=5)
    assert [each["id"] for each in document["fleet"]["strongest"]] == ["3" * 32]
    assert [story["key"] for story in document["stories"]] == ["c-2"]


def test_wrong_use_is_told_plainly(demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "page.html")
    cases = [
        (["--customer", "nobody", "--out", out], 1, "nothing is known about the customer"),
        (["--type", "anomaly.gost", "--out", out], 1, "no such signal"),
        (["--type", "anomaly.geo", "--customer", "c", "--out", out], 2, "either --customer ID or --type T"),
        (["--worst", "-1", "--out", out], 2, "--worst -1: give a number from 0 to 200"),
        (["--events", "nowhere", "--out", out], 2, "--events nowhere: there is no such file"),
        (["--mapping", "m.toml", "--out", out], 2, "--mapping: goes with --events DIR"),
        (["--truth", "nowhere", "--out", out], 2, "nowhere"),
    ]
    for arguments, code, message in cases:
        assert main(["report", str(demo.run), *arguments]) == code, arguments
        assert message in capsys.readouterr().err
    assert not Path(out).exists()


def test_replay_writes_the_page_beside_what_it_said(tmp_path: Path) -> None:
    write_log(tmp_path / "in", "in.transactions", [("c-1", as_line(transaction(1, number))) for number in range(60)])
    ended = segone("replay", tmp_path / "in", "--out", tmp_path / "run", "--report")
    assert ended.returncode == 0, ended.stderr
    text = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "Content-Security-Policy" in text
    assert (tmp_path / "run" / "report.md").exists()
    assert json.loads((tmp_path / "run" / "run.json").read_text())["events"] == str(tmp_path / "in")


def test_a_mapped_history_is_found_again_and_told_with_the_same_mapping(tmp_path: Path) -> None:
    rows = "".join(f"{n},{n % 3},2025-01-{1 + n % 28:02d} 12:00:00,{10 + n}.50\n" for n in range(60))
    (tmp_path / "cards.csv").write_text("id,who,at,paid\n" + rows)
    fields = """
        transaction_id = { column = "id", prefix = "t-" }
        customer_id = { column = "who", prefix = "c-" }
        booked_at = "at"
        amount = { column = "paid", round = 2 }
        currency = { value = "EUR" }
        direction = { value = "debit" }"""
    (tmp_path / "cards.toml").write_text(f'[[stream]]\ntopic = "in.transactions"\n[stream.fields]{fields}\n')
    mapped = ["--mapping", str(tmp_path / "cards.toml")]
    run, page = tmp_path / "run", tmp_path / "page.html"
    assert main(["replay", str(tmp_path / "cards.csv"), *mapped, "--out", str(run)]) == 0
    assert main(["report", str(run), "--customer", "c-1", "--reveal", "--out", str(page)]) == 0
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text("utf-8"))
    assert found is not None
    (story,) = json.loads(found.group(1))["stories"]
    assert sorted(story["transactions"]["id"]) == sorted(f"t-{n}" for n in range(60) if n % 3 == 1)


def test_where_names_are_not_known_no_text_is_shown(tmp_path: Path) -> None:
    said = reason("BILL_AHEAD", 1.0, text="Ordano Housing: 900.00 EUR leaves on 2025-04-01", feature="payment")
    write_signals(tmp_path, signal(reasons=[said, reason("BASE", 0.5)], details={"stream": "Ordano Housing"}))
    told = report_document(tmp_path, None, Selection("c-1"), SETTINGS, None, Pseudonyms(b"k" * 32))
    assert "Ordano" not in json.dumps(told)
    assert told["fleet"]["strongest"][0]["text"] == "bill ahead; base"


def test_texts_are_masked_wherever_an_id_stands() -> None:
    pseudonyms = Pseudonyms(b"key")
    body = signal(
        reasons=[reason("ENDED", None, feature="transaction_id", value="t-77", text="t-1 at Ordano for c-1")],
        details={"account_id": "a-1", "stream": "Ordano Housing"},
    )
    text = json.dumps(pseudonyms.mask(body, {"c-1": "customer_id", "Ordano": "counterparty"}))
    for hidden in ("c-1", "t-1", "t-0", "t-77", "a-1", "Ordano"):
        assert not re.search(rf"\b{hidden}\b", text), hidden
    assert "a" * 32 in text  # a signal's own id names a line of RUN and nobody
