"""Packed tables against the plain dictionaries that they stand for."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state.packed import Met, Seen, apart, entry_at, together

MINUTE_US = 60_000_000
SHORT = 2**32
few = st.integers(0, 5).map(lambda number: number * 0x0101_0101)
"""Digests of equal bytes, so that one is found across the border of two others."""


@given(st.lists(st.one_of(few, st.integers(0, SHORT - 1)), max_size=40), st.integers(1, 8))
def test_what_was_met_is_what_a_dictionary_by_last_meeting_would_hold(digests: list[int], limit: int) -> None:
    met, known = Met(), dict[int, None]()
    for digest in digests:
        met.meet(digest + SHORT * digest, limit)
        known.pop(digest, None)
        known[digest] = None
        if len(known) > limit:
            del known[next(iter(known))]
        met = Met(met.freeze())
        assert list(met) == list(known) and len(met) == len(known)
    assert all((digest in met) == (digest in known) for digest in digests)


@given(
    st.dictionaries(st.one_of(few, st.integers(0, 2**64 - 1)), st.integers(0, 10_000_000_000), max_size=40),
    st.integers(0, 10_000_000_000),
    st.integers(0, 50),
)
def test_what_was_seen_is_what_a_sorted_dictionary_would_hold(
    times: dict[int, int], before_us: int, limit: int
) -> None:
    seen = Seen()
    for digest, time_us in times.items():
        assert digest not in seen
        seen.add(digest, time_us)
    minutes = sorted((-(-time_us // MINUTE_US), digest) for digest, time_us in times.items())
    assert list(Seen(seen.freeze())) == [(digest, minute) for minute, digest in minutes]
    assert all(digest in seen for digest in times)
    seen.forget(before_us, limit)
    kept = [(digest, minute) for minute, digest in minutes[max(0, len(minutes) - limit) :]]
    assert list(seen) == [each for each in kept if each[1] * MINUTE_US >= before_us]
    assert all(digest in seen for digest, time_us in times.items() if time_us >= before_us) or len(minutes) > limit


def test_an_entry_is_found_at_its_own_beginning_only() -> None:
    entries = b"\1\0\0\0\0\0\0\1\0\0\0\0"
    assert entry_at(entries, b"\0\0\0\0", 4) == 8
    assert entry_at(entries, b"\0\0\0\1", 4) == 4
    assert entry_at(entries, b"\0\0\1\0", 4) == -1


@pytest.mark.parametrize("table", [Met, Seen])
def test_bytes_that_are_cut_short_are_refused(table: type[Met] | type[Seen]) -> None:
    with pytest.raises(ValueError, match="cut short"):
        table(b"123")


@given(st.lists(st.integers(-(2**63), 2**63 - 1)), st.sampled_from([(8, "q"), (4, "i")]), st.integers(0, 4))
def test_a_column_taken_apart_comes_together_again(numbers: list[int], kind: tuple[int, str], low_bytes: int) -> None:
    """Also of one number alone, of none."""
    size, code = kind
    column = array(code, [number >> 64 - 8 * size for number in numbers]).tobytes()
    low, high = apart(column, size, low_bytes)
    assert bytes(together(low, high, size)) == column
    assert len(low) == len(numbers) * low_bytes
    assert high[:1] == column[low_bytes : low_bytes + 1] or low_bytes == size


@pytest.mark.parametrize("high", [b"", b"12", b"123456"])
def test_a_column_of_which_a_piece_was_cut_is_refused(high: bytes) -> None:
    with pytest.raises(ValueError, match="cut short"):
        together(b"123", high, 4)
