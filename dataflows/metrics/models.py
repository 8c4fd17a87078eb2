"""What is told of the models in force: taken from the board, by name and role."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from operators.anomaly import transaction as fused
from operators.knowledge.board import Board
from operators.knowledge.versions import CHAMPION

MEASURES = ("auc", "average_precision", "log_loss", "calibration_error", "examples", "positives")
"""What is told of a model's quality, so that labels stay few."""


class ModelStatus(NamedTuple):
    """One model in force. `quality` has some of MEASURES; `drifts` is how often its learner found that errors had grown."""

    name: str
    role: str
    version: str
    effective_from_us: int | None = None
    quality: Mapping[str, float] = {}
    drifts: float | None = None


def in_force(board: Board) -> list[ModelStatus]:
    """Champions and shadows, in the order of name and role; of the prior, where nothing was learned yet, only its name."""
    found = {(fused.NAME, CHAMPION): ModelStatus(fused.NAME, CHAMPION, fused.PRIOR)}
    for (name, role), version in board.in_force.items():
        quality = {measure: version.metrics[measure] for measure in MEASURES if measure in version.metrics}
        drifts = version.metrics.get("drifts")
        found[name, role] = ModelStatus(name, role, version.version, version.effective_from_us, quality, drifts)
    return [status for _, status in sorted(found.items())]
