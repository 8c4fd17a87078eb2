"""The schema of every model that is learned, by the model's name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from operators.alerts import overdraft_outcomes
from operators.anomaly import transaction
from operators.catalogue import CATALOGUE
from operators.knowledge import features
from operators.knowledge.schema import Schema
from operators.knowledge.versions import Model, ModelVersion, PayloadError, compile_version

SCHEMAS: Final[Mapping[str, Schema]] = {
    transaction.NAME: features.SCHEMA,
    overdraft_outcomes.MODEL: overdraft_outcomes.SCHEMA,
    **{detector.NAME: detector.SCHEMA for detector in CATALOGUE if hasattr(detector, "SCHEMA")},
}
"""The intents' are those of their modules: an intent that is in the catalogue is here."""


def schema_of(model: str) -> Schema | None:
    """What comes after a dot is a kind: all kinds have the same features. None for a model that this release does not know.

    >>> schema_of("life_event.child") is schema_of("life_event"), schema_of("weather")
    (True, None)
    """
    return SCHEMAS.get(model.partition(".")[0])


def compiled(version: ModelVersion) -> Model:
    """A version, ready to score. Raises PayloadError for one that this release can't score with."""
    schema = schema_of(version.name)
    if schema is None:
        raise PayloadError(f"{version.version} is of model {version.name!r}, which this release does not know")
    return compile_version(version, schema.version, schema.layout)
