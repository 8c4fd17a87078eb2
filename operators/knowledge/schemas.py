"""The schema of every model that is learned, by the model's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from operators.alerts import overdraft_outcomes
from operators.intent import churn, home_purchase, life_event, product
from operators.knowledge import features
from operators.knowledge.schema import Schema
from operators.knowledge.versions import Model, ModelVersion, PayloadError, compile_version

SCHEMAS: Final[Mapping[str, Schema]] = {
    "transaction": features.SCHEMA,
    home_purchase.NAME: home_purchase.SCHEMA,
    churn.NAME: churn.SCHEMA,
    product.NAME: product.SCHEMA,
    life_event.NAME: life_event.SCHEMA,
    overdraft_outcomes.MODEL: overdraft_outcomes.SCHEMA,
}


def schema_of(model: str) -> Schema | None:
    """What comes after a dot is a kind: all kinds have the same features. None for a model that this release does not know.

    >>> schema_of("life_event.child") == life_event.SCHEMA, schema_of("weather")
    (True, None)
    """
    return SCHEMAS.get(model.partition(".")[0])


def compiled(version: ModelVersion) -> Model:
    """A version, ready to score. Raises PayloadError for one that this release can't score with."""
    schema = schema_of(version.name)
    if schema is None:
        raise PayloadError(f"{version.version} is of model {version.name!r}, which this release does not know")
    return compile_version(version, schema.version, schema.layout)
