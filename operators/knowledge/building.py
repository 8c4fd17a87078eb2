"""What the knowledge steps are built from: merchant tables and learners, by the tables of config/detectors.toml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from operators.anomaly import transaction
from operators.knowledge.learner import Learner, Prior
from operators.knowledge.merchant_table import MerchantTable
from operators.knowledge.tables import read_knowledge
from state.settings import ConfigError

Tables = Mapping[str, Mapping[str, Any]]


def build_merchant_table(name: str, tables: Tables, bucket_us: int) -> MerchantTable:
    """The table of one key. Raises ConfigError for wrong numbers."""
    return MerchantTable(name, read_knowledge(tables).merchants, bucket_us)


def build_learner(tables: Tables, bucket_us: int) -> Learner:
    """The learner of `transaction`, which begins from the prior. Raises ConfigError for wrong numbers."""
    try:
        config = msgspec.convert(tables.get(transaction.NAME, {}), transaction.Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"detectors.toml:[{transaction.NAME}]: {error}") from error
    model = transaction.prior_model(config)
    strangeness = config.parts.get("unsupervised", True)
    prior = Prior(model.linear, model.threshold, config.alerts_per_1000_customers_day, strangeness)
    return Learner(transaction.NAME, read_knowledge(tables).learner, prior, bucket_us)
