"""One line of versions: a logistic regression that goes on learning, how good it is, its calibration, and whether its errors grow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from operators.knowledge.calibration import IDENTITY, Line, fit
from operators.knowledge.linear import Linear
from operators.knowledge.prequential import Prequential
from state.estimators import Drift, OnlineLogistic, softplus
from state.windows import DAY_US

Share = Annotated[float, Meta(gt=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the table [learner] of config/detectors.toml says of each line."""

    learning_rate: Positive = 0.05
    prior_firmness: Annotated[float, Meta(ge=0.0)] = 0.0
    """Squared gradients that a prior weight other than 0 is worth: it moves as carefully as if so much had been learned before."""
    half_life_days: Positive = 60.0
    """Of figures and of the calibration."""
    calibration_prior_positives: Positive = 20.0
    calibrated_positives_min: Positive = 100.0
    calibrated_misplaced_max: Share = 0.25
    drift_delta: Share = 0.002
    drift_loss_max: Positive = 5.0
    drift_loosen: Share = 0.1
    drift_positives_min: Positive = 100.0
    """Below, errors are those of a model that is still beginning."""
    drift_quiet_days: Positive = 7.0
    proof_sds: Annotated[float, Meta(ge=0.0)] = 0.0
    """What was learned takes the prior's place while it foresees outcomes better by so many standard errors; 0: at once."""


class Gain(msgspec.Struct, array_like=True):
    """By how much the losses of what was learned are below the prior's, on examples that neither had seen. The examples of a round are
    counted as one: the weeks of one customer are much alike.

    >>> gain = Gain()
    >>> for loss in (0.5, 0.25, 0.5, 0.25): gain.learn(loss); gain.close(1.0)
    >>> gain.proven(1.8), gain.proven(2.0)
    (True, False)
    """

    total: float = 0.0
    squares: float = 0.0
    open: float = 0.0
    """Of the round that is being counted."""

    def learn(self, gained: float) -> None:
        self.open += gained

    def close(self, fading: float) -> None:
        self.total = fading * self.total + self.open
        self.squares = fading**2 * self.squares + self.open**2
        self.open = 0.0

    def proven(self, sds: float) -> bool:
        return self.total > sds * math.sqrt(self.squares)


class Frozen(msgspec.Struct, array_like=True):
    regression: bytes
    drift: bytes
    live: Prequential
    raw: Prequential
    line: Line
    drifts: int
    drifted_us: int
    gain: Gain = msgspec.field(default_factory=Gain)


class LineLearner:
    """Learns examples in the order given; what it publishes depends on nothing else."""

    def __init__(self, name: str, config: Config, prior: Linear) -> None:
        self.name = name
        self.config = config
        self._prior = prior
        self._regression = OnlineLogistic.new(prior.weights, prior.base, config.learning_rate, config.prior_firmness)
        self._drift = Drift.new(config.drift_delta)
        self.live = Prequential()
        """Scores as they were given at the time."""
        self.raw = Prequential()
        """Log-odds of the newest weights just before they learned each example: what the calibration is fitted to."""
        self.line = IDENTITY
        self.drifts = 0
        self.drifted_us = 0
        self._gain = Gain()
        self._positives: float | None = None
        """`live.positive_weight`, which only positives and `pass_time` change; None until it is needed."""

    def learn(self, columns: Mapping[int, float], label: int, weight: float, given: float | None, time_us: int) -> None:
        """One example: first judged, then learned. `given` is the log-odds of the score that this line gave it at the time."""
        raw = self._regression.logit(columns)
        self.raw.learn(raw, label, weight)
        if self.config.proof_sds:
            believed, learned = self._believed(columns), self.line.of(raw)
            self._gain.learn(weight * (_loss(believed, label) - _loss(learned, label)))
        logit = self.line.of(raw) if given is None else given
        self.live.learn(logit, label, weight)
        loss = _loss(logit, label)
        if label or self._positives is None:
            self._positives = self.live.positive_weight
        if self._positives >= self.config.drift_positives_min:
            self._watch(min(loss, self.config.drift_loss_max) / self.config.drift_loss_max, time_us)
        self._regression.learn(columns, label, weight)

    def _believed(self, columns: Mapping[int, float]) -> float:
        """The prior's log-odds."""
        weights = self._prior.weights
        return self._prior.base + sum(weights[column] * value for column, value in columns.items())

    def _watch(self, error: float, time_us: int) -> None:
        """Errors that grow loosen the steps, once in a while: larger steps make errors of their own, which are no drift."""
        grown = self._drift.learn(error)
        if grown and time_us >= self.drifted_us + self.config.drift_quiet_days * DAY_US:
            self.drifts += 1
            self.drifted_us = time_us
            self._regression.loosen(self.config.drift_loosen)

    def pass_time(self, length_us: int) -> None:
        """A bucket has ended: figures fade, and the calibration is fitted anew."""
        fading = 0.5 ** (length_us / (self.config.half_life_days * 86.4e9))
        self.live.fade(fading)
        self.raw.fade(fading)
        self._positives = None
        self.line = fit(self.raw, self.config.calibration_prior_positives)
        self._gain.close(fading)

    @property
    def proven(self) -> bool:
        """Whether what was learned is better than the prior."""
        return not self.config.proof_sds or self._gain.proven(self.config.proof_sds)

    @property
    def published(self) -> tuple[Linear, Line]:
        """What is to score from now on: what was learned, with its calibration, or the prior as it was."""
        return (self.linear, self.line) if self.proven else (self._prior, IDENTITY)

    @property
    def linear(self) -> Linear:
        return Linear(self._prior.layout, self._regression.intercept, self._regression.weights)

    @property
    def calibrated(self) -> bool:
        """Earned when enough positives were seen, and hardly any of them where they were not expected. A prior that still stands is
        believed until so many were seen."""
        if self.live.positive_weight < self.config.calibrated_positives_min:
            return not self.proven
        return self.live.misplaced() <= self.config.calibrated_misplaced_max

    def metrics(self) -> dict[str, float]:
        return {**self.live.metrics(), "drifts": float(self.drifts), "drifted_us": float(self.drifted_us)}

    def freeze(self) -> bytes:
        return msgspec.msgpack.encode(
            Frozen(
                self._regression.freeze(),
                self._drift.freeze(),
                self.live,
                self.raw,
                self.line,
                self.drifts,
                self.drifted_us,
                self._gain,
            )
        )

    def thaw(self, state: bytes) -> None:
        frozen = msgspec.msgpack.decode(state, type=Frozen)
        self._regression = OnlineLogistic.thaw(frozen.regression, self.config.learning_rate)
        self._drift = Drift.thaw(frozen.drift, self.config.drift_delta)
        self.live, self.raw, self.line = frozen.live, frozen.raw, frozen.line
        self.drifts, self.drifted_us = frozen.drifts, frozen.drifted_us
        self._gain = frozen.gain
        self._positives = None


def _loss(logit: float, label: int) -> float:
    """−log p(outcome), in nats."""
    return softplus(-logit if label else logit)
