"""Exact sliding windows of one customer: one ring of transactions, a head pointer and running integer totals per window.

A window of length L at time t holds the transactions with t − L < time ≤ t. All windows end at the ring's `anchor_us`, the
newest transaction time; asking and moving forward cost O(1) amortised, an event that comes late is put where it belongs.
Totals are integers (counts and minor units), so the order of arrival leaves no trace.

The ring is the duplicate check, too: it keeps each transaction's digest for `retention_us` (state/policy.py).
Beyond `CAPACITY` transactions in that time the oldest leave early and are counted in `overflowed`: the windows then hold the
newest `CAPACITY` transactions, and a duplicate of one that left is seen as new.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from functools import lru_cache
from sys import byteorder
from typing import Any, Final

from state.packed import apart, entry_at, together

HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US
WINDOWS: Final = (("1h", HOUR_US), ("24h", DAY_US), ("7d", 7 * DAY_US), ("30d", 30 * DAY_US))
LENGTHS_US: Final = tuple(length_us for _, length_us in WINDOWS)
CAPACITY: Final = 4096
NARROW: Final = "I"
WIDE: Final = "Q"
"""Types of the column of amounts: 32 bits until there is one that needs 64."""
NARROW_MAX: Final = 2**32 - 1
AMOUNT_SUMMED_MAX: Final = 2**50
"""Up to here the sums of CAPACITY amounts fit 64 bits; the totals of a customer with a larger one are frozen as decimal text."""
TIME_BYTES: Final = 5
AMOUNT_BYTES: Final = 2
"""Of each, lowest first, that hardly shrink: twelve days of microseconds, 655 units of money."""
ALL_GROUPS: Final = 127
"""The group number under which the totals over all groups are kept."""

COUNTED: Final = 1
"""Flag of an entry that counts in the windows: neither reversed nor itself a reversal."""
POSTED: Final = 2
REVERSED: Final = 4
REVERSAL: Final = 8
"""Flag of an entry that only remembers a reversal's own id, so that its repetition is a duplicate."""
ORPHAN: Final = 16
"""Flag of an entry that remembers a reversal which came before any other record with its id."""

Totals = list[int]
"""[count, sum in minor units] for each of WINDOWS in turn: 8 integers."""


def pack_key(currency: str, credit: bool, group: int) -> int:
    """Currency (three letters A to Z), direction and spending group (0 to 127) in one integer.

    The lowest seven bits are the group, the next one is set for a credit: where speed counts, callers read `key & 127` and `key & 128`.

    >>> unpack_key(pack_key("EUR", True, 5))
    ('EUR', True, 5)
    """
    a, b, c = currency.encode("ascii")
    return (((a - 65) * 26 + b - 65) * 26 + c - 65) << 8 | (128 if credit else 0) | group


@lru_cache(maxsize=4096)
def unpack_key(key: int) -> tuple[str, bool, int]:
    code = key >> 8
    letters = (code // 676, code // 26 % 26, code % 26)
    return "".join(chr(65 + letter) for letter in letters), bool(key & 128), key & 127


def overall_key(key: int) -> int:
    """The key of the totals over all groups, in the same currency and direction."""
    return key | ALL_GROUPS


class Ring:
    """The transactions of one customer in time order, with the totals of the four windows.

    Entry i has time_us, amount_minor (what is left of it after refunds), key (see `pack_key`), digest and flags.
    """

    __slots__ = (
        "amounts",
        "anchor_us",
        "digests",
        "flags",
        "heads",
        "huge",
        "keys",
        "overflowed",
        "retention_us",
        "times",
        "totals",
    )

    def __init__(self, retention_us: int) -> None:
        # Packed columns: they freeze and thaw as they are, and take a quarter of the memory of lists.
        self.times = array("q")
        self.amounts = array(NARROW)
        self.keys = array("i")
        self.digests = array("Q")
        self.flags = bytearray()
        self.heads = [0] * len(WINDOWS)
        self.totals: dict[int, Totals] = {}
        self.anchor_us = 0
        self.retention_us = retention_us
        self.overflowed = 0
        self.huge = False
        """Whether there ever was an amount so large that sums may not fit 64 bits."""

    def __len__(self) -> int:
        return len(self.times)

    def find(self, digest: int) -> int:
        """The index of the transaction with this digest, or −1."""
        at = entry_at(self.digests.tobytes(), digest.to_bytes(8, byteorder), 8)
        return at >> 3

    def advance(self, time_us: int) -> None:
        """Moves the end of all windows forward to `time_us`; what leaves a window leaves its totals."""
        if time_us <= self.anchor_us:
            return
        self.anchor_us = time_us
        times, flags, heads = self.times, self.flags, self.heads
        count = len(times)
        for w, length_us in enumerate(LENGTHS_US):
            head = heads[w]
            edge_us = time_us - length_us
            while head < count and times[head] <= edge_us:
                if flags[head] & COUNTED:
                    self._leave(w, head)
                head += 1
            heads[w] = head
        if count and times[0] < time_us - self.retention_us:
            self._forget(bisect_left(times, time_us - self.retention_us))

    def add(self, time_us: int, amount_minor: int, key: int, digest: int, flags: int) -> None:
        """Puts a transaction where it belongs in time. The windows must have been advanced to the newest time before."""
        times = self.times
        if not times or time_us > times[-1]:
            at = len(times)
        else:
            at = bisect_left(times, time_us)
            while at < len(times) and times[at] == time_us and self.digests[at] < digest:
                at += 1
        times.insert(at, time_us)
        if amount_minor > NARROW_MAX and self.amounts.typecode == NARROW:
            self.amounts = array(WIDE, self.amounts)
        self.amounts.insert(at, amount_minor)
        self.keys.insert(at, key)
        self.digests.insert(at, digest)
        self.flags.insert(at, flags)
        if amount_minor > AMOUNT_SUMMED_MAX:
            self.huge = True
        # Windows are nested: a transaction is in all windows from some length on.
        first = 0
        for length_us in LENGTHS_US:
            if time_us > self.anchor_us - length_us:
                break
            self.heads[first] += 1
            first += 1
        if flags & COUNTED:
            self._count(first, at, 1)
        if len(times) > CAPACITY:
            self.overflowed += len(times) - CAPACITY
            self._forget(len(times) - CAPACITY)

    def remove(self, at: int) -> None:
        """Takes entry `at` out, as if it had never been."""
        self._uncount(at)
        for column in (self.times, self.amounts, self.keys, self.digests, self.flags):
            del column[at]
        self.heads = [head - 1 if at < head else head for head in self.heads]

    def cancel(self, at: int) -> None:
        """A full reversal: the entry stays as a memory of its id, and counts no longer."""
        self._uncount(at)
        self.flags[at] = (self.flags[at] & ~COUNTED) | REVERSED

    def reduce(self, at: int, amount_minor: int) -> None:
        """A refund: the entry goes on counting with `amount_minor` less."""
        counted = self.flags[at] & COUNTED
        self._uncount(at)
        self.amounts[at] -= amount_minor
        if counted:
            self.flags[at] |= COUNTED
            self._count(self._first_window(at), at, 1)

    def get(self, key: int) -> Totals | None:
        """The totals of a key at the anchor, or None where nothing happened in the longest window."""
        return self.totals.get(key)

    def at(self, key: int, time_us: int) -> Totals:
        """The totals of a key at an earlier time than the anchor: for late events. O(transactions in the longest window)."""
        totals = [0] * (2 * len(WINDOWS))
        everything = key & 127 == ALL_GROUPS
        last = bisect_right(self.times, time_us)
        for i in range(bisect_right(self.times, time_us - LENGTHS_US[-1]), last):
            own = overall_key(self.keys[i]) if everything else self.keys[i]
            if own == key and self.flags[i] & COUNTED:
                for w, length_us in enumerate(LENGTHS_US):
                    if self.times[i] > time_us - length_us:
                        totals[2 * w] += 1
                        totals[2 * w + 1] += self.amounts[i]
        return totals

    def _first_window(self, at: int) -> int:
        """The shortest window that entry `at` is in, as an index into WINDOWS; len(WINDOWS) if it is in none."""
        return next((w for w, head in enumerate(self.heads) if at >= head), len(WINDOWS))

    def _leave(self, w: int, at: int) -> None:
        """Takes entry `at` out of the totals of WINDOWS[w] alone: the most frequent change of all."""
        amount_minor, key, slot = self.amounts[at], self.keys[at], 2 * w
        overall = key | ALL_GROUPS
        of_group, of_all = self.totals[key], self.totals[overall]
        of_group[slot] -= 1
        of_group[slot + 1] -= amount_minor
        of_all[slot] -= 1
        of_all[slot + 1] -= amount_minor
        # The longest window holds what any shorter one does: empty there is empty everywhere.
        if not of_group[-2]:
            del self.totals[key]
            if not of_all[-2]:
                del self.totals[overall]

    def _count(self, first: int, at: int, sign: int) -> None:
        """Adds entry `at` to the totals of WINDOWS[first:], or with sign −1 takes it out."""
        if first == len(WINDOWS):
            return
        amount_minor = sign * self.amounts[at]
        key = self.keys[at]
        for own in (key, key | ALL_GROUPS):
            totals = self.totals.get(own)
            if totals is None:
                totals = self.totals[own] = [0] * (2 * len(WINDOWS))
            for slot in range(2 * first, 2 * len(WINDOWS), 2):
                totals[slot] += sign
                totals[slot + 1] += amount_minor
            if not totals[-2]:
                del self.totals[own]

    def _uncount(self, at: int) -> None:
        if self.flags[at] & COUNTED:
            self._count(self._first_window(at), at, -1)
            self.flags[at] &= ~COUNTED

    def _forget(self, count: int) -> None:
        """Drops the oldest `count` entries."""
        if count <= 0:
            return
        for i in range(self.heads[-1], count):  # those before it are in no window
            self._uncount(i)
        for column in (self.times, self.amounts, self.keys, self.digests, self.flags):
            del column[:count]
        self.heads = [head - count if head > count else 0 for head in self.heads]

    def freeze(self) -> tuple[list[bytes], list[Any]]:
        """What hardly shrinks when it is compressed, and what does: of both together `thaw` makes an equal ring."""
        times, later = apart(self.times.tobytes(), self.times.itemsize, TIME_BYTES)
        amounts, larger = apart(self.amounts.tobytes(), self.amounts.itemsize, AMOUNT_BYTES)
        _, keys = apart(self.keys.tobytes(), self.keys.itemsize, 0)
        totals: Any = self.totals
        if self.huge:
            totals = {key: [str(number) for number in numbers] for key, numbers in totals.items()}
        return [times, amounts, self.digests.tobytes()], [
            self.anchor_us,
            self.overflowed,
            self.heads,
            self.huge,
            self.amounts.typecode == WIDE,
            later,
            larger,
            keys,
            self.flags,
            totals,
        ]

    def thaw(self, columns: list[bytes], rest: list[Any]) -> None:
        """Fills an empty ring with what `freeze` gave of one. Raises ValueError if the columns don't fit one another."""
        times, amounts, digests = columns
        self.anchor_us, self.overflowed, self.heads, self.huge, wide, later, larger, keys, flags, totals = rest
        self.times.frombytes(together(times, later, self.times.itemsize))
        if wide:
            self.amounts = array(WIDE)
        self.amounts.frombytes(together(amounts, larger, self.amounts.itemsize))
        self.keys.frombytes(together(b"", keys, self.keys.itemsize))
        self.digests.frombytes(digests)
        self.flags += flags
        self.totals = {key: [int(text) for text in texts] for key, texts in totals.items()} if self.huge else totals
        if not len(self.times) == len(self.amounts) == len(self.keys) == len(self.digests) == len(self.flags):
            raise ValueError("the columns of the windows differ in length")
