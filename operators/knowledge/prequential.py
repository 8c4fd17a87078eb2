"""How good scores were: counted by bins of log-odds, on examples that were scored before their outcome was known.

source     Gama, Sebastião and Rodrigues, On evaluating stream learning algorithms, Machine Learning 90, 2013 (prequential, fading);
           Fawcett, An introduction to ROC analysis, 2006; Naeini et al., Obtaining well calibrated probabilities, 2015 (ECE)
"""

from __future__ import annotations

from typing import Final

import msgspec

from state.estimators import sigmoid, softplus

BINS_A_UNIT: Final = 10
BIN_MAX: Final = 150
"""Log-odds beyond ±15 (three in ten million) fall in the outermost bins."""
GROUPS: Final = 10
"""Of about equal weight, for the calibration error; and of about equally many expected positives, for what is misplaced."""
WEIGHT_MIN: Final = 1e-6
"""A bin that faded below it is forgotten."""


def bin_of(logit: float) -> int:
    """The bin whose middle is nearest.

    >>> bin_of(-4.12), bin_of(99.0)
    (-41, 150)
    """
    return max(-BIN_MAX, min(BIN_MAX, round(logit * BINS_A_UNIT)))


class Prequential(msgspec.Struct, array_like=True):
    """Weights of positives and negatives by bin: at most 2 × 301 numbers. What is longer ago counts for less, by `fade`.

    >>> seen = Prequential()
    >>> for logit, label in ((-4.0, 0), (-3.0, 0), (-2.0, 1), (1.0, 1)): seen.learn(logit, label, 1.0)
    >>> seen.auc(), seen.average_precision(), round(seen.log_loss(), 6)
    (1.0, 1.0, 0.626732)
    """

    positives: dict[int, float] = {}
    negatives: dict[int, float] = {}
    loss: float = 0.0

    def learn(self, logit: float, label: int, weight: float) -> None:
        bins = self.positives if label else self.negatives
        number = bin_of(logit)
        bins[number] = bins.get(number, 0.0) + weight
        self.loss += weight * softplus(-logit if label else logit)

    def fade(self, factor: float) -> None:
        """Multiplies all weights by `factor` in (0, 1]."""
        self.positives = _faded(self.positives, factor)
        self.negatives = _faded(self.negatives, factor)
        self.loss *= factor

    @property
    def positive_weight(self) -> float:
        return _total(self.positives)

    @property
    def weight(self) -> float:
        return _total(self.positives) + _total(self.negatives)

    def log_loss(self) -> float:
        """Mean of −log p(outcome), in nats; 0 without examples."""
        weight = self.weight
        return self.loss / weight if weight else 0.0

    def auc(self) -> float:
        """The chance that a positive scores above a negative, equal bins counting half; 0.5 where one of them is missing."""
        below = area = 0.0
        for number in self._numbers():
            negatives = self.negatives.get(number, 0.0)
            area += self.positives.get(number, 0.0) * (below + negatives / 2)
            below += negatives
        pairs = below * self.positive_weight
        return area / pairs if pairs else 0.5

    def average_precision(self) -> float:
        """Mean over positives of the precision at their bin or above; 0 without positives."""
        total = self.positive_weight
        if not total:
            return 0.0
        found = seen = area = 0.0
        for number in reversed(self._numbers()):
            positives = self.positives.get(number, 0.0)
            found += positives
            seen += positives + self.negatives.get(number, 0.0)
            area += positives * found / seen
        return area / total

    def calibration_error(self) -> float:
        """Expected calibration error: mean over groups of equal weight of |mean score − share of positives|."""
        weight = self.weight
        gaps = [abs(expected - observed) for _, expected, observed in self._groups(by_expected=False)]
        return sum(gaps) / weight if weight else 0.0

    def misplaced(self) -> float:
        """Σ |expected − observed positives| over groups of equally many expected ones, as a share of the observed: rare events
        make any calibration error look small, this not. Infinite without positives."""
        total = self.positive_weight
        gaps = [abs(expected - observed) for _, expected, observed in self._groups(by_expected=True)]
        return sum(gaps) / total if total else float("inf")

    def metrics(self) -> dict[str, float]:
        """All figures by name; a share of misplaced positives only where there are positives."""
        figures = {
            "auc": self.auc(),
            "average_precision": self.average_precision(),
            "log_loss": self.log_loss(),
            "calibration_error": self.calibration_error(),
            "examples": self.weight,
            "positives": self.positive_weight,
        }
        if self.positives:
            figures["positives_misplaced"] = self.misplaced()
        return figures

    def _groups(self, by_expected: bool) -> list[tuple[float, float, float]]:
        """Neighbouring bins together: (weight, expected positives, observed positives) of each group."""
        rows = []
        for number in self._numbers():
            observed = self.positives.get(number, 0.0)
            weight = observed + self.negatives.get(number, 0.0)
            rows.append((weight, weight * sigmoid(number / BINS_A_UNIT), observed))
        column = 1 if by_expected else 0
        share = sum(row[column] for row in rows) / GROUPS
        groups: list[tuple[float, float, float]] = []
        group = (0.0, 0.0, 0.0)
        for row in rows:
            group = (group[0] + row[0], group[1] + row[1], group[2] + row[2])
            if group[column] >= share:
                groups.append(group)
                group = (0.0, 0.0, 0.0)
        return [*groups, group] if group[0] else groups

    def _numbers(self) -> list[int]:
        return sorted(self.positives.keys() | self.negatives.keys())


def _total(bins: dict[int, float]) -> float:
    """In order of bins, so that the sum does not depend on the order of arrival."""
    return sum(bins[number] for number in sorted(bins))


def _faded(bins: dict[int, float], factor: float) -> dict[int, float]:
    return {number: weight * factor for number, weight in bins.items() if weight * factor >= WEIGHT_MIN}
