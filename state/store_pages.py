"""How records lie in LMDB's pages: one that fills whole pages and a little more keeps the little elsewhere.

LMDB keeps a value of over half a page in pages of its own, of which the last one is part empty: of a record of 4.3 pages it takes five. So
a record is cut where its last whole page ends, if little more than half a page is left: the head stays under the customer's key, what
is left goes, as one tail or two of a third of a page at most, to a sub-database of its own, whose pages records share. A head without its
tails is shorter than the record says, and so nobody's record; tables made before tails have records that are whole, whatever their
length, and are read the same way.
"""

from __future__ import annotations

from typing import Any, Final

from state.store_record import HEAD_BYTES, record_bytes_of

PAGE_HEAD_BYTES: Final = 16
"""Of a page, or of a row of pages that hold one value (LMDB 0.9, mdb.c: PAGEHDRSZ)."""
ENTRY_BYTES: Final = 10
"""Of an entry beside its key and value: NODESIZE, and the place by which a page finds it."""
TAILS_PER_PAGE: Final = 3
"""At least. Tails of half a page leave too much of their pages empty once they have been rewritten in random order."""
TAILS_MAX: Final = 2
TAIL_SHARE_MAX: Final = 9 / 16
"""Of a page, for both tails together: pages that records share are a quarter empty in the long run, so more would save next to nothing."""
SECOND: Final = b"\0"
"""What a second tail has after the customer's key. No id has it: ids are without control characters."""


class RecordPages:
    """Records of customers, by key, in two sub-databases. Transactions and errors are the caller's."""

    def __init__(self, heads: Any, tails: Any, page_bytes: int) -> None:
        self._heads = heads
        self._tails = tails
        self._page_bytes = page_bytes
        self._left_bytes_max = int(TAIL_SHARE_MAX * page_bytes)
        self._entry_bytes_max = ((page_bytes - PAGE_HEAD_BYTES) // TAILS_PER_PAGE & ~1) - ENTRY_BYTES - len(SECOND)

    def cuts(self, key: bytes, record_bytes: int) -> tuple[int, ...]:
        """Where a record's pieces end: the head, which fills whole pages unless it is all, then the tails.

        >>> pages = RecordPages(None, None, 4096)
        >>> [pages.cuts(b"c-1", size) for size in (100, 4080, 4081, 5426, 5427, 6384, 6385, 8200)]
        [(100,), (4080,), (4080, 4081), (4080, 5426), (4080, 5426, 5427), (4080, 5426, 6384), (6385,), (8176, 8200)]
        """
        filled = (record_bytes + PAGE_HEAD_BYTES) // self._page_bytes * self._page_bytes - PAGE_HEAD_BYTES
        left, tail_bytes_max = record_bytes - filled, self._entry_bytes_max - len(key)
        if left == 0 or filled < 0 or left > min(self._left_bytes_max, TAILS_MAX * tail_bytes_max):
            return (record_bytes,)
        if left <= tail_bytes_max:
            return filled, record_bytes
        return filled, filled + tail_bytes_max, record_bytes

    def head(self, txn: Any, key: bytes) -> Any:
        """The beginning of a record, with its head, its id and which partition a holder is of; None if there is none. Of a transaction
        with `buffers` it is valid until the next write."""
        return txn.get(key, db=self._heads)

    def get(self, txn: Any, key: bytes) -> bytes | None:
        """The record, unchecked: if it is damaged, it may be shorter than it says."""
        head = txn.get(key, db=self._heads)
        return None if head is None else self._whole(txn, key, head)

    def put(self, txn: Any, key: bytes, record: bytes, before: int) -> None:
        """Replaces a record; `before`: how many bytes of the one in its place are in tails."""
        cuts = self.cuts(key, len(record))
        if len(cuts) == 1:
            txn.put(key, record, db=self._heads)
        else:
            whole = memoryview(record)
            txn.put(key, whole[: cuts[0]], db=self._heads)
            txn.put(key, whole[cuts[0] : cuts[1]], db=self._tails)
            if len(cuts) == 1 + TAILS_MAX:
                txn.put(key + SECOND, whole[cuts[1] :], db=self._tails)
        if before:
            self._delete_tails(txn, key, len(cuts) - 1, before)

    def delete(self, txn: Any, key: bytes, before: int) -> None:
        """Removes a record, if there is one; `before`: how many bytes of it are in tails."""
        txn.delete(key, db=self._heads)
        if before:
            self._delete_tails(txn, key, 0, before)

    def some(self, txn: Any, from_key: bytes, count_max: int) -> list[tuple[bytes, bytes]]:
        """(key, record) of up to `count_max`, in the order of the keys, the first at or after `from_key`; unchecked as in `get`."""
        found: list[tuple[bytes, bytes]] = []
        with txn.cursor(self._heads) as cursor:
            placed = cursor.set_range(from_key) if from_key else cursor.first()
            for key, head in cursor if placed else ():  # iterating an unplaced cursor begins anew
                found.append((bytes(key), self._whole(txn, key, head)))
                if len(found) == count_max:
                    break
        return found

    def stray_tails(self, txn: Any) -> int:
        """Number of tails that no record goes on in."""
        with txn.cursor(self._tails) as cursor:
            return sum(not self._belongs(txn, key) for key in map(bytes, cursor.iternext(values=False)))

    def _belongs(self, txn: Any, tail_key: bytes) -> bool:
        head = txn.get(tail_key, db=self._heads)
        if head is not None:
            return beyond(head) > 0
        if not tail_key.endswith(SECOND):
            return False
        head, first = (txn.get(tail_key[: -len(SECOND)], db=db) for db in (self._heads, self._tails))
        return head is not None and first is not None and beyond(head) > len(first)

    def _delete_tails(self, txn: Any, key: bytes, kept: int, before: int) -> None:
        """All but the first `kept` of those that held `before` bytes."""
        if kept == 0:
            txn.delete(key, db=self._tails)
        if kept < TAILS_MAX and before > self._entry_bytes_max - len(key):
            txn.delete(key + SECOND, db=self._tails)

    def _whole(self, txn: Any, key: bytes, head: Any) -> bytes:
        missing = beyond(head)
        if not missing:
            return bytes(head)
        first = txn.get(key, b"", db=self._tails)
        second = txn.get(bytes(key) + SECOND, b"", db=self._tails) if len(first) < missing else b""
        return b"".join((head, first, second))


def beyond(head: Any) -> int:
    """How many bytes of a record are in tails, by the length that it says it has."""
    return max(0, record_bytes_of(head) - len(head)) if len(head) >= HEAD_BYTES else 0
