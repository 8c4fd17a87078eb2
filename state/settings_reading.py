"""How settings are read: defaults ← TOML file ← environment ← flags, each over the one before.

An environment variable `SEGONE__SECTION__KEY` overrides `[section] key`. A key that ends in `_file` names a file that holds a secret.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import msgspec

from state.settings import ConfigError, Settings

ENVIRONMENT = "environment"
CONFIG_DIR = Path(__file__).resolve().parent.parent / "config"


def load_settings(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
    check: Callable[[Settings], None] = lambda _: None,
) -> Settings:
    """Reads config/ (detectors, intents, products, default), then `path`, the environment, the flags: each over the one before.

    `check` is shown the settings after each source that says something, so that its ConfigError is told with that source's name.
    """
    tables: dict[str, Any] = {"detectors": _detector_tables(), "secrets": ()}
    sources: list[tuple[str, Mapping[str, Any]]] = [
        (str(CONFIG_DIR / "default.toml"), read_toml(CONFIG_DIR / "default.toml"))
    ]
    if path is not None:
        sources.append((str(path), read_toml(path)))
    sources.append((ENVIRONMENT, _from_environment(os.environ if environment is None else environment)))
    sources.append(("command line", flags or {}))
    for name, source in sources:
        _check_keys(name, source)
        _merge(tables, source)
        _flatten_kafka(tables)
        _read_secret_files(name, tables)
        try:
            settings = msgspec.convert(tables, Settings)
        except msgspec.ValidationError as error:
            raise ConfigError(_wrong_value(name, error)) from error
        if any(source.values()):
            try:
                check(settings)
            except ConfigError as error:
                raise ConfigError(f"{name}:{error}") from error
    return settings


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; a missing or malformed one is a ConfigError."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path given with --config") from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number with thousands of digits
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply; settings are tables of values") from None


def _detector_tables() -> dict[str, Any]:
    """The tables of detectors and intents; those who need the products find them in their own."""
    tables = read_toml(CONFIG_DIR / "detectors.toml") | read_toml(CONFIG_DIR / "intents.toml")
    products = read_toml(CONFIG_DIR / "products.toml")
    for table in tables.values():
        if "products" in table:
            table["products"] = products
    return tables


def _wrong_value(name: str, error: msgspec.ValidationError) -> str:
    """Where the wrong value stands, as file:[section] key or as the environment variable, and what it should be."""
    message, _, path = str(error).rpartition(" - at `$.")
    section, _, key = path.rstrip("`").replace("[...]", "").partition(".")
    choices = (field.type for field in _fields(section) if field.name == key and _is_choice(field.type))
    allowed = get_args(next(choices, None))
    hint = f"; choose one of {', '.join(allowed)}" if allowed else ""
    return f"{_place(name, section, key)}: {message}{hint}" if message else f"{name}: {error}"


def _place(name: str, section: str, key: str) -> str:
    if name == ENVIRONMENT:
        return f"{name}:SEGONE__{section.upper()}__{key.upper()}"
    return f"{name}:[{section}] {key}".rstrip()


def _sections() -> dict[str, Any]:
    return {field.name: field.type for field in msgspec.structs.fields(Settings) if field.name != "secrets"}


def _fields(section: str) -> tuple[msgspec.structs.FieldInfo, ...]:
    """The settings of a section; none for [detectors], whose tables the detectors know themselves."""
    type_ = _sections().get(section)
    return () if type_ is None or section == "detectors" else msgspec.structs.fields(type_)


def _is_choice(type_: object) -> bool:
    return get_origin(type_) is Literal


def _check_keys(name: str, source: Mapping[str, Any]) -> None:
    sections = _sections()
    for section, table in source.items():
        if section not in sections:
            raise ConfigError(f"{name}:[{section}]: no such section; {_nearest(section, list(sections))}")
        if not isinstance(table, Mapping):
            raise ConfigError(f"{name}:{section}: is a section and needs keys, as in [{section}]")
        if section == "detectors":
            continue
        known = [field.name for field in _fields(section)]
        for key in table:
            if key not in known:
                raise ConfigError(f"{_place(name, section, key)}: no such setting; {_nearest(key, known)}")
    _check_text(name, source)


def _check_text(name: str, source: Mapping[str, Any], *above: str) -> None:
    """Environment and flags may hold bytes that are no UTF-8: Python makes half surrogate pairs of them."""
    for key, value in source.items():
        if isinstance(value, Mapping):
            _check_text(name, value, *above, key)
        elif isinstance(value, str) and not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            section, *inner = (*above, key.replace(".", "_") if name == ENVIRONMENT else key)
            place = _place(name, section, ("__" if name == ENVIRONMENT else ".").join(inner))
            raise ConfigError(f"{place}: is not UTF-8 text; write it as UTF-8")


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(sorted(known))


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, Mapping):
            before = target.get(key)
            # A table in the place of a value stands as it is: the check that follows says what is expected there.
            target[key] = dict(before) if isinstance(before, Mapping) else {}
            _merge(target[key], value)
        else:
            target[key] = value


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """SEGONE__SECTION__KEY, and SEGONE__KAFKA__CLIENT__SASL_PASSWORD for sasl.password.

    Where a setting is text, and for all of librdkafka's, the value counts as it stands (a password may look like a number);
    elsewhere it is read as TOML.
    """
    tables: dict[str, Any] = {}
    for name, text in environment.items():
        if not name.startswith("SEGONE__"):
            continue
        keys = [part.lower() for part in name.split("__")[1:]]
        if len(keys) < 2 or not all(keys):
            raise ConfigError(f"environment:{name}: names no setting; the form is SEGONE__SECTION__KEY")
        librdkafka = keys[0] == "kafka" and len(keys) == 3
        if librdkafka:
            keys[2] = keys[2].replace("_", ".")
        table = tables
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ConfigError(f"environment:{name}: another variable gives {key!r} a value of its own; remove one")
        table[keys[-1]] = text if librdkafka or _is_text(*keys[:2]) else _toml_value(text)
    return tables


def _is_text(section: str, key: str) -> bool:
    return any(field.name == key and (field.type is str or _is_choice(field.type)) for field in _fields(section))


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        return text


def _flatten_kafka(tables: dict[str, Any]) -> None:
    """librdkafka's names have dots, which TOML reads as nesting: sasl.password = "x" is put together again."""

    def flat(table: Mapping[str, Any], prefix: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, value in table.items():
            if isinstance(value, Mapping):
                result.update(flat(value, f"{prefix}{key}."))
            else:
                result[prefix + key] = value
        return result

    kafka = tables.get("kafka", {})
    for section in ("client", "consumer", "producer"):
        if isinstance(kafka.get(section), Mapping):
            kafka[section] = flat(kafka[section], "")


def _read_secret_files(name: str, tables: dict[str, Any]) -> None:
    """`sasl.password_file = "path"` under [kafka.client|consumer|producer] becomes `sasl.password` with the file's contents;
    `[watch] token_file` becomes `token`, `[privacy] pseudonym_key_file` `pseudonym_key`."""
    for section in ("client", "consumer", "producer"):
        table = tables.get("kafka", {}).get(section, {})
        if not isinstance(table, dict):
            continue  # the wrong type is told by the check that follows
        for key in [key for key in table if key.endswith(("_file", ".file"))]:
            secret = str(table.pop(key))
            table[key[:-5]] = _read_secret(f"{name}:[kafka.{section}] {key}", secret)
            tables["secrets"] = (*tables["secrets"], f"kafka.{section}.{key[:-5]}")
    for section, key in (("watch", "token"), ("privacy", "pseudonym_key")):
        table = tables.get(section, {})
        if table.get(f"{key}_file"):
            place = f"{name}:[{section}] {key}_file"
            table[key] = _read_secret(place, str(table[f"{key}_file"]))
            if not table[key]:
                raise ConfigError(f"{place}: {table[f'{key}_file']} is empty; the file must hold the secret")


def _read_secret(place: str, path: str) -> str:
    try:
        return Path(path).read_text("utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{place}: {path} cannot be read ({error.strerror}); check path and permissions") from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"{place}: {path} is not UTF-8 text; the file must hold the secret and nothing else"
        ) from error
