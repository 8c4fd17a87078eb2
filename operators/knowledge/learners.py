"""The learners of several small models on one key: each learns as if alone (learner.py), and all close their buckets together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from operators.knowledge.facts import Example
from operators.knowledge.learner import Learner
from operators.knowledge.versions import ModelVersion

SEPARATOR: Final = "|"
"""Between the model and the item of its learner, in the names of frozen items."""
META_ITEM: Final = "meta"


class Learners:
    """By the name of the model. A round is what is learned at once: several buckets, since weeks say little from one day to the next.

    A round ends with the first bucket that ends in a later one. Examples of a model that is no longer configured are counted in
    `left_out`.
    """

    def __init__(self, learners: Mapping[str, Learner], round_us: int) -> None:
        self._learners = dict(learners)
        self._round_us = round_us
        self._round = 0
        """The newest one that has begun."""
        self.left_out = 0

    def add(self, item: Example) -> None:
        learner = self._learners.get(item.model)
        if learner is None:
            self.left_out += 1
        else:
            learner.add(item)

    def close(self, bucket_end_us: int) -> list[ModelVersion]:
        """The new versions if a round has ended; each model's champion comes before its shadow."""
        began = bucket_end_us // self._round_us
        if began <= self._round:
            return []
        self._round = began
        return [version for learner in self._learners.values() for version in learner.close(bucket_end_us)]

    def freeze(self) -> dict[str, bytes]:
        items = {
            f"{name}{SEPARATOR}{item}": raw
            for name, learner in self._learners.items()
            for item, raw in learner.freeze().items()
        }
        return {**items, META_ITEM: msgspec.msgpack.encode([self._round, self.left_out])}

    def thaw(self, items: Mapping[str, bytes]) -> None:
        """A model without items, new in the configuration, begins from its prior."""
        of: dict[str, dict[str, bytes]] = {}
        for name, raw in items.items():
            model, _, item = name.partition(SEPARATOR)
            of.setdefault(model, {})[item] = raw
        for model, learner in self._learners.items():
            if model in of:
                learner.thaw(of[model])
        meta: Any = msgspec.msgpack.decode(items[META_ITEM], type=tuple[int, int])
        self._round, self.left_out = meta
