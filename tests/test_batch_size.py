"""How large batches are: as large as a round through the engine allows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dataflows.batch_size import FIRST_RECORDS, LEAST_RECORDS, ROUND_S, BatchSize


def settled(record_s: float, records_max: int) -> int:
    """The size at which it stays where each record takes so long."""
    size, now_s = BatchSize(records_max), 0.0
    for _ in range(40):
        handed = size.records
        size.handed(handed, now_s)
        now_s += handed * record_s
        size.asked(now_s)
    return size.records


@given(st.floats(1e-6, 0.1), st.integers(1, 100_000))
def test_a_round_takes_no_longer_than_it_should(record_s: float, records_max: int) -> None:
    records = settled(record_s, records_max)
    assert 1 <= records <= records_max
    assert records * record_s <= 2 * ROUND_S or records <= LEAST_RECORDS


@given(st.floats(1e-6, 0.1), st.integers(1, 100_000))
def test_a_round_is_not_needlessly_short(record_s: float, records_max: int) -> None:
    records = settled(record_s, records_max)
    assert records == records_max or records * record_s >= ROUND_S / 4


def test_a_batch_that_was_not_full_says_nothing() -> None:
    size = BatchSize(100_000)
    size.handed(FIRST_RECORDS - 1, 0.0)
    size.asked(60.0)  # nothing had come for a minute
    assert size.records == FIRST_RECORDS


def test_time_between_asking_and_handing_on_does_not_count() -> None:
    """A source without records is asked again and again."""
    size = BatchSize(100_000)
    size.handed(FIRST_RECORDS, 0.0)
    size.asked(0.15)
    size.asked(60.0)
    assert size.records == FIRST_RECORDS
