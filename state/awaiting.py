"""Transactions of one customer that wait for somebody to say whether they were fraud, with what was seen when they were scored.

In columns, since there are many: numbers packed, so that a profile is frozen and thawed without looking at a single entry.
"""

from __future__ import annotations

from array import array
from typing import Any, Final, NamedTuple

from state.packed import apart, together
from state.windows import TIME_BYTES

EARLY_MAX: Final = 16
"""Labels remembered that came before their transaction."""


class Awaited(NamedTuple):
    """One transaction. `features` and `scores` are packed by whoever scored it (operators/knowledge); scores may be empty."""

    digest: int
    """Of its id (state.digest.digest64)."""
    time_us: int
    merchant_id: str | None
    features: bytes


class EarlyLabel(NamedTuple):
    """A label whose transaction has not come yet."""

    known_us: int
    """When it arrived."""
    transaction_id: str
    label: int
    told: bool = False
    """Whether its merchant has been told already."""


class Awaiting:
    """Oldest first, in the order in which they were scored. All have features of one size; another size (a new version of the features)
    begins anew. The oldest, whose time for a label is over, wait on for late ones.

    >>> awaiting = Awaiting()
    >>> awaiting.add(Awaited(7, 1_000, "m-1", b"ab")); awaiting.add(Awaited(8, 2_000, None, b"cd"))
    >>> awaiting.take(8)
    Awaited(digest=8, time_us=2000, merchant_id=None, features=b'cd')
    >>> awaiting.expire(5_000), awaiting.expire(5_000), len(awaiting)
    ([Awaited(digest=7, time_us=1000, merchant_id='m-1', features=b'ab')], [], 1)
    >>> awaiting.forget(5_000); len(awaiting)
    0
    """

    __slots__ = ("_digests", "_features", "_merchants", "_times_us", "early", "expired")

    def __init__(self) -> None:
        self._digests = array("Q")
        self._times_us = array("q")
        self._merchants: list[str | None] = []
        self._features = bytearray()
        self.early: list[EarlyLabel] = []
        self.expired = 0
        """How many, from the oldest on, have been returned by `expire`."""

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, entry: Awaited) -> None:
        if self._digests and len(entry.features) != self._stride:
            self._clear()
        self._digests.append(entry.digest)
        self._times_us.append(entry.time_us)
        self._merchants.append(entry.merchant_id)
        self._features += entry.features

    def take(self, digest: int) -> Awaited | None:
        """Removes and returns the entry of a transaction; None if it does not wait."""
        try:
            return self._pop(self._digests.index(digest))
        except ValueError:
            return None

    def pop_oldest(self) -> Awaited:
        return self._pop(0)

    def expire(self, until_us: int) -> list[Awaited]:
        """Those of event time before or at `until_us`, from the oldest on up to the first that is newer; each is returned once."""
        first, count, times_us = self.expired, len(self._times_us), self._times_us
        while self.expired < count and times_us[self.expired] <= until_us:
            self.expired += 1
        return [self._at(at) for at in range(first, self.expired)]

    def forget(self, until_us: int) -> None:
        """Removes those that have expired and are of event time before or at `until_us`, from the oldest on."""
        count = 0
        while count < self.expired and self._times_us[count] <= until_us:
            count += 1
        if count:
            self._drop(0, count)

    def remember(self, label: EarlyLabel) -> None:
        """Keeps a label for its transaction; beyond EARLY_MAX the oldest goes."""
        self.early.append(label)
        if len(self.early) > EARLY_MAX:
            self.early.remove(min(self.early))

    def recall(self, transaction_id: str) -> EarlyLabel | None:
        """Removes and returns the label that came before this transaction."""
        for label in self.early:
            if label.transaction_id == transaction_id:
                self.early.remove(label)
                return label
        return None

    def freeze(self) -> tuple[list[bytes], list[Any]]:
        """What hardly shrinks when it is compressed, and what does; both empty if there is nothing to keep."""
        if not self._digests and not self.early:
            return [], []
        times_us, later = apart(self._times_us.tobytes(), self._times_us.itemsize, TIME_BYTES)
        return [self._digests.tobytes(), times_us], [
            later,
            self._merchants,
            self.early,
            self.expired,
            bytes(self._features),
        ]

    @classmethod
    def thaw(cls, columns: list[bytes], rest: list[Any]) -> Awaiting:
        """Raises ValueError if the columns don't fit one another."""
        awaiting = cls()
        if columns:
            digests, times_us = columns
            later, awaiting._merchants, early, awaiting.expired, features = rest
            awaiting._digests.frombytes(digests)
            awaiting._times_us.frombytes(together(times_us, later, awaiting._times_us.itemsize))
            awaiting._features += features
            awaiting.early = [EarlyLabel(*label) for label in early]
            count = len(awaiting._digests)
            if (
                not 0 <= awaiting.expired <= count
                or len(awaiting._times_us) != count
                or len(awaiting._merchants) != count
                or (count and len(features) % count)
            ):
                raise ValueError("the columns of what awaits a label differ in length")
        return awaiting

    @property
    def _stride(self) -> int:
        return len(self._features) // len(self._digests)

    def _at(self, at: int) -> Awaited:
        stride = self._stride
        features = bytes(self._features[at * stride : (at + 1) * stride])
        return Awaited(self._digests[at], self._times_us[at], self._merchants[at], features)

    def _pop(self, at: int) -> Awaited:
        entry = self._at(at)
        self._drop(at, 1)
        return entry

    def _drop(self, first: int, count: int) -> None:
        """Removes entries that are all expired, or all not."""
        end, stride = first + count, self._stride
        del self._features[first * stride : end * stride]
        del self._digests[first:end], self._times_us[first:end], self._merchants[first:end]
        self.expired -= count if first < self.expired else 0

    def _clear(self) -> None:
        self._digests, self._times_us, self.expired = array("Q"), array("q"), 0
        self._merchants, self._features = [], bytearray()
