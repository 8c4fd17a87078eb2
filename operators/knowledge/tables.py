"""The numbers of knowledge: the tables [merchants], [learner] and [overdraft_learner] of config/detectors.toml, [intent_learner] of
config/intents.toml, and what is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from operators.alerts import overdraft_outcomes
from operators.intent import outlooks
from operators.knowledge import learner, merchant_table
from state.settings import ConfigError

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


def read_knowledge(tables: Mapping[str, Mapping[str, Any]]) -> KnowledgeConfig:
    """Raises ConfigError for an unknown key or a value of the wrong type."""
    return KnowledgeConfig(
        _convert(MERCHANTS, tables.get(MERCHANTS, {}), merchant_table.Config),
        _convert(LEARNER, tables.get(LEARNER, {}), learner.Config),
        _convert(INTENT_LEARNER, tables.get(INTENT_LEARNER, {}), outlooks.Config),
        _convert(OVERDRAFT_LEARNER, tables.get(OVERDRAFT_LEARNER, {}), overdraft_outcomes.Learning),
    )


def _convert(name: str, table: Mapping[str, Any], type_: type[Any]) -> Any:
    try:
        return msgspec.convert(table, type_)
    except msgspec.ValidationError as error:
        raise ConfigError(f"detectors.toml:[{name}]: {error}") from error
