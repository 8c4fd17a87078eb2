"""Floors: a detector that never speaks and one that speaks at random. Any detector worth its cost must beat both.

Off in config/detectors.toml; `segone score` shows them beside the others where they are switched on.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from operators.detector import DetectorConfig, Finding
from operators.view import View
from state.digest import digest64
from state.events import Transaction
from state.signals import Reason


class NullConfig(DetectorConfig, frozen=True, kw_only=True):
    enabled: bool = False


class RandomConfig(DetectorConfig, frozen=True, kw_only=True):
    enabled: bool = False
    seed: int = 1
    share: float = 0.001
    contribution: float = 6.0


def _never(config: NullConfig, state: None, transaction: Transaction, view: View) -> Finding | None:
    return None


def _sometimes(config: RandomConfig, state: None, transaction: Transaction, view: View) -> Finding | None:
    """Random, yet the same whenever the same transaction is seen: the draw comes from the ids and the seed."""
    draw = digest64(f"{config.seed}\0{transaction.customer_id}\0{transaction.transaction_id}") / 2.0**64
    if draw >= config.share:
        return None
    reason = Reason(
        code="RANDOM",
        feature="draw",
        value=draw,
        baseline=config.share,
        contribution=config.contribution,
        text="drawn at random: a floor for comparison",
    )
    return Finding((reason,))


null: Any = SimpleNamespace(
    NAME="null", VERSION=1, SIGNAL="anomaly.null", Config=NullConfig, State=None, step=_never, __doc__="Never speaks."
)
random: Any = SimpleNamespace(
    NAME="random",
    VERSION=1,
    SIGNAL="anomaly.random",
    Config=RandomConfig,
    State=None,
    step=_sometimes,
    __doc__="Speaks at random.",
)
