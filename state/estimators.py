"""The only door to River: small per-customer estimators that freeze to exact bytes and thaw bit for bit.

River 0.26 keeps these estimators in compiled objects whose `__getstate__` gives their exact state.
We use the compiled objects themselves, not River's Python wrappers: no pickles, and a worker that starts without
NumPy and SciPy, which River's packages import (half a second). What needs those packages imports them when it is first used. River is
pinned in pyproject.toml; tests compare with River's own classes, and golden bytes fail when a new release changes the layout.
"""

from __future__ import annotations

import math
import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec
from river._river_rust import stats as compiled

from state.packed import entry_at

_EWVar: Any = compiled.RsEWVar

COUNT_MAX: Final = 2**32 - 1
_ENTRY: Final = struct.Struct("<iIdd")
_KEY: Final = struct.Struct("<i")
_EWVAR: Final = struct.Struct("<ddd?ddd?dd")
"""The state of River's EWVar: an EWMean of the values and one of their squares (each: mean, fading factor, 1 − fading factor, whether
anything was learned), then fading factor twice more."""
_MEANS: Final = struct.Struct("<d17xd")
"""Where the two means lie in that state."""


class Moments(msgspec.Struct, frozen=True, gc=False):
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

    def means(self) -> Iterator[tuple[int, int, float]]:
        """(key, number of values, mean) of all keys."""
        return ((key, n, mean) for key, n, mean, _ in _ENTRY.iter_unpack(bytes(self._entries)))

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
            new, old = fading_factor, 1.0 - fading_factor
            river.__setstate__(_EWVAR.pack(mean, new, old, True, square, new, old, True, new, new))
        river.update(value)
        mean, square = _MEANS.unpack_from(river.__getstate__())
        entries += _ENTRY.pack(key, min(n + 1, COUNT_MAX), mean, square)
        if len(entries) > limit * _ENTRY.size:
            del entries[: len(entries) - limit * _ENTRY.size]

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


def softplus(x: float) -> float:
    """log(1 + exp(x)), without overflow: the logistic loss of a negative with log-odds x.

    >>> softplus(-800.0), softplus(800.0), round(softplus(0.0), 6)
    (0.0, 800.0, 0.693147)
    """
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


STEP_EPSILON = 0.1
"""So that the first example of a column moves its weight by about three learning rates, not without bound."""
GRADIENT_MAX = 2.0
"""Of one example, weighted: an example that speaks for ten others pulls no harder than two."""


class OnlineLogistic:
    """A logistic regression that goes on learning (River's, with AdaGrad), over numbered columns, from given weights on.

    Each column has a step of its own, the smaller the more it has learned: rare columns still move after common ones have settled.
    Column `width` is the intercept's.

    >>> model = OnlineLogistic.new([0.0, 0.0], -1.0, 0.5)
    >>> for _ in range(50):
    ...     model.learn({0: 1.0}, 1, 1.0)
    ...     model.learn({1: 1.0}, 0, 1.0)
    >>> model.logit({0: 1.0}) > 2.0 > -2.0 > model.logit({1: 1.0})
    True
    """

    def __init__(self, numbers: Sequence[float], learning_rate: float) -> None:
        """`numbers`: the weights of all columns, then how far their steps have shrunk, as `freeze` packs them."""
        self._numbers = numbers
        self._width = len(numbers) // 2 - 1
        self._learning_rate = learning_rate

    @classmethod
    def new(
        cls, weights: Sequence[float], intercept: float, learning_rate: float, firmness: float = 0.0
    ) -> OnlineLogistic:
        """`firmness` is where AdaGrad's sum of squared gradients begins for a weight that is not 0. From 0 on, the first example moves
        each of its columns by a whole step, however small its error: what was believed would soon be forgotten."""
        return cls([*weights, intercept, *(firmness if weight else 0.0 for weight in weights), 0.0], learning_rate)

    @cached_property
    def _regression(self) -> Any:
        """River's, made when something is first learned: its import takes SciPy's along, and that takes a second."""
        from river import linear_model, optim

        # River learns the intercept with a step of its own that never shrinks: here it is a column like the others.
        regression = linear_model.LogisticRegression(
            optim.AdaGrad(self._learning_rate, eps=STEP_EPSILON), intercept_lr=0.0, clip_gradient=GRADIENT_MAX
        )
        half = len(self._numbers) // 2
        regression._weights.update(dict(enumerate(self._numbers[:half])))
        regression.optimizer.g2.update(enumerate(self._numbers[half:]))
        return regression

    @property
    def weights(self) -> list[float]:
        """Of the columns, without the intercept."""
        return self._all_weights()[:-1]

    @property
    def intercept(self) -> float:
        return self._all_weights()[-1]

    def _all_weights(self) -> list[float]:
        if "_regression" not in self.__dict__:
            return list(self._numbers[: self._width + 1])
        weights = self._regression._weights
        return [float(weights[column]) for column in range(self._width + 1)]

    def logit(self, columns: Mapping[int, float]) -> float:
        """The log-odds of a positive."""
        return float(self._regression._raw_dot_one({**columns, self._width: 1.0}))

    def learn(self, columns: Mapping[int, float], label: int, weight: float) -> None:
        self._regression.learn_one({**columns, self._width: 1.0}, bool(label), w=weight)

    def loosen(self, share: float) -> None:
        """Forgets all but a share in (0, 1] of what makes the steps small: after a drift it learns quickly again."""
        steps = self._regression.optimizer.g2
        for column in steps:
            steps[column] *= share

    def freeze(self) -> bytes:
        if "_regression" not in self.__dict__:
            return array("d", self._numbers).tobytes()
        steps = self._regression.optimizer.g2
        return array("d", [*self._all_weights(), *(steps[c] for c in range(self._width + 1))]).tobytes()

    @classmethod
    def thaw(cls, state: bytes, learning_rate: float) -> OnlineLogistic:
        return cls(array("d", state), learning_rate)


class Drift:
    """Whether a model's errors have grown: River's ADWIN, Bifet and Gavaldà, Learning from time-changing data, 2007.

    Errors are in [0, 1]. A window that shrinks because errors became fewer is no drift.

    >>> drift = Drift.new(0.002)
    >>> any(drift.learn(0.1) for _ in range(500)), any(drift.learn(0.9) for _ in range(500))
    (False, True)
    """

    def __init__(self, delta: float, state: bytes) -> None:
        self._delta = delta
        self._state = state
        """As it was thawed; empty before the first error."""

    @classmethod
    def new(cls, delta: float) -> Drift:
        """`delta`: the chance of a false alarm at any one look."""
        return cls(delta, b"")

    @cached_property
    def _adwin(self) -> Any:
        from river import drift  # as above: only where there are errors to look at

        adwin = drift.ADWIN(delta=self._delta)
        if self._state:
            adwin._helper.__setstate__(self._state)
        return adwin

    def learn(self, error: float) -> bool:
        """True if errors are now larger than they used to be."""
        before = self.mean
        self._adwin.update(error)
        return bool(self._adwin.drift_detected) and self.mean > before

    @property
    def mean(self) -> float:
        """Of the errors in the window; 0 before the first."""
        width = self._adwin._helper.get_width()
        return float(self._adwin._helper.get_total() / width) if width else 0.0

    def freeze(self) -> bytes:
        return bytes(self._adwin._helper.__getstate__()) if "_adwin" in self.__dict__ else self._state

    @classmethod
    def thaw(cls, state: bytes, delta: float) -> Drift:
        return cls(delta, state)


class HalfSpaces(NamedTuple):
    """One half-space tree: its splits from the root on, level by level (split i leads on to 2i + 1 and 2i + 2), then its leaves."""

    features: list[int]
    thresholds: list[float]
    """What is below goes to the left."""
    masses: list[float]
    """Of each leaf: what River's score adds up on the way to it."""


def grow_half_spaces(rows: Sequence[Mapping[int, float]], trees: int, height: int, seed: int) -> list[HalfSpaces]:
    """River's half-space trees over one window: rows by feature, all with the same features, numbers in [0, 1]. Tan, Ting and Liu, Fast
    anomaly detection for streaming data, IJCAI 2011."""
    from river import anomaly  # as above: only where something is learned

    forest = anomaly.HalfSpaceTrees(n_trees=trees, height=height, window_size=len(rows), seed=seed)
    for row in rows:
        forest.learn_one(row)
    return [_flat(tree, height, forest.size_limit) for tree in forest.trees]


def _flat(root: Any, height: int, mass_min: float) -> HalfSpaces:
    """Below `mass_min` River looks no further: all leaves below such a node are alike."""
    tree = HalfSpaces([], [], [])
    nodes: list[tuple[Any, float, bool]] = [(root, 0.0, False)]
    for depth in range(height + 1):
        nodes = [
            (node, added if ended else added + node.r_mass * 2**depth, ended or node.r_mass < mass_min)
            for node, added, ended in nodes
        ]
        if depth < height:
            tree.features.extend(node.feature for node, _, _ in nodes)
            tree.thresholds.extend(node.threshold for node, _, _ in nodes)
            nodes = [(child, added, ended) for node, added, ended in nodes for child in node.children]
    tree.masses.extend(added for _, added, _ in nodes)
    return tree
