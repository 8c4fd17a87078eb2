"""The engine cannot see the truth: it says the same, byte for byte, whether the truth lies beside the events or not."""

from __future__ import annotations

import shutil
from pathlib import Path

from dataflows.cli import main

WORLD = ["simulate", "--customers", "15", "--days", "60", "--seed", "11"]


def said(out: Path) -> dict[str, bytes]:
    """Everything that a run wrote, by topic and partition."""
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.glob("*/*.jsonl"))}


def test_the_same_is_said_with_the_truth_folder_absent(tmp_path: Path) -> None:
    bank = tmp_path / "bank"
    assert main([*WORLD, "--out", str(bank)]) == 0
    assert (bank / "truth" / "truth.jsonl").stat().st_size > 0
    assert main(["replay", str(bank / "events"), "--out", str(tmp_path / "with")]) == 0
    shutil.rmtree(bank / "truth")
    assert main(["replay", str(bank / "events"), "--out", str(tmp_path / "without")]) == 0
    found = said(tmp_path / "with")
    assert any(name.startswith("signals.") for name in found)
    assert found == said(tmp_path / "without")
