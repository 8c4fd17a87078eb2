"""Python's cyclic garbage collector beside hundreds of thousands of live profiles.

Reference counting frees what the worker makes; the collector is only for cycles, which nothing on the hot path makes (an exception
may). A full collection looks at every container in memory: with 200,000 profiles a pause of the stream of a second and more, for nothing.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG_MAX: Final = 2_000
"""New containers before the young ones are looked at: a batch makes thousands, nearly all of which are gone at its end. Those that stay,
such as a profile read from the store, take half a microsecond each, far from the processor's caches as they are."""
MIDDLE_MAX: Final = 5
"""So often the young are looked at before those that stayed are, once more: in 5 ms at these figures, in 200 at 10,000 and 20."""
NEVER: Final = 2**31 - 1


def collect_young_only() -> None:
    """Takes what is there now out of all collections, and lets later ones look at young objects only, where new cycles are found."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_MAX, NEVER)


def leave_uncollected() -> None:
    """Before the process ends: or Python would look at all profiles for cycles, for seconds, only to end then."""
    gc.freeze()
