"""Settings: what can be configured, and how it is read: defaults ← TOML file ← environment ← flags.

The numbers live in config/*.toml beside their reasons; the structs here give their names, units and limits. An environment
variable `SEGONE__SECTION__KEY` overrides `[section] key`. A key that ends in `_file` names a file that holds a secret.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args, get_origin

import msgspec
import orjson
from msgspec import Meta

ENVIRONMENT = "environment"
CONFIG_DIR = Path(__file__).resolve().parent.parent / "config"

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=366 * 86_400)]


class ConfigError(Exception):
    """A wrong setting, argument or mapping: the message says what, where (file:key) and what to do. Ends a command with exit code 2."""


class LogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where events come from and signals go to."""

    kind: Literal["files", "kafka"] = "files"
    input: str = ""
    """Folder of the embedded log to read (`--input`)."""
    output: str = ""
    """Folder to write (`--output`)."""
    follow: bool = False
    """Wait for more at the end of the input, instead of ending there."""
    partitions: Count = 4
    batch_records_max: Count = 2000
    poll_ms: Annotated[int, Meta(ge=1, le=60_000)] = 50


RESERVED: Final = {
    "bootstrap.servers": "kafka.bootstrap_servers",
    "group.id": "kafka.group_id",
    "auto.offset.reset": "kafka.auto_offset_reset",
    "enable.auto.commit": "nothing: the engine's recovery holds the positions",
    "enable.auto.offset.store": "nothing: the engine's recovery holds the positions",
    "enable.partition.eof": "nothing: the source needs it",
    "statistics.interval.ms": "nothing: the source needs it",
    "transactional.id": "kafka.transactional_id",
    "enable.idempotence": "nothing: the sink is transactional",
    "transaction.timeout.ms": "kafka.broker_timeout_s",
    "acks": "nothing: a transactional producer needs all",
}
"""librdkafka's properties on which correctness rests: what to set instead."""


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Kafka: every librdkafka setting goes through [kafka.client] (both sides), [kafka.consumer] or [kafka.producer]."""

    bootstrap_servers: str = "localhost:9092"
    """host:port of some brokers, separated by commas."""
    topic_prefix: str = ""
    """Before every topic's name on the cluster: several flows can share one."""
    group_id: str = "segone"
    """Positions are also committed to this group after each epoch, for lag tools; they are never read back. Empty: not at all."""
    transactional_id: str = "segone"
    """Names this flow to the brokers: two flows on one cluster need two."""
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a new state begins to read."""
    start_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 15.0
    """How long a start waits for brokers and topics."""
    broker_timeout_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    merge_wait_ms: Annotated[int, Meta(ge=0, le=600_000)] = 1000
    """How long other topics wait for one that is known to have more but whose next record is not here yet."""
    batch_records_max: Count = 1000
    commit_interval_ms: Annotated[int, Meta(ge=0, le=60_000)] = 10
    sink_partitions: Annotated[int, Meta(ge=1, le=256)] = 4
    """Transactional producers; must divide the partition count of every output topic. Fixed when the state is made."""
    partitions: Count = 4
    replication_factor: Annotated[int, Meta(ge=1, le=15)] = 1
    end_at_high_watermark: bool = False
    """Read what is there at the start, and end."""
    client: dict[str, str | int | float | bool] = {}
    consumer: dict[str, str | int | float | bool] = {}
    producer: dict[str, str | int | float | bool] = {}

    def __post_init__(self) -> None:
        for table in ("client", "consumer", "producer"):
            for name in getattr(self, table):
                if name in RESERVED:
                    raise ConfigError(f"kafka.{table}.{name}: cannot be set there; use {RESERVED[name]}")


class ShardSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The state machine. `count` and what defines the windows' contents are fixed when a state directory is made."""

    count: Annotated[int, Meta(ge=1, le=4096)] = 64
    hot_customers_max: Count = 40_000
    allowed_lateness_s: Seconds = 172_800.0
    reorder_wait_s: Seconds = 0.0
    future_tolerance_s: Seconds = 86_400.0
    duplicate_horizon_s: Seconds = 2_592_000.0


class StateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where state is kept and how hard it is made. An empty `dir` means `.segone` beside the output (files) or `segone-state` (Kafka)."""

    dir: str = ""
    durability: Literal["process", "power"] = "process"
    checkpoint_interval_ms: Annotated[int, Meta(ge=50, le=600_000)] = 1000
    recovery_partitions: Annotated[int, Meta(ge=1, le=256)] = 4
    map_size_gb_max: Annotated[int, Meta(ge=1, le=65_536)] = 64


class KnowledgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is learned across customers: merchants and models, in buckets of arrival time. `bucket_s` and `merchant_keys` are fixed
    when a state directory is made."""

    enabled: bool = True
    bucket_s: Annotated[int, Meta(ge=1, le=31 * 86_400)] = 86_400
    merchant_keys: Annotated[int, Meta(ge=1, le=256)] = 4
    label_horizon_s: Seconds = 691_200.0
    awaiting_max: Annotated[int, Meta(ge=1, le=4096)] = 256
    negative_share: Annotated[float, Meta(gt=0, le=1)] = 0.1
    pacing_wait_s: Annotated[float, Meta(gt=0, le=86_400)] = 60.0
    versions_kept: Annotated[int, Meta(ge=2, le=1000)] = 30

    @property
    def bucket_us(self) -> int:
        return self.bucket_s * 1_000_000

    @property
    def label_horizon_us(self) -> int:
        return int(self.label_horizon_s * 1e6)


class MetricsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The port for /metrics, /healthz and /readyz; 0 turns it off. Process i of a local cluster uses port + i."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    engine_port: Annotated[int, Meta(ge=0, le=65_535)] = 0
    """Where Bytewax serves its own metrics, which are merged into ours; 0 leaves it off, since it listens on all interfaces."""
    stalled_after_s: Annotated[float, Meta(gt=0, le=86_400)] = 120.0
    ready_lag_records_max: Count = 100_000
    ready_lag_bytes_max: Count = 32_000_000


class LogsSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the worker tells on standard error. "auto": readable on a terminal, else one JSON object a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


PSEUDONYM_KEY_CHARS_MIN: Final = 16
"""Less could be guessed."""


class PrivacySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What outputs call customers by. With a key: by a keyed hash of their ids."""

    pseudonym_key: str = ""
    pseudonym_key_file: str = ""
    """Names a file that holds the key."""

    def __post_init__(self) -> None:
        if 0 < len(self.pseudonym_key) < PSEUDONYM_KEY_CHARS_MIN:
            raise ConfigError(
                f"[privacy] pseudonym_key: is shorter than {PSEUDONYM_KEY_CHARS_MIN} characters and could be guessed; "
                "make one by: head -c 32 /dev/urandom | base64"
            )


class WatchSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The live page (`segone watch`): where it listens, who may look, how much it remembers."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8011
    token: str = ""
    token_file: str = ""
    """Names a file that holds the token."""
    signals_max: Count = 10_000
    profiles_max: Count = 5_000
    bytes_max: Annotated[int, Meta(ge=1 << 16, le=1 << 34)] = 1 << 25
    """Of the signals, and again of the profiles."""
    poll_ms: Annotated[int, Meta(ge=10, le=60_000)] = 500
    push_ms: Annotated[int, Meta(ge=10, le=60_000)] = 1000
    clients_max: Annotated[int, Meta(ge=1, le=10_000)] = 50


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    log: LogSettings = LogSettings()
    kafka: KafkaSettings = KafkaSettings()
    shard: ShardSettings = ShardSettings()
    state: StateSettings = StateSettings()
    metrics: MetricsSettings = MetricsSettings()
    knowledge: KnowledgeSettings = KnowledgeSettings()
    watch: WatchSettings = WatchSettings()
    logs: LogsSettings = LogsSettings()
    privacy: PrivacySettings = PrivacySettings()
    detectors: dict[str, dict[str, Any]] = {}
    secrets: tuple[str, ...] = ()
    """No section: names, as kafka.client.sasl.password, of the values that were read from files of secrets."""

    def digest(self) -> str:
        """Names everything that can change a signal: the `config` of each signal."""
        shard = msgspec.to_builtins(self.shard)
        for name in ("count", "hot_customers_max"):  # say where and how fast, not what
            del shard[name]
        said: list[Any] = [self.detectors, shard]
        if self.knowledge.enabled:
            knowledge = msgspec.to_builtins(self.knowledge)
            for name in ("pacing_wait_s", "versions_kept"):  # say how long, not what
                del knowledge[name]
            said.append(knowledge)
        raw = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
        return "sha256:" + sha256(raw).hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file; a missing or malformed one is a ConfigError."""
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path given with --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from error


def load_settings(
    path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Mapping[str, Any]] | None = None,
) -> Settings:
    """Reads config/ (detectors, intents, products, default), then `path`, the environment, the flags: each over the one before."""
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
            msgspec.convert(tables, Settings)
        except msgspec.ValidationError as error:
            raise ConfigError(_wrong_value(name, error)) from error
    return msgspec.convert(tables, Settings)


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


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "known are " + ", ".join(sorted(known))


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> None:
    for key, value in source.items():
        if isinstance(value, Mapping):
            target[key] = dict(target.get(key, {}))
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
    except tomllib.TOMLDecodeError:
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
