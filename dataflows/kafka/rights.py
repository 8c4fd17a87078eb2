"""What this user may do with topics and groups, asked of the brokers before the first record, so that a denial names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AclOperation

from dataflows.files.sink import ALL_TOPICS
from dataflows.kafka.client import KafkaRefused, admin, sink_name
from state.events import TOPICS
from state.settings import KafkaSettings

READS = (AclOperation.READ,)
WRITES = (AclOperation.READ, AclOperation.WRITE)
"""Output topics are read, too: after a crash, for what was already written."""


def needed(settings: KafkaSettings) -> dict[str, Sequence[AclOperation]]:
    """What a worker must be allowed, by topic."""
    inputs: dict[str, Sequence[AclOperation]] = {settings.topic_prefix + topic: READS for topic in TOPICS}
    return inputs | {settings.topic_prefix + topic: WRITES for topic in ALL_TOPICS}


def require_rights(settings: KafkaSettings) -> None:
    """Asks the brokers what this user may do.

    Raises:
        KafkaRefused: something that a worker needs is denied; the message names every such topic and group.
    """
    denied = [f"topic {topic} ({', '.join(missing)})" for topic, missing in _denied(settings, needed(settings)).items()]
    denied += [f"group {group} (Read)" for group in _denied_groups(settings)]
    if denied:
        raise KafkaRefused(
            f"Kafka at {settings.bootstrap_servers} denies this user rights that a worker needs: "
            f"{', '.join(denied)}. Grant them (docs/security.md: rights), then start again."
        )


def _denied(settings: KafkaSettings, wanted: Mapping[str, Sequence[AclOperation]]) -> dict[str, list[str]]:
    client = admin(settings)  # in a name of its own: its futures fail when it is collected
    answers = client.describe_topics(
        TopicCollection(list(wanted)), include_authorized_operations=True, request_timeout=settings.start_timeout_s
    )
    denied = {}
    for topic, future in answers.items():
        try:
            granted = future.result().authorized_operations
        except KafkaException:
            continue  # gone since it was listed, or no broker answers: whoever reads or writes it says so
        if granted is None:
            continue  # brokers that can't tell
        missing = [operation.name.capitalize() for operation in wanted[topic] if operation not in granted]
        if missing:
            denied[topic] = missing
    return denied


def _denied_groups(settings: KafkaSettings) -> list[str]:
    """Of the positions' group and those of the sinks, which this user may not even look at."""
    groups = [sink_name(settings, number) for number in range(settings.sink_partitions)]
    if settings.group_id:
        groups.append(settings.group_id)
    client = admin(settings)
    answers = client.describe_consumer_groups(groups, request_timeout=settings.start_timeout_s)
    return [group for group, future in answers.items() if _is_denied(future)]


def _is_denied(future: Future[Any]) -> bool:
    try:
        future.result()
    except KafkaException as error:
        return bool(error.args[0].code() == KafkaError.GROUP_AUTHORIZATION_FAILED)
    return False
