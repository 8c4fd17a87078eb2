"""The numbers of knowledge: the tables [merchants], [learner] and [overdraft_learner] of config/detectors.toml, [intent_learner] of
config/intents.toml. operators/knowledge/building.py makes the machines that run by them."""

from __future__ import annotations

from typing import Final

import msgspec

from operators.alerts import overdraft_outcomes
from operators.config_tables import Tables, read_table
from operators.intent import outlooks
from operators.knowledge import learner, merchant_table

MERCHANTS: Final = "merchants"
LEARNER: Final = "learner"
INTENT_LEARNER: Final = "intent_learner"
OVERDRAFT_LEARNER: Final = "overdraft_learner"
TABLES: Final = frozenset((MERCHANTS, LEARNER, INTENT_LEARNER, OVERDRAFT_LEARNER))


class KnowledgeConfig(msgspec.Struct, frozen=True):
    merchants: merchant_table.Config
    learner: learner.Config
    intent_learner: outlooks.Config
    overdraft_learner: overdraft_outcomes.Learning


def read_knowledge(tables: Tables) -> KnowledgeConfig:
    """Raises ConfigError for an unknown key or a value of the wrong type."""
    return KnowledgeConfig(
        read_table(tables, MERCHANTS, merchant_table.Config),
        read_table(tables, LEARNER, learner.Config),
        read_table(tables, INTENT_LEARNER, outlooks.Config),
        read_table(tables, OVERDRAFT_LEARNER, overdraft_outcomes.Learning),
    )
