"""The settings of who runs detectors: their tables are checked as they are read, so that a mistake is told with its file and key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataflows.knowledge.machines import knowledge_keys, make_machine
from operators.customer_step import CustomerStep
from operators.profiles import publishing_of
from state.settings import Settings
from state.settings_reading import load_settings


def load_checked(path: Path | None, flags: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """As `load_settings`. Raises ConfigError for mistakes in detectors' tables, too."""
    return load_settings(path, flags=flags, check=require_tables)


def require_tables(settings: Settings) -> None:
    """Raises ConfigError, with section and key, if something can't be made of the settings."""
    CustomerStep(settings.detectors, settings.digest(), publishing=publishing_of(settings))
    for key in knowledge_keys(settings):
        make_machine(settings, key)
