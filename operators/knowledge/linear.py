"""A linear model over columns, compiled for scoring: one number for each feature and cross, exactly what it adds to the log-odds."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

from operators.knowledge.columns import Layout


class Linear:
    """Scores feature values: base + Σ contribution, in log-odds.

    >>> from operators.knowledge.columns import Feature
    >>> layout = Layout((Feature(name="strength"), Feature(name="z", knots=(0.0, 2.0))))
    >>> Linear(layout, -4.0, (1.5, 0.0, 3.0)).contributions((2.0, 1.0))
    [3.0, 1.5]
    """

    __slots__ = ("_crosses", "_steps", "base", "layout", "weights")

    def __init__(self, layout: Layout, base: float, weights: Sequence[float]) -> None:
        if len(weights) != layout.width:
            raise ValueError(f"{len(weights)} weights for {layout.width} columns: learned with other features")
        self.layout = layout
        self.base = base
        self.weights = tuple(weights)
        self._steps: list[tuple[tuple[float, ...], int, tuple[float, ...], Any]] = []
        for feature, start in zip(layout.features, layout.starts, strict=False):
            own = self.weights[start : start + feature.width]
            slopes = tuple(
                (right - left) / (upper - lower)
                for left, right, lower, upper in zip(own, own[1:], feature.knots, feature.knots[1:], strict=False)
            )
            self._steps.append((feature.knots, feature.categories, own, slopes))
        starts = layout.starts[len(layout.features) :]
        self._crosses = list(zip(layout.crosses, layout.pairs, starts, strict=True))

    def contributions(self, values: Sequence[float]) -> list[float]:
        """What each feature adds, in the order of the layout."""
        parts = []
        for (knots, categories, own, slopes), value in zip(self._steps, values, strict=True):
            if knots:
                at = bisect_right(knots, value)
                if at == 0:
                    parts.append(own[0])
                elif at > len(slopes):
                    parts.append(own[-1])
                else:
                    parts.append(own[at - 1] + slopes[at - 1] * (value - knots[at - 1]))
            elif categories:
                parts.append(own[int(value)] if 0.0 <= value < categories else 0.0)
            else:
                parts.append(own[0] * value)
        weights = self.weights
        for cross, (first, second), start in self._crosses:
            parts.append(weights[start + cross.column(values[first], values[second])])
        return parts


def prior(layout: Layout, base: float, slopes: Mapping[str, float]) -> Linear:
    """The model before any label: the contribution of a feature is slope × value; of one without a slope nothing, nor do crosses."""
    weights = [weight for feature in layout.features for weight in feature.prior(slopes.get(feature.name, 0.0))]
    return Linear(layout, base, weights + [0.0] * (layout.width - len(weights)))
