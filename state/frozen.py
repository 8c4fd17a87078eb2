"""Freezing a customer to compact bytes and thawing them again: one versioned format, MessagePack around packed columns.

Layout: one byte of format version, then `Fields` as a MessagePack array. What there is much of is kept packed (state/windows.py,
state/packed.py, state/estimators.py) and copied as it is; the rest is encoded in one pass in C. A field added at the end of `Fields`
with a default is read from older bytes as that default; any other change needs a new version and, from the first release on, a
function in `UPGRADES`. A version that is newer, or too old, is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from state.awaiting import Awaiting
from state.balances import Balance
from state.consents import Decision
from state.customer import Account, Customer, Place, Recent, Said, Timer, Waiting
from state.estimators import MomentsTable
from state.events import EVENT_TYPES
from state.packed import Met, Seen
from state.recurring import Stream
from state.windows import Ring

VERSION: Final = 2
UPGRADES: Final[dict[int, Callable[[bytes], bytes]]] = {}
"""From an older version to the next one: a function from the older bytes (without the version byte) to the newer."""


UNKNOWN: Final = -1
"""In place of `Customer.rates_heard` where a profile was written before rates were numbered; the shard sees to it."""


class Fields(msgspec.Struct, array_like=True, gc=False):
    """A customer as it is written."""

    partition: int
    newest_us: int
    arrival_us: int
    ring: list[Any]
    recent: list[Recent]
    matured: int
    amounts: bytes
    merchants: bytes
    countries: dict[str, int]
    devices: bytes
    hours: bytes | list[int]
    place: Place | None
    accounts: Mapping[str, Sequence[int | float | str | None]]
    labels: dict[str, int]
    said: list[Said]
    waiting: dict[int, Waiting]
    refunds: dict[int, Waiting]
    seen: bytes
    timers: list[Timer]
    held: list[tuple[str, bytes]]
    states: Mapping[str, Sequence[Any]]
    recent_events: list[tuple[str, bytes]] = []
    streams: list[Stream] = []
    awaiting: list[Any] = []
    balances: dict[str, Balance] = {}
    consents: dict[str, Decision] = {}
    rates_heard: int | None = UNKNOWN
    counter: tuple[int, int] = (0, 0)


class FrozenFields(Fields, array_like=True, gc=False):
    """The same, as it is read: detectors' states are left to the detectors."""

    states: dict[str, tuple[int, msgspec.Raw]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FrozenFields)
_EVENT_DECODERS: Final = {topic: msgspec.json.Decoder(type_) for topic, type_ in EVENT_TYPES.items()}
_VERSION_BYTE: Final = bytes([VERSION])


class FrozenError(Exception):
    """The bytes of a profile can't be read: written by a newer release, or damaged."""


def freeze(customer: Customer, states: dict[str, list[Any]]) -> bytes:
    """The bytes of a customer. `states` holds the detectors' own states, each as [version, state]."""
    hours = customer.hours
    encoded: dict[int, tuple[object, bytes]] = {}
    recent = _encoded(customer.recent, customer.encoded, encoded)
    streams = _encoded(customer.streams, customer.encoded, encoded)
    customer.encoded = encoded
    fields = Fields(
        customer.partition,
        customer.newest_us,
        customer.arrival_us,
        customer.ring.freeze(),
        recent,
        customer.matured,
        customer.amounts.freeze(),
        customer.merchants.freeze(),
        customer.countries,
        customer.devices.freeze(),
        bytes(hours) if max(hours) < 256 else hours,
        customer.place,
        customer.accounts,
        customer.labels,
        customer.said,
        customer.waiting,
        customer.refunds,
        customer.seen.freeze(),
        customer.timers,
        [(event.TOPIC, msgspec.json.encode(event)) for event in customer.held],
        states,
        [(event.TOPIC, msgspec.json.encode(event)) for event in customer.recent_events],
        streams,
        customer.awaiting.freeze(),
        customer.balances,
        customer.consents,
        customer.rates_heard,
        customer.counter,
    )
    try:
        return _VERSION_BYTE + _encoder.encode(fields)
    except OverflowError:  # a balance of 15 digits and 4 decimals does not fit 64 bits
        fields.accounts = {key: _account_as_text(account) for key, account in customer.accounts.items()}
        return _VERSION_BYTE + _encoder.encode(fields)


def _encoded(
    items: Sequence[Any], before: dict[int, tuple[object, bytes]], now: dict[int, tuple[object, bytes]]
) -> list[Any]:
    """Items that can't change, each encoded once in its life: most are the same as at the last freezing. The item is kept beside its
    bytes, so that its identity stays its own."""
    raws = []
    for item in items:
        at = id(item)
        known = before.get(at)
        if known is None:
            known = (item, msgspec.Raw(_encoder.encode(item)))
        now[at] = known
        raws.append(known[1])
    return raws


def require_readable(version: int) -> None:
    """Raises FrozenError for a format that is newer, or too old for `UPGRADES`."""
    if version > VERSION:
        raise FrozenError(
            f"a profile was written in format {version}, this release reads up to {VERSION}: "
            "start the newer release, or restore an older state"
        )
    if not all(older in UPGRADES for older in range(version, VERSION)):
        raise FrozenError(
            f"a profile was written in format {version}, which this release no longer reads (it reads {VERSION}): "
            "start the release that wrote it, or replay the input into an empty state folder"
        )


def thaw(customer_id: str, frozen: bytes, retention_us: int) -> tuple[Customer, dict[str, tuple[int, msgspec.Raw]]]:
    """The customer and the detectors' states, each as (version, bytes). Raises FrozenError for bytes that this release can't read."""
    version = frozen[0] if frozen else VERSION
    require_readable(version)
    body = frozen[1:]
    for older in range(version, VERSION):
        body = UPGRADES[older](body)
    try:
        customer = Customer(customer_id, retention_us)
        fields = _decoder.decode(body)
        _fill(customer, fields)
        return customer, fields.states
    except (msgspec.DecodeError, ValueError, IndexError, KeyError, TypeError) as error:
        raise FrozenError(
            f"a profile's bytes are damaged ({type(error).__name__}): run `segone state verify`"
        ) from error


def _fill(customer: Customer, fields: Fields) -> None:
    customer.partition, customer.newest_us, customer.arrival_us = fields.partition, fields.newest_us, fields.arrival_us
    customer.ring = Ring.thaw(fields.ring, customer.ring.retention_us)
    customer.recent = fields.recent
    customer.matured = fields.matured
    customer.amounts = MomentsTable(fields.amounts)
    customer.merchants = Met(fields.merchants)
    customer.countries = fields.countries
    customer.devices = Met(fields.devices)
    customer.hours = list(fields.hours)
    customer.place = fields.place
    customer.accounts = {key: _account(account) for key, account in fields.accounts.items()}
    customer.labels = fields.labels
    customer.said = fields.said
    customer.waiting = fields.waiting
    customer.refunds = fields.refunds
    customer.seen = Seen(fields.seen)
    customer.timers = fields.timers
    customer.held = [_EVENT_DECODERS[topic].decode(raw) for topic, raw in fields.held]
    customer.recent_events = [_EVENT_DECODERS[topic].decode(raw) for topic, raw in fields.recent_events]
    customer.streams = fields.streams
    customer.awaiting = Awaiting.thaw(fields.awaiting)
    customer.balances = fields.balances
    customer.consents = fields.consents
    customer.rates_heard = fields.rates_heard
    customer.counter = fields.counter


ACCOUNT_FIELDS: Final = 7
"""Of the first accounts of this format."""


def _account_as_text(account: Account) -> list[str | None]:
    texts = [None if value is None else str(value) for value in account]
    while texts[-1] is None and len(texts) > ACCOUNT_FIELDS:
        texts.pop()  # rates, payments and due dates were added later: an account without them keeps its bytes
    return texts


def _account(fields: Sequence[int | float | str | None]) -> Account:
    observed, kind, currency, balance, status, overdraft, credit, *later = fields
    rate, payment, due = (*later, None, None, None)[:3]
    if observed is None or kind is None or currency is None or balance is None or status is None:
        raise ValueError("an account lacks a field that every account has")
    return Account(
        int(observed),
        str(kind),
        str(currency),
        int(balance),
        str(status),
        int(overdraft) if overdraft is not None else None,
        int(credit) if credit is not None else None,
        float(rate) if rate is not None else None,
        int(payment) if payment is not None else None,
        int(due) if due is not None else None,
    )
