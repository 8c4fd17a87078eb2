"""Whose money will be where: the forecast of one account, and of all that a customer has at hand.

An account's forecast has every payment that is expected of it. A customer's adds up current and savings accounts: what moves between
them stays the customer's, so it counts on neither side, and help from savings is no income.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import add

from operators.cashflow import DRIFT, EVENED, Outlook, card_bill, outlook, span_us
from state.cash_habit import CashHabit
from state.customer import Customer
from state.payee import counterparty_digest
from state.recurring import Flow, Stream, flows

DRIFT_TOGETHER = 2.0
"""As DRIFT: nothing is evened out where what is put aside stays the customer's."""
SHRUNK = 0.68
"""What moves between accounts widens the bands of each, but not of their sum. Both chosen by hand, so that bands of 7, 14 and 30 days keep
their promise on development worlds (seeds 501, 502)."""
AT_HAND = frozenset(("current", "savings"))
"""Kinds of account whose money can be spent tomorrow."""


def of_account(
    habit: CashHabit,
    card_shares: Mapping[str, float],
    customer: Customer,
    streams: Sequence[Stream],
    account: str,
    currency: str,
    balance_minor: int,
    time_us: int,
    inside: frozenset[int] = frozenset(),
    evened: float = EVENED,
    drift: float = DRIFT,
) -> Outlook:
    """The coming days of one account of the customer. Without what its owner moves between accounts as it suits: that is no obligation.
    Card bills follow what is owed. `card_shares`: of what is owed on a card, the share usually paid; `inside`: payees (digests) that
    don't count."""
    payees = {stream.id: stream.payee for stream in streams}
    cards = {counterparty_digest(card): card for card in card_shares}
    own = [stream for stream in streams if stream.rhythm is not None and stream.account == account]
    expected: list[Flow] = []
    for flow in flows(own, *span_us(time_us)):
        if flow.currency != currency or flow.channel == "internal" or payees[flow.stream] in inside:
            continue
        card = cards.get(payees[flow.stream])
        owed_minor = -(customer.balance_minor(card) or 0) if card is not None else 0
        if card is not None and flow.amount_minor < 0 and owed_minor >= 0:
            expected.append(card_bill(flow, time_us, owed_minor, card_shares[card]))
        else:
            expected.append(flow)
    return outlook(balance_minor, expected, habit, time_us, currency, evened=evened, drift=drift)


def of_customer(
    habits: Mapping[str, CashHabit],
    card_shares: Mapping[str, float],
    customer: Customer,
    currency: str,
    time_us: int,
) -> Outlook | None:
    """The coming days of all the customer's money at hand in one currency; None if there is no second account to see it with. What is put
    aside or fetched stays the customer's: nothing is evened out."""
    streams = customer.current_streams()
    accounts = at_hand(habits, customer, currency)
    if len(accounts) < 2:
        return None
    inside = frozenset(map(counterparty_digest, accounts))
    ahead = [
        of_account(
            habits.get(account) or CashHabit(),
            card_shares,
            customer,
            streams,
            account,
            currency,
            balance_minor,
            time_us,
            inside,
            evened=0.0,
            drift=DRIFT_TOGETHER,
        )
        for account, balance_minor in accounts.items()
    ]
    return together(ahead)


def at_hand(habits: Mapping[str, CashHabit], customer: Customer, currency: str) -> dict[str, int]:
    """The balances of the customer's open current and savings accounts; of a current one only if its habit is known."""
    found = {}
    for account_id, account in customer.accounts.items():
        if account.kind not in AT_HAND or account.status != "open" or account.currency != currency:
            continue
        balance_minor = customer.balance_minor(account_id)
        if balance_minor is not None and (account.kind != "current" or account_id in habits):
            found[account_id] = balance_minor
    return found


def together(outlooks: Sequence[Outlook]) -> Outlook:
    """The sum of several accounts' forecasts of the same days."""
    if len(outlooks) > 1:
        outlooks = [ahead._replace(sds=[SHRUNK * sd for sd in ahead.sds]) for ahead in outlooks]
    first, *others = outlooks
    for other in others:
        first = Outlook(
            first.day,
            first.balance_minor + other.balance_minor,
            list(map(add, first.means, other.means)),
            list(map(math.hypot, first.sds, other.sds)),
            list(map(add, first.everyday, other.everyday)),
            list(map(add, first.lows, other.lows)),
            sorted([*first.flows, *other.flows], key=lambda flow: (flow.due_us, flow.stream)),
            first.currency,
            first.usual_minor + other.usual_minor,
        )
    return first
