"""The events that banks send: one class per input topic, with values already checked and in internal units.

Times are UTC microseconds (`…_us`), money is integer minor units of the event's currency (`…_minor`), an absent
optional value is None. `operators.decode` makes these from records. The constraints in the types of a transaction let
it check the ordinary one in a single pass in C; constructing an event by hand checks nothing.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from state.times import rfc3339

ID_CHARACTERS_MAX = 128
TEXT_CHARACTERS_MAX = 512

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=ID_CHARACTERS_MAX)]
Text = Annotated[str, msgspec.Meta(max_length=TEXT_CHARACTERS_MAX)]
Direction = Literal["debit", "credit"]
Status = Literal["pending", "posted", "reversed"]
Channel = Literal[
    "card_present",
    "ecommerce",
    "atm",
    "transfer",
    "direct_debit",
    "standing_order",
    "cash",
    "fee",
    "interest",
    "internal",
    "other",
]


class Event(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What every event has: whose it is, when it happened, when and where it was read.

    `time_us` is the event's own time, `arrival_us` that of its record; (`TOPIC`, `partition`, `offset`) is its place.
    """

    TOPIC: ClassVar[str]
    TIME_FIELD: ClassVar[str]

    customer_id: Id
    time_us: int
    arrival_us: int
    partition: int
    offset: int

    @property
    def event_id(self) -> str:
        """What names the event within its topic and customer: the same however often it is sent."""
        raise NotImplementedError


class Transaction(Event, frozen=True, gc=False, kw_only=True):
    """Money that left (debit) or reached (credit) an account; the amount is unsigned.

    `lat` and `lon` (degrees, WGS 84) are given together or not at all.
    """

    TOPIC: ClassVar[str] = "in.transactions"
    TIME_FIELD: ClassVar[str] = "booked_at"

    transaction_id: Id
    amount_minor: int
    currency: str
    direction: Direction
    status: Status = "posted"
    channel: Channel = "other"
    account_id: Id | None = None
    merchant_id: Id | None = None
    merchant_name: Text | None = None
    mcc: str | None = None
    counterparty: Text | None = None
    country: str | None = None
    city: Text | None = None
    lat: Annotated[float, msgspec.Meta(ge=-90.0, le=90.0)] | None = None
    lon: Annotated[float, msgspec.Meta(ge=-180.0, le=180.0)] | None = None
    balance_after_minor: int | None = None
    card_id: Id | None = None
    device_id: Id | None = None
    original_transaction_id: Id | None = None
    description: Text | None = None

    @property
    def event_id(self) -> str:
        return self.transaction_id


class Account(Event, frozen=True, gc=False, kw_only=True):
    """An account as it was observed. `interest_rate` is in percent a year; due and opening dates are their midnight."""

    TOPIC: ClassVar[str] = "in.accounts"
    TIME_FIELD: ClassVar[str] = "observed_at"

    account_id: str
    kind: str
    currency: str
    balance_minor: int
    overdraft_limit_minor: int | None = None
    credit_limit_minor: int | None = None
    interest_rate: float | None = None
    minimum_payment_minor: int | None = None
    payment_due_us: int | None = None
    product: str | None = None
    opened_us: int | None = None
    status: str = "open"

    @property
    def event_id(self) -> str:
        return f"{self.account_id}@{rfc3339(self.time_us)}"


class Interaction(Event, frozen=True, gc=False, kw_only=True):
    """Something the customer did in the app or on the site; `dwell_s` is how long they stayed."""

    TOPIC: ClassVar[str] = "in.interactions"
    TIME_FIELD: ClassVar[str] = "occurred_at"

    interaction_id: str
    kind: str
    channel: str | None = None
    page: str | None = None
    query: str | None = None
    session_id: str | None = None
    device_id: str | None = None
    dwell_s: float | None = None

    @property
    def event_id(self) -> str:
        return self.interaction_id


class Application(Event, frozen=True, gc=False, kw_only=True):
    """A step of an application for a product."""

    TOPIC: ClassVar[str] = "in.applications"
    TIME_FIELD: ClassVar[str] = "applied_at"

    application_id: str
    product: str
    status: str
    amount_minor: int | None = None
    currency: str | None = None

    @property
    def event_id(self) -> str:
        return self.application_id


class Label(Event, frozen=True, gc=False, kw_only=True):
    """What became known later, of what, and when the thing itself happened."""

    TOPIC: ClassVar[str] = "in.labels"
    TIME_FIELD: ClassVar[str] = "labelled_at"

    label: str
    transaction_id: str | None = None
    merchant_id: str | None = None
    product: str | None = None
    kind: str | None = None
    occurred_us: int | None = None
    signal_id: str | None = None

    @property
    def event_id(self) -> str:
        subject = self.transaction_id or self.signal_id or self.product or self.kind or self.merchant_id or ""
        return f"{self.label}:{subject}@{rfc3339(self.time_us)}"


class Message(Event, frozen=True, gc=False, kw_only=True):
    """A message between the customer and the bank."""

    TOPIC: ClassVar[str] = "in.messages"
    TIME_FIELD: ClassVar[str] = "sent_at"

    message_id: str
    text: str
    channel: str | None = None
    direction: str | None = None
    language: str | None = None

    @property
    def event_id(self) -> str:
        return self.message_id


class Touchpoint(Event, frozen=True, gc=False, kw_only=True):
    """A contact of a campaign with the customer; `propensity` in [0, 1] is the logged chance of showing it."""

    TOPIC: ClassVar[str] = "in.touchpoints"
    TIME_FIELD: ClassVar[str] = "occurred_at"

    touchpoint_id: str
    kind: str
    campaign: str | None = None
    channel: str | None = None
    offer: str | None = None
    signal_id: str | None = None
    propensity: float | None = None
    value: float | None = None

    @property
    def event_id(self) -> str:
        return self.touchpoint_id


class Consent(Event, frozen=True, gc=False, kw_only=True):
    """The customer's decision about one purpose."""

    TOPIC: ClassVar[str] = "in.consents"
    TIME_FIELD: ClassVar[str] = "decided_at"

    purpose: str
    status: str
    legal_basis: str | None = None
    expires_us: int | None = None

    @property
    def event_id(self) -> str:
        return f"{self.purpose}:{self.status}@{rfc3339(self.time_us)}"


class MarketRate(Event, frozen=True, gc=False, kw_only=True):
    """A rate of the market. It has no customer, and every worker reads it."""

    TOPIC: ClassVar[str] = "in.market"
    TIME_FIELD: ClassVar[str] = "observed_at"

    rate_id: str
    series: str
    value: float
    product: str | None = None
    currency: str | None = None
    customer_id: str = ""

    @property
    def event_id(self) -> str:
        return self.rate_id


_CLASSES: tuple[type[Event], ...] = (
    Transaction,
    Account,
    Interaction,
    Application,
    Label,
    Message,
    Touchpoint,
    Consent,
    MarketRate,
)

BROADCAST = frozenset((MarketRate.TOPIC,))
"""Topics without customers: every source partition reads all their partitions."""
TOPICS: tuple[str, ...] = tuple(event_class.TOPIC for event_class in _CLASSES)
"""In the order in which events of the same arrival time are applied."""
EVENT_TYPES: dict[str, type[Event]] = {event_class.TOPIC: event_class for event_class in _CLASSES}
