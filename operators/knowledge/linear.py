"""A linear model over columns, compiled for scoring: one number for each feature and cross, exactly what it adds to the log-odds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from operators.knowledge.columns import Layout

Places = Sequence[tuple[int, float]]
"""What `Layout.places` finds: the same for all models of one layout."""


class Linear:
    """Scores feature values: base + Σ contribution, in log-odds.

    >>> from operators.knowledge.columns import Feature
    >>> layout = Layout((Feature(name="strength"), Feature(name="z", knots=(0.0, 2.0))))
    >>> linear = Linear(layout, -4.0, (1.5, 0.0, 3.0))
    >>> linear.contributions(layout.places((2.0, 1.0))), linear.logit(layout.places((2.0, 1.0)))
    ([3.0, 1.5], 0.5)
    """

    __slots__ = ("_levels", "_slopes", "base", "layout", "weights")

    def __init__(self, layout: Layout, base: float, weights: Sequence[float]) -> None:
        if len(weights) != layout.width:
            raise ValueError(f"{len(weights)} weights for {layout.width} columns: learned with other features")
        self.layout = layout
        self.base = base
        self.weights = tuple(weights)
        # What a column adds is level + slope × how far beyond it the value is; column `width` adds nothing.
        self._levels = [*self.weights, 0.0]
        self._slopes = [0.0] * (layout.width + 1)
        for feature, start in zip(layout.features, layout.starts, strict=False):
            if feature.knots:
                own = self.weights[start : start + feature.width]
                self._slopes[start : start + feature.width - 1] = [
                    (right - left) / (upper - lower)
                    for left, right, lower, upper in zip(own, own[1:], feature.knots, feature.knots[1:], strict=False)
                ]
            elif not feature.categories:
                self._levels[start], self._slopes[start] = 0.0, self.weights[start]

    def contributions(self, places: Places) -> list[float]:
        """What each feature and cross adds, in the order of the layout."""
        levels, slopes = self._levels, self._slopes
        return [levels[column] + slopes[column] * beyond for column, beyond in places]

    def logit(self, places: Places) -> float:
        return self.base + sum(self.contributions(places))


def prior(layout: Layout, base: float, slopes: Mapping[str, float]) -> Linear:
    """The model before any label: the contribution of a feature is slope × value; of one without a slope nothing, nor do crosses."""
    weights = [weight for feature in layout.features for weight in feature.prior(slopes.get(feature.name, 0.0))]
    return Linear(layout, base, weights + [0.0] * (layout.width - len(weights)))
