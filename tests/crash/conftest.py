"""One seed again: `pytest tests/crash --crash-seed N`."""

from __future__ import annotations

import os

import pytest

SEEDS = int(os.environ.get("CRASH_SEEDS", "240"))
CHUNK = 20


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--crash-seed", type=int, default=None, help="run the crash simulation with this seed only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Seeds come in chunks, so that pytest-xdist can share them out."""
    if "crash_seeds" in metafunc.fixturenames:
        only = metafunc.config.getoption("--crash-seed")
        chunks = [range(first, min(first + CHUNK, SEEDS)) for first in range(0, SEEDS, CHUNK)]
        chunks = chunks if only is None else [range(only, only + 1)]
        metafunc.parametrize("crash_seeds", chunks, ids=lambda chunk: f"{chunk.start}-{chunk.stop - 1}")
