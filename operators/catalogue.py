"""The detectors, in the order in which they run. Adding one: its file, its line here, its table in config/detectors.toml, its case file."""

from __future__ import annotations

from typing import Any

from operators import floors
from operators.alerts import (
    bill_changed,
    bill_due,
    duplicate_charge,
    fee,
    new_subscription,
    overdraft_ahead,
    price_rise,
)
from operators.anomaly import (
    amount,
    category_surge,
    geo,
    hour,
    income_drop,
    income_missed,
    novelty,
    transaction,
    velocity,
)
from operators.config_tables import Tables, place, read_table
from operators.consent import TABLE as CONSENTS
from operators.consent import Consents
from operators.detector import Detector
from operators.intent import churn, home_purchase, life_event, product, refinance, traces
from operators.knowledge.tables import TABLES
from operators.view import Priors
from state.settings import ConfigError

CATALOGUE: tuple[Detector, ...] = (
    amount,
    novelty,
    hour,
    velocity,
    geo,
    category_surge,
    duplicate_charge,
    income_missed,
    income_drop,
    price_rise,
    bill_changed,
    new_subscription,
    fee,
    bill_due,
    overdraft_ahead,
    traces,
    home_purchase,
    churn,
    life_event,
    product,
    refinance,
    floors.null,
    floors.random,
)

PROFILE = "profile"
"""The table of config/detectors.toml that belongs to no detector: the priors of the profile."""


def read_configs(
    tables: Tables, detectors: tuple[Detector, ...] = CATALOGUE
) -> tuple[Priors, transaction.Config, dict[str, Any]]:
    """The typed tables of config/detectors.toml: the priors, the fused detector's and the others' by name.

    Raises ConfigError for an unknown table, an unknown key or a value of the wrong type.
    """
    known = {PROFILE, CONSENTS, transaction.NAME, *TABLES, *(detector.NAME for detector in (*CATALOGUE, *detectors))}
    for name in tables:
        if name not in known:
            raise ConfigError(f"{place(name)}: no such detector; known are {', '.join(sorted(known))}")
    priors = read_table(tables, PROFILE, Priors)
    fused = read_table(tables, transaction.NAME, transaction.Config)
    return priors, fused, {detector.NAME: read_table(tables, detector.NAME, detector.Config) for detector in detectors}


def read_consents(tables: Tables) -> Consents:
    """The table [consents]. Raises ConfigError, as `read_configs` does."""
    return read_table(tables, CONSENTS, Consents)
