"""A demo run that all tests of pages share, and the browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dataflows.cli import main

SEED = 11


class Demo(NamedTuple):
    """A small simulated bank, its truth, and what a replay said about it."""

    events: Path
    truth: Path
    run: Path


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    bank, run = folder / "bank", folder / "run"
    print(f"seed {SEED}")
    assert main(["simulate", "--customers", "30", "--days", "150", "--seed", str(SEED), "--out", str(bank)]) == 0
    assert main(["replay", str(bank / "events"), "--out", str(run)]) == 0
    return Demo(bank / "events", bank / "truth", run)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """For one module: as long as it is open, an event loop runs in this thread, which other tests could not bear."""
    from browser import chromium

    with chromium() as one:
        yield one
