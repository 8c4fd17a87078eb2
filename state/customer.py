"""The living profile of one customer: a segment of one.

Two time zones meet in it. What happened within the allowed lateness is **recent**: kept entry by entry, in event-time order, and
still open to late events, status updates and reversals. What is older is **matured**: it was learned, once, in event-time order,
into the habits (amount statistics, merchants, countries, devices, hours, places). An entry matures when the customer's newest event is
more than **twice** the allowed lateness ahead of it: once for what can still come before it, once more for a reversal of it, which
may be late itself. A reversal booked within the allowed lateness of its original leaves no trace in the habits; a later one
leaves the habits alone. Pending transactions count in the windows and as recent ones, but only posted ones are learned. So whatever
the order of arrival, habits end up bit-identical to those of the ordered stream, and no score ever looks at a habit that
has seen its own event. Windows (state/windows.py) are exact at once, without waiting.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from state.awaiting import Awaiting
from state.balances import Balance, balance_now
from state.business_days import day_of, is_weekend
from state.consents import Decision
from state.digest import name_digest
from state.estimators import MomentsTable
from state.events import Event, Transaction
from state.packed import Met, Seen
from state.payee import Payee
from state.recurring import Flow, Payment, Stream, flows, open_on_weekends, with_payment
from state.times import NEVER_US
from state.windows import Ring, overall_key

RECENT_MAX: Final = 1024
"""Beyond it the oldest recent entry matures before its time (and a still later one would be learned out of order)."""
RECENT_EVENTS_MAX: Final = 256
"""The same for events of other topics."""
MERCHANTS_MAX: Final = 256
COUNTRIES_MAX: Final = 64
DEVICES_MAX: Final = 32
AMOUNT_KEYS_MAX: Final = 48
ACCOUNTS_MAX: Final = 32
SAID_MAX: Final = 64
OWN_TIMERS_MAX: Final = 8
"""Timers that one detector may have set for itself."""
WAITING_MAX: Final = 64
REFUNDS_MAX: Final = 64
SEEN_MAX: Final = 512
HELD_MAX: Final = 1024
LABELS_MAX: Final = 32

HOURS_TOTAL_MAX: Final = 1024
"""When so many purchases have been counted by hour, all counts are halved: a habit of long ago fades."""


class Recent(NamedTuple):
    """A transaction within twice the allowed lateness, with what detectors ask about it."""

    time_us: int
    digest: int
    transaction_id: str
    amount_minor: int
    key: int
    merchant: int
    """Digest of the merchant's id, else name; 0 if unknown."""
    country: str | None
    lat: float | None
    lon: float | None
    channel: str
    learned: bool
    """False for a reversed one: it will not be learned."""
    posted: bool
    """A pending one is not learned either: when it is posted, it comes again."""
    device: int = 0
    """Digest of the device's id; 0 if unknown."""
    payee: Payee | None = None
    """None where no standing payment is to be expected."""
    account: str = ""
    """The customer's own account; empty if unknown."""
    balance_minor: int | None = None
    """Of that account after it; None if it did not tell."""
    mcc: int = 0
    """0 if unknown."""

    @property
    def signed_minor(self) -> int:
        """Negative for money that left."""
        return self.amount_minor if self.key & 128 else -self.amount_minor


class Place(NamedTuple):
    """Where and when the customer was last seen in person before everything recent."""

    time_us: int
    lat: float
    lon: float
    transaction_id: str


class Said(NamedTuple):
    """A signal that was said and may have to be withdrawn or closed."""

    type: str
    episode: str
    trigger: int
    """Digest of the transaction that caused it."""
    time_us: int
    active_until_us: int
    """Until then the episode goes on, and is not opened anew."""
    open_id: bytes
    revision: int
    score: float
    transaction_id: str
    state: str
    """OPEN, CLOSE or RETRACT."""
    kind: str = ""
    """Of a type that says several things, which one: each has episodes of its own."""
    sensitive: bool = False


class Waiting(NamedTuple):
    """A reversal: one that arrived before its original, or what was refunded of an original so far."""

    time_us: int
    amount_minor: int
    currency: str
    event_id: str
    target: int
    """Digest of the original's id."""


class Timer(NamedTuple):
    """Something to look at when the arrival clock passes `due_us` plus the allowed lateness."""

    due_us: int
    name: str
    """The signal type of an episode that is to end; of a detector's own timer the detector's name, which has no dot."""
    episode: str
    """Or what the detector calls its timer."""
    cause: int = 0
    """Digest of the transaction that showed that the episode is over; 0 if it ends because nothing more came."""


class Account(NamedTuple):
    """The newest observation of one account."""

    observed_us: int
    kind: str
    currency: str
    balance_minor: int
    status: str
    overdraft_limit_minor: int | None
    credit_limit_minor: int | None
    interest_rate: float | None = None
    """Percent a year."""
    payment_minor: int | None = None
    """What is to be paid at least, each month."""
    due_us: int | None = None
    """When that is due next."""


class Customer:
    """Everything known about one customer. Bounded: each collection has its written limit above."""

    __slots__ = (
        "_current",
        "accounts",
        "amounts",
        "arrival_us",
        "awaiting",
        "balances",
        "consents",
        "counter",
        "countries",
        "customer_id",
        "devices",
        "held",
        "hours",
        "labels",
        "matured",
        "merchants",
        "newest_us",
        "partition",
        "place",
        "rates_heard",
        "recent",
        "recent_events",
        "refunds",
        "ring",
        "said",
        "scheduled_us",
        "seen",
        "states",
        "still",
        "still_states",
        "streams",
        "timers",
        "waiting",
    )

    def __init__(self, customer_id: str, retention_us: int) -> None:
        self.customer_id = customer_id
        self.partition = 0
        self.newest_us = 0
        """The newest event time of any topic; lateness counts from here."""
        self.arrival_us = 0
        """The newest arrival of this customer's own events."""
        self.ring = Ring(retention_us)
        self.recent: list[Recent] = []
        self.recent_events: list[Event] = []
        """Events of other topics that a detector wants to learn from, within twice the allowed lateness, in event-time order."""
        self.matured = 0
        """Number of transactions learned."""
        self.amounts = MomentsTable()
        """Log amounts in major units, by key (currency, direction, group)."""
        self.merchants = Met()
        """By digest; so for devices."""
        self.devices = Met()
        self.countries: dict[str, None] = {}
        """The least recently seen first."""
        self.hours: list[int] = [0] * 24
        self.counter = (0, 0)
        """Cash over the bank's counter: how often, and how often of that on a weekend."""
        self.place: Place | None = None
        self.streams: list[Stream] = []
        """Recurring streams and what may become one (state/recurring.py)."""
        self.still: tuple[list[object], bytes] | None = None
        """Of state/still.py: what seldom changes, and its block when it was last frozen or thawed."""
        self.still_states: tuple[bytes, bytes] | None = None
        """The same of detectors' states: their bytes, and their block."""
        self.accounts: dict[str, Account] = {}
        self.balances: dict[str, Balance] = {}
        """By account (state/balances.py)."""
        self.rates_heard: int | None = None
        """Of a holder (state/market.py): the number of its partition's newest rate that it has heard. None: rates do not concern it."""
        self.labels: dict[str, int] = {}
        self.awaiting = Awaiting()
        """Scored transactions of which nobody has said yet whether they were fraud."""
        self.consents: dict[str, Decision] = {}
        """By purpose."""
        self.said: list[Said] = []
        self.waiting: dict[int, Waiting] = {}
        """By the digest of the reversal's own id."""
        self.refunds: dict[int, Waiting] = {}
        """By the digest of the original's id: all that was refunded of it, should a posted amount still replace a pending one."""
        self.seen = Seen()
        """Records of the other topics, for the duplicate check."""
        self.timers: list[Timer] = []
        self.held: list[Any] = []
        """Events held back to be sorted (`reorder_wait_s`)."""
        self.states: dict[str, Any] = {}
        """States of detectors that keep one of their own."""
        self._current: list[Stream] | None = None
        """What `current_streams` answers, until something changes that is not simply one more payment; not part of the state."""
        self.scheduled_us: int | None = None
        """The wake-up last put on the shard's heap for this customer; not part of the state."""

    def recent_index(self, digest: int) -> int:
        """The index in `recent` of the transaction with this digest, or −1."""
        for i in range(len(self.recent) - 1, -1, -1):
            if self.recent[i].digest == digest:
                return i
        return -1

    def remember(self, entry: Recent) -> None:
        """Puts a transaction among the recent ones, in the order of (time, digest)."""
        recent = self.recent
        at = len(recent)
        while at and recent[at - 1][:2] > entry[:2]:
            at -= 1
        if entry.payee is not None and entry.learned and self._current is not None:
            self._current = self.streams_with(self._current, entry) if at == len(recent) else None
        recent.insert(at, entry)

    def replace_recent(self, at: int, entry: Recent | None) -> None:
        """Puts another entry in the place of recent[at] (same time and digest), or None."""
        if self.recent[at].payee is not None:
            self._current = None
        if entry is None:
            del self.recent[at]
        else:
            self.recent[at] = entry

    def forget_matured(self) -> None:
        """The oldest recent entry has matured. If it was learned, `streams` hold now what the recent ones have held until now."""
        oldest = self.recent.pop(0)
        if oldest.payee is not None and oldest.learned and not oldest.posted:
            self._current = None

    def current_streams(self, until_us: int = NEVER_US) -> list[Stream]:
        """The streams with recent payments up to `until_us` added."""
        if self.recent and self.recent[-1].time_us > until_us:
            return self._streams_at(until_us)
        if self._current is None:
            self._current = self._streams_at(until_us)
        return list(self._current)

    def _streams_at(self, until_us: int) -> list[Stream]:
        streams = self.streams
        for recent in self.recent:
            if recent.payee is not None and recent.learned and recent.time_us <= until_us:
                streams = self.streams_with(streams, recent)
        return streams

    def streams_with(self, streams: list[Stream], recent: Recent) -> list[Stream]:
        """The streams after one more payment, which must have a payee."""
        return with_payment(streams, payment_of(recent), open_on_weekends(self.counter))

    def serve_at_counter(self, time_us: int, currency: str) -> None:
        """Cash has been paid in or out over the counter: on a day on which the bank works."""
        times, on_weekends = before = self.counter
        self.counter = times + 1, on_weekends + is_weekend(day_of(time_us), currency)
        if open_on_weekends(self.counter) != open_on_weekends(before):
            self._current = None

    def expected_flows(self, from_us: int, to_us: int) -> list[Flow]:
        """The recurring payments expected in [from_us, to_us), in order of time."""
        return flows(self.current_streams(), from_us, to_us)

    def balance_minor(self, account: str) -> int | None:
        """What is on an account now, or None if that is unknown."""
        return balance_now(self.balances, account, self.recent)

    def knows_merchant(self, merchant: int, until_us: int) -> bool:
        """Whether the customer was at this merchant before or at `until_us` (reversed purchases don't count)."""
        if merchant in self.merchants:
            return True
        return any(r.merchant == merchant and r.learned and r.time_us <= until_us for r in self.recent)

    def knows_country(self, country: str, until_us: int) -> bool:
        """The same of a country (ISO 3166-1 alpha-2)."""
        if country in self.countries:
            return True
        return any(r.country == country and r.learned and r.time_us <= until_us for r in self.recent)

    def place_before(self, time_us: int) -> Place | None:
        """The last place in person before or at `time_us`; None if none was ever told."""
        for r in reversed(self.recent):
            if r.time_us <= time_us and r.learned and r.lat is not None and r.lon is not None and in_person(r.channel):
                return Place(r.time_us, r.lat, r.lon, r.transaction_id)
        return self.place


def payment_of(recent: Recent) -> Payment:
    """A recent transaction as its stream sees it; it must have a payee."""
    assert recent.payee is not None
    return Payment(
        day_of(recent.time_us),
        recent.amount_minor,
        overall_key(recent.key),
        recent.payee,
        recent.account,
        recent.channel,
        recent.digest,
        recent.transaction_id,
    )


def in_person(channel: str) -> bool:
    """Whether the customer (or the card) was there."""
    return channel in ("card_present", "atm")


def device_digest(transaction: Transaction) -> int:
    """One integer for the device that was used; 0 if unknown."""
    return name_digest(transaction.device_id) if transaction.device_id else 0


def merchant_digest(transaction: Transaction) -> int:
    """One integer for the shop: by id, else by name, else by counterparty; 0 if there is none."""
    name = transaction.merchant_id or transaction.merchant_name or transaction.counterparty
    return name_digest(name) if name else 0
