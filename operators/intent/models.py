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


class Models:
    """Keeps nothing between weeks. `priors` are by the model's name."""

    def __init__(self, board: Board, priors: Mapping[str, Prior]) -> None:
        self._board = board
        self._priors = priors

    def judge(self, name: str, features: Sequence[Feature]) -> Judged:
        """Scores features, which are in the order of the model's schema, as they will be learned from: rounded to half floats."""
        schema, prior = self._priors[name]
        champion = self._board.champion(name) or prior
        base = champion.linear.base
        packed = schema.layout.pack([feature.x for feature in features])
        values = schema.layout.unpack(packed)
        places = schema.layout.places(values)
        contributions = champion.linear.contributions(places)
        counting, speaks = [], False
        for feature, contribution, weight in zip(features, contributions, prior.linear.weights, strict=True):
            if feature.told is None:
                base += contribution
            elif feature.x:
                speaks = speaks or bool(weight)
                if contribution:
                    counting.append((contribution, feature))
        counting.sort(key=_strength)
        if speaks:
            shadow = self._board.shadow(name)
            logit = champion.linear.base + sum(contributions)
            packed = schema.pack_scores(packed, logit, shadow.logit(places) if shadow else None)
        else:
            packed = b""
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
