"""The learners of several small models on one key: each learns as if alone (learner.py), and all close their buckets together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from operators.knowledge.facts import Example
from operators.knowledge.learner import Learner
from operators.knowledge.versions import ModelVersion

SEPARATOR: Final = "|"
"""Between the model and the item of its learner, in the names of frozen items."""


class Learners:
    """By the name of the model. Examples of a model that is no longer configured are counted in `left_out`."""

    def __init__(self, learners: Mapping[str, Learner]) -> None:
        self._learners = dict(learners)
        self.left_out = 0

    def add(self, item: Example) -> None:
        learner = self._learners.get(item.model)
        if learner is None:
            self.left_out += 1
        else:
            learner.add(item)

    def close(self, bucket_end_us: int) -> list[ModelVersion]:
        return [version for learner in self._learners.values() for version in learner.close(bucket_end_us)]

    def freeze(self) -> dict[str, bytes]:
        return {
            f"{name}{SEPARATOR}{item}": raw
            for name, learner in self._learners.items()
            for item, raw in learner.freeze().items()
        }

    def thaw(self, items: Mapping[str, bytes]) -> None:
        """A model without items, new in the configuration, begins from its prior."""
        of: dict[str, dict[str, bytes]] = {}
        for name, raw in items.items():
            model, _, item = name.partition(SEPARATOR)
            of.setdefault(model, {})[item] = raw
        for model, learner in self._learners.items():
            if model in of:
                learner.thaw(of[model])
