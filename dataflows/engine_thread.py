"""The thread in which the engine runs, as Python sees it.

In a cluster the engine runs in threads that Python did not start, and takes the GIL anew for each step. Then Python makes a thread state
for each and throws it away, with its frames and its thread-locals: some microseconds and two system calls, a thousand times a second.
A thread state that is held once more is kept.
"""

from __future__ import annotations

import ctypes
import threading

_kept = threading.local()


def keep_thread_state() -> None:
    """Keeps the thread state of the calling thread until the process ends. To be called in the engine's thread; again is harmless, and
    threads that Python started keep theirs anyway."""
    if threading.get_ident() == threading.main_thread().ident or getattr(_kept, "held", False):
        return
    ctypes.pythonapi.PyGILState_Ensure()
    _kept.held = True
