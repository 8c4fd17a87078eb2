"""The thread in which the engine runs, as Python sees it: what it keeps, and how soon it lets others in.

In a cluster the engine runs in threads that Python did not start, and takes the GIL anew for each step. Then Python makes a thread state
for each and throws it away, with its frames and its thread-locals: some microseconds and two system calls, a thousand times a second.
A thread state that is held once more is kept.

It computes nearly all the time, and holds the GIL while it does. Who publishes to Kafka needs the GIL some five times a transaction, a few
microseconds each, and at Python's 5 ms of waiting a transaction of 5 ms lasted 30.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from typing import Final

LET_IN_S: Final = 0.0005
"""After so long at most a thread that waits for the GIL gets it."""

_kept = threading.local()


def keep_thread_state() -> None:
    """Keeps the thread state of the calling thread until the process ends. To be called in the engine's thread; again is harmless, and
    threads that Python started keep theirs anyway."""
    if threading.get_ident() == threading.main_thread().ident or getattr(_kept, "held", False):
        return
    ctypes.pythonapi.PyGILState_Ensure()
    _kept.held = True


def let_others_in() -> None:
    """Makes threads that compute give way to others sooner than Python does by itself. For the whole process."""
    sys.setswitchinterval(LET_IN_S)
