"""Windows equal a brute-force oracle to the minor unit, whatever is added, taken back or comes late."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state.windows import (
    ALL_GROUPS,
    CAPACITY,
    COUNTED,
    LENGTHS_US,
    POSTED,
    REVERSED,
    WINDOWS,
    Ring,
    overall_key,
    pack_key,
    unpack_key,
)

HOUR_US, DAY_US = LENGTHS_US[0], LENGTHS_US[1]
RETENTION_US = 32 * DAY_US
START_US = 1_741_089_600_000_000
KEYS = tuple(
    pack_key(currency, credit, group)
    for currency, credit, group in (("EUR", False, 1), ("EUR", False, 2), ("EUR", True, 1), ("ZWR", False, 126))
)


@dataclass
class Entry:
    time_us: int
    amount_minor: int
    key: int
    counted: bool = True


@dataclass
class Oracle:
    """All entries ever, and sums by going through all of them."""

    entries: dict[int, Entry] = field(default_factory=dict)
    end_us: int = 0

    def totals(self, key: int, time_us: int) -> list[int]:
        everything = key & 127 == ALL_GROUPS
        totals = [0] * (2 * len(WINDOWS))
        for entry in self.entries.values():
            own = entry.key | ALL_GROUPS if everything else entry.key
            if entry.counted and own == key and entry.time_us <= time_us:
                for w, length_us in enumerate(LENGTHS_US):
                    if entry.time_us > time_us - length_us:
                        totals[2 * w] += 1
                        totals[2 * w + 1] += entry.amount_minor
        return totals


class Pair:
    """A ring and its oracle, changed together."""

    def __init__(self) -> None:
        self.ring = Ring(RETENTION_US)
        self.oracle = Oracle()

    def add(self, digest: int, time_us: int, amount_minor: int, key: int) -> None:
        self.ring.advance(time_us)
        self.ring.add(time_us, amount_minor, key, digest, COUNTED)
        self.oracle.end_us = max(self.oracle.end_us, time_us)
        self.oracle.entries[digest] = Entry(time_us, amount_minor, key)

    def cancel(self, digest: int) -> None:
        at = self.ring.find(digest)
        if at >= 0 and self.ring.flags[at] & COUNTED:
            self.ring.cancel(at)
            self.oracle.entries[digest] = replace(self.oracle.entries[digest], counted=False)

    def reduce(self, digest: int, share: float) -> None:
        at = self.ring.find(digest)
        entry = self.oracle.entries[digest]
        amount_minor = int(entry.amount_minor * share)
        if at >= 0 and self.ring.flags[at] & COUNTED:
            self.ring.reduce(at, amount_minor)
            self.oracle.entries[digest] = replace(entry, amount_minor=entry.amount_minor - amount_minor)

    def remove(self, digest: int) -> None:
        at = self.ring.find(digest)
        if at >= 0:
            self.ring.remove(at)
            self.oracle.entries[digest].counted = False

    def check(self, late_us: int = 0) -> None:
        ring, oracle = self.ring, self.oracle
        assert ring.anchor_us == oracle.end_us
        for key in {*KEYS, *map(overall_key, KEYS)}:
            expected = oracle.totals(key, oracle.end_us)
            assert (ring.get(key) or [0] * len(expected)) == expected
            assert (ring.get(key) is None) == (not any(expected)), "an empty window takes no memory"
            time_us = oracle.end_us - late_us
            assert ring.at(key, time_us) == oracle.totals(key, time_us)


steps = st.lists(
    st.tuples(
        st.sampled_from(("add", "add", "add", "late", "advance", "cancel", "reduce", "remove")),
        st.one_of(
            st.sampled_from((0, 1, *LENGTHS_US, *(length_us - 1 for length_us in LENGTHS_US))),
            st.integers(0, 2 * DAY_US),
        ),
        st.one_of(st.integers(0, 10_000), st.just(10**19)),
        st.sampled_from(KEYS),
        st.integers(0, 10_000),
    ),
    max_size=60,
)


@settings(max_examples=150)
@given(steps)
def test_windows_equal_the_oracle_after_every_step(steps: list[tuple[str, int, int, int, int]]) -> None:
    pair, number = Pair(), 0
    pair.add(0, START_US, 100, KEYS[0])
    for verb, gap_us, amount_minor, key, choice in steps:
        chosen = choice % (number + 1)
        end_us = pair.oracle.end_us
        if verb in ("add", "late"):
            number += 1
            # Late ones come up to the allowed lateness behind.
            time_us = end_us + gap_us if verb == "add" else end_us - gap_us % (2 * DAY_US)
            pair.add(number, time_us, amount_minor, key)
        elif verb == "advance":
            pair.ring.advance(end_us + gap_us)
            pair.oracle.end_us = end_us + gap_us
        elif verb == "reduce":
            pair.reduce(chosen, choice % 100 / 100)
        elif verb == "cancel":
            pair.cancel(chosen)
        else:
            pair.remove(chosen)
        pair.check(late_us=gap_us % (2 * DAY_US))


@given(st.integers(0, 2**32), st.integers(2, 200))
@settings(max_examples=40)
def test_windows_end_equal_whatever_the_order_of_arrival(seed: int, count: int) -> None:
    random_ = random.Random(seed)
    entries = [
        (digest, START_US + random_.randrange(40 * DAY_US), random_.randrange(10_000), random_.choice(KEYS))
        for digest in range(count)
    ]
    ordered, shuffled = Ring(RETENTION_US), Ring(RETENTION_US)
    for ring, order in (
        (ordered, sorted(entries, key=lambda entry: entry[1])),
        (shuffled, sorted(entries, key=lambda entry: entry[1] + random_.randrange(2 * DAY_US))),
    ):
        for digest, time_us, amount_minor, key in order:
            ring.advance(time_us)
            ring.add(time_us, amount_minor, key, digest, COUNTED | POSTED)
    assert shuffled.totals == ordered.totals
    assert shuffled.freeze()[:-1] == ordered.freeze()[:-1]


@pytest.mark.parametrize("seed", [1])
def test_a_hundred_thousand_events_equal_the_oracle_to_the_cent(seed: int) -> None:
    """The oracle sums all entries of the customer anew at every 400th event."""
    print(f"seed {seed}")
    random_ = random.Random(seed)
    customers = 200
    pairs = [Pair() for _ in range(customers)]
    now_us = START_US
    for digest in range(100_000):
        now_us += random_.randrange(4 * 60_000_000)
        pair = pairs[random_.randrange(customers)]
        late_us = random_.randrange(2 * DAY_US) if random_.random() < 0.2 else 0
        pair.add(digest, now_us - late_us, random_.randrange(1, 1_000_000), random_.choice(KEYS))
        if random_.random() < 0.03:
            pair.cancel(digest)
        elif random_.random() < 0.03:
            pair.reduce(digest, random_.random())
        if digest % 400 == 0:
            pair.check(late_us=random_.randrange(2 * DAY_US))
        if digest % 5_000 == 0:
            for other in pairs:
                old_us = other.oracle.end_us - 40 * DAY_US
                entries = other.oracle.entries
                other.oracle.entries = {d: entry for d, entry in entries.items() if entry.time_us >= old_us}
    for pair in pairs:
        pair.check()


def test_a_window_holds_what_is_younger_than_its_length_and_not_what_is_as_old() -> None:
    pair = Pair()
    for w, length_us in enumerate(LENGTHS_US):
        pair.add(2 * w, START_US - length_us, 1, KEYS[0])
        pair.add(2 * w + 1, START_US - length_us + 1, 1, KEYS[0])
    pair.add(99, START_US, 1, KEYS[0])
    pair.check()
    assert pair.ring.get(KEYS[0]) == [2, 2, 4, 4, 6, 6, 8, 8]


def test_beyond_its_capacity_the_ring_keeps_the_newest_and_counts_the_rest() -> None:
    ring = Ring(RETENTION_US)
    for digest in range(CAPACITY + 10):
        ring.advance(START_US + digest)
        ring.add(START_US + digest, 1, KEYS[0], digest, COUNTED)
    assert len(ring) == CAPACITY and ring.overflowed == 10
    assert ring.get(KEYS[0]) == [CAPACITY] * 8
    assert ring.find(9) == -1 and ring.find(10) == 0


def test_what_is_older_than_the_retention_is_forgotten_and_leaves_no_total() -> None:
    ring = Ring(RETENTION_US)
    ring.advance(START_US)
    ring.add(START_US, 10**19, KEYS[0], 1, COUNTED)
    ring.advance(START_US + RETENTION_US + 1)
    assert len(ring) == 0 and ring.totals == {} and ring.heads == [0] * len(WINDOWS)


def test_a_cancelled_entry_is_remembered_but_counts_no_more() -> None:
    pair = Pair()
    pair.add(1, START_US, 500, KEYS[0])
    pair.cancel(1)
    pair.check()
    assert pair.ring.flags[pair.ring.find(1)] == REVERSED


@given(st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3), st.booleans(), st.integers(0, ALL_GROUPS))
def test_a_key_gives_back_what_was_packed_in_it(currency: str, credit: bool, group: int) -> None:
    assert unpack_key(pack_key(currency, credit, group)) == (currency, credit, group)
    assert unpack_key(overall_key(pack_key(currency, credit, group))) == (currency, credit, ALL_GROUPS)


@given(st.lists(st.tuples(st.integers(0, 2 * DAY_US), st.integers(0, 10**19), st.sampled_from(KEYS)), max_size=30))
def test_a_ring_survives_freezing(entries: list[tuple[int, int, int]]) -> None:
    ring = Ring(RETENTION_US)
    for digest, (gap_us, amount_minor, key) in enumerate(entries):
        ring.advance(ring.anchor_us + gap_us)
        ring.add(ring.anchor_us, amount_minor, key, digest + 2**63, COUNTED)
    thawed = Ring(RETENTION_US)
    thawed.thaw(*ring.freeze())
    for name in Ring.__slots__:
        assert getattr(thawed, name) == getattr(ring, name), name
    assert thawed.freeze() == ring.freeze()
