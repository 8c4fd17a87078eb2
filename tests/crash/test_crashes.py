"""The production code lives through any crash between any two steps as if nothing had happened. docs/testing.md."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from faults import ALL_POINTS, Crash
from life import Life

FAST = Path("/dev/shm")
POINT_SEEDS = 40


def live(seed: int, point: str | None = None) -> Life:
    folder = Path(tempfile.mkdtemp(prefix="segone-crash-", dir=FAST if FAST.is_dir() else None))
    life = Life(seed, folder, point)
    try:
        life.live_it()
    except (Exception, Crash) as error:
        where = f" -k {point}" if point else ""
        error.add_note(f"again: pytest tests/crash{where} --crash-seed {seed}\nlived so far: {life.trace}")
        raise
    finally:
        life.disk.release()
        shutil.rmtree(folder)
    return life


def test_lives_with_many_deaths_say_what_an_undisturbed_one_says(crash_seeds):
    for seed in crash_seeds:
        live(seed)
