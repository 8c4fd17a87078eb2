"""Calibration: a straight line through the log-odds, fitted to outcomes that became known later.

A line keeps reasons exact: the calibrated log-odds are slope × (base + Σ contributions) + offset, so each contribution is multiplied by
the slope, and the base becomes slope × base + offset.

source     Platt, Probabilistic outputs for support vector machines, 1999; with a prior on the identity, so that few outcomes change
           little (beta calibration, Kull et al. 2017, with a = b)
"""

from __future__ import annotations

import math

import msgspec

from operators.knowledge.prequential import BINS_A_UNIT, Prequential
from state.estimators import sigmoid

SLOPE_MIN, SLOPE_MAX = 0.2, 5.0
NEWTON_STEPS = 30


class Line(msgspec.Struct, array_like=True, frozen=True):
    """calibrated = slope × raw + offset, both in log-odds. The slope is positive: the order of scores never changes.

    >>> Line(0.5, -1.0).of(4.0)
    1.0
    """

    slope: float = 1.0
    offset: float = 0.0

    def of(self, raw: float) -> float:
        return self.slope * raw + self.offset


IDENTITY = Line()


def fit(seen: Prequential, prior_positives: float) -> Line:
    """The most probable line given raw scores and their outcomes, by Newton's method.

    The prior holds the identity as firmly as `prior_positives` positives would. With none seen the line is the identity.
    """
    rows = [
        (number / BINS_A_UNIT, seen.positives.get(number, 0.0), seen.negatives.get(number, 0.0))
        for number in sorted(seen.positives.keys() | seen.negatives.keys())
    ]
    if not seen.positive_weight:
        return IDENTITY
    slope, offset = 1.0, 0.0
    # About its middle, so that slope and offset hardly depend on one another.
    middle = sum(raw * positives for raw, positives, _ in rows) / seen.positive_weight
    for _ in range(NEWTON_STEPS):
        gradient_slope = prior_positives * (slope - 1.0)
        gradient_offset = prior_positives * offset
        hessian_ss, hessian_so, hessian_oo = prior_positives, 0.0, prior_positives
        for raw, positives, negatives in rows:
            x = raw - middle
            p = sigmoid(middle + slope * x + offset)
            error = (positives + negatives) * p - positives
            curvature = (positives + negatives) * p * (1.0 - p)
            gradient_slope += error * x
            gradient_offset += error
            hessian_ss += curvature * x * x
            hessian_so += curvature * x
            hessian_oo += curvature
        determinant = hessian_ss * hessian_oo - hessian_so**2
        step_slope = (hessian_oo * gradient_slope - hessian_so * gradient_offset) / determinant
        step_offset = (hessian_ss * gradient_offset - hessian_so * gradient_slope) / determinant
        # A full Newton step can overshoot where the sigmoid is flat.
        shrink = 1.0 / max(1.0, abs(step_slope), abs(step_offset) / 2.0)
        slope -= shrink * step_slope
        offset -= shrink * step_offset
        if math.hypot(step_slope, step_offset) < 1e-10:
            break
    slope = max(SLOPE_MIN, min(SLOPE_MAX, slope))
    return Line(slope, middle + offset - slope * middle)
