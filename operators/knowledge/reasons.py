"""The fused score's reasons in words: one for each feature that adds to it. Contributions add up exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from operators.detector import Finding
from operators.knowledge.features import LAYOUT, NEVER_DAYS, OWN
from operators.knowledge.merchant_row import MerchantRow
from operators.view import View
from operators.wording import counted
from state.categories import GROUPS
from state.events import Transaction
from state.money import format_minor
from state.signals import Reason

CONTRIBUTION_MIN: Final = 0.1
"""Smaller ones are added up in one reason, OTHER."""
REASONS_MAX: Final = 24

Phrase = Callable[[float], str]
"""A feature's value in words."""


def _age(what: str) -> Phrase:
    return lambda v: f"{what} {counted(v, 'day')} ago" if v < NEVER_DAYS else f"{what} never, as far as is known"


_WORDS: Final[dict[str, tuple[str, Phrase]]] = {
    "merchant_rate_7d": (
        "MERCHANT_FRAUD_7D",
        lambda v: f"fraud at this merchant within 7 days: {math.exp(v):.1f} times the usual share",
    ),
    "merchant_rate_30d": (
        "MERCHANT_FRAUD_30D",
        lambda v: f"fraud at this merchant within 30 days: {math.exp(v):.1f} times the usual share",
    ),
    "merchant_streak": ("MERCHANT_STREAK", lambda v: f"{counted(v, 'fraud')} at this merchant on days of little else"),
    "merchant_streak_age_d": (
        "MERCHANT_STREAK_AGE",
        lambda v: f"frauds at this merchant for {counted(v, 'day')} on end",
    ),
    "merchant_fraud_age_d": ("MERCHANT_FRAUD_AGE", _age("the last known fraud at this merchant was")),
    "merchant_n_1d": ("MERCHANT_BUSINESS", lambda v: f"{counted(v, 'payment')} at this merchant on the day before"),
    "amount_log": ("AMOUNT", str),  # said exactly: `_text`
    "amount_z": ("AMOUNT_Z", lambda v: f"{v:.1f} standard deviations from this customer's mean in this kind of shop"),
    "ratio_own": ("AMOUNT_TO_OWN", lambda v: f"{math.exp(v):.1f} times what this customer usually pays"),
    "ratio_30d": ("AMOUNT_TO_MONTH", lambda v: f"{math.exp(v):.1f} times this customer's mean payment of 30 days"),
    "max_48h": (
        "MAX_48H",
        lambda v: (
            f"the largest payment of the 48 hours before was {math.exp(v):.1f} times the usual"
            if v
            else "no payment in the 48 hours before"
        ),
    ),
    "max_7d": (
        "MAX_7D",
        lambda v: (
            f"the largest payment of the 7 days before was {math.exp(v):.1f} times the usual"
            if v
            else "no payment in the 7 days before"
        ),
    ),
    "raised_48h": (
        "RAISED_48H",
        lambda v: (
            counted(v, "payment of the 48 hours before was", "payments of the 48 hours before were")
            + " over 2.5 times the usual"
        ),
    ),
    "count_24h": ("COUNT_24H", lambda v: f"{counted(v, 'payment')} in the 24 hours before"),
    "spent_24h": ("SPENT_24H", lambda v: f"{math.exp(v):.1f} times a usual day's spending in the 24 hours before"),
    "mean_7d": (
        "MEAN_7D",
        lambda v: (
            f"payments of the 7 days before were {math.exp(v):.1f} times the usual on average"
            if v
            else "no payment in the 7 days before"
        ),
    ),
    "kind": ("KIND", lambda v: f"a payment for {GROUPS[int(v) // 2]}{' online' if int(v) % 2 else ''}"),
    "hour_of_day": ("HOUR_OF_DAY", lambda v: f"a payment around {int(v):02d}:00 UTC"),
    "matured": (
        "HISTORY",
        lambda v: counted(v, "payment of this customer is known", "payments of this customer are known"),
    ),
    "merchant_known": ("MERCHANT_KNOWN", lambda v: "this customer has paid at this merchant before"),
    "customer_fraud_age_d": ("FRAUD_AGE", _age("the last known fraud against this customer was")),
    "heat_day": ("SUSPICION_DAY", lambda v: f"suspicious scores of the last day add up to {math.exp(v):.3f}"),
    "strangeness": (
        "STRANGENESS",
        lambda v: f"among all customers' payments one in {math.exp(v):.1f} is as strange" if v else "nothing strange",
    ),
    "heat_week": ("SUSPICION_WEEK", lambda v: f"suspicious scores of the last week add up to {math.exp(v):.3f}"),
}


def explain(
    contributions: Sequence[float],
    values: Sequence[float],
    findings: Mapping[str, Finding],
    view: View,
    row: MerchantRow | None,
    transaction: Transaction,
) -> tuple[Reason, ...]:
    """The reasons of a score, largest contribution first. A detector's finding keeps its own reasons, scaled to what its strength adds.

    Σ contribution = logit − base, up to rounding of the last digit.
    """
    amount = f"{format_minor(transaction.amount_minor, transaction.currency)} {transaction.currency}"
    reasons: list[Reason] = []
    rest = 0.0
    for at, (name, contribution) in enumerate(zip(LAYOUT.names, contributions, strict=True)):
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
            reasons.append(_of_feature(name, values[at], contribution, view, row, amount))
        else:
            reasons.append(_of_cross(at - len(LAYOUT.features), values, contribution, amount))
    reasons.sort(key=lambda reason: (-abs(reason.contribution or 0.0), reason.code))
    rest += sum(reason.contribution or 0.0 for reason in reasons[REASONS_MAX:])
    del reasons[REASONS_MAX:]
    if rest:
        reasons.append(Reason("OTHER", "other", None, None, rest, "what else adds or takes away a little"))
    return tuple(sorted(reasons, key=lambda reason: (-(reason.contribution or 0.0), reason.code)))


def _of_feature(
    name: str, value: float, contribution: float, view: View, row: MerchantRow | None, amount: str
) -> Reason:
    baseline: float | None = None
    if name in ("amount_log", "amount_z", "ratio_own"):
        baseline = math.expm1(view.amount_mean if name == "amount_z" else view.overall_mean)
    elif name.startswith("merchant_rate") and row is not None:
        baseline = row.prior
    return Reason(_WORDS[name][0], name, value, baseline, contribution, _text(name, value, amount))


def _of_cross(number: int, values: Sequence[float], contribution: float, amount: str) -> Reason:
    cross = LAYOUT.crosses[number]
    pair = [values[at] for at in LAYOUT.pairs[number]]
    text = f"{_text(cross.first, pair[0], amount)}, together with: {_text(cross.second, pair[1], amount)}"
    return Reason(f"{_WORDS[cross.first][0]}_AND_{_WORDS[cross.second][0]}", cross.name, pair, None, contribution, text)


def _text(name: str, value: float, amount: str) -> str:
    """Features are half floats: of the amount a person must read the exact one."""
    return f"an amount of {amount}, among all customers' payments" if name == "amount_log" else _WORDS[name][1](value)
