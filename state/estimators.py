"""The only door to River: small per-customer estimators that freeze to exact bytes and thaw bit for bit.

River 0.26 keeps these estimators in compiled objects whose `__getstate__` gives their exact state.
We use the compiled objects themselves, not River's Python wrappers: no pickles, and a worker that starts without
NumPy and SciPy, which River's packages import (half a second). What needs those packages imports them when it is first used. River is
pinned in pyproject.toml; tests compare with River's own classes, and golden bytes fail when a new release changes the layout.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from river._river_rust import stats as compiled

from state.packed import entry_at

_EWVar: Any = compiled.RsEWVar

COUNT_MAX: Final = 2**32 - 1
_ENTRY: Final = struct.Struct("<iIdd")
_KEY: Final = struct.Struct("<i")
_EWVAR: Final = struct.Struct("<ddd?ddd?dd")
"""The state of River's EWVar: an EWMean of the values and one of their squares (each: mean, fading factor, 1 − fading factor, whether
anything was learned), then fading factor twice more."""


class Moments(NamedTuple):
    """What is known of one quantity: exponentially weighted mean and variance, and the number of values seen."""

    n: int
    mean: float
    variance: float
    """Never negative: it is E[x²] − E[x]², whose rounding can fall a hair below zero."""


class MomentsTable:
    """Exponentially weighted mean and variance (River's EWVar) of one customer's quantities by key, the least recently learned first.

    Keys are integers of 32 bits. What River's estimator holds beside the fading factor, two doubles, is kept packed, 24 bytes a key;
    to learn, River gets its whole state back and is taken apart again, so that all arithmetic of learning is River's.

    >>> table = MomentsTable()
    >>> for x in (1.0, 3.0, 5.0): table.learn(7, x, fading_factor=0.5, limit=48)
    >>> table.get(7), table.get(8)
    (Moments(n=3, mean=3.5, variance=2.75), None)
    """

    __slots__ = ("_entries",)

    def __init__(self, frozen: bytes = b"") -> None:
        """Raises ValueError for bytes that `freeze` can't have made."""
        if len(frozen) % _ENTRY.size:
            raise ValueError("moments are cut short")
        self._entries = bytearray(frozen)

    def __len__(self) -> int:
        return len(self._entries) // _ENTRY.size

    def __iter__(self) -> Iterator[int]:
        return (key for key, *_ in _ENTRY.iter_unpack(bytes(self._entries)))

    def get(self, key: int) -> Moments | None:
        """The moments of a key, or None where nothing was learned."""
        at = entry_at(self._entries, _KEY.pack(key), _ENTRY.size)
        if at < 0:
            return None
        _, n, mean, square = _ENTRY.unpack_from(self._entries, at)
        variance = square - mean * mean
        return Moments(n, mean, variance if variance > 0.0 else 0.0)

    def learn(self, key: int, value: float, fading_factor: float, limit: int) -> None:
        """One more value; beyond `limit` keys the least recently learned one is forgotten.

        `fading_factor` in (0, 1]: the weight of this value; 1 / fading_factor is about how many values are remembered.
        """
        entries = self._entries
        river = _EWVar(fading_factor)
        n = 0
        at = entry_at(entries, _KEY.pack(key), _ENTRY.size)
        if at >= 0:
            _, n, mean, square = _ENTRY.unpack_from(entries, at)
            del entries[at : at + _ENTRY.size]
            factors = (fading_factor, 1.0 - fading_factor, True)
            river.__setstate__(_EWVAR.pack(mean, *factors, square, *factors, fading_factor, fading_factor))
        river.update(value)
        mean, _, _, _, square, *_ = _EWVAR.unpack(river.__getstate__())
        entries += _ENTRY.pack(key, min(n + 1, COUNT_MAX), mean, square)
        del entries[: max(0, len(entries) - limit * _ENTRY.size)]

    def freeze(self) -> bytes:
        return bytes(self._entries)


def sigmoid(x: float) -> float:
    """The logistic function, without overflow at either end.

    >>> sigmoid(0.0), sigmoid(-800.0), sigmoid(800.0)
    (0.5, 0.0, 1.0)
    """
    if x >= 0.0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


class Logistic:
    """A pooled logistic regression (River's, sparse, with an intercept) that starts from prior weights.

    Its prediction is sigmoid(intercept + Σ weight × value): the terms are exact contributions in log-odds.

    >>> model = Logistic("transaction@prior", -2.0, {"amount": 1.0})
    >>> model.terms({"amount": 3.0})
    {'amount': 3.0}
    >>> round(model.predict({"amount": 3.0}), 6)
    0.731059
    """

    __slots__ = ("_regression", "intercept", "version", "weights")

    def __init__(self, version: str, intercept: float, weights: Mapping[str, float]) -> None:
        self.version = version
        self._regression: Any = None
        self.intercept = intercept
        self.weights = dict(weights)

    def terms(self, values: Mapping[str, float]) -> dict[str, float]:
        """The contribution in log-odds of each value; values without a weight contribute nothing."""
        weights = self.weights
        return {name: weights[name] * value for name, value in values.items() if name in weights}

    def predict(self, values: Mapping[str, float]) -> float:
        """The probability, by River itself: in [0, 1]."""
        if self._regression is None:
            from river.linear_model import LogisticRegression

            self._regression = LogisticRegression(intercept_init=self.intercept)
            self._regression._weights.update(self.weights)
        return float(self._regression.predict_proba_one(dict(values))[True])
