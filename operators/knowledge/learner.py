"""The learner of one model: learns labelled examples in buckets and publishes versions."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from operators.knowledge.facts import Example, ScoreCount
from operators.knowledge.versions import ModelVersion


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [learner] of config/detectors.toml."""

    examples_min: Annotated[int, Meta(ge=1)] = 1


class Learner:
    """Bounded: a bucket's examples beyond `examples_max` are left out by a hash of their ids."""

    def __init__(self, name: str, config: Config) -> None:
        self.name = name
        self._config = config

    def add(self, item: Example | ScoreCount) -> None:
        """Keeps an item of the open bucket. The order does not matter."""

    def close(self, bucket_end_us: int) -> list[ModelVersion]:
        """Learns the bucket; the new versions, champion first, or none if there was nothing to learn."""
        return []

    def freeze(self) -> dict[str, bytes]:
        """What changed since the last `freeze`, by item; empty bytes for an item that is gone."""
        return {}

    def thaw(self, items: dict[str, bytes]) -> None:
        """The state of all items ever frozen and not gone since."""
