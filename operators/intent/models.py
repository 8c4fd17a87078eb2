"""What intents score with: the version in force of each model, or its prior while nothing was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log
from typing import Protocol

from operators.intent.frame import Feature, Judged
from operators.knowledge.linear import Linear
from operators.knowledge.schema import Schema
from operators.knowledge.versions import Model
from state.signals import Reason


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
        """Scores features, which are in the order of the model's schema, as they will be learned from: rounded to half floats.
        A feature without a text is no reason: it belongs to the base."""
        schema, prior = self._priors[name]
        champion, shadow = self._board.champion(name) or prior, self._board.shadow(name)
        packed = schema.layout.pack([feature.x for feature in features])
        places = schema.layout.places(schema.layout.unpack(packed))
        base = champion.linear.base
        reasons = []
        for feature, contribution in zip(features, champion.linear.contributions(places), strict=True):
            if not feature.text:
                base += contribution
            elif contribution:
                one = Reason(
                    feature.name.upper(), feature.name, feature.value, feature.baseline, contribution, feature.text
                )
                reasons.append(one)
        speaks = any(
            contribution and feature.text
            for feature, contribution in zip(features, prior.linear.contributions(places), strict=True)
        )
        if speaks:
            packed = schema.pack_scores(packed, champion.logit(places), shadow.logit(places) if shadow else None)
        reasons.sort(key=_strength)
        return Judged(name, champion.version, base, tuple(reasons), champion.calibrated, packed if speaks else b"")


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


def _strength(reason: Reason) -> float:
    return -abs(reason.contribution or 0.0)
