"""What the tests of pages share: a small simulated bank, and what a replay said about it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from dataflows.cli import main

SEED = 11


class Demo(NamedTuple):
    events: Path
    truth: Path
    run: Path


def make_demo(folder: Path) -> Demo:
    bank, run = folder / "bank", folder / "run"
    print(f"seed {SEED}")
    assert main(["simulate", "--customers", "30", "--days", "150", "--seed", str(SEED), "--out", str(bank)]) == 0
    assert main(["replay", str(bank / "events"), "--out", str(run)]) == 0
    return Demo(bank / "events", bank / "truth", run)
