"""Settings: what can be configured, with names, units and limits. The numbers live in config/*.toml beside their reasons;
state/settings_reading.py reads them."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import orjson
from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Seconds = Annotated[float, Meta(ge=0, le=366 * 86_400)]
PARTITIONS_MAX: Final = 4096
"""Of an embedded log. Each is files and a part of the engine; more is a slip, such as a file that is named by its day."""


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
    partitions: Annotated[int, Meta(ge=1, le=PARTITIONS_MAX)] = 4
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
    """How long other topics wait for one that is known to have more but whose next record is not here yet, while brokers answer.
    A bounded read waits as long as it takes."""
    batch_records_max: Count = 1000
    commit_interval_ms: Annotated[int, Meta(ge=0, le=60_000)] = 5
    sink_partitions: Annotated[int, Meta(ge=1, le=256)] = 1
    """Transactional producers; must divide the partition count of every output topic. Fixed when the state is made."""
    partitions: Count = 4
    replication_factor: Annotated[int, Meta(ge=1, le=15)] = 1
    end_at_high_watermark: bool = False
    """Read what is there at the start, and end."""
    accept_other_topics: bool = False
    """Go on at the stored offsets although input topics are others by their ids: for one start, after a move to a cluster that kept all
    offsets (mirrored with them, or restored)."""
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
    recovery_partitions: Annotated[int, Meta(ge=1, le=256)] = 1
    map_size_gb_max: Annotated[int, Meta(ge=1, le=65_536)] = 64


class KnowledgeSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is learned across customers: merchants and models, in buckets of arrival time. `bucket_s` and `merchant_keys` are fixed
    when a state directory is made."""

    enabled: bool = True
    bucket_s: Annotated[int, Meta(ge=1, le=31 * 86_400)] = 86_400
    merchant_keys: Annotated[int, Meta(ge=1, le=256)] = 4
    label_horizon_s: Seconds = 691_200.0
    label_late_s: Seconds = 345_600.0
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

    @property
    def label_late_us(self) -> int:
        return int(self.label_late_s * 1e6)


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


class ProfilesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The topic `profiles`: how often a customer's profile is written, and of whom what may be."""

    enabled: bool = True
    min_interval_s: Seconds = 604_800.0
    """A customer's records are at least so far apart, by arrival; 0: one with each event."""
    max_delay_s: Seconds = 1_209_600.0
    """After a record, the longest until a change is told; not less than `shard.allowed_lateness_s`."""
    purposes: tuple[str, ...] = ("profiling",)
    """What profiles serve: of a customer who refuses one of them there is none."""
    sensitive_categories: tuple[str, ...] = ("medical", "pharmacy", "gambling")
    """Counted under "other" without consent to `health`."""


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
    profiles: ProfilesSettings = ProfilesSettings()
    detectors: dict[str, dict[str, Any]] = {}
    secrets: tuple[str, ...] = ()
    """No section: names, as kafka.client.sasl.password, of the values that were read from files of secrets."""

    @property
    def state_folder(self) -> Path:
        """Where the state is kept: `[state] dir`, else `.segone` in the output folder (files) or `segone-state` (Kafka)."""
        if self.state.dir:
            return Path(self.state.dir)
        return Path("segone-state") if self.log.kind == "kafka" else Path(self.log.output) / ".segone"

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
