"""The only door to River: small per-customer estimators that freeze to exact bytes and thaw bit for bit.

River 0.26 keeps these estimators in compiled objects whose `__getstate__` gives their exact state (33 to 170 bytes).
We hold the compiled objects themselves, not River's Python wrappers: half the memory, no pickles, and a worker that starts without
NumPy and SciPy, which River's packages import (half a second). What needs those packages imports them when it is first used. River is
pinned in pyproject.toml; tests compare with River's own classes, and golden bytes fail when a new release changes the layout.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from river._river_rust import stats as compiled

_EWMean: Any = compiled.RsEWMean
_EWVar: Any = compiled.RsEWVar
_Quantile: Any = compiled.RsQuantile

MOMENTS_BYTES = 33 + 66
MOMENTS_FLAGS = (24, 57, 82)
QUANTILE_BYTES = 170
QUANTILE_FLAGS = (169,)
"""Where the states hold a truth value: any byte but 0 and 1 there would be a panic in River, which no handler catches."""


class Moments:
    """Exponentially weighted mean and variance of one quantity (River's EWMean and EWVar) with the number of values seen.

    `fading_factor` in (0, 1]: the weight of the newest value; 1 / fading_factor is about how many values are remembered.

    >>> m = Moments.new(0.5)
    >>> for x in (1.0, 3.0, 5.0): m.learn(x)
    >>> m.n, m.mean, m.variance
    (3, 3.5, 2.75)
    >>> Moments.thaw(*m.freeze()).mean
    3.5
    """

    __slots__ = ("_mean", "_variance", "n")

    def __init__(self, n: int, mean: Any, variance: Any) -> None:
        self.n = n
        self._mean = mean
        self._variance = variance

    @classmethod
    def new(cls, fading_factor: float) -> Moments:
        return cls(0, _EWMean(fading_factor), _EWVar(fading_factor))

    def learn(self, value: float) -> None:
        self._mean.update(value)
        self._variance.update(value)
        self.n += 1

    @property
    def mean(self) -> float:
        return float(self._mean.get()) if self.n else 0.0

    @property
    def variance(self) -> float:
        """Never negative: River computes E[x²] − E[x]², whose rounding can fall a hair below zero."""
        return max(0.0, float(self._variance.get())) if self.n else 0.0

    def freeze(self) -> tuple[int, bytes]:
        return self.n, self._mean.__getstate__() + self._variance.__getstate__()

    @classmethod
    def thaw(cls, n: int, state: bytes) -> Moments:
        _check(state, MOMENTS_BYTES, MOMENTS_FLAGS)
        mean, variance = _EWMean(0.5), _EWVar(0.5)
        mean.__setstate__(state[:33])
        variance.__setstate__(state[33:])
        return cls(n, mean, variance)


class Quantile:
    """A running quantile in constant memory: P² (Jain and Chlamtac, 1985) as River has it.

    >>> q = Quantile.new(0.5)
    >>> for x in range(1, 100): q.learn(float(x))
    >>> q.value
    50.0
    """

    __slots__ = ("_quantile", "n")

    def __init__(self, n: int, quantile: Any) -> None:
        self.n = n
        self._quantile = quantile

    @classmethod
    def new(cls, q: float) -> Quantile:
        return cls(0, _Quantile(q))

    def learn(self, value: float) -> None:
        self._quantile.update(value)
        self.n += 1

    @property
    def value(self) -> float | None:
        """The estimate, or None before the first value."""
        return float(self._quantile.get()) if self.n else None

    def freeze(self) -> tuple[int, bytes]:
        return self.n, self._quantile.__getstate__()

    @classmethod
    def thaw(cls, n: int, state: bytes) -> Quantile:
        _check(state, QUANTILE_BYTES, QUANTILE_FLAGS)
        quantile = _Quantile(0.5)
        quantile.__setstate__(state)
        return cls(n, quantile)


def _check(state: bytes, length: int, flags: tuple[int, ...]) -> None:
    if len(state) != length:
        raise ValueError(f"an estimator has {len(state)} bytes, expected {length}: written by another River release")
    for at in flags:
        if state[at] > 1:
            raise ValueError(f"an estimator's byte {at} is damaged")


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
