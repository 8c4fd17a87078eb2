"""The market's rate has fallen far enough below that of the customer's loan for a new one to pay off.

Asked for each account of a kind in `kinds` whenever the market has a new rate for that product: what the loan costs as it is paid now
and what it would cost at the new rate until the same month, both exact to the cent (state/amortisation.py). No model: a sum.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import msgspec

from operators.detector import DetectorConfig, Say, open_episode
from state.amortisation import Plan, annuity, annuity_payment, pay_off
from state.balances import balance_now
from state.customer import Account, Customer
from state.events import Account as AccountEvent
from state.events import Event, MarketRate
from state.money import format_minor
from state.payee import counterparty_digest
from state.recurring import Stream
from state.rhythm import MONTHS, SEMI_MONTHLY, Rhythm
from state.signals import Reason
from state.worth import minor_of

NAME = "refinance"
VERSION = 1
SIGNAL = "intent.refinance"
TOPICS: Final = frozenset((AccountEvent.TOPIC,))
RATED: Final = frozenset(("loan", "mortgage"))
MONTH_DAYS: Final = 365.25 / 12


class Cost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What it takes to change the loan: a share of what is owed in percent, and a fixed sum in euros' worth (state/worth.py)."""

    percent: float = 0.0
    fixed: int = 0
    months: int = 120
    """How long such loans still run, where nothing tells what is paid each month."""


class Config(DetectorConfig, frozen=True, kw_only=True):
    kinds: dict[str, Cost] = {}
    """By kind of account, which is also the market's product."""
    saving_min: int = 10
    """In euros' worth a month (state/worth.py): for less nobody moves."""
    close_saving_share: float = 0.5
    """An open episode ends below this share of `saving_min`."""
    update_share: float = 0.1
    """The saving must have changed by this share for an UPDATE."""


class State(msgspec.Struct, array_like=True):
    """Of each open episode the monthly saving that was last told. Rates come to all in one order, so it may change with them."""

    told_minor: dict[str, int] = {}


class Offer(NamedTuple):
    """A loan as it is and as it would be. Money in minor units, payments a month."""

    owed_minor: int
    months: int
    paid_minor: int
    plan: Plan | None
    """How it is paid off; None if nothing tells what is paid: then equal payments."""
    offered_minor: int
    cost_minor: int

    @property
    def saving_minor(self) -> int:
        """A month."""
        return self.paid_minor - self.offered_minor

    @property
    def break_even_months(self) -> int | None:
        """After so many months what it cost is saved; None if never."""
        return math.ceil(self.cost_minor / self.saving_minor) if self.saving_minor > 0 else None

    @property
    def worth(self) -> float:
        """The share of the remaining months in which the saving is the customer's: 0 if it never is.

        >>> Offer(50_000, 100, 500, None, 450, 1_000).worth
        0.8
        """
        months = self.break_even_months
        return 0.0 if months is None else max(0.0, 1.0 - months / self.months)


def on_rate(config: Config, state: State, rate: MarketRate, customer: Customer) -> list[Say]:
    cost = config.kinds.get(rate.product or "")
    if cost is None or rate.value < 0:
        return []
    said = (
        _say(config, cost, state, rate, customer, account_id, account)
        for account_id, account in sorted(customer.accounts.items())
        if account.kind == rate.product and rate.currency in (None, account.currency)
    )
    return [one for one in said if one is not None]


def on_event(config: Config, state: State, event: Event, customer: Customer) -> list[Say]:
    """A loan that is closed or paid back needs no other."""
    assert isinstance(event, AccountEvent)
    account = customer.accounts.get(event.account_id)
    if event.kind not in RATED or account is None or (account.status == "open" and account.balance_minor):
        return []
    text = "the loan is paid back"
    reasons = (
        Reason("LOAN_ENDED", "balance", format_minor(account.balance_minor, account.currency), None, None, text),
    )
    return [
        Say("CLOSE", reasons, said.kind, said.score, (said.transaction_id,), {"account_id": event.account_id})
        for said in customer.said
        if said.type == SIGNAL and said.state == "OPEN" and said.kind.rpartition(" ")[0] == event.account_id
    ]


def _say(
    config: Config,
    cost: Cost,
    state: State,
    rate: MarketRate,
    customer: Customer,
    account_id: str,
    account: Account,
) -> Say | None:
    kind = f"{account_id} {rate.series}"
    said = open_episode(customer, SIGNAL, kind)
    stream = repayments(customer, account_id)
    offer = offer_of(cost, rate.value, customer, account_id, account, stream)
    evidence = _evidence(customer, stream)
    if offer is None or not evidence:
        return None
    least_minor = minor_of(config.saving_min, account.currency)
    if said is None:
        if offer.worth < config.threshold or offer.saving_minor < least_minor:
            return None
        step: Any = "OPEN"
    elif offer.worth < config.threshold * config.close_saving_share or offer.saving_minor < (
        least_minor * config.close_saving_share
    ):
        step = "CLOSE"
    elif abs(offer.saving_minor - state.told_minor.get(kind, 0)) > config.update_share * state.told_minor.get(kind, 0):
        step = "UPDATE"
    else:
        return None
    open_kinds = {one.kind for one in customer.said if one.type == SIGNAL and one.state == "OPEN"}
    state.told_minor = {one: minor for one, minor in state.told_minor.items() if one in open_kinds}
    state.told_minor[kind] = offer.saving_minor
    return Say(
        step,
        _reasons(offer, rate, account),
        kind,
        score=offer.worth,
        transaction_ids=evidence,
        details=_details(offer, rate, account_id, account),
    )


def repayments(customer: Customer, account_id: str) -> Stream | None:
    """What the customer pays into the loan, each time."""
    payee = counterparty_digest(account_id)
    found = [one for one in customer.current_streams() if one.payee == payee and not one.credit and one.rhythm]
    return max(found, key=lambda one: (one.last_day, one.id), default=None)


def offer_of(
    cost: Cost, value: float, customer: Customer, account_id: str, account: Account, stream: Stream | None
) -> Offer | None:
    """The loan as it is and at a rate of `value`; None if there is nothing to compare: closed, paid back, or its rate unknown."""
    balance_minor = balance_now(customer.balances, account_id, customer.recent)
    owed_minor = abs(account.balance_minor if balance_minor is None else balance_minor)
    if account.status != "open" or account.interest_rate is None or not owed_minor:
        return None
    payment_minor = account.payment_minor
    if payment_minor is None and stream is not None and stream.rhythm is not None:
        payment_minor = round(stream.usual_minor()[0] / months_of(stream.rhythm))
    plan = pay_off(owed_minor, account.interest_rate, payment_minor) if payment_minor else None
    if payment_minor and plan is None:
        return None
    months = plan.months if plan is not None else cost.months
    paid_minor = payment_minor or annuity_payment(owed_minor, account.interest_rate, months)
    cost_minor = round(minor_of(cost.fixed, account.currency)) + round(owed_minor * cost.percent / 100)
    offered_minor = annuity_payment(owed_minor, value, months)
    return Offer(owed_minor, months, paid_minor, plan, offered_minor, cost_minor)


def months_of(rhythm: Rhythm) -> float:
    """How many months lie between two payments.

    >>> from state.rhythm import CADENCES
    >>> months_of(Rhythm(CADENCES.index("monthly"), 1, 1)), months_of(Rhythm(CADENCES.index("quarterly"), 1, 1))
    (1, 3)
    """
    return MONTHS.get(rhythm.name) or (0.5 if rhythm.cadence == SEMI_MONTHLY else rhythm.period_days / MONTH_DAYS)


def _evidence(customer: Customer, stream: Stream | None) -> tuple[str, ...]:
    """The last payment into the loan, else the newest payment known."""
    if stream is not None:
        return (stream.last_id,)
    if customer.recent:
        return (customer.recent[-1].transaction_id,)
    streams = sorted(customer.streams, key=lambda one: (one.last_day, one.id))
    return (streams[-1].last_id,) if streams else ()


def _reasons(offer: Offer, rate: MarketRate, account: Account) -> tuple[Reason, ...]:
    saving = format_minor(offer.saving_minor, account.currency)
    paid = format_minor(offer.paid_minor, account.currency)
    return (
        Reason("MARKET_RATE", "rate", rate.value, account.interest_rate, None, "the market's rate and the loan's"),
        Reason("SAVING", "saving_per_month", saving, paid, None, "saved each month, of what is paid now"),
    )


def _details(offer: Offer, rate: MarketRate, account_id: str, account: Account) -> dict[str, Any]:
    def money(minor: int) -> str:
        return format_minor(minor, account.currency)

    assert account.interest_rate is not None, "there is no offer without"
    now = offer.plan or annuity(offer.owed_minor, account.interest_rate, offer.months)
    then = annuity(offer.owed_minor, rate.value, offer.months)
    return {
        "account_id": account_id,
        "product": account.kind,
        "series": rate.series,
        "rate": account.interest_rate,
        "rate_offered": rate.value,
        "currency": account.currency,
        "months": offer.months,
        "payment": money(offer.paid_minor),
        "payment_offered": money(offer.offered_minor),
        "saving_per_month": money(offer.saving_minor),
        "saving_of_interest": money(now.interest_minor - then.interest_minor),
        "cost": money(offer.cost_minor),
        "break_even_months": offer.break_even_months,
    }
