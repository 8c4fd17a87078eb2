"""How long a publisher waits for its brokers. No broker is needed: its producer is one that answers as the test says."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from talking import settings

from dataflows.kafka.client import SLOW_BROKER_FACTOR, BrokerUnavailable
from dataflows.kafka.publisher import Publisher
from state.records import Output

TIMEOUT_S = 0.3
CALL_S = 0.05
OUTPUTS = [Output("out", b"c-1", b"{}", b"1", ())]


class Message:
    def topic(self) -> str:
        return "out"

    def partition(self) -> int:
        return 0

    def offset(self) -> int:
        return 7


def publisher_that_commits(commit: Callable[[Publisher], None]) -> Publisher:
    """A publisher whose producer delivers at once; `commit` is called for each attempt to commit, and may raise."""
    made = Publisher(settings("localhost:1", broker_timeout_s=TIMEOUT_S), "test-0", {"out": 1}, {"out": 1_000_000})

    def produce(*arguments: Any) -> None:
        on_delivery: Callable[..., None] = arguments[4]
        on_delivery(None, Message())

    def commit_transaction(_timeout_s: float) -> None:
        time.sleep(CALL_S)
        commit(made)

    made._producer = SimpleNamespace(
        begin_transaction=lambda: None, produce=produce, commit_transaction=commit_transaction
    )
    return made


def timed_out() -> KafkaException:
    return KafkaException(KafkaError(KafkaError._TIMED_OUT, "still flushing", False, True, False))


def test_a_silent_broker_is_given_up() -> None:
    def commit(_made: Publisher) -> None:
        raise timed_out()

    with pytest.raises(BrokerUnavailable, match="committing outputs did not succeed"):
        publisher_that_commits(commit)._publish(OUTPUTS)


def test_a_broker_that_answers_slowly_after_its_return_is_waited_for() -> None:
    """On a busy machine a broker that was restarted takes longer to get going than anybody takes to give up a dead one."""
    calls: list[float] = []

    def commit(made: Publisher) -> None:
        calls.append(time.monotonic())
        made._watch.answered()
        if calls[-1] - calls[0] < 2 * TIMEOUT_S:
            raise timed_out()

    assert publisher_that_commits(commit)._publish(OUTPUTS) == {("out", 0): 8}
    assert calls[-1] - calls[0] >= 2 * TIMEOUT_S


def test_brokers_that_answer_but_never_commit_are_given_up_at_last() -> None:
    began_s = time.monotonic()

    def commit(made: Publisher) -> None:
        made._watch.answered()
        raise timed_out()

    with pytest.raises(BrokerUnavailable):
        publisher_that_commits(commit)._publish(OUTPUTS)
    assert time.monotonic() - began_s >= SLOW_BROKER_FACTOR * TIMEOUT_S


@pytest.mark.parametrize("fatal", [False, True])
def test_an_epoch_that_a_time_out_made_invalid_is_no_fence(fatal: bool) -> None:
    """A transaction that timed out is aborted and tried again; only a fatal error says that somebody has taken over."""
    made = publisher_that_commits(lambda _made: None)
    error = KafkaError(KafkaError.INVALID_PRODUCER_EPOCH, "epoch", fatal, False, not fatal)
    if fatal:
        with pytest.raises(Exception, match="taken over by another process"):
            made._raise_if_hopeless(error, "")
    else:
        made._raise_if_hopeless(error, "")
