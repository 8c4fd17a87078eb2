"""What the knowledge steps are built from: merchant tables and learners, by the tables of config/detectors.toml and intents.toml."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from operators.alerts import overdraft_outcomes
from operators.anomaly import transaction
from operators.catalogue import CATALOGUE, read_configs
from operators.config_tables import Tables, place, read_table
from operators.detector import Detector
from operators.intent.models import Prior as IntentPrior
from operators.intent.outlooks import Outlooks, span_of
from operators.knowledge import features
from operators.knowledge.learner import Learner, Prior
from operators.knowledge.learners import Learners
from operators.knowledge.merchant_table import MerchantTable
from operators.knowledge.tables import read_knowledge
from state.settings import ConfigError


def build_merchant_table(name: str, tables: Tables, bucket_us: int) -> MerchantTable:
    """The table of one key. Raises ConfigError for wrong numbers."""
    return MerchantTable(name, read_knowledge(tables).merchants, bucket_us)


def build_learner(tables: Tables, bucket_us: int) -> Learner:
    """The learner of `transaction`, which begins from the prior. Raises ConfigError for wrong numbers."""
    config = read_table(tables, transaction.NAME, transaction.Config)
    model = transaction.prior_model(config)
    strangeness = config.parts.get("unsupervised", True)
    prior = Prior(model.linear, model.threshold, config.alerts_per_1000_customers_day, strangeness)
    return Learner(transaction.NAME, features.SCHEMA, read_knowledge(tables).learner, prior, bucket_us)


def build_intent_learners(tables: Tables, bucket_us: int) -> Learners:
    """The learners of all intents' models, each from its prior. Raises ConfigError for wrong numbers."""
    config = read_knowledge(tables).intent_learner
    round_us = config.round_buckets * bucket_us
    priors = intent_priors(CATALOGUE, read_configs(tables)[2])
    return Learners(
        {
            name: Learner(name, schema, config, Prior(model.linear, model.threshold, 0.0, strangeness=False), round_us)
            for name, (schema, model) in priors.items()
        },
        round_us,
    )


def build_overdraft_learner(tables: Tables, bucket_us: int) -> Learners:
    """The learner of how likely overdrafts are, from the identity on. Raises ConfigError for wrong numbers."""
    config = read_knowledge(tables).overdraft_learner
    round_us = config.round_buckets * bucket_us
    schema, model = overdraft_outcomes.prior(read_configs(tables)[2][overdraft_outcomes.MODEL])
    prior = Prior(model.linear, model.threshold, 0.0, strangeness=False)
    name = overdraft_outcomes.MODEL
    return Learners({name: Learner(name, schema, config, prior, round_us)}, round_us)


def intent_priors(detectors: Iterable[Detector], configs: Mapping[str, Any]) -> dict[str, IntentPrior]:
    """The models of the intents among these detectors before any outcome, by name. Raises ConfigError for unknown weights."""
    found: dict[str, IntentPrior] = {}
    for detector in detectors:
        priors = getattr(detector, "priors", None)
        if priors is None:
            continue
        try:
            found |= priors(configs[detector.NAME])
        except ValueError as error:
            raise ConfigError(f"{place(detector.NAME, 'weights')}: {error}; see SCHEMA in its module") from error
    return found


def make_outlooks(tables: Tables, detectors: Iterable[Detector], configs: Mapping[str, Any]) -> Outlooks | None:
    """What intents saw waits here for its outcome; None where intents don't learn."""
    config = read_knowledge(tables).intent_learner
    if not config.enabled:
        return None
    foreseeing = [detector for detector in detectors if hasattr(detector, "priors")]
    models = {
        name: (schema, span_of(configs[detector.NAME]))
        for detector in foreseeing
        for name, (schema, _) in intent_priors([detector], configs).items()
    }
    return Outlooks(config, models)
