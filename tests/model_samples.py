"""A model version as a learner would publish it, with the figures that a test wants to see."""

from __future__ import annotations

from collections.abc import Mapping

from operators.knowledge.calibration import IDENTITY
from operators.knowledge.features import LAYOUT, VERSION
from operators.knowledge.linear import Linear
from operators.knowledge.versions import CHAMPION, LINEAR, ModelVersion, encode_payload


def model_version(
    name: str, metrics: Mapping[str, float], effective_from_us: int, role: str = CHAMPION
) -> ModelVersion:
    payload = encode_payload(VERSION, Linear(LAYOUT, -3.0, [0.0] * LAYOUT.width), IDENTITY)
    return ModelVersion("transaction", name, effective_from_us, role, LINEAR, payload, dict(metrics), 0.0, False)
