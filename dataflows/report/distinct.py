"""How many different names there are, in bounded memory."""

from __future__ import annotations

import math

from state.digest import digest64

EXACT_MAX = 1_000
BITS = 1 << 16
"""8 KB: within 1 % up to about 300,000 names (Whang, Vander-Zanden and Taylor, A linear-time probabilistic counting
algorithm, ACM TODS 15 (1990))."""


class Distinct:
    """Counts exactly up to EXACT_MAX names, then by how many bits of a map their digests set (linear counting).

    >>> distinct = Distinct()
    >>> for number in range(50_000):
    ...     distinct.add(f"c-{number % 20_000}")
    >>> abs(distinct.count() - 20_000) < 200
    True
    """

    def __init__(self) -> None:
        self._exact: set[int] | None = set()
        self._map = bytearray()
        self._ones = 0

    def add(self, name: str) -> None:
        digest = digest64(name)
        if self._exact is None:
            self._mark(digest)
            return
        self._exact.add(digest)
        if len(self._exact) > EXACT_MAX:
            self._map = bytearray(BITS // 8)
            for each in self._exact:
                self._mark(each)
            self._exact = None

    def count(self) -> int:
        if self._exact is not None:
            return len(self._exact)
        # A full map says no more than "at least so many".
        return round(-BITS * math.log(max(1, BITS - self._ones) / BITS))

    def _mark(self, digest: int) -> None:
        byte, bit = digest % BITS >> 3, 1 << (digest & 7)
        if not self._map[byte] & bit:
            self._map[byte] |= bit
            self._ones += 1
