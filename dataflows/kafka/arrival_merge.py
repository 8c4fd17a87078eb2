"""Merging the topics of one source partition by arrival, so that every run applies its records in one order.

The order is (arrival, rank of the topic, offset), but a topic's own records keep the order of their log even where
their arrival times don't: the merge compares the heads of the logs. It is a function of the logs alone as long as
nobody is passed over: no head may go while a log that is known to have more has none here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from state.records import Record

Key = tuple[int, int]
"""Arrival (microseconds UTC, never falling within a log) and rank of the log."""

_AFTER_ALL_US = 1 << 63


@dataclass(slots=True)
class Log:
    """One topic's partition while it is being read. `rank` orders logs whose records arrived at the same time."""

    topic: str
    partition: int
    rank: int
    waiting: deque[Record] = field(default_factory=deque)
    next_offset: int | None = None
    """Offset after the last record handed on; None before the first."""
    newest_us: int = 0
    """Newest arrival handed on."""
    behind: bool = True
    """More is known to come (or nothing is known yet) than is waiting here."""


class ArrivalMerge:
    """Takes records of several logs in the order of arrival.

    `passed_over` counts those that came too late for it: a few milliseconds between two senders do. `overdue` of them
    had arrived more than `wait_us` before what was handed on: no usual stream has such.
    """

    def __init__(self, logs: Sequence[Log], wait_us: int = 0) -> None:
        self.logs = logs
        self.passed_over = 0
        self.overdue = 0
        self._wait_us = wait_us
        self._last: Key = max(((log.newest_us, log.rank) for log in logs), default=(0, 0))

    @property
    def clock_us(self) -> int:
        """Newest arrival handed on so far; 0 before the first."""
        return self._last[0]

    @property
    def waiting(self) -> int:
        return sum([len(log.waiting) for log in self.logs])

    def held_up_by(self) -> list[Log]:
        """Logs whose next record has to be waited for: known to exist, not here."""
        return [log for log in self.logs if log.behind and not log.waiting]

    def next_us(self, patient: bool) -> int | None:
        """When the next record arrived; None if there is none here, or a patient caller has to wait for a log."""
        if patient and self.held_up_by():
            return None
        return min((log.waiting[0].arrival_us for log in self.logs if log.waiting), default=None)

    def take(self, count_max: int, patient: bool, until_us: int = _AFTER_ALL_US) -> list[Record]:
        """The next records that arrived before `until_us`, at most `count_max`; a patient call stops where a log holds it up."""
        taken: list[Record] = []
        while len(taken) < count_max:
            heads: list[tuple[int, int, Log]] = []
            for log in self.logs:
                if log.waiting:
                    heads.append((log.waiting[0].arrival_us, log.rank, log))
                elif patient and log.behind:
                    return taken
            heads.sort()  # no two have the same rank
            if not heads or heads[0][0] >= until_us:
                break
            until = min(heads[1][:2] if len(heads) > 1 else (until_us, 0), (until_us, 0))
            self._take_run(heads[0][2], until, taken, count_max)
        return taken

    def _take_run(self, log: Log, until: Key, taken: list[Record], count_max: int) -> None:
        """Move records of one log for as long as they come before the head of every other."""
        waiting, rank, newest_us = log.waiting, log.rank, log.newest_us
        until_us = until[0] + (rank < until[1])  # (arrival, rank) < until
        in_time_us = self._last[0] + (rank < self._last[1])  # (newest, rank) >= last
        room = count_max - len(taken)
        while waiting and room and (arrival_us := waiting[0].arrival_us) < until_us:
            taken.append(waiting.popleft())
            room -= 1
            if arrival_us > newest_us:
                newest_us = arrival_us
            if newest_us < in_time_us:
                self.passed_over += 1
                self.overdue += self._last[0] - newest_us > self._wait_us
        log.newest_us, log.next_offset = newest_us, taken[-1].offset + 1
        self._last = max(self._last, (newest_us, rank))
