"""What the Kafka source, the Kafka sink and `segone init` share: settings, clients, errors, topics.

Every librdkafka property can be set: `[kafka.client]` reaches all clients, `[kafka.consumer]` and
`[kafka.producer]` one kind. Only the properties on which correctness rests are refused there (see `RESERVED` in state/settings.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from state.settings import ConfigError, KafkaSettings

Properties = Mapping[str, str | int | float | bool]
Answer = TypeVar("Answer")
Address = tuple[str, int]
"""A Kafka partition: topic and partition number."""

VALUE_BYTES_MAX_DEFAULT = 1_048_588
"""Kafka's own default of a topic's `max.message.bytes`."""

RETRY_PAUSE_S = 0.1
SLOW_BROKER_FACTOR = 3
"""How many times `broker_timeout_s` a transaction may take while brokers do answer: one that has just come back is slow."""
RECONNECT_MS_MAX = 1000
"""As in Kafka's own clients. librdkafka's 10 s may sleep through a broker that is up for some seconds between two restarts."""
TRANSACTION_TIMEOUT_MS_MAX = 900_000
"""Brokers refuse more (their `transaction.max.timeout.ms`, by default)."""

DENIALS = frozenset(
    {
        KafkaError.TOPIC_AUTHORIZATION_FAILED,
        KafkaError.GROUP_AUTHORIZATION_FAILED,
        KafkaError.CLUSTER_AUTHORIZATION_FAILED,
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    }
)
"""Answers that asking again does not change."""

_log = logging.getLogger("segone.kafka")


class BrokerUnavailable(Exception):
    """No broker answered for longer than `broker_timeout_s`. Nothing is lost: a restart goes on from the last epoch."""


class KafkaRefused(Exception):
    """The broker refused something that no retry can mend (authorisation, a deleted topic, a lost offset)."""


class TopicPlan(NamedTuple):
    """A topic for `create_topics`. `config` holds Kafka's own topic settings, e.g. {"cleanup.policy": "compact"}."""

    name: str
    partitions: int
    replication: int
    config: Mapping[str, str]


def consumer(settings: KafkaSettings, fixed: Properties, **callbacks: Callable[..., None]) -> Consumer:
    """A consumer: our defaults, then the settings, then what must be so (`fixed`)."""
    defaults = {"isolation.level": "read_committed", "fetch.wait.max.ms": 100, "fetch.queue.backoff.ms": 10}
    ours = {"group.id": settings.group_id or "segone", "enable.auto.commit": False, "enable.auto.offset.store": False}
    return _made(Consumer, defaults | _shared(settings) | settings.consumer | ours | dict(fixed) | callbacks)


def producer(
    settings: KafkaSettings, transactional_id: str, fixed: Properties, **callbacks: Callable[..., None]
) -> Producer:
    """A transactional producer; `init_transactions` is the caller's."""
    ours = {
        "transactional.id": transactional_id,
        # A transaction open in a crash hides later messages from read-committed readers until it times out or its
        # successor starts; one that waits for a broker must not time out before we give the broker up, nor just then.
        "transaction.timeout.ms": min(
            10_000 + int(SLOW_BROKER_FACTOR * settings.broker_timeout_s * 1000), TRANSACTION_TIMEOUT_MS_MAX
        ),
    }
    return _made(Producer, _shared(settings) | settings.producer | ours | dict(fixed) | callbacks)


def plain_producer(settings: KafkaSettings) -> Producer:
    """A producer without transactions: each message once, in order, and no more is promised."""
    return _made(Producer, _shared(settings) | settings.producer | {"enable.idempotence": True})


def sink_name(settings: KafkaSettings, number: int) -> str:
    """The transactional id of a sink partition, which is also the consumer group where it notes its beginning."""
    return f"{settings.transactional_id}-{number}"


def admin(settings: KafkaSettings, **callbacks: Callable[..., None]) -> AdminClient:
    """A client for asking and making. Keep it in a name of its own: its futures fail when it is collected."""
    return _made(AdminClient, _shared(settings) | callbacks)


def _shared(settings: KafkaSettings) -> dict[str, Any]:
    defaults = {"reconnect.backoff.max.ms": RECONNECT_MS_MAX}
    return defaults | settings.client | {"bootstrap.servers": settings.bootstrap_servers}


def _made(client: Callable[..., Any], properties: dict[str, Any]) -> Any:
    """Build a client; a property that librdkafka doesn't know or accept is the user's error."""
    try:
        return client(properties, logger=_log)
    except (KafkaException, TypeError, ValueError) as error:
        reason = error.args[0].str() if isinstance(error, KafkaException) else str(error)
        raise ConfigError(f"[kafka]: the Kafka client refuses its configuration: {reason}") from error


def unavailable(settings: KafkaSettings, for_s: float, doing: str, last_error: str = "") -> BrokerUnavailable:
    """The error for brokers that have not answered for `for_s` seconds while we were `doing` something."""
    reason = f" (last error: {last_error})" if last_error else ""
    return BrokerUnavailable(
        f"no Kafka broker at {settings.bootstrap_servers} answered for {for_s:g} s while {doing}{reason}. "
        "Check that the brokers run, that kafka.bootstrap_servers names the listener that [kafka.client] security.protocol is for "
        "(one for TLS hangs up on a client without it), and that this host may reach it; then start again: work continues from the "
        "last committed epoch."
    )


def insist(settings: KafkaSettings, ask: Callable[[], Answer], doing: str) -> Answer:
    """Ask again for `start_timeout_s` if need be: a cluster that has just started, or a new topic, has no leader yet.

    Raises:
        BrokerUnavailable: it never answered.
        KafkaRefused: it answered that this user may not.
    """
    give_up_s = time.monotonic() + settings.start_timeout_s
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() in DENIALS:
                raise KafkaRefused(
                    f"Kafka at {settings.bootstrap_servers} refuses this user, {doing}: {error.args[0].str()}. "
                    "Check its rights (docs/security.md)."
                ) from error
            if time.monotonic() > give_up_s:
                raise unavailable(settings, settings.start_timeout_s, doing, error.args[0].str()) from error
            time.sleep(RETRY_PAUSE_S)


def partition_counts(settings: KafkaSettings) -> dict[str, int]:
    """Partition count of each topic on the cluster.

    Raises:
        BrokerUnavailable: nobody answered within `start_timeout_s`.
    """
    errors: list[str] = []
    client = admin(settings, error_cb=lambda error: errors.append(error.str()))
    try:
        cluster = client.list_topics(timeout=settings.start_timeout_s)
    except KafkaException as error:
        client.poll(0)  # serves error_cb: refused logins and unknown hosts show there, not in the exception
        last = errors[0] if errors else error.args[0].str()
        raise unavailable(settings, settings.start_timeout_s, "asking for the list of topics", last) from error
    return {name: len(topic.partitions) for name, topic in cluster.topics.items() if topic.error is None}


def required_partitions(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, int]:
    """Partition counts of `topics`, all of which must exist (ConfigError otherwise)."""
    present = partition_counts(settings)
    missing = [topic for topic in topics if topic not in present]
    if missing:
        raise ConfigError(
            f"kafka.bootstrap_servers = {settings.bootstrap_servers}: no topic {', '.join(missing)} there. "
            "`segone init` makes the topics that are missing; or this user may not see them (docs/security.md: rights)."
        )
    return {topic: present[topic] for topic in topics}


def create_topics(settings: KafkaSettings, plans: Iterable[TopicPlan]) -> list[str]:
    """Make the topics that don't exist yet; the others stay as they are. Returns the names made.

    Raises:
        KafkaRefused: the cluster refused one; the message names it and gives the broker's reason.
    """
    present = partition_counts(settings)
    wanted = [plan for plan in plans if plan.name not in present]
    if not wanted:
        return []
    new = [NewTopic(plan.name, plan.partitions, plan.replication, config=dict(plan.config)) for plan in wanted]
    client = admin(settings)  # in a name of its own: its futures fail when it is collected
    for name, future in client.create_topics(new, request_timeout=settings.start_timeout_s).items():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another `init` was faster: as good
                raise KafkaRefused(f"Kafka does not make topic {name}: {error.args[0].str()}") from error
    _await_topics(settings, {plan.name for plan in wanted})
    return [plan.name for plan in wanted]


def _await_topics(settings: KafkaSettings, names: set[str]) -> None:
    """A topic exists a moment before all brokers know it: whoever starts right after `segone init` must find it."""
    give_up_s = time.monotonic() + settings.start_timeout_s
    while missing := names - partition_counts(settings).keys():
        if time.monotonic() > give_up_s:
            raise KafkaRefused(
                f"Kafka made {', '.join(sorted(missing))} but does not list it. Look at the brokers' logs."
            )
        time.sleep(RETRY_PAUSE_S)


def message_bytes_max(settings: KafkaSettings, topics: Iterable[str]) -> dict[str, int]:
    """`max.message.bytes` of each topic; Kafka's default where we may not ask (no DescribeConfigs right)."""
    limits = dict.fromkeys(topics, VALUE_BYTES_MAX_DEFAULT)
    resources = [ConfigResource(ResourceType.TOPIC, topic) for topic in limits]
    client = admin(settings)
    for resource, future in client.describe_configs(resources, request_timeout=settings.start_timeout_s).items():
        try:
            limits[resource.name] = int(future.result()["max.message.bytes"].value)
        except KafkaException as error:
            reason = error.args[0].str()
            _log.warning("max.message.bytes of %s is not known (%s): taking Kafka's default", resource.name, reason)
    return limits
