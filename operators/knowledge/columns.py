"""From features to columns: how a linear model bends. Each feature is a plain number, a curve through knots, or a category.

A curve is piecewise linear between its knots and level beyond them: its columns are hat functions, of which two at most are not zero,
so each curve's contribution stays a single exact number (a generalised additive model).

source     Hastie and Tibshirani, Generalized Additive Models, 1990; linear splines, de Boor, A Practical Guide to Splines, 1978
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

import msgspec

HALF_MAX: Final = 65_504.0
"""The largest half float."""

Bins = tuple[int, tuple[float, ...]]
"""The index of a feature, and the edges that cut it into bins."""


class Feature(msgspec.Struct, frozen=True, kw_only=True):
    """One feature. Without `knots` and `categories` it is a plain number with one weight."""

    name: str
    knots: tuple[float, ...] = ()
    """Ascending, at least two; each has a weight of its own."""
    categories: int = 0
    """So many numbers from 0 on, each with a weight; others have none."""
    one_sided: bool = False
    """Before any label only values above zero count; what values below mean is left to labels."""

    @property
    def width(self) -> int:
        return len(self.knots) or self.categories or 1

    def prior(self, slope: float) -> list[float]:
        """The weights with which the contribution is slope × value (between the outermost knots); none for categories.

        >>> Feature(name="rate", knots=(-1.0, 0.0, 2.0), one_sided=True).prior(0.5)
        [0.0, 0.0, 1.0]
        """
        if self.categories:
            return [0.0] * self.categories
        if self.one_sided:
            return [slope * max(knot, 0.0) for knot in self.knots]
        return [slope * knot for knot in self.knots] or [slope]


class Cross(msgspec.Struct, frozen=True, kw_only=True):
    """What two features mean together beyond what each means alone: one weight for each pair of bins.

    Bins lie between edges (ascending); a feature of categories needs no edges, each number is a bin.
    """

    first: str
    second: str
    first_edges: tuple[float, ...] = ()
    second_edges: tuple[float, ...] = ()
    first_categories: int = 0
    second_categories: int = 0

    @property
    def name(self) -> str:
        return f"{self.first}*{self.second}"

    @property
    def width(self) -> int:
        return (self.first_categories or len(self.first_edges) + 1) * self.second_bins

    @property
    def second_bins(self) -> int:
        return self.second_categories or len(self.second_edges) + 1

    @property
    def edges(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """What cuts the one feature into bins, and the other; between categories that are the numbers from 1 on."""
        return (
            self.first_edges or tuple(map(float, range(1, self.first_categories))),
            self.second_edges or tuple(map(float, range(1, self.second_categories))),
        )


class Layout:
    """Features side by side, then their crosses: where each one's columns begin, and how the features' values are packed."""

    def __init__(self, features: tuple[Feature, ...], crosses: tuple[Cross, ...] = ()) -> None:
        self.features = features
        self.crosses = crosses
        at = {feature.name: index for index, feature in enumerate(features)}
        self.pairs = tuple((at[cross.first], at[cross.second]) for cross in crosses)
        """Which features each cross is of."""
        parts: tuple[Feature | Cross, ...] = (*features, *crosses)
        self.names = tuple(part.name for part in parts)
        self.starts: list[int] = []
        self.width = 0
        for part in parts:
            self.starts.append(self.width)
            self.width += part.width
        self._struct = struct.Struct(f"<{len(features)}e")
        self._shapes = [
            (feature.knots, feature.categories, start) for feature, start in zip(features, self.starts, strict=False)
        ]
        bins: dict[Bins, int] = {}
        """The bins that crosses are of, each found once however many crosses share it: bins → their number."""
        self._pairs = []
        for cross, start in zip(crosses, self.starts[len(features) :], strict=True):
            first, second = zip((at[cross.first], at[cross.second]), cross.edges, strict=True)
            places = bins.setdefault(first, len(bins)), bins.setdefault(second, len(bins))
            self._pairs.append((start, places[0], cross.second_bins, places[1]))
        self._bins = list(bins)
        self._plain = not crosses and not any(feature.knots or feature.categories for feature in features)
        """Each feature is a number of its own: value i lies in column i."""

    @property
    def packed_bytes(self) -> int:
        return self._struct.size

    def pack(self, values: Sequence[float]) -> bytes:
        """Half floats: two bytes each, three digits. Values beyond their range are cut to it."""
        try:
            return self._struct.pack(*values)
        except (OverflowError, struct.error):
            return self._struct.pack(*(max(-HALF_MAX, min(HALF_MAX, value)) for value in values))

    def unpack(self, packed: bytes) -> tuple[float, ...]:
        """What was packed, as it is scored and learned from: rounded."""
        return self._struct.unpack(packed)

    def places(self, values: Sequence[float]) -> list[tuple[int, float]]:
        """Where the values lie, in the order of the features and crosses: the column of each, and how far beyond it the value is (beyond
        its knot; a plain number beyond zero). What lies in no column is in column `width`.

        >>> Layout((Feature(name="strength"), Feature(name="z", knots=(0.0, 2.0, 3.0)))).places((5.0, 2.5))
        [(0, 5.0), (2, 0.5)]
        """
        if self._plain:
            return list(enumerate(values))
        # Below its first knot a curve is level; beyond its last one, too, because a curve's last column has no slope.
        places = [
            ((start + at - 1, value - knots[at - 1]) if (at := bisect_right(knots, value)) else (start, 0.0))
            if knots
            else (start, value)
            if not categories
            else (start + int(value) if 0.0 <= value < categories else self.width, 0.0)
            for value, (knots, categories, start) in zip(values, self._shapes, strict=True)
        ]
        places += [(column, 0.0) for column in self._crossed(values)]
        return places

    def columns(self, values: Sequence[float]) -> dict[int, float]:
        """The columns that are not zero. Two neighbours share a curve's value, unless it lies on a knot or beyond the outermost.

        >>> curve = Layout((Feature(name="z", knots=(0.0, 1.0, 3.0)),))
        >>> curve.columns((1.5,)), curve.columns((9.0,))
        ({1: 0.75, 2: 0.25}, {2: 1.0})
        >>> crossed = Cross(first="z", second="hour", first_edges=(0.0, 2.0), second_categories=24)
        >>> Layout((Feature(name="z"), Feature(name="hour", categories=24)), (crossed,)).columns((1.0, 5.0))
        {0: 1.0, 6: 1.0, 54: 1.0}
        """
        columns = {}
        for value, (knots, categories, start) in zip(values, self._shapes, strict=True):
            if knots:
                at = bisect_right(knots, value)
                if 0 < at < len(knots):
                    share = (value - knots[at - 1]) / (knots[at] - knots[at - 1])
                    columns[start + at - 1] = 1.0 - share
                    if share:
                        columns[start + at] = share
                else:
                    columns[start + max(at - 1, 0)] = 1.0
            elif not categories:
                if value:
                    columns[start] = value
            elif 0.0 <= value < categories:
                columns[start + int(value)] = 1.0
        columns.update((column, 1.0) for column in self._crossed(values))
        return columns

    def _crossed(self, values: Sequence[float]) -> list[int]:
        """The column of each cross."""
        bins = [bisect_right(edges, values[at]) for at, edges in self._bins]
        return [start + width * bins[first] + bins[second] for start, first, width, second in self._pairs]
