"""Where every random number of the synthetic bank comes from: counted, keyed, the same on any machine.

Philox turns (key, counter) into words, so a stream belongs to (seed, purpose, number) and to nothing else: a new behaviour
disturbs no other one, and customer 7 lives the same life whether 10 or 10 million customers are made. Only the raw words
are used: NumPy promises that they stay as they are, which it doesn't promise of `normal` or `poisson`. Curves (normal,
log-normal) come from tables rounded to integers, so that the last bit of a machine's `exp` can't reach an amount.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from hashlib import blake2b
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
T = TypeVar("T")

TABLE_BITS = 12
ONE = 1 << 16
"""Factors are integers in units of 1/65536."""


@cache
def normal_table() -> Ints:
    """4,096 equally likely values of a standard normal, in thousandths.

    >>> normal_table()[[0, 2047, 2048, 4095]].tolist()
    [-3668, 0, 0, 3668]
    """
    size = 1 << TABLE_BITS
    upper = [round(1000 * NormalDist().inv_cdf((i + 0.5) / size)) for i in range(size // 2, size)]
    return np.array([-value for value in reversed(upper)] + upper, dtype=np.int64)


@cache
def factor_table(spread_pct: int) -> Ints:
    """4,096 equally likely values of a log-normal with median 1 and sigma `spread_pct` / 100, in 1/65536.

    >>> factor_table(30)[[0, 2048, 4095]].tolist()
    [21806, 65536, 196960]
    """
    return np.array([round(ONE * math.exp(z * spread_pct / 100_000)) for z in normal_table().tolist()], dtype=np.int64)


def identify(seed: int, kind: str, *numbers: int, length: int = 16) -> str:
    """An id that says nothing: `length` hex digits of a keyed hash."""
    text = "/".join((kind, *map(str, numbers)))
    return blake2b(text.encode(), key=str(seed).encode(), digest_size=16).hexdigest()[:length]


class Draws:
    """A stream of random numbers that belongs to (seed, purpose, number)."""

    def __init__(self, seed: int, purpose: str, number: int = 0) -> None:
        name = blake2b(f"{seed}/{purpose}".encode(), digest_size=8).digest()
        self._bits = np.random.Philox(key=np.array([int.from_bytes(name, "little"), number], dtype=np.uint64))
        self._spare: list[int] = []

    def words(self, count: int) -> Ints:
        """`count` integers in [0, 2^63)."""
        words: Ints = (self._bits.random_raw(count) >> np.uint64(1)).astype(np.int64)
        return words

    def uniforms(self, count: int) -> Floats:
        """`count` multiples of 2^-53 in [0, 1)."""
        uniforms: Floats = (self.words(count) >> 10).astype(np.float64) * 2.0**-53
        return uniforms

    def normals(self, count: int) -> Ints:
        """`count` standard normal values, in thousandths."""
        normals: Ints = normal_table()[self.words(count) >> (63 - TABLE_BITS)]
        return normals

    def factors(self, spread_pct: int, count: int) -> Ints:
        """`count` log-normal factors around 1, in 1/65536."""
        factors: Ints = factor_table(spread_pct)[self.words(count) >> (63 - TABLE_BITS)]
        return factors

    def hex_ids(self, count: int, length: int) -> list[str]:
        """`count` random ids of `length` hex digits each."""
        digits = self._bits.random_raw(-(-count * length // 16) + 1).astype("<u8").tobytes().hex()
        return [digits[i : i + length] for i in range(0, count * length, length)]

    def below(self, limit: int) -> int:
        """An integer in [0, limit), limit up to 2^31."""
        if not self._spare:
            self._spare = self.words(64).tolist()
        return ((self._spare.pop() >> 31) * limit) >> 32

    def between(self, low: int, high: int) -> int:
        """An integer in [low, high]; `low` where the range is empty."""
        return low + self.below(high - low + 1) if high > low else low

    def chance(self, pct: int) -> bool:
        """True in `pct` of 100 cases."""
        return self.below(100) < pct

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]

    def some(self, choices: Sequence[T], count: int) -> list[T]:
        """`count` different ones of `choices`, in random order."""
        rest = list(choices)
        return [rest.pop(self.below(len(rest))) for _ in range(min(count, len(rest)))]

    def vary(self, value: int, spread_pct: int) -> int:
        """`value` times a log-normal factor around 1."""
        return value * int(factor_table(spread_pct)[self.below(1 << TABLE_BITS)]) // ONE
