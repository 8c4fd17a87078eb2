"""The shard's driver: when the wall clock may stand in for the arrival clock, and what is left for a checkpoint."""

from __future__ import annotations

import time
from typing import Any

import pytest
from shard_bench import Bench
from streams import HOUR_US, NOON_US, transaction

from dataflows.route import Accounting
from dataflows.shard_logic import LIVE_US, MARGIN_US, ShardLogic
from dataflows.tally import Tally


class Clocks:
    """A shard that only notes how far it was moved."""

    def __init__(self) -> None:
        self.moved: list[int] = []
        self.clocks_us: list[int] = []

    def advance(self, partition: int, clock_us: int) -> list[Any]:
        self.moved.append(partition)
        self.clocks_us.append(clock_us)
        return []


def idle(shard: Any, stopping: bool = False) -> ShardLogic:
    """The driver of a shard on a live stream."""
    tally, accounting = Tally(), Accounting()
    logic = ShardLogic(
        None,
        lambda _: shard,
        1,
        True,
        0.0,
        None,  # type: ignore[arg-type]
        lambda: stopping,
        tally=tally,
        accounting=accounting,
    )
    logic._shard = shard
    return logic


@pytest.mark.parametrize(("stopping", "moved"), [(False, [0]), (True, [])], ids=["idle", "stopping"])
def test_an_idle_stream_moves_by_the_wall_clock_and_one_that_stops_does_not(stopping: bool, moved: list[int]) -> None:
    """Sources read nothing more in a stop: what arrives meanwhile is older than the wall clock, and still to be read."""
    shard: Any = Clocks()
    logic = idle(shard, stopping)
    now_us = time.time_ns() // 1000
    logic._clocks = {0: (now_us - HOUR_US, True), 1: (now_us - HOUR_US, False)}
    logic.on_notify()
    assert shard.moved == moved


def test_the_wall_clock_says_nothing_of_a_history_and_overtakes_no_record_that_has_just_arrived() -> None:
    """A record may have arrived and not be read yet; and a stream that ended months ago is being replayed, not idle."""
    shard: Any = Clocks()
    logic, now_us = idle(shard), time.time_ns() // 1000
    logic._clocks = {
        0: (now_us - MARGIN_US // 2, True),
        1: (now_us - 2 * LIVE_US, True),
        2: (now_us - 2 * MARGIN_US, True),
    }
    logic.on_notify()
    assert shard.moved == [2]
    assert all(clock_us <= time.time_ns() // 1000 - MARGIN_US for clock_us in shard.clocks_us)


class Changing:
    """A shard that notes how many changed customers it may keep."""

    changed_customers = 100

    def __init__(self) -> None:
        self.allowed: list[int] = []

    def settle(self, changed_max: int) -> None:
        self.allowed.append(changed_max)


def test_changed_customers_are_written_little_by_little_before_a_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s, shard = [1000.0], Changing()
    monkeypatch.setattr("dataflows.shard_logic.monotonic", lambda: now_s[0])
    logic: Any = ShardLogic(None, lambda _: None, 1, True, 10.0, None, tally=Tally(), accounting=Accounting())  # type: ignore[arg-type, return-value]
    for _ in range(11):
        logic._settle(shard)
        now_s[0] += 1.0
    assert shard.allowed == sorted(shard.allowed, reverse=True), "fewer and fewer"
    assert shard.allowed[0] == 100, "none at once"
    assert shard.allowed[-1] == 0, "all before the checkpoint"
    assert max(a - b for a, b in zip(shard.allowed, shard.allowed[1:], strict=False)) <= 20


@pytest.mark.parametrize("changed_max", [0, 1, 2])
def test_a_shard_keeps_no_more_changed_customers_than_it_may(changed_max: int) -> None:
    bench = Bench()
    bench.run([transaction(f"t-{n}", NOON_US + n * HOUR_US, customer_id=f"c-{n}") for n in range(3)])
    assert bench.shard.changed_customers == 3
    bench.shard.settle(changed_max)
    assert bench.shard.changed_customers == changed_max
