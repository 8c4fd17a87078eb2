"""Settings as they may be shown: every value that could be a secret is masked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from state.settings import Settings

SECRET_WORDS: Final = ("password", "secret", "key", "token", "jaas", "oauthbearer.config", "credential")
"""Parts of the names under which librdkafka, brokers and clouds keep secrets; a name too many costs a reader little."""
NO_SECRETS: Final = frozenset({"merchant_keys"})
MASK: Final = "********"


def shown(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings that count, by section: without the detectors' tables, whose digest names them, and without [kafka] on files.

    >>> from state.settings_reading import load_settings
    >>> shown(load_settings(environment={"SEGONE__LOG__KIND": "kafka", "SEGONE__KAFKA__CLIENT__SASL_PASSWORD": "x"}))["kafka"]["client"]
    {'sasl.password': '********'}
    """
    left_out = {"detectors", "kafka" if settings.log.kind == "files" else "", "secrets"}
    tables = {name: table for name, table in msgspec.to_builtins(settings).items() if name not in left_out}
    for name in settings.secrets:
        section, _, rest = name.partition(".")
        table, _, key = rest.partition(".")
        if section in tables:
            tables[section][table][key] = MASK
    return {name: _masked(table) for name, table in tables.items()}


def changed(settings: Settings, defaults: Settings) -> dict[str, dict[str, Any]]:
    """Of `shown`, what differs from the defaults: what a person wants to see."""
    usual = shown(defaults)
    different = {
        section: {key: value for key, value in table.items() if value != usual.get(section, {}).get(key)}
        for section, table in shown(settings).items()
    }
    return {section: table for section, table in different.items() if table}


def _masked(table: Mapping[str, Any], *, client: bool = False) -> dict[str, Any]:
    """Of our own settings only texts can be secrets; `client` tables are librdkafka's, where a password may be a number."""
    return {
        key: _masked(value, client=True)
        if isinstance(value, dict)
        else MASK
        if value and _is_secret(key) and (client or isinstance(value, str))
        else value
        for key, value in table.items()
    }


def _is_secret(key: str) -> bool:
    return key not in NO_SECRETS and any(word in key.lower() for word in SECRET_WORDS)
