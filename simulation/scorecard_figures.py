"""The figures of the scorecard: rates with bootstrap intervals, lead or delay quantiles, calibration. Undefined is
None, never 0 or 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec
import numpy as np
import numpy.typing as npt

DAYS_PER_YEAR = 365.25
CALIBRATION_BINS = 10
RESAMPLE_CELLS_MAX = 2_000_000
"""How many group counts one block of resamples may hold: bounds the memory of the bootstrap (16 MB)."""

Row = tuple[int, int, int, int]
"""One customer's part of a figure: cases, hits, false alarms, whole days observed."""

_Floats = npt.NDArray[np.float64]


class Rate(msgspec.Struct, frozen=True):
    """A figure and its 95 % interval over customers."""

    value: float | None
    low: float | None = None
    high: float | None = None


class Days(msgspec.Struct, frozen=True):
    """Quantiles of lead or delay over the hits, in days."""

    hits: int
    p10: float | None
    p50: float | None
    p90: float | None


class Bin(msgspec.Struct, frozen=True):
    """A line of the reliability table: what alarms with a score in [low, high) said on average, and how many were
    true."""

    low: float
    high: float
    alarms: int
    score_mean: float
    true_share: float


class Calibration(msgspec.Struct, frozen=True):
    expected_error: float
    alarms: int
    bins: tuple[Bin, ...]


class Rates(msgspec.Struct, frozen=True):
    precision: Rate
    recall: Rate
    f1: Rate
    false_alarms_per_year: Rate


def rates(rows: Counter[Row], resamples: int, seed: int, days: float | None = None) -> Rates:
    """Rates of the customers in `rows` (a row and how many customers have it), with percentile bootstrap intervals:
    customers are drawn with replacement. Customers with equal rows are drawn together (multinomial), which is the same
    and much faster. `days` is their observed time exactly, where rows tell it only in whole days."""
    total = np.zeros(4)
    for row, customers in rows.items():
        total += np.multiply(row, customers)
    if days is not None:
        total[3] = days
    drawn = _resampled(rows, resamples, seed)

    def rate(of: Callable[[_Floats], _Floats]) -> Rate:
        value = float(of(total[np.newaxis, :])[0])
        if np.isnan(value):
            return Rate(None)
        values = of(drawn)
        values = values[~np.isnan(values)]
        if not values.size:
            return Rate(value)
        low, high = np.quantile(values, (0.025, 0.975))
        return Rate(value, float(low), float(high))

    return Rates(
        precision=rate(lambda sums: _ratio(sums[:, 1], sums[:, 1] + sums[:, 2])),
        recall=rate(lambda sums: _ratio(sums[:, 1], sums[:, 0])),
        f1=rate(lambda sums: _ratio(2 * sums[:, 1], sums[:, 1] + sums[:, 2] + sums[:, 0])),
        false_alarms_per_year=rate(lambda sums: _ratio(sums[:, 2], sums[:, 3] / DAYS_PER_YEAR)),
    )


def _resampled(rows: Counter[Row], resamples: int, seed: int) -> _Floats:
    """Sums of the rows over each resample: shape (resamples, 4)."""
    customers = sum(rows.values())
    if not customers or not resamples:
        return np.empty((0, 4))
    groups = sorted(rows)
    values = np.array(groups, dtype=np.float64)
    shares = np.array([rows[group] for group in groups], dtype=np.float64) / customers
    rng = np.random.default_rng(seed)
    block = max(1, RESAMPLE_CELLS_MAX // len(groups))
    sums = [
        rng.multinomial(customers, shares, size=min(block, resamples - done)) @ values
        for done in range(0, resamples, block)
    ]
    return np.concatenate(sums)


def _ratio(part: _Floats, whole: _Floats) -> _Floats:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio


def days_of(days: Sequence[float]) -> Days:
    """
    >>> days_of([1.0, 2.0, 3.0]).p50
    2.0
    >>> days_of([]).p50 is None
    True
    """
    if not days:
        return Days(0, None, None, None)
    p10, p50, p90 = (float(value) for value in np.quantile(days, (0.1, 0.5, 0.9)))
    return Days(len(days), p10, p50, p90)


def calibration_of(told: Sequence[tuple[float, bool]]) -> Calibration | None:
    """Expected calibration error over ten equal bins of the score, weighted by alarms (Naeini et al., AAAI 2015), of
    (probability, was it true). None without any.

    >>> calibration_of([(0.9, True), (0.9, True), (0.9, True), (0.9, False)]).expected_error
    0.15
    """
    if not told:
        return None
    sums: dict[int, list[float]] = {}
    for score, true in told:
        sums_of_bin = sums.setdefault(max(0, min(CALIBRATION_BINS - 1, int(score * CALIBRATION_BINS))), [0.0, 0.0, 0.0])
        sums_of_bin[0] += 1
        sums_of_bin[1] += score
        sums_of_bin[2] += true
    bins = tuple(
        Bin(index / CALIBRATION_BINS, (index + 1) / CALIBRATION_BINS, int(alarms), scores / alarms, trues / alarms)
        for index, (alarms, scores, trues) in sorted(sums.items())
    )
    error = sum(line.alarms * abs(line.score_mean - line.true_share) for line in bins) / len(told)
    return Calibration(round(error, 12), len(told), bins)
