"""The profile of a customer as others may read it: what the topic `profiles` holds, one record a customer that counts (the newest).

It is a summary for who serves the customer, not the engine's memory: that is in `state/customer.py`. Amounts are decimal text in the
currency's own decimals; days are dates; what is unknown is null.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from state.signals import Level

Direction = Literal["debit", "credit"]
StreamStatus = Literal["EARLY", "MATURE", "ENDED"]


class WindowTotals(msgspec.Struct, frozen=True, gc=False):
    """How many transactions there were in a window, and what they add up to."""

    count: int
    amount: str


class Activity(msgspec.Struct, frozen=True, gc=False):
    """What goes in or out in one category; "all" is the total. `windows` are by name (1h, 24h, 7d, 30d), without those in which nothing
    was. Beside them the customer's own habit: how many transactions were learned, and the usual amount of one, in major units (their
    geometric mean, newer ones counting more); null before the first."""

    currency: str
    direction: Direction
    category: str
    windows: dict[str, WindowTotals]
    learned: int
    usual: float | None


class RecurringStream(msgspec.Struct, frozen=True, gc=False):
    """Payments that come back. `amount` is what the next one is expected to be, `next_on` its day: null once the stream has ended."""

    stream: str
    status: StreamStatus
    direction: Direction
    currency: str
    amount: str
    cadence: str
    channel: str
    account_id: str | None
    payments: int
    last_on: str
    next_on: str | None
    last_transaction_id: str


class AccountState(msgspec.Struct, frozen=True, gc=False):
    """An account as it was last observed. `balance` counts what was booked since."""

    account_id: str
    kind: str
    currency: str
    status: str
    observed_at: str
    balance: str
    overdraft_limit: str | None
    credit_limit: str | None
    interest_rate: float | None
    minimum_payment: str | None
    payment_due: str | None


class ConsentState(msgspec.Struct, frozen=True, gc=False):
    """The newest decision about one purpose."""

    purpose: str
    status: Literal["granted", "revoked"]
    decided_at: str
    expires_at: str | None


class Profile(msgspec.Struct, frozen=True):
    """What is known of one customer at `event_time`, the customer's newest event. `revision` counts a customer's records from 1 on;
    windows end at `windows_end`, the newest transaction (null before the first)."""

    customer_id: str
    revision: int
    event_time: str
    windows_end: str | None
    confidence: Level
    transactions_learned: int
    activity: list[Activity]
    recurring: list[RecurringStream]
    accounts: list[AccountState]
    consents: list[ConsentState]
    labels: dict[str, int]
    countries: list[str]
    merchants_known: int
    devices_known: int
    hours: list[int]
    """Purchases by hour of the day in UTC."""


class ProfileWithdrawn(msgspec.Struct, frozen=True, gc=False):
    """The customer's profile may no longer be published: on Kafka a tombstone (null), in files a line with `deleted`."""

    customer_id: str
    revision: int
