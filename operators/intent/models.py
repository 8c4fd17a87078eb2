"""What intents score with: the version in force of each model, or its prior while nothing was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Protocol

from operators.intent.frame import Feature, Judged
from operators.knowledge.linear import Linear
from operators.knowledge.schema import Schema
from operators.knowledge.versions import Model
from state.estimators import sigmoid


class Board(Protocol):
    """What is in force (operators/knowledge/board.py)."""

    def champion(self, name: str) -> Model | None: ...
    def shadow(self, name: str) -> Model | None: ...


Prior = tuple[Schema, Model]
"""A model before any outcome."""


class Inputs:
    """The features of a week, in the order of the schema, as they are scored and learned from: rounded to half floats. Models of one
    schema share them."""

    __slots__ = ("packed", "places", "telling", "untold")

    def __init__(self, schema: Schema, features: Sequence[Feature]) -> None:
        layout = schema.layout
        self.packed = layout.pack([feature.x for feature in features])
        self.places = layout.places(layout.unpack(self.packed))
        self.telling = [(at, one) for at, one in enumerate(features) if one.x and one.told is not None]
        """Features that may count, and where they are."""
        self.untold = [at for at, one in enumerate(features) if one.told is None]


class Models:
    """Keeps nothing between weeks. `priors` are by the model's name."""

    def __init__(self, board: Board, priors: Mapping[str, Prior]) -> None:
        self._board = board
        self._priors = priors

    def judge(self, name: str, inputs: Inputs) -> Judged:
        schema, prior = self._priors[name]
        champion = self._board.champion(name) or prior
        contributions = champion.linear.contributions(inputs.places)
        base = champion.linear.base
        for at in inputs.untold:
            base += contributions[at]
        counting = [(contributions[at], feature) for at, feature in inputs.telling if contributions[at]]
        counting.sort(key=_strength)
        weights, packed = prior.linear.weights, b""
        if any(weights[at] for at, _ in inputs.telling):
            shadow = self._board.shadow(name)
            logit = champion.linear.base + sum(contributions)
            packed = schema.pack_scores(inputs.packed, logit, shadow.logit(inputs.places) if shadow else None)
        score = sigmoid(base + sum([contribution for contribution, _ in counting]))
        return Judged(name, champion.version, base, tuple(counting), champion.calibrated, score, packed)


def prior_of(name: str, schema: Schema, score_base: float, weights: Mapping[str, float], threshold: float) -> Prior:
    """The model before any outcome; a feature without a weight counts for nothing. `threshold` is a score.

    Raises ValueError for the weight of a feature that is none.
    """
    unknown = sorted(weights.keys() - set(schema.layout.names))
    if unknown:
        raise ValueError(f"{name}: weights of unknown features: {', '.join(unknown)}")
    linear = Linear(schema.layout, score_base, [weights.get(feature, 0.0) for feature in schema.layout.names])
    bounded = min(max(threshold, 1e-9), 1.0 - 1e-9)
    return schema, Model(f"{name}@prior", linear, log(bounded / (1.0 - bounded)), calibrated=True)


def _strength(counting: tuple[float, Feature]) -> float:
    return -abs(counting[0])
