"""What a detector is: one module with a card (its docstring), `Config`, perhaps `State`, and a pure `step`.

The catalogue (operators/catalogue.py) lists the modules; config/detectors.toml has a table for each. A detector that names a
`SIGNAL` speaks for itself when its score reaches `Config.threshold`; one that names none only adds to `anomaly.transaction`.

A detector with a `State` changes it in `learn` only, never in `step`: what it has learned is then as independent of the order
of arrival as the habits are (docs/architecture.md, "Score on arrival, learn at maturity").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from operators.view import View
from state.customer import Customer, Recent
from state.events import Transaction
from state.signals import Reason, WindowSpan


class DetectorConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every detector's table has. `score_base` is in log-odds: the score of a finding is sigmoid(score_base + Σ contribution)."""

    enabled: bool = True
    score_base: float = -4.0
    threshold: float = 0.5
    severity_high: float = 0.9
    quiet_s: float = 0.0
    """For how long after an OPEN the same episode goes on: no second OPEN, and a CLOSE when it is over."""
    valid_s: float = 86_400.0


class Finding(msgspec.Struct, frozen=True):
    """What a detector found in one transaction, strong enough or not to be said. Contributions are in log-odds."""

    reasons: tuple[Reason, ...]
    details: Mapping[str, Any] = {}
    transaction_ids: tuple[str, ...] = ()
    windows: tuple[WindowSpan, ...] = ()
    kind: str = ""
    """Of a signal that says several things, which one: episodes of different kinds don't silence each other."""
    quiet_s: float | None = None
    """For how long an episode of this kind goes on, if not `Config.quiet_s`."""
    ends: str = ""
    """The kind of an open episode that this transaction ends, unless it is reversed in time. Without `reasons` nothing else is said."""
    sensitive: bool = False
    """It tells of health or the like: to be used with explicit consent only."""
    suspicious: bool = True
    """False for what is news but no sign of fraud: it stays out of `anomaly.transaction`."""

    @property
    def strength(self) -> float:
        """The sum of the contributions: what this finding is worth to the fused score, before its weight."""
        return sum(reason.contribution or 0.0 for reason in self.reasons)


class Learn(Protocol):
    """`learn` of a detector module that has one: called for every transaction that matures, in event-time order, just before the
    habits of `customer` learn it. Changes `state` only."""

    def __call__(self, config: Any, state: Any, recent: Recent, customer: Customer) -> None: ...


class Detector(Protocol):
    """A detector module. `State` is None, or a msgspec struct that starts empty and is bounded in size; then there is a `learn`, too."""

    @property
    def NAME(self) -> str: ...  # noqa: N802 - modules keep this: their constants are upper case

    @property
    def VERSION(self) -> int: ...  # noqa: N802

    @property
    def SIGNAL(self) -> str | None: ...  # noqa: N802

    @property
    def Config(self) -> type[Any]: ...  # noqa: N802

    @property
    def State(self) -> type[Any] | None: ...  # noqa: N802

    def step(self, config: Any, state: Any, transaction: Transaction, view: View) -> Finding | None:
        """What this transaction means, given what was known before it; None if nothing. Pure; only reads `state`."""


def confidence(matured: int) -> str:
    """How much of the customer is known: LOW below 10 learned transactions, MEDIUM below 50, then HIGH.

    >>> confidence(3), confidence(20), confidence(500)
    ('LOW', 'MEDIUM', 'HIGH')
    """
    return "LOW" if matured < 10 else "MEDIUM" if matured < 50 else "HIGH"
