"""How unusual is this transaction for this customer, at this merchant, among all that turned out to be fraud?

looks at   the strengths of the other detectors' findings, what is known of the merchant, amounts, times and the last days as such, and
           which frauds are known of the customer (operators/knowledge/features.py); and how strange all this together is among all
           customers' payments (half-space trees, operators/knowledge/forest.py)
needs      nothing: prior weights speak from the first transaction on, half-space trees once some thousand payments have matured; labels
           make both better, version by version
says       anomaly.transaction when the score reaches a threshold that keeps alarms within `alerts_per_1000_customers_day`; a score for
           every transaction on the topic `scores`
state      the last days' scores and the known frauds of the customer: at most 32 and two times; models, trees and merchants are shared
blind to   whatever all its parts are blind to; money that comes in
source     logistic regression over additive features: the score is sigmoid(base + Σ contribution), so its reasons are exact
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from operators.config_tables import place
from operators.detector import DetectorConfig, Finding
from operators.knowledge import features, linear, reasons
from operators.knowledge.linear import Places
from operators.knowledge.memory import Memory
from operators.knowledge.merchant_row import MerchantRow
from operators.knowledge.versions import Model
from operators.view import View
from state.estimators import sigmoid
from state.events import Transaction
from state.settings import ConfigError
from state.times import rfc3339

if TYPE_CHECKING:  # the board knows all models, and so imports the catalogue, which has this module
    from operators.knowledge.board import Board

NAME = "transaction"
VERSION = 2
SIGNAL = "anomaly.transaction"
PRIOR = f"{NAME}@prior"
State = Memory


class Config(DetectorConfig, frozen=True, kw_only=True):
    weights: dict[str, float] = {}
    """Of features, before any label."""
    parts: dict[str, bool] = {}
    """Parts of features (operators/knowledge/features.py) that are switched off are zero for every transaction."""
    alerts_per_1000_customers_day: Annotated[float, Meta(gt=0.0)] = 0.25


class Verdict(NamedTuple):
    """What a transaction scored, with what."""

    score: float
    logit: float
    model: str
    finding: Finding | None
    """If the score reaches the threshold."""
    packed: bytes
    """What waits for a label with it: features and scores; empty for money that comes in."""
    rises: Mapping[int, int]
    """How it changes the count of customers by the highest score of their day (facts.ScoreCount)."""


class Fusion:
    """Scores with the board's champion, or with the prior while there is none. Keeps nothing between events."""

    def __init__(self, config: Config, board: Board) -> None:
        self._board = board
        self._prior = prior_model(config)
        off = {name for part, on in config.parts.items() if not on for name in features.PARTS[part]}
        self._off = [
            at for at, name in enumerate(features.LAYOUT.names) if name in off and name != features.STRANGENESS
        ]
        self._strange = features.STRANGENESS not in off

    def judge(
        self,
        transaction: Transaction,
        digest: int,
        view: View,
        findings: Mapping[str, Finding] | None,
        memory: Memory,
    ) -> Verdict:
        row = self._board.merchant(transaction.merchant_id)
        champion = self._board.champion(NAME) or self._prior
        packed = b""
        if transaction.direction == "credit":
            # Labels are about money that was spent; of what comes in, only the detectors' own findings count.
            champion, row = self._prior, None
            values = tuple(features.of_findings(findings)) + (0.0,) * (
                len(features.LAYOUT.features) - len(features.OWN)
            )
            places = features.LAYOUT.places(values)
            logit = champion.logit(places)
        else:
            exact = features.values(view, transaction, findings, row, memory)
            for at in self._off:
                exact[at] = 0.0
            strangeness = champion.strangeness if self._strange else None
            exact.append(strangeness.of(exact) if strangeness is not None else 0.0)
            packed_values = features.LAYOUT.pack(exact)
            values = features.LAYOUT.unpack(packed_values)
            places = features.LAYOUT.places(values)
            logit = champion.logit(places)
            shadow = self._board.shadow(NAME)
            packed = features.SCHEMA.pack_scores(packed_values, logit, shadow.logit(places) if shadow else None)
        score = sigmoid(logit)
        rises: Mapping[int, int] = {}
        if packed:
            memory.scored(view.time_us, digest, score)
            rises = memory.rise(view.time_us, logit)
        finding = None
        if logit >= champion.threshold:
            finding = _finding(champion, places, values, findings or {}, view, row, transaction)
        return Verdict(score, logit, champion.version, finding, packed, rises)


def prior_model(config: Config) -> Model:
    """The model before any label. Raises ConfigError for weights or parts that are none."""
    for key, known in (("weights", features.LAYOUT.names), ("parts", tuple(features.PARTS))):
        for name in getattr(config, key):
            if name not in known:
                raise ConfigError(f"{place(f'{NAME}.{key}', name)}: not known; known are {', '.join(known)}")
    threshold = min(max(config.threshold, 1e-9), 1.0 - 1e-9)
    weights = linear.prior(features.LAYOUT, config.score_base, config.weights)
    return Model(PRIOR, weights, math.log(threshold / (1.0 - threshold)), calibrated=False)


def _finding(
    model: Model,
    places: Places,
    values: tuple[float, ...],
    findings: Mapping[str, Finding],
    view: View,
    row: MerchantRow | None,
    transaction: Transaction,
) -> Finding:
    """What is said: all that adds to the score. Only here, where it is said, the score is taken apart."""
    own = [finding for name, finding in findings.items() if name in features.OWN]
    ids = [id_ for finding in own for id_ in finding.transaction_ids]
    return Finding(
        reasons.explain(model.linear.contributions(places), values, findings, view, row, transaction),
        transaction_ids=tuple(dict.fromkeys(ids)),
        windows=tuple(window for finding in own for window in finding.windows),
        score_base=model.linear.base,
        threshold=sigmoid(model.threshold),
        calibrated=model.calibrated,
        inputs=_inputs(model, row),
    )


def _inputs(model: Model, row: MerchantRow | None) -> dict[str, Any]:
    """The cross-customer values that were used."""
    inputs: dict[str, Any] = {"alert_threshold": sigmoid(model.threshold)}
    if row is not None:
        inputs |= {
            "merchant_fraud_rate_7d": row.rate_7d,
            "merchant_fraud_rate_30d": row.rate_30d,
            "population_fraud_rate": row.prior,
            "merchant_fraud_streak": row.streak,
            "merchant_transactions_1d": row.n_1d,
            "merchant_version": rfc3339(row.effective_from_us),
        }
    return inputs
