"""The wall clock set back under a worker: the engine wakes its sources by it, so that one which rests would rest that much longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

BACK_S_MAX = 10.0
"""A clock set back by less is waited for."""
LOOK_INTERVAL_S = 1.0


class ClockStep:
    """How far the wall clock falls behind the monotonic one, from one look to the next.

    >>> wall, steady = iter([100.0, 101.0, 42.0]), iter([7.0, 8.0, 9.0])
    >>> step = ClockStep(wall.__next__, steady.__next__)
    >>> step.back_s(), step.back_s()
    (0.0, 60.0)
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._ahead_s = wall() - steady()

    def back_s(self) -> float:
        before_s, self._ahead_s = self._ahead_s, self._wall() - self._steady()
        return before_s - self._ahead_s


def end_when_set_back(
    end: Callable[[str], None], done: threading.Event, step: ClockStep, interval_s: float = LOOK_INTERVAL_S
) -> None:
    """Until `done`: calls `end` with what to say, once, when the clock was set back by more than BACK_S_MAX. Runs in a thread."""
    while not done.wait(interval_s):
        if (back_s := step.back_s()) > BACK_S_MAX:
            end(
                f"the clock of this machine was set back by {back_s:.0f} s. The engine waits by it, so this process would stand still for "
                "as long and ends instead. Nothing is lost: start again"
            )
            return
