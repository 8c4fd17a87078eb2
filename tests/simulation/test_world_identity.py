"""The same settings give the same bytes, however the work is divided; a customer's life is the customer's own."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from worlds import SEED, SMALL, make, world

from simulation.almanac import Almanac, easter
from simulation.randomness import Draws, factor_table, normal_table
from simulation.runs import Message, merged, run_line, write_run
from simulation.settings import WorldSettings
from simulation.world import live, stream

TINY = WorldSettings(customers=9, days=90, seed=SEED)


def test_two_runs_give_the_same_bytes() -> None:
    assert make(TINY) == make(TINY)


@pytest.mark.parametrize("chunk", [1, 2, 7, 9, 1000])
def test_the_number_of_customers_made_at_once_changes_no_byte(chunk: int) -> None:
    assert make(TINY, chunk) == make(TINY)


def test_the_number_of_processes_changes_no_byte() -> None:
    assert make(TINY, chunk=3, processes=2) == make(TINY)


def test_the_stream_is_the_log_in_order_of_arrival() -> None:
    assert tuple(stream(TINY)) == make(TINY)[0]


def test_a_life_does_not_depend_on_how_many_others_there_are() -> None:
    few, many = make(TINY)[0], make(replace(TINY, customers=12))[0]
    keys = {message.key for message in few}
    assert list(few) == [message for message in many if message.key in keys]


@pytest.mark.parametrize("change", [{"seed": SEED + 1}, {"difficulty": "hard"}, {"difficulty": "easy"}])
def test_other_settings_give_another_world(change: dict[str, object]) -> None:
    assert make(TINY)[0] != make(replace(TINY, **change))[0]  # type: ignore[arg-type]


def test_the_bytes_of_a_seed_are_those_of_every_machine() -> None:
    """A golden hash, made on x86-64 with NumPy 2.4: where it differs, worlds can no longer be compared. If the simulation
    was changed on purpose, raise VERSION in simulation/settings.py and renew the hash."""
    digest = hashlib.sha256()
    sent, truth = make(TINY)
    for message in sent:
        digest.update(b"%b %b\n" % (message.key, message.value))
    digest.update(b"".join(truth))
    assert digest.hexdigest() == GOLDEN


def test_messages_arrive_in_order() -> None:
    arrivals = [message.arrival_us for message in world(SMALL)[0]]
    assert arrivals == sorted(arrivals)


def test_streams_of_numbers_belong_to_their_purpose_and_number_alone() -> None:
    first = Draws(SEED, "income", 3).words(8)
    assert np.array_equal(first, Draws(SEED, "income", 3).words(8))
    for other in (Draws(SEED, "bills", 3), Draws(SEED, "income", 4), Draws(SEED + 1, "income", 3)):
        assert not np.array_equal(first, other.words(8))


def test_tables_are_symmetric_and_around_one() -> None:
    normal = normal_table()
    assert normal.sum() == 0
    assert abs(float((normal**2).mean()) / 1_000_000 - 1) < 0.01
    assert factor_table(0).tolist() == [65_536] * 4096
    assert bool((np.diff(factor_table(40)) >= 0).all())


def test_runs_merge_into_the_sorted_whole_even_when_there_are_more_than_can_be_open(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr("simulation.runs.MERGE_MAX", 3)
    draws = Draws(SEED, "runs")
    runs = [
        [run_line(draws.below(50), draws.below(9), f"c-{draws.below(5)}", f"{draws.below(99)}") for _ in range(7)]
        for _ in range(11)
    ]
    paths = [tmp_path / f"run-{number}" for number in range(11)]
    for path, lines in zip(paths, runs, strict=True):
        write_run(path, list(lines))
    assert list(merged(paths)) == sorted(line for lines in runs for line in lines)


def test_a_broken_value_survives_the_run_byte_for_byte() -> None:
    from simulation.runs import messages

    line = run_line(5, 0, "c-1", '{"a":"\udcff"}')
    assert list(messages([line])) == [Message("in.transactions", b"c-1", b'{"a":"\xff"}', 5)]


@pytest.mark.parametrize(
    ("year", "day"), [(1990, "04-15"), (2024, "03-31"), (2025, "04-20"), (2038, "04-25"), (2100, "03-28")]
)
def test_easter_is_when_the_church_keeps_it(year: int, day: str) -> None:
    assert easter(year).isoformat() == f"{year}-{day}"


def test_paydays_avoid_weekends_and_holidays() -> None:
    almanac = Almanac(WorldSettings().start, 400)
    for nominal in range(1, 400):
        for step in (-1, 1):
            assert almanac.open[almanac.business_day(nominal, step)] or nominal < 2


def test_every_customer_can_be_lived_alone() -> None:
    life, ledger = live(TINY, 5)
    assert ledger.adds_up()
    times = [booking[0] for booking in ledger.bookings]
    assert times == sorted(set(times))
    assert all(life.time_us(0) <= time_us < life.time_us(90) and time_us % 1_000_000 == 0 for time_us in times)


GOLDEN = "c47d11e3b9ca8f0acf9d696d741619eaf1bee8d88ae4818a3b42b3ae2410dbcd"
