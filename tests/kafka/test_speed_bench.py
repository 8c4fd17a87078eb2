"""Each part of bench/run.py runs, in tiny sizes, and finds what it measures; nothing is said of times."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from broker import Broker

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))

import speed_parts  # noqa: E402

from operators.catalogue import CATALOGUE  # noqa: E402

TINY = speed_parts.Sizes(
    customers=2, days=14, payments=200, payers=20, residents=20, load_s=0.4, growth=(), growth_checkpoints=0, seed=3
)


@pytest.fixture
def bootstrap(own_broker: Broker | None) -> str:
    if own_broker is None:
        pytest.skip("makes topics of fixed names: not on somebody else's broker")
    return own_broker.bootstrap


def test_the_parts_without_a_broker_measure_the_same_events(tmp_path: Path) -> None:
    (floor,) = speed_parts.floor(TINY, tmp_path)
    (embedded,) = speed_parts.embedded(TINY, tmp_path)
    assert floor["events"] == embedded["events"] > 0
    one, two = speed_parts.processes(TINY, tmp_path)
    assert one["events"] == two["events"] >= embedded["events"], "an empty line counts as a line, and is no record"
    assert {row["what"] for row in speed_parts.detectors(TINY, tmp_path)} == {f"h {d.NAME}" for d in CATALOGUE}


def test_contestants_say_the_same(bootstrap: str, tmp_path: Path) -> None:
    rows = speed_parts.simple(TINY, tmp_path, bootstrap)
    assert len(rows) >= 2
    assert all(row["equal"] and row["outputs"] == TINY.payments for row in rows), rows


def test_the_worker_on_kafka_reads_all_and_answers_under_load(bootstrap: str, tmp_path: Path) -> None:
    (full,) = speed_parts.kafka(TINY, tmp_path, bootstrap)
    assert full["events"] > 0
    rows = speed_parts.latency(TINY, tmp_path, bootstrap)
    assert len(rows) == len(speed_parts.LOADS)
    assert all(0.0 < row["p50_ms"] <= row["p99_ms"] < float("inf") for row in rows), rows
