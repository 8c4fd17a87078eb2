"""The shard's driver: when the wall clock may stand in for the arrival clock."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dataflows.route import Accounting
from dataflows.shard_logic import ShardLogic
from dataflows.tally import Tally

HOUR_US = 3_600_000_000


class Clocks:
    """A shard that only notes how far it was moved."""

    def __init__(self) -> None:
        self.moved: list[int] = []

    def advance(self, partition: int, clock_us: int) -> list[Any]:
        self.moved.append(partition)
        return []


@pytest.mark.parametrize(("stopping", "moved"), [(False, [0]), (True, [])], ids=["idle", "stopping"])
def test_an_idle_stream_moves_by_the_wall_clock_and_one_that_stops_does_not(stopping: bool, moved: list[int]) -> None:
    """Sources read nothing more in a stop: what arrives meanwhile is older than the wall clock, and still to be read."""
    shard: Any = Clocks()
    logic = ShardLogic(
        None,
        lambda _: shard,
        1,
        True,
        0.0,
        None,
        lambda: stopping,
        None,
        tally=Tally(),
        accounting=Accounting(),  # type: ignore[arg-type]
    )
    now_us = time.time_ns() // 1000
    logic._shard, logic._clocks = shard, {0: (now_us - HOUR_US, True), 1: (now_us - HOUR_US, False)}
    logic.on_notify()
    assert shard.moved == moved
