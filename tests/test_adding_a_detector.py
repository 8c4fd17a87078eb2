"""docs/adding-a-detector.md, followed to the letter in a copy of the project."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from walkthrough import FIRST, with_detector

pytestmark = pytest.mark.xdist_group("adding a detector")  # one copy for all


def do(project: Path, command: str) -> subprocess.CompletedProcess[str]:
    """A command line of the page, in the project."""
    words = shlex.split(command)
    words[:1] = [sys.executable, "-m", "dataflows.cli"] if words[0] == "segone" else [sys.executable]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    return subprocess.run(words, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_detector(tmp_path_factory.mktemp("project"))


def commands(program: str) -> list[str]:
    lines = [line for block in FIRST if block.language == "sh" for line in block.text.splitlines()]
    return [line for line in lines if line.startswith(program)]


def test_its_case_and_the_laws_hold(project: Path) -> None:
    assert commands("python"), "the page runs no tests"
    for command in commands("python"):
        done = do(project, command)
        assert done.returncode == 0, done.stdout + done.stderr
        passed = re.search(r"(\d+) passed", done.stdout + done.stderr)
        assert passed is None or int(passed[1]) > 0
        assert "no tests ran" not in done.stdout


@pytest.fixture(scope="module")
def said(project: Path) -> list[dict[str, Any]]:
    """What the detector said when the page's commands had run."""
    for command in commands("segone")[:2]:
        done = do(project, command)
        assert done.returncode == 0, done.stdout + done.stderr
    return signals(project / "out" / "run")


def signals(run: Path) -> list[dict[str, Any]]:
    lines = [line for path in run.glob("signals.alert/*.jsonl") for line in path.read_bytes().splitlines()]
    return [signal for line in lines if (signal := json.loads(line))["type"] == "alert.largest_payment"]


def test_the_engine_says_its_signal_with_exact_reasons(project: Path, said: list[dict[str, Any]]) -> None:
    opened = [signal for signal in said if signal["state"] == "OPEN"]
    assert opened
    for signal in opened:
        (reason,) = signal["reasons"]
        largest, amount, id_ = largest_before(project, signal["customer_id"], signal["trigger"]["event_id"])
        assert (float(reason["value"]), float(reason["baseline"])) == (amount, largest)
        assert reason["contribution"] == pytest.approx(2.0 * math.log2(amount / largest), abs=1e-12)
        assert signal["score"] == pytest.approx(1 / (1 + math.exp(3.0 - reason["contribution"])), abs=1e-9)
        assert signal["evidence"]["transaction_ids"] == [signal["trigger"]["event_id"], id_]
        assert signal["detector"] == "largest_payment@1"


def largest_before(project: Path, customer: str, transaction: str) -> tuple[float, float, str]:
    """By the events alone: the customer's largest debit before the transaction, its own amount, and the id of the former."""
    lines = [line for path in project.glob("out/bank/events/in.transactions/*.jsonl") for line in path.open()]
    own = [event for line in lines if (event := json.loads(line))["customer_id"] == customer]
    (it,) = (event for event in own if event["transaction_id"] == transaction)
    taken_back = {event.get("original_transaction_id") for event in own} | {
        event["transaction_id"] for event in own if event.get("status") == "reversed"
    }
    before = [
        event
        for event in own
        if event["booked_at"] < it["booked_at"]
        and (event["direction"], event["currency"]) == ("debit", it["currency"])
        and event["transaction_id"] not in taken_back
    ]
    largest = max(before, key=lambda event: (float(event["amount"]), event["booked_at"]))
    return float(largest["amount"]), float(it["amount"]), largest["transaction_id"]


def test_the_signal_on_the_page_is_one_of_these(said: list[dict[str, Any]]) -> None:
    (shown,) = (json.loads(block.text) for block in FIRST if block.language == "json")
    assert shown.keys() <= said[0].keys()
    assert shown["reasons"][0].keys() == said[0]["reasons"][0].keys()
    total = shown["score_base"] + sum(reason["contribution"] for reason in shown["reasons"])
    assert shown["score"] == pytest.approx(1 / (1 + math.exp(-total)), abs=1e-9)


def test_explain_shows_it(project: Path, said: list[dict[str, Any]]) -> None:
    done = do(project, commands("segone explain")[0].replace("SIGNAL_ID", said[0]["id"]))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PAYMENT_LARGEST" in done.stdout and "adds up" in done.stdout
