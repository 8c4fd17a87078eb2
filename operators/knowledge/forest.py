"""Half-space trees: how strange a transaction is among all customers' payments, without knowing of any fraud.

Grown by River from one window of payments that turned out to be none, the newest that is full, each feature between the limits that the
window shows. A tree cuts the space at random; where few of the window lie, it is strange to be. Published within a model's version,
and scored without River.

source     Tan, Ting and Liu, Fast anomaly detection for streaming data, IJCAI 2011 (the trees); Lucchese et al., QuickScorer, SIGIR 2015
           (leaves that are still possible, as bits)
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta

from state.estimators import grow_half_spaces

SEED: Final = 1
"""Every window is cut at the same places between its limits: what changes from one forest to the next is the payments."""
OUTLIERS: Final = 2
"""So many payments of a window may lie beyond a limit, on each side."""
PLANES: Final = 8
LEVEL_MAX: Final = 2**PLANES - 1
"""How common a leaf is, in steps of the logarithm of its mass."""
RANKS_A_UNIT: Final = 4


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [learner.forest] of config/detectors.toml."""

    trees: Annotated[int, Meta(ge=1, le=64)] = 25
    height: Annotated[int, Meta(ge=1, le=8)] = 6
    window: Annotated[int, Meta(ge=64, le=20_000)] = 2_000
    """Payments that one forest is grown from."""


class Forest(msgspec.Struct, array_like=True, frozen=True):
    """What scores: at most 64 trees of 255 splits. Numbers of all trees stand one after the other, packed."""

    height: int
    features: bytes
    """Of each split: which number of a row it looks at, at most 255. Split i of a tree leads on to 2i + 1 and 2i + 2."""
    thresholds: bytes
    """Doubles; what is below goes to the left."""
    levels: bytes
    """Of each leaf: how common it is, 0 to 255."""
    ranks: bytes
    """16 bits each: how common (levels of all trees together) the strangest exp(−k / 4) of the window are at most, for k = 0, 1, …"""


def grow(rows: Sequence[Sequence[float]], columns: Sequence[int], config: Config) -> Forest | None:
    """A forest of one window of rows, by these of their numbers. None where none of them differs from row to row."""
    limits = {}
    for at in columns:
        ordered = sorted(row[at] for row in rows)
        low, high = ordered[OUTLIERS], ordered[-1 - OUTLIERS]
        if low < high:
            limits[at] = (low, high)
    if not limits:
        return None
    scaled = [{at: _within(row[at], low, high) for at, (low, high) in limits.items()} for row in rows]
    trees = grow_half_spaces(scaled, config.trees, config.height, SEED)
    features, thresholds, levels = bytearray(), array("d"), bytearray()
    steps = LEVEL_MAX / math.log1p(max(mass for tree in trees for mass in tree.masses))
    for tree in trees:
        for at, threshold in zip(tree.features, tree.thresholds, strict=True):
            low, high = limits[at]
            features.append(at)
            thresholds.append(low + threshold * (high - low))
        levels += bytes(round(steps * math.log1p(mass)) for mass in tree.masses)
    forest = Forest(config.height, bytes(features), thresholds.tobytes(), bytes(levels), b"")
    compiled = Strangeness(forest)
    common = sorted(compiled.common(row) for row in rows)
    return msgspec.structs.replace(forest, ranks=array("h", _ranks(common)).tobytes())


def _ranks(common: list[int]) -> list[int]:
    """See `Forest.ranks`; rows that are equally common are never told apart, so the share may be less."""
    ranks = [common[-1]]
    for step in range(1, math.ceil(RANKS_A_UNIT * math.log(len(common)))):
        below = bisect_left(common, common[int(len(common) * math.exp(-step / RANKS_A_UNIT))])
        ranks.append(common[below - 1] if below else -1)
    return ranks


def _within(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


class Strangeness:
    """A forest, ready to score: all leaves of all trees are one row of bits. The value of one feature leaves some of them possible, in
    all trees at once; what all features leave is one leaf of each tree.

    >>> strangeness = Strangeness(grow([[0.0]] * 95 + [[1.0]] * 5, [0], Config(trees=10, height=3, window=100)))
    >>> strangeness.of([0.0]), strangeness.of([1.0])    # exp(-2.75) is 6 %
    (0.0, 2.75)
    """

    __slots__ = ("_masks", "_planes", "_ranks", "_whole")

    def __init__(self, forest: Forest) -> None:
        ranks = array("h")
        ranks.frombytes(forest.ranks)
        self._ranks = ranks[::-1].tolist()
        self._whole = whole = (1 << len(forest.levels)) - 1
        self._masks = [
            (feature, [cut.threshold for cut in cuts], _possible(cuts, whole))
            for feature, cuts in sorted(_cuts(forest).items())
        ]
        self._planes = [
            sum(1 << leaf for leaf, level in enumerate(forest.levels) if level >> plane & 1)
            for plane in reversed(range(PLANES))
        ]

    def common(self, values: Sequence[float]) -> int:
        """The levels of the leaves in which a row lies, added up over all trees."""
        leaves = self._whole
        for feature, thresholds, masks in self._masks:
            leaves &= masks[bisect_right(thresholds, values[feature])]
        common = 0
        for plane in self._planes:  # the highest bit of all levels first
            common = 2 * common + (leaves & plane).bit_count()
        return common

    def of(self, values: Sequence[float]) -> float:
        """How strange a row is: a share of exp(−strangeness) of the window is as strange; a step is a quarter. From 0 up to the
        logarithm of the window's length."""
        ranks = self._ranks
        return max(0, len(ranks) - bisect_left(ranks, self.common(values)) - 1) / RANKS_A_UNIT


@lru_cache(maxsize=4)
def strangeness_of(forest: Forest) -> Strangeness:
    """The forest, ready to score. Champion and shadow of many days have the same one, and it takes milliseconds to make ready."""
    return Strangeness(forest)


class Cut(NamedTuple):
    """A split, and the leaves on either side of it as bits."""

    threshold: float
    left: int
    right: int


def _cuts(forest: Forest) -> dict[int, list[Cut]]:
    """All splits by the feature that they look at, in the order of their thresholds."""
    thresholds = array("d")
    thresholds.frombytes(forest.thresholds)
    leaves = 2**forest.height
    cuts: dict[int, list[Cut]] = {}
    for at, (feature, threshold) in enumerate(zip(forest.features, thresholds, strict=True)):
        tree, split = divmod(at, leaves - 1)
        level = (split + 1).bit_length() - 1
        half = leaves >> (level + 1)
        left = ((1 << half) - 1) << (tree * leaves + (split + 1 - (1 << level)) * 2 * half)
        cuts.setdefault(feature, []).append(Cut(threshold, left, left << half))
    return {feature: sorted(of_feature) for feature, of_feature in cuts.items()}


def _possible(cuts: list[Cut], whole: int) -> list[int]:
    """Which leaves a value leaves possible, by how many of the thresholds it reaches."""
    right = [0]
    for cut in reversed(cuts):
        right.append(right[-1] | cut.right)
    masks, left = [whole ^ right.pop()], 0
    for cut in cuts:
        left |= cut.left
        masks.append(whole ^ (left | right.pop()))
    return masks
