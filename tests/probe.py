"""A detector that reacts, waits, learns and steers episodes, for the laws: nonsense in the right form.

OPEN on an amount that ends in 50 cents, or on a balance below 500 of a known account; UPDATE and CLOSE when later transactions mature;
a second kind opens when nothing was bought for three days, and is withdrawn when an account is seen after that.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec

from operators.detector import DetectorConfig, Say, Wake, open_episode
from state.customer import Customer, Recent, Timer
from state.events import Account, Event, Transaction
from state.signals import Reason
from state.times import rfc3339

SIGNAL = "alert.probe"
QUIET_US = 3 * 86_400_000_000


class Config(DetectorConfig, frozen=True, kw_only=True):
    pass


class State(msgspec.Struct, array_like=True):
    transactions: int = 0
    accounts: int = 0
    last_event_us: int = 0


def _reason(code: str, contribution: float | None) -> tuple[Reason, ...]:
    return (Reason(code, "probe", 1, 0, contribution, "a probe"),)


def on_event(config: Config, state: State, event: Event, customer: Customer) -> list[Say | Wake]:
    ids = tuple(recent.transaction_id for recent in customer.recent[-3:])
    if isinstance(event, Transaction):
        if event.status == "reversed" or event.direction == "credit":
            return []
        answers: list[Say | Wake] = [Wake(max(customer.newest_us, event.time_us) + QUIET_US, "quiet")]
        if event.amount_minor % 100 == 50:
            answers.append(Say("OPEN", _reason("HALF", 5.0), "half", transaction_ids=(event.transaction_id,)))
        return answers
    if isinstance(event, Account) and ids:
        reasons = _reason("ACCOUNT", None)
        return [
            Say("RETRACT", reasons, "quiet", score=0.5, transaction_ids=ids),
            Say("OPEN", reasons, "account", score=0.9, transaction_ids=ids, forecast={"balance": event.balance_minor}),
        ]
    return []


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> list[Say | Wake]:
    assert recent.time_us >= state.last_event_us, "all topics are learned in one order of time"
    state.transactions += 1
    state.last_event_us = recent.time_us
    said = open_episode(customer, SIGNAL, "half")
    if said is None or said.time_us >= recent.time_us:
        return []
    step: Any = "CLOSE" if state.transactions % 3 == 0 else "UPDATE"
    return [Say(step, _reason("LATER", 4.0), "half", transaction_ids=(recent.transaction_id,))]


def learn_event(config: Config, state: State, event: Event, customer: Customer) -> None:
    assert event.time_us >= state.last_event_us, "all topics are learned in one order of time"
    state.accounts += 1
    state.last_event_us = event.time_us


def on_timer(config: Config, state: State, timer: Timer, customer: Customer) -> list[Say | Wake]:
    ids = tuple(recent.transaction_id for recent in customer.recent[-1:])
    if not ids:
        return []
    return [
        Say(
            "OPEN",
            _reason("QUIET", None),
            "quiet",
            score=0.8,
            transaction_ids=ids,
            details={"on": rfc3339(timer.due_us)},
        )
    ]


probe: Any = SimpleNamespace(
    NAME="probe",
    VERSION=1,
    SIGNAL=SIGNAL,
    Config=Config,
    State=State,
    TOPICS=frozenset((Transaction.TOPIC, Account.TOPIC)),
    LEARNS=frozenset((Account.TOPIC,)),
    on_event=on_event,
    learn=learn,
    learn_event=learn_event,
    on_timer=on_timer,
)
