"""Is a bill due soon that comes so rarely that one forgets it?

looks at   bills that come less often than every other month (state/recurring.py) and the day when the next one is expected
needs      three payments
says       alert.bill_due some days before, with date and amount; CLOSE when it has been paid. Monthly bills are no news
state      none of its own; one timer
blind to   bills that came fewer than three times; those paid in person
source     -
"""

from __future__ import annotations

from collections.abc import Iterator

from operators.detector import Answer, DetectorConfig, Say, Wake, open_episode
from operators.standing import iso, kind_of, matured, money
from state.business_days import DAY_US
from state.customer import Customer, Recent, Timer
from state.events import Event, Transaction
from state.income import own_digests
from state.payee import IN_PERSON
from state.recurring import Status, Stream
from state.signals import Reason

NAME = "bill_due"
VERSION = 1
SIGNAL = "alert.bill_due"
State = None
TOPICS = frozenset((Transaction.TOPIC,))
LEARNS_WHILE_OPEN = True


class Config(DetectorConfig, frozen=True, kw_only=True):
    ahead_days: int = 6
    period_days_min: float = 80.0
    waits_s: float = 259_200.0


def on_event(config: Config, state: None, event: Event, customer: Customer) -> Answer:
    assert isinstance(event, Transaction)
    if event.direction == "credit" or event.channel in IN_PERSON:
        return ()
    # A reminder that is due waits for the allowed lateness: it must not be passed over until then.
    return (Wake(_next_us(config, customer, customer.newest_us - int(config.waits_s * 1e6))),)


def on_timer(config: Config, state: None, timer: Timer, customer: Customer) -> Iterator[Say | Wake]:
    for stream in _rare_bills(config, customer):
        due_day = stream.due_day()
        if due_day is not None and (due_day - config.ahead_days) * DAY_US == timer.due_us:
            yield _due(config, stream, due_day)
    yield Wake(_next_us(config, customer, timer.due_us))


def learn(config: Config, state: None, recent: Recent, customer: Customer) -> Iterator[Say]:
    stream = matured(customer, recent)
    said = open_episode(customer, SIGNAL, kind_of(stream)) if stream is not None else None
    if said is not None and recent.time_us > said.time_us:
        reason = Reason("PAID", "transaction_id", recent.transaction_id, None, None, "it has been paid")
        yield Say("CLOSE", (reason,), said.kind, score=said.score, transaction_ids=(recent.transaction_id,))


def _due(config: Config, stream: Stream, due_day: int) -> Say:
    usual, _ = stream.usual_minor()
    amount = money(usual, stream)
    assert stream.rhythm is not None
    reason = Reason(
        code="BILL_DUE",
        feature="days_ahead",
        value=config.ahead_days,
        baseline=stream.rhythm.period_days,
        contribution=None,
        text=f"{stream.name} ({stream.rhythm.name}) will draw about {amount} {stream.currency} on {iso(due_day)}",
    )
    return Say(
        "OPEN",
        (reason,),
        kind_of(stream),
        score=stream.probability(),
        transaction_ids=(stream.last_id,),
        details={"stream": stream.name, "date": iso(due_day), "amount": amount, "currency": stream.currency},
        valid_until_us=(due_day + 1) * DAY_US,
        severity="LOW",
    )


def _rare_bills(config: Config, customer: Customer) -> list[Stream]:
    own = own_digests(customer)
    return [
        stream
        for stream in customer.current_streams()
        if stream.rhythm is not None
        and stream.rhythm.period_days >= config.period_days_min
        and not stream.credit
        and stream.payee not in own
        and stream.status(stream.last_day) is Status.MATURE
    ]


def _next_us(config: Config, customer: Customer, after_us: int) -> int | None:
    """When to speak next; None if no rare bill is expected."""
    reminders = [
        (due_day - config.ahead_days) * DAY_US
        for stream in _rare_bills(config, customer)
        if open_episode(customer, SIGNAL, kind_of(stream)) is None and (due_day := stream.due_day()) is not None
    ]
    return min((reminder for reminder in reminders if reminder > after_us), default=None)
