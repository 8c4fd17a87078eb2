"""Whether any broker answers: what librdkafka, which retries for ever in silence, does not say by itself."""

from __future__ import annotations

import time

import orjson
from confluent_kafka import KafkaError

from dataflows.kafka.client import unavailable
from state.settings import KafkaSettings

HEARING_S_MAX = 0.1
"""What passes at most between two looks of one who listens."""


class BrokerWatch:
    """Notices that no broker answers any more. librdkafka itself retries for ever, in silence.

    Time in which nobody looked (a long checkpoint) doesn't count: answers may have been waiting all the while.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._responses = 0
        self._looked_s = self.answered_s = time.monotonic()
        """When a broker last answered."""
        self.watched_s = 0.0
        """For how long somebody has looked, since there was last more to read than was asked for."""
        self._last_error = ""
        self.listened_s = 0.0
        """For how long somebody has listened: of a time between two looks, what it takes at most to hear what came in it."""
        self.interval_ms = max(50, min(1000, int(settings.broker_timeout_s * 200)))
        """How often librdkafka is to report its counts."""

    def on_statistics(self, text: str) -> None:
        responses = sum(broker["rx"] for broker in orjson.loads(text)["brokers"].values())
        if responses != self._responses:
            self._responses = responses
            self.answered()

    def on_error(self, error: KafkaError) -> None:
        self._last_error = error.str()

    def answered(self) -> None:
        self.answered_s = time.monotonic()

    @property
    def silent(self) -> bool:
        """Nothing was heard for three reports: how far the logs go is not known any more."""
        return time.monotonic() - self.answered_s > 3 * self.interval_ms / 1000

    def look(self) -> None:
        """Raise BrokerUnavailable if the silence has lasted too long."""
        now_s = time.monotonic()
        unseen_s = now_s - self._looked_s
        self._looked_s = now_s
        self.listened_s += min(unseen_s, HEARING_S_MAX)
        if unseen_s > 2 * self.interval_ms / 1000:
            self.answered_s += unseen_s
        else:
            self.watched_s += unseen_s
        if now_s - self.answered_s > self._settings.broker_timeout_s:
            raise unavailable(self._settings, self._settings.broker_timeout_s, "reading", self._last_error)
