"""How unusual is this transaction for this customer, all things taken together?

looks at   the strengths of all other findings about the same transaction
needs      nothing: the prior weights speak from the first transaction
says       anomaly.transaction when the fused score reaches the threshold; a score for every transaction on the topic `scores`
state      none; one pooled logistic regression (River), shared and not changed by scoring
blind to   whatever all its parts are blind to
source     logistic regression: the score is sigmoid(base + Σ weight × strength), so its reasons are exact
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from operators.detector import DetectorConfig, Finding
from state.estimators import Logistic
from state.signals import Reason

NAME = "transaction"
VERSION = 1
SIGNAL = "anomaly.transaction"
MODEL = "transaction@prior"


class Config(DetectorConfig, frozen=True, kw_only=True):
    weights: dict[str, float] = {}


def model(config: Config) -> Logistic:
    """The pooled model with its prior weights."""
    return Logistic(MODEL, config.score_base, config.weights)


def fuse(fused: Logistic, findings: Mapping[str, Finding]) -> Finding:
    """One finding out of all: each part's reasons, scaled so that together they contribute weight × strength."""
    reasons: list[Reason] = []
    ids: list[str] = []
    for name, finding in findings.items():
        weight = fused.weights.get(name)
        if weight is None:
            continue
        reasons.extend(
            msgspec.structs.replace(reason, contribution=weight * (reason.contribution or 0.0))
            for reason in finding.reasons
        )
        ids.extend(finding.transaction_ids)
    reasons.sort(key=lambda reason: (-(reason.contribution or 0.0), reason.code))
    windows = tuple(window for finding in findings.values() for window in finding.windows)
    return Finding(tuple(reasons), transaction_ids=tuple(dict.fromkeys(ids)), windows=windows)
