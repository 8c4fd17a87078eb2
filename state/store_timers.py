"""Timers in memory, earliest first."""

from __future__ import annotations

import heapq
from collections.abc import Callable

_ENTRIES_MIN = 1024


class TimerHeap:
    """(time_us, customer_id) pairs in a heap. Entries are never taken out when a customer's timer changes: whoever asks
    says what each customer's timer is now, and the entries that disagree are dropped then.

    >>> heap = TimerHeap()
    >>> heap.push(5, "a"); heap.push(3, "b"); heap.push(4, "b")
    >>> heap.due(10, {"a": 5, "b": 4}.get)
    [(4, 'b'), (5, 'a')]
    """

    def __init__(self) -> None:
        self._entries: list[tuple[int, str]] = []
        self._limit = _ENTRIES_MIN

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def overgrown(self) -> bool:
        """Whether so many entries have gathered that prune() should drop the outdated ones."""
        return len(self._entries) > self._limit

    def push(self, time_us: int, customer_id: str) -> None:
        """Adds a customer's timer."""
        heapq.heappush(self._entries, (time_us, customer_id))

    def due(self, time_us: int, timer_now: Callable[[str], int | None]) -> list[tuple[int, str]]:
        """All timers up to and including `time_us`, earliest first; they stay due until the customer's timer changes."""
        entries = self._entries
        found: list[tuple[int, str]] = []
        while entries and entries[0][0] <= time_us:
            entry = heapq.heappop(entries)
            if (not found or found[-1] != entry) and timer_now(entry[1]) == entry[0]:
                found.append(entry)
        for entry in found:
            heapq.heappush(entries, entry)
        return found

    def prune(self, wanted: Callable[[int, str], bool]) -> None:
        """Keeps the wanted entries, each once. Costs as much as the pushes since the last prune."""
        self._entries = sorted({entry for entry in self._entries if wanted(*entry)})
        self._limit = max(_ENTRIES_MIN, 2 * len(self._entries))
