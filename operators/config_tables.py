"""The tables of the configuration, [detectors.<name>] in a user's settings, as typed structs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from state.settings import ConfigError

Tables = Mapping[str, Mapping[str, Any]]
"""By name, as `Settings.detectors` has them: config/detectors.toml and intents.toml, overridden by the user's settings."""

Config = TypeVar("Config")


def read_table(tables: Tables, name: str, type_: type[Config]) -> Config:
    """The table `name`; without one, the defaults. Raises ConfigError for an unknown key or a value of the wrong type."""
    try:
        return msgspec.convert(tables.get(name, {}), type_)
    except msgspec.ValidationError as error:
        message, _, key = str(error).rpartition(" - at `$.")
        raise ConfigError(
            f"{place(name, key.rstrip('`'))}: {message}" if message else f"{place(name)}: {error}"
        ) from error


def place(name: str, key: str = "") -> str:
    """How a message names a table of the section [detectors], or a key of it. Who reads the settings knows which file it stands in.

    >>> place("geo", "near_km"), place("gio")
    ('[detectors.geo] near_km', '[detectors.gio]')
    """
    return f"[detectors.{name}] {key}" if key else f"[detectors.{name}]"
