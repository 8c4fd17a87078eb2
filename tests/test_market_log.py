"""The market's rates in a log of several partitions: every source partition reads them all, and they count once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from cli_samples import as_line

from dataflows.batches import RecordBatch
from dataflows.cli import main
from dataflows.quarantine import Quarantine
from dataflows.route import Accounting, Router, ShardBatch
from operators.decode import Decoder
from operators.encode import OUTPUT_TOPICS
from state.digest import partition_of
from state.events import MarketRate
from state.records import Record

PARTITIONS = 2
LATE_CUSTOMER = next(name for name in (f"c-{n}" for n in range(99)) if partition_of(name.encode(), PARTITIONS) == 1)
"""Of the partition whose first record comes after the first rate."""


def at(day: int) -> str:
    return f"2025-03-{day:02d}T09:00:00Z"


def rate(day: int, value: float, observed_day: int) -> dict[str, Any]:
    body = {"rate_id": f"r-{day}", "series": "mortgage_20y", "value": value, "product": "mortgage", "currency": "EUR"}
    return body | {"observed_at": at(observed_day), "arrived_at": at(day)}


def purchase(day: int) -> dict[str, Any]:
    body = {"transaction_id": f"t-{day}", "customer_id": LATE_CUSTOMER, "booked_at": at(day), "amount": "12.00"}
    return body | {"currency": "EUR", "direction": "debit"}


MORTGAGE = {
    "account_id": "l-1",
    "customer_id": LATE_CUSTOMER,
    "observed_at": at(4),
    "kind": "mortgage",
    "currency": "EUR",
    "balance": "-200000.00",
    "interest_rate": 5.0,
    "minimum_payment": "1500.00",
}
PURCHASES = [purchase(day) for day in (5, 7, 9)]


def write(folder: Path, topic: str, partition: int, bodies: list[dict[str, Any]]) -> None:
    path = folder / topic / f"{partition}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(as_line(body) + b"\n" for body in bodies))


def said(folder: Path) -> list[dict[str, Any]]:
    lines = [
        line
        for topic in OUTPUT_TOPICS
        if topic.startswith("signals")
        for path in sorted((folder / topic).glob("*.jsonl"))
        for line in path.read_bytes().splitlines()
    ]
    return sorted((orjson.loads(line) for line in lines), key=lambda body: str(body["id"]))


@pytest.mark.parametrize(("observed_day", "is_news"), [(1, False), (6, True)])
def test_a_replay_hears_of_the_rates_that_a_worker_hears_of(tmp_path: Path, observed_day: int, is_news: bool) -> None:
    """A rate that is older than one read before the partition's first record is no news there."""
    events = tmp_path / "events"
    write(events, "in.market", 0, [rate(2, 6.0, 2), rate(6, 2.0, observed_day)])
    write(events, "in.accounts", 0, [])
    write(events, "in.accounts", 1, [MORTGAGE])
    write(events, "in.transactions", 0, [])
    write(events, "in.transactions", 1, PURCHASES)
    config = tmp_path / "config.toml"
    config.write_text(f'[state]\ndir = "{tmp_path}/state"\n')
    assert main(["run", "--config", str(config), "--input", str(events), "--output", str(tmp_path / "run")]) == 0
    assert main(["replay", str(events), "--config", str(config), "--out", str(tmp_path / "replay")]) == 0
    by_run = said(tmp_path / "run")
    assert ("intent.refinance" in {body["type"] for body in by_run}) is is_news
    assert said(tmp_path / "replay") == by_run


def test_what_is_mended_in_a_rate_counts_once_however_many_partitions_read_it(tmp_path: Path) -> None:
    accounting, decoder = Accounting(), Decoder()
    router = Router(decoder, ["0000"], 1, accounting, Quarantine(tmp_path))
    long = Record("in.market", 0, 0, 1_741_500_000_000_000, None, as_line(rate(2, 6.0, 2) | {"series": "x" * 600}))
    heard = []
    for source in ("1", "0", "2"):
        items = [item for _, item in router([RecordBatch(source, [long], long.arrival_us, True, False)])]
        heard += [event for item in items if isinstance(item, ShardBatch) for event in item.events]
    assert [event.series for event in heard if isinstance(event, MarketRate)] == ["x" * 512] * 3
    assert decoder.counts["text.cut"] == 1
    assert (accounting.read, accounting.broadcast, accounting.difference) == ({"in.market": 1}, 1, 0)
