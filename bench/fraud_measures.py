"""How good scores are, by the protocol of the Fraud Detection Handbook.

source  Le Borgne, Siblini, Lebichot and Bontempi, Reproducible Machine Learning for Credit Card Fraud Detection - Practical Handbook,
        2022, chapters 3 (delay, known cards) and 4 (card precision top-k)
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import numpy as np
from fraud_payments import Array, Payments
from msgspec import Meta
from sklearn.metrics import average_precision_score, roc_auc_score

from state.settings import ConfigError
from state.windows import DAY_US

Days = Annotated[int, Meta(ge=0, le=366)]


class Protocol(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table [protocol] of bench/fraud.toml."""

    label_delay_days: Days
    cards_known_days: Days
    cards_top: Annotated[int, Meta(ge=1)]
    false_positives_share: Annotated[float, Meta(gt=0.0, lt=1.0)]
    costs_days: Days


class Measures(msgspec.Struct, frozen=True):
    """`auc` to `recall` in [0, 1]; `recall` is the one at `false_positives_share`, over all frauds."""

    auc: float
    average_precision: float
    card_precision: float
    recall: float
    recall_by_scenario: dict[str, float]


class Tested(msgspec.Struct, frozen=True):
    """Which payments count: their row numbers for each day of the test period."""

    days: tuple[Any, ...]

    @property
    def rows(self) -> Array:
        return np.concatenate(self.days)


def days_of_test(
    payments: Payments, protocol: Protocol, from_us: int, to_us: int, leave_out_known_cards: bool
) -> Tested:
    """The payments of each day from `from_us` on. With `leave_out_known_cards`, a day is without the customers who had a fraud
    from `label_delay_days` + `cards_known_days` before the test period on and at least `label_delay_days` before that day.

    Raises ConfigError when frauds or legitimate payments are missing: nothing could be measured.
    """
    delay_us = protocol.label_delay_days * DAY_US
    since_us = from_us - delay_us - protocol.cards_known_days * DAY_US
    days = []
    for day_us in range(from_us, to_us, DAY_US):
        within = (payments.time_us >= day_us) & (payments.time_us < min(day_us + DAY_US, to_us))
        if leave_out_known_cards:
            past = (payments.time_us >= since_us) & (payments.time_us < day_us - delay_us) & (payments.fraud == 1)
            within &= ~np.isin(payments.customers, payments.customers[past])
        days.append(np.flatnonzero(within))
    test = Tested(tuple(days))
    frauds = int(payments.fraud[test.rows].sum()) if days else 0
    if not days or frauds in (0, len(test.rows)):
        raise ConfigError(f"--from, --to: {frauds} frauds among the payments of the test period; choose another period")
    return test


def measure(payments: Payments, test: Tested, protocol: Protocol, scores: Array) -> Measures:
    """`scores` has a number for each payment; only those of the test rows count."""
    rows = test.rows
    fraud, given = payments.fraud[rows], scores[rows]
    legitimate = np.sort(given[fraud == 0])
    above = int(protocol.false_positives_share * len(legitimate))
    caught = given > legitimate[len(legitimate) - 1 - above]
    scenarios = np.array([payments.scenarios[row] for row in rows])
    by_scenario = {
        str(name): float(caught[(scenarios == name) & (fraud == 1)].mean())
        for name in np.unique(scenarios[fraud == 1])
        if name
    }
    return Measures(
        auc=float(roc_auc_score(fraud, given)),
        average_precision=float(average_precision_score(fraud, given)),
        card_precision=card_precision(payments, test, protocol.cards_top, scores),
        recall=float(caught[fraud == 1].mean()),
        recall_by_scenario=by_scenario,
    )


def card_precision(payments: Payments, test: Tested, top: int, scores: Array) -> float:
    """The share of victims of that day among its `top` customers with the highest score, found ones left out from then on; mean of days."""
    found: set[int] = set()
    precisions = []
    for rows in test.days:
        highest: dict[int, float] = {}
        victims: set[int] = set()
        for customer, score, fraud in zip(
            payments.customers[rows].tolist(), scores[rows].tolist(), payments.fraud[rows].tolist(), strict=True
        ):
            if customer in found:
                continue
            highest[customer] = max(score, highest.get(customer, -np.inf))
            if fraud:
                victims.add(customer)
        looked_at = sorted(highest, key=lambda customer: (-highest[customer], customer))[:top]
        caught = victims.intersection(looked_at)
        precisions.append(len(caught) / top)
        found |= caught
    return float(np.mean(precisions))
