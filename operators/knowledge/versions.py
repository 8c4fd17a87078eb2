"""A model version: immutable, in force from the end of a bucket on, named after it and its contents."""

from __future__ import annotations

from typing import Final

import msgspec

CHAMPION: Final = "champion"
SHADOW: Final = "shadow"


class ModelVersion(msgspec.Struct, frozen=True):
    """One version of a model. `payload` is what scores (operators/knowledge/scoring.py), at most `payload_bytes_max` of the config.

    `metrics` were measured prequentially, on examples that the model had scored before it knew them.
    """

    name: str
    version: str
    effective_from_us: int
    role: str
    """champion or shadow: what it was made as; a pin may put it to other use."""
    kind: str
    payload: bytes
    metrics: dict[str, float]
    threshold: float
    """In log-odds of the score: from here on anomaly.transaction speaks."""
    calibrated: bool
    """Whether its scores have earned to be called probabilities."""
