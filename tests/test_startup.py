"""A worker starts quickly: what River's packages import, most of a second, stays out until something needs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from river import stats

from state import estimators

ROOT = Path(__file__).resolve().parent.parent
PURCHASE = (
    '{"transaction_id":"t-1","customer_id":"c-1","booked_at":"2025-03-05T12:00:00Z","amount":"5.00",'
    '"currency":"EUR","direction":"debit"}\n'
)
LEARNS_NOTHING = os.environ | {"SEGONE__KNOWLEDGE__ENABLED": "false"}
"""The learner across customers needs River whole: the process that holds its key imports it, and only that one."""
WORKER = """
import sys
from dataflows.cli import main
code = main(["run", "--input", sys.argv[1], "--output", sys.argv[2]])
heavy = {"numpy", "scipy", "pandas", "sklearn", "duckdb"} & set(sys.modules)
sys.exit(code or ", ".join(sorted(heavy)) or None)
"""


def test_a_worker_reads_and_scores_without_the_heavy_packages(tmp_path: Path) -> None:
    log = tmp_path / "in" / "in.transactions"
    log.mkdir(parents=True)
    (log / "0.jsonl").write_text(PURCHASE)
    command = [sys.executable, "-c", WORKER, str(tmp_path / "in"), str(tmp_path / "out")]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False, env=LEARNS_NOTHING
    )
    assert ended.returncode == 0, ended.stderr
    assert len(list((tmp_path / "out" / "scores").glob("*.jsonl"))) == 1


def test_the_estimators_are_the_ones_inside_rivers_classes() -> None:
    """They are taken from River's compiled module itself; should River ever put others there, profiles would change unseen."""
    assert estimators._EWVar is type(stats.EWVar(0.5)._ewvar)
