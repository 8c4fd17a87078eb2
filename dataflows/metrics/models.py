"""What is told of a model in force: `Worker.models` holds one for each name and role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

MEASURES = ("auc", "average_precision", "log_loss", "calibration_error", "examples", "positives")
"""What may be told of a model's quality, so that labels stay few."""


class ModelStatus(NamedTuple):
    """One model in force. `quality` has some of MEASURES; `drift` is the population stability index of its scores against those
    that it learned from (0 the same, above 0.25 another population)."""

    name: str
    role: Literal["champion", "shadow"]
    version: str
    effective_from_us: int | None = None
    quality: Mapping[str, float] = {}
    drift: float | None = None
