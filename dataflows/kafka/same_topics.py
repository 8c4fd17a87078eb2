"""Whether the input topics are still those of which positions were noted: one that was deleted and made again has other records at the
same offsets, and only its id tells. librdkafka reads on in it without a word, and leaves partitions out that are added later."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from dataflows.kafka.client import KafkaRefused, admin
from state.settings import KafkaSettings

LOOK_INTERVAL_S = 5.0
NO_ID = "A" * 22
"""Sixteen zeros: brokers that know no ids (Kafka before 2.8)."""


class Topic(NamedTuple):
    """What tells a topic from its successor of the same name. `id` is empty where brokers know none."""

    id: str
    partitions: int


Ask = Callable[[], Mapping[str, Topic]]


def topics_now(settings: KafkaSettings, names: Iterable[str]) -> Ask:
    """What asks for the topics as they are then, all of which must exist. Through one client: a new one would connect anew each time."""
    return partial(_asked, admin(settings), settings, list(names))


def _asked(client: AdminClient, settings: KafkaSettings, names: list[str]) -> Mapping[str, Topic]:
    answers = client.describe_topics(TopicCollection(names), request_timeout=settings.start_timeout_s)
    told = {name: future.result() for name, future in answers.items()}
    ids = {name: str(each.topic_id) for name, each in told.items()}
    return {name: Topic("" if ids[name] == NO_ID else ids[name], len(told[name].partitions)) for name in told}


def others(noted_id: str, found_id: str) -> bool:
    """Whether these are ids of two topics; what is not known may be any.

    >>> others("a", "b"), others("a", "a"), others("", "b"), others("a", "")
    (True, False, False, False)
    """
    return bool(noted_id and found_id) and noted_id != found_id


def require_same(name: str, offset: int, noted_id: str, found_id: str) -> None:
    """Raises KafkaRefused if a position was noted of another topic than the one that bears its name now."""
    if offset and others(noted_id, found_id):
        raise KafkaRefused(
            f"{name}: was made anew since it was read up to offset {offset} (the id of the topic was {noted_id}, now it is {found_id}): "
            "what lies before that offset now was never read. Nothing was skipped. To begin anew with what is there, start with an empty "
            "recovery and state directory; after a move to another cluster that kept all offsets, start with "
            "[kafka] accept_other_topics = true once"
        )


class SameTopics:
    """Looks every few seconds, in a thread of its own, whether the topics being read are those of the start.

    Args:
        topics: as they were then.
        ask: asks for them again.
    """

    def __init__(self, topics: Mapping[str, Topic], ask: Ask) -> None:
        self._topics, self._ask = topics, ask
        self._failure: KafkaRefused | None = None
        self._closed = threading.Event()
        threading.Thread(target=self._watch, name="segone-same-topics", daemon=True).start()

    def require(self) -> None:
        """Raises KafkaRefused if they were seen not to be."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        self._closed.set()

    def _watch(self) -> None:
        while self._failure is None and not self._closed.wait(LOOK_INTERVAL_S):
            try:
                found = self._ask()
            except KafkaException:
                continue  # a topic is gone, or no broker answers: who reads says so
            self._failure = self._difference(found)

    def _difference(self, found: Mapping[str, Topic]) -> KafkaRefused | None:
        for name, (noted_id, count) in self._topics.items():
            if others(noted_id, found[name].id):
                return KafkaRefused(
                    f"{name}: was deleted and made anew while it was read. What was written to it before this was seen may be read in "
                    "part only. To begin anew with what is there, start with an empty recovery and state directory"
                )
            if found[name].partitions != count:
                return KafkaRefused(
                    f"{name}: has {found[name].partitions} partitions now, and had {count} when this run began, which does not read "
                    "the others. Give all input topics with customers the same count and start again: the new ones are then read from "
                    "their beginning. What becomes of customers that move to them: docs/rescale-upgrade.md (Rescale)"
                )
        return None
