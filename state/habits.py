"""What a customer usually does: learned once from each matured transaction, in event-time order."""

from __future__ import annotations

import math
from typing import Final

from state.balances import Balance, settle, tell
from state.customer import (
    ACCOUNTS_MAX,
    AMOUNT_KEYS_MAX,
    COUNTRIES_MAX,
    DEVICES_MAX,
    HOURS_TOTAL_MAX,
    MERCHANTS_MAX,
    Account,
    Customer,
    Place,
    Recent,
    in_person,
)
from state.digest import digest64
from state.events import Account as AccountEvent
from state.money import EXPONENT
from state.times import hour_of
from state.windows import overall_key, unpack_key

_UNITS: Final = {currency: float(10**exponent) for currency, exponent in EXPONENT.items()}


def log_amount(amount_minor: int, currency: str) -> float:
    """The natural logarithm of 1 + the amount in major units: what amounts are compared in.

    >>> round(log_amount(1_000, "EUR"), 6) == round(math.log(11), 6)
    True
    """
    return math.log1p(major_units(amount_minor, currency))


def major_units(amount_minor: float, currency: str) -> float:
    """For statistics and display only; sums stay in minor units."""
    return amount_minor / _UNITS[currency]


def learn(customer: Customer, recent: Recent, fading_factor: float) -> None:
    """Adds one matured transaction to the habits. Must be called in event-time order."""
    currency, credit, _ = unpack_key(recent.key)
    customer.matured += 1
    value = log_amount(recent.amount_minor, currency)
    customer.amounts.learn(recent.key, value, fading_factor, AMOUNT_KEYS_MAX)
    customer.amounts.learn(overall_key(recent.key), value, fading_factor, AMOUNT_KEYS_MAX)
    if recent.merchant:
        customer.merchants.meet(recent.merchant, MERCHANTS_MAX)
    if recent.device:
        customer.devices.meet(recent.device, DEVICES_MAX)
    if recent.country:
        customer.countries.pop(recent.country, None)
        customer.countries[recent.country] = None
        if len(customer.countries) > COUNTRIES_MAX:
            del customer.countries[next(iter(customer.countries))]
    if not credit:
        customer.hours[hour_of(recent.time_us)] += 1
        if sum(customer.hours) > HOURS_TOTAL_MAX:
            customer.hours = [count // 2 for count in customer.hours]
    settle(customer.balances, recent)
    if recent.payee is not None:
        customer.streams = customer.streams_with(customer.streams, recent)
    elif recent.channel == "cash":
        customer.serve_at_counter(recent.time_us, currency)
    if recent.lat is not None and recent.lon is not None and in_person(recent.channel):
        customer.place = Place(recent.time_us, recent.lat, recent.lon, recent.transaction_id)


def observe(customer: Customer, event: AccountEvent) -> None:
    """Keeps the newest observation of each account."""
    balance = Balance(event.time_us, digest64(event.event_id), event.balance_minor)
    tell(customer.balances, event.account_id, balance)
    before = customer.accounts.get(event.account_id)
    if before is not None and before.observed_us > event.time_us:
        return
    customer.accounts[event.account_id] = Account(
        event.time_us,
        event.kind,
        event.currency,
        event.balance_minor,
        event.status,
        event.overdraft_limit_minor,
        event.credit_limit_minor,
        event.interest_rate,
        event.minimum_payment_minor,
        event.payment_due_us,
    )
    if len(customer.accounts) > ACCOUNTS_MAX:
        del customer.accounts[min(customer.accounts, key=lambda a: (customer.accounts[a].observed_us, a))]
