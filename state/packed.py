"""Packed tables: entries of one size side by side in one block of bytes, found by their first bytes.

A profile holds hundreds of small facts. As Python objects each costs 30 to 100 bytes and, where the customer was not looked at
for a while, a wait for memory when it is frozen; packed they are one object, which freezes and thaws as it is. Searching is
one pass in C: below a microsecond for some hundred entries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

_SHORT: Final = struct.Struct("<I")
_DIGEST: Final = struct.Struct("<Q")
_SEEN: Final = struct.Struct("<QI")
_SHORT_MASK: Final = 2**32 - 1
_MINUTE_US: Final = 60_000_000


def entry_at(entries: bytes | bytearray, key: bytes, size: int) -> int:
    """Where the entry that begins with `key` begins, in a block of entries of `size` bytes; −1 if there is none.

    >>> entry_at(b"a1b2", b"b", 2), entry_at(b"a1b2", b"1", 2), entry_at(b"a1b2", b"c", 2)
    (2, -1, -1)
    """
    at = entries.find(key)
    while at > 0 and at % size:
        at = entries.find(key, at + 1)
    return at


def apart(column: bytes | bytearray, size: int, low: int) -> tuple[bytes, bytes]:
    """A column of integers of `size` bytes, the least first, as the `low` lowest bytes of all and the others: first all of the lowest,
    then all of the next. So the higher ones, of which most are alike, shrink when they are compressed.

    >>> apart(bytes([1, 9, 7, 0, 2, 8, 7, 0]), 4, 2)
    (b'\\x01\\x02\\t\\x08', b'\\x07\\x07\\x00\\x00')
    """
    rows = [column[at::size] for at in range(size)]
    return b"".join(rows[:low]), b"".join(rows[low:])


def together(low: bytes, high: bytes, size: int) -> bytearray:
    """The column that `apart` took apart. Raises ValueError for what can't be of one."""
    rows = low + high
    count, rest = divmod(len(rows), size)
    if rest:
        raise ValueError("a column is cut short")
    column = bytearray(len(rows))
    for at in range(size):
        column[at::size] = rows[at * count : (at + 1) * count]
    return column


class Met:
    """What a customer has met, such as merchants, by digest: the least recently met first, `limit` of them at most.

    Only the lower 32 bits of a digest are kept: with 256 merchants known, one new merchant in 16 million passes for one of them.

    >>> met = Met()
    >>> for digest in (7, 8, 9, 7): met.meet(digest, limit=2)
    >>> list(met), 9 in met, 8 in met
    ([9, 7], True, False)
    """

    __slots__ = ("_entries",)

    def __init__(self, frozen: bytes = b"") -> None:
        """Raises ValueError for bytes that `freeze` can't have made."""
        if len(frozen) % _SHORT.size:
            raise ValueError("digests are cut short")
        self._entries = bytearray(frozen)

    def __len__(self) -> int:
        return len(self._entries) // _SHORT.size

    def __iter__(self) -> Iterator[int]:
        return (short for (short,) in _SHORT.iter_unpack(bytes(self._entries)))

    def __contains__(self, digest: int) -> bool:
        return entry_at(self._entries, _SHORT.pack(digest & _SHORT_MASK), _SHORT.size) >= 0

    def meet(self, digest: int, limit: int) -> None:
        entries, short = self._entries, _SHORT.pack(digest & _SHORT_MASK)
        at = entry_at(entries, short, _SHORT.size)
        if at >= 0:
            del entries[at : at + _SHORT.size]
        entries += short
        if len(entries) > limit * _SHORT.size:
            del entries[: len(entries) - limit * _SHORT.size]

    def freeze(self) -> bytes:
        return bytes(self._entries)


class Seen:
    """Digests (64 bits) of records with their event times (in minutes, rounded up), oldest first: the duplicate check.

    >>> seen = Seen()
    >>> seen.add(7, 200_000_000); seen.add(8, 100_000_000)
    >>> 7 in seen, list(seen)
    (True, [(8, 2), (7, 4)])
    >>> seen.forget(before_us=180_000_000, limit=512)
    >>> list(seen)
    [(7, 4)]
    """

    __slots__ = ("_entries",)

    def __init__(self, frozen: bytes = b"") -> None:
        """Raises ValueError for bytes that `freeze` can't have made."""
        if len(frozen) % _SEEN.size:
            raise ValueError("a duplicate check is cut short")
        self._entries = bytearray(frozen)

    def __len__(self) -> int:
        return len(self._entries) // _SEEN.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return _SEEN.iter_unpack(bytes(self._entries))

    def __contains__(self, digest: int) -> bool:
        return entry_at(self._entries, _DIGEST.pack(digest), _SEEN.size) >= 0

    def add(self, digest: int, time_us: int) -> None:
        """Adds a record that is not there yet; nearly always it is the newest."""
        entries, minute = self._entries, -(-time_us // _MINUTE_US)
        at = len(entries)
        while at and _SEEN.unpack_from(entries, at - _SEEN.size)[::-1] > (minute, digest):
            at -= _SEEN.size
        entries[at:at] = _SEEN.pack(digest, minute)

    def forget(self, before_us: int, limit: int) -> None:
        """Drops what is older than `before_us` by whole minutes, and the oldest beyond `limit`."""
        entries = self._entries
        until = max(0, len(entries) - limit * _SEEN.size)
        while until < len(entries) and _SEEN.unpack_from(entries, until)[1] * _MINUTE_US < before_us:
            until += _SEEN.size
        del entries[:until]

    def freeze(self) -> bytes:
        return bytes(self._entries)
