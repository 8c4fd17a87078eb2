"""The topics of segone on a cluster: their names, what they must be like."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from dataflows.files.sink import ALL_TOPICS
from dataflows.kafka.client import TopicPlan
from state.events import BROADCAST, TOPICS
from state.settings import KafkaSettings

COMPACTED = ("profiles", "models", "merchants")
"""Topics of which only the newest message of a key counts."""


def plans(kafka: KafkaSettings) -> list[TopicPlan]:
    """Every topic as `segone init` makes it: input topics co-partitioned, output partitions a multiple of the sink's."""
    stride = kafka.sink_partitions
    output_partitions = -(-kafka.partitions // stride) * stride
    made = []
    for topic in (*TOPICS, *ALL_TOPICS):
        inputs = 1 if topic in BROADCAST else kafka.partitions
        partitions = inputs if topic in TOPICS else output_partitions
        config = {"cleanup.policy": "compact"} if topic in COMPACTED else {}
        made.append(TopicPlan(kafka.topic_prefix + topic, partitions, kafka.replication_factor, config))
    return made


def faults(kafka: KafkaSettings, present: Mapping[str, int]) -> list[str]:
    """What keeps a run from starting on a cluster with these topics and partition counts; each says what to do."""
    prefix = kafka.topic_prefix
    found = []
    for kind, topics in (("input", TOPICS), ("output", ALL_TOPICS)):
        missing = [prefix + topic for topic in topics if prefix + topic not in present]
        if missing:
            found.append(
                f"no {kind} topic {', '.join(missing)}; `segone init` makes the topics that are missing, "
                "or this user may not see them (docs/security.md: rights)"
            )
    counts = {t: present[prefix + t] for t in TOPICS if prefix + t in present and t not in BROADCAST}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{prefix}{topic} {count}" for topic, count in counts.items())
        found.append(
            f"input topics differ in their partition counts ({told}); topics with customers must have the same, "
            "so that a customer is in the same partition of each"
        )
    uneven = [
        f"{prefix}{topic} {present[prefix + topic]}"
        for topic in ALL_TOPICS
        if present.get(prefix + topic, 0) % kafka.sink_partitions
    ]
    if uneven:
        found.append(
            f"[kafka] sink_partitions = {kafka.sink_partitions} must divide the partition count of every output topic, "
            f"but not of {', '.join(uneven)}; choose a common divisor"
        )
    return found


def silence_client() -> None:
    """For commands that tell an error themselves, once: librdkafka would tell it again with each try to connect."""
    logging.getLogger("segone.kafka").addHandler(logging.NullHandler())
