"""Is a bill due soon that one may forget: one that comes rarely, or that of a credit card that is paid by hand?

looks at   bills that come less often than every other month (state/recurring.py) and the day when the next one is expected; what is to
           be paid on a credit card until when (in.accounts), and what was paid since that was told
needs      three payments; of a card, minimum_payment and payment_due, a transaction of the last days or a recurring one to name, and
           that it was in use before its last due date, a month earlier: whether a direct debit draws its bill shows only then
says       alert.bill_due some days before, with date and amount; CLOSE when it has been paid. Monthly bills are no news
state      the day of each card's first purchase; one timer for bills, one for cards. A card whose bill is drawn by direct debit needs
           no reminder
blind to   bills that came fewer than three times; those paid in person; a card's first bill
source     -
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from operators.detector import Answer, DetectorConfig, Say, Span, Wake, open_episode
from operators.standing import answered, iso, kind_of, looked_us, matured, money
from state.business_days import DAY_US, day_of
from state.customer import ACCOUNTS_MAX, Customer, Recent, Timer
from state.customer import Account as KnownAccount
from state.events import Account, Event, Transaction
from state.income import own_digests
from state.money import format_minor
from state.payee import IN_PERSON, counterparty_digest
from state.recurring import Stream
from state.signals import Reason

NAME = "bill_due"
VERSION = 2
SIGNAL = "alert.bill_due"
TOPICS = frozenset((Transaction.TOPIC, Account.TOPIC))
CARDS = frozenset(("credit_card",))
DRAWN = frozenset(("direct_debit", "standing_order"))
NO_PAYMENT = frozenset(("ecommerce", "interest"))
"""Credits of these channels are refunds or the bank's own."""
CYCLE_DAYS = 31
"""From one due date of a card to the next: a month."""
CARDS_TIMER = "cards"


class Config(DetectorConfig, frozen=True, kw_only=True):
    ahead_days: int = 6
    period_days_min: float = 80.0
    waits_s: Span = 259_200.0
    drawn_days: int = 62
    card_score: float = 0.9


class State(msgspec.Struct, array_like=True):
    used_days: dict[str, int] = {}
    """By account, the day of its first purchase: of credit cards, and of accounts of which it is not known yet whether they are."""


def on_event(config: Config, state: State, event: Event, customer: Customer) -> Answer:
    if isinstance(event, Account):
        return _expect_card(config, event, customer)
    assert isinstance(event, Transaction)
    if event.direction == "credit" or event.channel in IN_PERSON:
        return ()
    # A reminder that is due waits for the allowed lateness: it must not be passed over until then.
    return (Wake(_next_us(config, customer, customer.newest_us - int(config.waits_s * 1e6))),)


def on_timer(config: Config, state: State, timer: Timer, customer: Customer) -> Iterator[Say | Wake]:
    if timer.episode:
        yield from _remind_cards(config, state, timer.due_us, customer)
        return
    for stream in _rare_bills(config, customer):
        due_day = stream.due_day()
        if due_day is not None and (due_day - config.ahead_days) * DAY_US == timer.due_us:
            said = open_episode(customer, SIGNAL, kind_of(stream))
            if said is not None and answered(said, stream):
                yield _paid(said.kind, said.score, stream.last_id)
            yield _due(config, stream, due_day)
    yield Wake(_next_us(config, customer, timer.due_us))


def learn(config: Config, state: State, recent: Recent, customer: Customer) -> Answer:
    if not recent.key & 128:
        _use(state, recent, customer)
    for said in customer.said:
        if said.type == SIGNAL and said.state == "OPEN":
            return _settle(recent, customer)
    return ()


def _use(state: State, recent: Recent, customer: Customer) -> None:
    known = customer.accounts.get(recent.account)
    if known is not None and known.kind not in CARDS:
        state.used_days.pop(recent.account, None)
        return
    if not recent.account or recent.account in state.used_days:
        return
    if len(state.used_days) >= ACCOUNTS_MAX:
        state.used_days = {card: day for card, day in state.used_days.items() if card in customer.accounts}
    if len(state.used_days) < ACCOUNTS_MAX:
        state.used_days[recent.account] = day_of(recent.time_us)


def _settle(recent: Recent, customer: Customer) -> Iterator[Say]:
    """What has been paid ends its episode."""
    if recent.key & 128:
        yield from _settle_card(recent, customer)
        return
    stream = matured(customer, recent)
    said = open_episode(customer, SIGNAL, kind_of(stream)) if stream is not None else None
    if said is not None and recent.time_us > said.time_us:
        yield _paid(said.kind, said.score, recent.transaction_id)


def _settle_card(recent: Recent, customer: Customer) -> Iterator[Say]:
    for said in customer.said:
        reminded = said.type == SIGNAL and said.state == "OPEN" and said.time_us < recent.time_us
        if reminded and said.kind.rpartition("@")[0] == recent.account and recent.channel not in NO_PAYMENT:
            yield _paid(said.kind, said.score, recent.transaction_id)


def _paid(kind: str, score: float, transaction_id: str) -> Say:
    reason = Reason("PAID", "transaction_id", transaction_id, None, None, "it has been paid")
    return Say("CLOSE", (reason,), kind, score=score, transaction_ids=(transaction_id,), severity="LOW")


def _expect_card(config: Config, event: Account, customer: Customer) -> Answer:
    """Sets the cards' timer to some days before the bill is due, or to now if that is nearer. A timer that is due earlier stays: it
    looks at all cards, and one that has come due waits for the allowed lateness: what is told meanwhile must not put it off."""
    known = customer.accounts.get(event.account_id)
    due_us = _card_due_us(known)
    if known is None or due_us is None or known.observed_us >= due_us or _is_said(customer, event.account_id, due_us):
        return ()
    remind_us = max(due_us - config.ahead_days * DAY_US, known.observed_us)
    if any(timer.name == NAME and timer.episode and timer.due_us <= remind_us for timer in customer.timers):
        return ()
    return (Wake(remind_us, CARDS_TIMER),)


def _remind_cards(config: Config, state: State, now_us: int, customer: Customer) -> Iterator[Say | Wake]:
    """Reminds of the cards' bills that are due soon, and looks again some days before the next."""
    next_us = None
    for account_id, known in sorted(customer.accounts.items()):
        due_us = _card_due_us(known)
        if due_us is None or due_us <= now_us:
            continue
        remind_us = due_us - config.ahead_days * DAY_US
        if remind_us > now_us:
            next_us = remind_us if next_us is None else min(next_us, remind_us)
        elif not _is_said(customer, account_id, due_us) and _is_proven(state, account_id, due_us):
            yield from _remind_card(config, account_id, known, due_us, now_us, customer)
    yield Wake(next_us, CARDS_TIMER)


def _is_said(customer: Customer, account_id: str, due_us: int) -> bool:
    kind = _card_kind(account_id, due_us)
    return any(said.type == SIGNAL and said.kind == kind for said in customer.said)


def _is_proven(state: State, account_id: str, due_us: int) -> bool:
    """Whether a direct debit would have shown: the card was in use when the month before's bill was due."""
    used_day = state.used_days.get(account_id)
    return used_day is not None and used_day < day_of(due_us) - CYCLE_DAYS


def _remind_card(
    config: Config, account_id: str, known: KnownAccount, due_us: int, now_us: int, customer: Customer
) -> Iterator[Say]:
    assert known.payment_minor is not None, "something is due"
    told_day, paid_minor, newest_id = day_of(known.observed_us), 0, ""
    for stream in customer.current_streams():
        to_card = stream.account == account_id and stream.credit
        if stream.channel in DRAWN and (to_card or stream.payee == counterparty_digest(account_id)):
            if stream.last_day >= told_day - config.drawn_days:
                return
        elif to_card and stream.channel not in NO_PAYMENT:
            paid_minor += sum(a for a, day in zip(stream.amounts, stream.days, strict=True) if day >= told_day)
        newest_id = stream.last_id if stream.account == account_id else newest_id
    evidence = newest_id or _newest_id(customer)
    if paid_minor < known.payment_minor and evidence:
        yield _card_due(config, account_id, known, due_us, now_us, evidence)


def _card_due(
    config: Config, account_id: str, known: KnownAccount, due_us: int, now_us: int, transaction_id: str
) -> Say:
    assert known.payment_minor is not None
    amount, on = format_minor(known.payment_minor, known.currency), iso(day_of(due_us))
    reason = Reason(
        code="CARD_DUE",
        feature="days_ahead",
        value=day_of(due_us) - day_of(now_us),
        baseline=None,
        contribution=None,
        text=f"at least {amount} {known.currency} are to be paid on the credit card by {on}; nothing draws it, nor was it paid",
    )
    details = {"stream": "credit card", "account_id": account_id, "date": on, "amount": amount}
    return Say(
        "OPEN",
        (reason,),
        _card_kind(account_id, due_us),
        score=config.card_score,
        transaction_ids=(transaction_id,),
        details=details | {"currency": known.currency},
        valid_until_us=due_us + DAY_US,
        severity="LOW",
    )


def _card_due_us(known: KnownAccount | None) -> int | None:
    """When something is to be paid on a card; None if nothing is."""
    owing = known is not None and known.kind in CARDS and known.status == "open" and known.payment_minor
    return known.due_us if known is not None and owing else None


def _card_kind(account_id: str, due_us: int) -> str:
    """Each bill of a card is an episode of its own, should one never be paid."""
    return f"{account_id}@{iso(day_of(due_us))}"


def _newest_id(customer: Customer) -> str:
    """Of what is known of the customer by name; empty if there is nothing."""
    if customer.recent:
        return customer.recent[-1].transaction_id
    return customer.streams[-1].last_id if customer.streams else ""


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
    rare = [
        stream
        for stream in customer.current_streams()
        if stream.mature
        and stream.rhythm is not None
        and stream.rhythm.period_days >= config.period_days_min
        and not stream.credit
    ]
    own = own_digests(customer) if rare else set()
    return [stream for stream in rare if stream.payee not in own]


def _next_us(config: Config, customer: Customer, after_us: int) -> int | None:
    """When to speak next; None if no rare bill is expected."""
    reminders = [
        reminder
        for stream in _rare_bills(config, customer)
        if (due_day := stream.due_day()) is not None
        and (reminder := (due_day - config.ahead_days) * DAY_US) > looked_us(customer, SIGNAL, stream)
    ]
    return min((reminder for reminder in reminders if reminder > after_us), default=None)
