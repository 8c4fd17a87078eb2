"""A store without a disk, for replays and tests."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator

from state.store import StoreSizes
from state.store_error import StoreError
from state.store_timers import TimerHeap


class MemoryStore:
    """The customers of a process, which end with it: no token can be restored.

    >>> store = MemoryStore()
    >>> store.put("c-1", b"profile", 5)
    >>> store.get("c-1"), store.timers_until(5)
    (b'profile', [(5, 'c-1')])
    """

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._timer_us: dict[str, int] = {}
        self._timers = TimerHeap()
        self._holder_in: dict[str, int] = {}
        self._holders: dict[int, list[str]] = {}

    def restore(self, token: bytes | None) -> bytes | None:
        if token is not None:
            raise StoreError(
                "a store in memory cannot be restored: configure a state folder, or begin without recovery"
            )
        return None

    def get(self, customer_id: str) -> bytes | None:
        return self._values.get(customer_id)

    def put(self, customer_id: str, value: bytes, timer_us: int | None, holder_in: int | None = None) -> None:
        if holder_in != self._holder_in.get(customer_id):
            self._move_holder(customer_id, holder_in)
        if value:
            self._values[customer_id] = value
        else:
            self._values.pop(customer_id, None)
        if timer_us is None:
            self._timer_us.pop(customer_id, None)
        elif self._timer_us.get(customer_id) != timer_us:
            self._timer_us[customer_id] = timer_us
            self._timers.push(timer_us, customer_id)
            if self._timers.overgrown:
                self._timers.prune(lambda time_us, owner: self._timer_us.get(owner) == time_us)

    def checkpoint(self, meta: bytes) -> bytes:
        return b""

    def proven(self) -> None:
        """Nothing to do."""

    def write_behind(self, budget: int) -> int:
        return 0

    def timers_until(self, time_us: int) -> list[tuple[int, str]]:
        return self._timers.due(time_us, self._timer_us.get)

    def holders(self, partition: int, after: str, count_max: int) -> list[str]:
        holders = self._holders.get(partition, [])
        begin = bisect_right(holders, after)
        return holders[begin : begin + count_max]

    def _move_holder(self, customer_id: str, partition: int | None) -> None:
        before = self._holder_in.pop(customer_id, None)
        if before is not None:
            holders = self._holders[before]
            del holders[bisect_left(holders, customer_id)]
        if partition is not None:
            self._holder_in[customer_id] = partition
            insort(self._holders.setdefault(partition, []), customer_id)

    def customers(self) -> Iterator[str]:
        return iter(self._values)

    def sizes(self) -> StoreSizes:
        size_bytes = sum(map(len, self._values.values()))
        return StoreSizes(len(self._values), len(self._values), size_bytes, 0, 0, 0)

    def close(self) -> None:
        """Nothing to do."""
