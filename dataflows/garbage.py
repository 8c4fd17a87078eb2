"""Python's cyclic garbage collector beside hundreds of thousands of live profiles.

Reference counting frees what the worker makes; the collector is only for cycles, which nothing on the hot path makes (an exception
may). A full collection looks at every container in memory: with 200,000 profiles a pause of the stream of a second and more, for nothing.
"""

from __future__ import annotations

import gc
from typing import Final

YOUNG_MAX: Final = 10_000
"""New containers before the young ones are looked at: a batch makes thousands, nearly all of which are gone at its end."""
MIDDLE_MAX: Final = 20
NEVER: Final = 2**31 - 1


def collect_young_only() -> None:
    """Takes what is there now out of all collections, and lets later ones look at young objects only, where new cycles are found."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MAX, MIDDLE_MAX, NEVER)
