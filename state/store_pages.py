"""How records lie in LMDB's pages: one that fills whole pages and a little more keeps the little elsewhere.

LMDB keeps a value of over half a page in pages of its own, of which the last one is part empty: of a record of 4.3 pages it takes five. So
a record is cut where its last whole page ends, if what is left fits into half a page: the head stays under the customer's key, the tail
goes to a sub-database of its own, whose pages tails share. A head without its tail is shorter than the record says, and so nobody's
record; tables made before tails have records that are whole, whatever their length, and are read the same way.
"""

from __future__ import annotations

from typing import Any, Final

from state.store_record import HEAD_BYTES, record_bytes_of

PAGE_HEAD_BYTES: Final = 16
"""Of a page, or of a row of pages that hold one value (LMDB 0.9, mdb.c: PAGEHDRSZ)."""
NODE_BYTES: Final = 8
"""Before each key in a page (NODESIZE)."""
PLACE_BYTES: Final = 2
"""By which a page finds each of its entries."""


class RecordPages:
    """Records of customers, by key, in two sub-databases. Transactions and errors are the caller's."""

    def __init__(self, heads: Any, tails: Any, page_bytes: int) -> None:
        self._heads = heads
        self._tails = tails
        self._page_bytes = page_bytes
        # An entry that takes more than half of what a page has room for gets pages of its own.
        self._entry_bytes_max = ((page_bytes - PAGE_HEAD_BYTES) // 2 & ~1) - PLACE_BYTES - NODE_BYTES

    def head_bytes(self, key: bytes, record_bytes: int) -> int:
        """How much of a record stays together under its key: all of it, or what fills whole pages.

        >>> pages = RecordPages(None, None, 4096)
        >>> [pages.head_bytes(b"c-1", size) for size in (100, 4080, 4081, 6107, 6108, 8176, 8200)]
        [100, 4080, 4080, 4080, 6108, 8176, 8176]
        """
        filled = (record_bytes + PAGE_HEAD_BYTES) // self._page_bytes * self._page_bytes - PAGE_HEAD_BYTES
        return filled if 0 < record_bytes - filled <= self._entry_bytes_max - len(key) and filled > 0 else record_bytes

    def head(self, txn: Any, key: bytes) -> Any:
        """The beginning of a record, with its head, its id and which partition a holder is of; None if there is none. Of a transaction
        with `buffers` it is valid until the next write."""
        return txn.get(key, db=self._heads)

    def get(self, txn: Any, key: bytes) -> bytes | None:
        """The record, unchecked: if it is damaged, it may be shorter than it says."""
        head = txn.get(key, db=self._heads)
        return None if head is None else self._whole(txn, key, head)

    def put(self, txn: Any, key: bytes, record: bytes, before: bool) -> None:
        """Replaces a record; `before`: the one in its place has a tail."""
        kept = self.head_bytes(key, len(record))
        if kept == len(record):
            txn.put(key, record, db=self._heads)
            if before:
                txn.delete(key, db=self._tails)
        else:
            whole = memoryview(record)
            txn.put(key, whole[:kept], db=self._heads)
            txn.put(key, whole[kept:], db=self._tails)

    def delete(self, txn: Any, key: bytes, before: bool) -> None:
        """Removes a record, if there is one; `before`: it has a tail."""
        txn.delete(key, db=self._heads)
        if before:
            txn.delete(key, db=self._tails)

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
            owners = (txn.get(key, db=self._heads) for key in cursor.iternext(values=False))
            return sum(owner is None or not goes_on(owner) for owner in owners)

    def _whole(self, txn: Any, key: bytes, head: Any) -> bytes:
        return b"".join((head, txn.get(key, b"", db=self._tails))) if goes_on(head) else bytes(head)


def goes_on(head: Any) -> bool:
    """Whether a record has a tail, by the length that it says it has."""
    return len(head) >= HEAD_BYTES and record_bytes_of(head) > len(head)
