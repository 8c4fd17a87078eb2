"""The fused score's reasons in words: one for each feature that adds to it. Contributions add up exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from operators.detector import Finding
from operators.knowledge.features import LAYOUT, OWN
from operators.knowledge.merchant_table import MerchantRow
from operators.knowledge.versions import Scored
from operators.view import View
from state.categories import GROUPS
from state.signals import Reason

CONTRIBUTION_MIN: Final = 0.1
"""Smaller ones are added up in one reason, OTHER."""
REASONS_MAX: Final = 24

Say = Callable[[float], str]

_WORDS: Final[dict[str, tuple[str, Say]]] = {
    "merchant_rate_7d": (
        "MERCHANT_FRAUD_7D",
        lambda v: f"this merchant's frauds of 7 days: {math.exp(v):.1f} times the usual share",
    ),
    "merchant_rate_30d": (
        "MERCHANT_FRAUD_30D",
        lambda v: f"this merchant's frauds of 30 days: {math.exp(v):.1f} times the usual share",
    ),
    "merchant_run": ("MERCHANT_RUN", lambda v: f"{v:.0f} frauds at this merchant without undisputed business since"),
    "merchant_run_days": (
        "MERCHANT_RUN_AGE",
        lambda v: f"frauds at this merchant for {v:.0f} days" if v >= 0 else "no frauds in a row at this merchant",
    ),
    "merchant_n_1d": ("MERCHANT_BUSINESS", lambda v: f"{v:.0f} payments at this merchant in a day"),
    "log_amount": ("AMOUNT", lambda v: f"an amount of {math.expm1(v):.2f}, among all customers' payments"),
    "ratio_usual": (
        "AMOUNT_TO_USUAL",
        lambda v: f"{math.exp(v):.1f} times what this customer usually pays in this kind of shop",
    ),
    "ratio_30d": ("AMOUNT_TO_MONTH", lambda v: f"{math.exp(v):.1f} times this customer's mean payment of 30 days"),
    "n_24h": ("COUNT_DAY", lambda v: f"{v:.0f} payments in the 24 hours before"),
    "mean_24h": ("MEAN_DAY", lambda v: f"payments of the 24 hours before had a mean of {math.expm1(v):.2f}"),
    "mean_7d": ("MEAN_WEEK", lambda v: f"payments of the 7 days before had a mean of {math.expm1(v):.2f}"),
    "heat_day": ("SUSPICION_DAY", lambda v: f"scores of the last day add up to {math.exp(v):.3f}"),
    "heat_week": ("SUSPICION_WEEK", lambda v: f"scores of the last week add up to {math.exp(v):.3f}"),
    "peak": ("AMOUNT_PEAK", lambda v: f"the largest payment of the last days was about {math.expm1(v):.2f}"),
    "customer_frauds": ("FRAUDS_KNOWN", lambda v: f"{v:.1f} frauds of the last weeks are known of this customer"),
    "customer_fraud_days": (
        "FRAUD_AGE",
        lambda v: f"the last known fraud was {v:.0f} days ago" if v < 365 else "no fraud is known of this customer",
    ),
    "matured": ("HISTORY", lambda v: f"{math.expm1(v):.0f} payments of this customer are known"),
    "group": ("GROUP", lambda v: f"a payment of the group {GROUPS[int(v)]}"),
    "hour_of_day": ("HOUR_OF_DAY", lambda v: f"a payment around {int(v):02d}:00 UTC"),
}


def explain(
    scored: Scored, values: Sequence[float], findings: Mapping[str, Finding], view: View, row: MerchantRow | None
) -> tuple[Reason, ...]:
    """The reasons of a score, largest contribution first. A detector's finding keeps its own reasons, scaled to what its strength adds.

    Σ contribution = logit − base, up to rounding of the last digit.
    """
    reasons: list[Reason] = []
    rest = 0.0
    for at, (name, contribution) in enumerate(zip(LAYOUT.names, scored.contributions, strict=True)):
        if not contribution:
            continue
        finding = findings.get(name) if name in OWN else None
        if finding is not None:
            scale = contribution / finding.strength
            reasons += [
                msgspec.structs.replace(reason, contribution=scale * (reason.contribution or 0.0))
                for reason in finding.reasons
            ]
        elif abs(contribution) < CONTRIBUTION_MIN:
            rest += contribution
        elif at < len(LAYOUT.features):
            reasons.append(_of_feature(name, values[at], contribution, view, row))
        else:
            reasons.append(_of_cross(at - len(LAYOUT.features), values, contribution))
    reasons.sort(key=lambda reason: (-abs(reason.contribution or 0.0), reason.code))
    rest += sum(reason.contribution or 0.0 for reason in reasons[REASONS_MAX:])
    del reasons[REASONS_MAX:]
    if rest:
        reasons.append(Reason("OTHER", "other", None, None, rest, "what else adds or takes away a little"))
    return tuple(sorted(reasons, key=lambda reason: (-(reason.contribution or 0.0), reason.code)))


def _of_feature(name: str, value: float, contribution: float, view: View, row: MerchantRow | None) -> Reason:
    code, words = _WORDS[name]
    baseline: float | None = None
    if name in ("log_amount", "ratio_usual"):
        baseline = math.expm1(view.amount_mean)
    elif name.startswith("merchant_rate") and row is not None:
        baseline = row.prior
    return Reason(code, name, value, baseline, contribution, words(value))


def _of_cross(number: int, values: Sequence[float], contribution: float) -> Reason:
    cross = LAYOUT.crosses[number]
    pair = [values[at] for at in LAYOUT.pairs[number]]
    text = f"{_WORDS[cross.first][1](pair[0])}, together with: {_WORDS[cross.second][1](pair[1])}"
    return Reason(f"{_WORDS[cross.first][0]}_AND_{_WORDS[cross.second][0]}", cross.name, pair, None, contribution, text)
