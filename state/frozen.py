"""Freezing a customer to compact bytes and thawing them again: one versioned format, MessagePack around packed columns.

Layout: one byte of format version, then `Fields` as a MessagePack array. Columns of numbers are packed, River's estimators are their own
exact state bytes. A field added at the end of `Fields` with a default is read from older bytes as that default; any other
change needs a new version and a function in `UPGRADES`. A newer version is refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from state.customer import Account, Customer, Place, Recent, Said, Timer, Waiting
from state.estimators import Moments, Quantile
from state.events import EVENT_TYPES
from state.windows import Ring

VERSION: Final = 1
UPGRADES: Final[dict[int, Callable[[bytes], bytes]]] = {}
"""From an older version to the next one: a function from the older bytes (without the version byte) to the newer."""

Estimator = tuple[int, bytes]


class Fields(msgspec.Struct, array_like=True, gc=False):
    """A customer as it is written."""

    partition: int
    newest_us: int
    arrival_us: int
    ring: list[Any]
    recent: list[Recent]
    matured: int
    amounts: dict[int, Estimator]
    quantiles: dict[int, tuple[Estimator, Estimator]]
    merchants: dict[int, int]
    countries: dict[str, int]
    devices: dict[int, int]
    hours: bytes | list[int]
    place: Place | None
    accounts: dict[str, list[str | None]]
    labels: dict[str, int]
    said: list[Said]
    waiting: dict[int, Waiting]
    refunds: dict[int, Waiting]
    seen: dict[int, int]
    timers: list[Timer]
    held: list[tuple[str, bytes]]
    states: dict[str, list[Any]]
    recent_events: list[tuple[str, bytes]] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Fields)
_EVENT_DECODERS: Final = {topic: msgspec.json.Decoder(type_) for topic, type_ in EVENT_TYPES.items()}
_VERSION_BYTE: Final = bytes([VERSION])


class FrozenError(Exception):
    """The bytes of a profile can't be read: written by a newer release, or damaged."""


def freeze(customer: Customer, states: dict[str, list[Any]]) -> bytes:
    """The bytes of a customer. `states` holds the detectors' own states, each as [version, bytes]."""
    hours = customer.hours
    fields = Fields(
        customer.partition,
        customer.newest_us,
        customer.arrival_us,
        customer.ring.freeze(),
        customer.recent,
        customer.matured,
        {key: moments.freeze() for key, moments in customer.amounts.items()},
        {key: (low.freeze(), high.freeze()) for key, (low, high) in customer.quantiles.items()},
        customer.merchants,
        customer.countries,
        customer.devices,
        bytes(hours) if max(hours) < 256 else hours,
        customer.place,
        {key: _account_fields(account) for key, account in customer.accounts.items()},
        customer.labels,
        customer.said,
        customer.waiting,
        customer.refunds,
        customer.seen,
        customer.timers,
        [(event.TOPIC, msgspec.json.encode(event)) for event in customer.held],
        states,
        [(event.TOPIC, msgspec.json.encode(event)) for event in customer.recent_events],
    )
    return _VERSION_BYTE + _encoder.encode(fields)


def thaw(customer_id: str, frozen: bytes, retention_us: int) -> tuple[Customer, dict[str, list[Any]]]:
    """The customer and the detectors' states. Raises FrozenError for bytes that this release can't read."""
    version = frozen[0] if frozen else 0
    if version > VERSION:
        raise FrozenError(
            f"a profile was written in format {version}, this release reads up to {VERSION}: "
            "start the newer release, or restore an older state"
        )
    try:
        body = frozen[1:]
        while version < VERSION:
            body = UPGRADES[version](body)
            version += 1
        return _thaw(customer_id, _decoder.decode(body), retention_us)
    except (msgspec.DecodeError, ValueError, IndexError, KeyError, TypeError) as error:
        raise FrozenError(
            f"a profile's bytes are damaged ({type(error).__name__}): run `segone state verify`"
        ) from error


def _thaw(customer_id: str, fields: Fields, retention_us: int) -> tuple[Customer, dict[str, list[Any]]]:
    customer = Customer(customer_id, retention_us)
    customer.partition, customer.newest_us, customer.arrival_us = fields.partition, fields.newest_us, fields.arrival_us
    customer.ring = Ring.thaw(fields.ring, retention_us)
    customer.recent = fields.recent
    customer.matured = fields.matured
    customer.amounts = {key: Moments.thaw(*moments) for key, moments in fields.amounts.items()}
    customer.quantiles = {
        key: (Quantile.thaw(*low), Quantile.thaw(*high)) for key, (low, high) in fields.quantiles.items()
    }
    customer.merchants = fields.merchants
    customer.countries = fields.countries
    customer.devices = fields.devices
    customer.hours = list(fields.hours)
    customer.place = fields.place
    customer.accounts = {key: _account(account) for key, account in fields.accounts.items()}
    customer.labels = fields.labels
    customer.said = fields.said
    customer.waiting = fields.waiting
    customer.refunds = fields.refunds
    customer.seen = fields.seen
    customer.timers = fields.timers
    customer.held = [_EVENT_DECODERS[topic].decode(raw) for topic, raw in fields.held]
    customer.recent_events = [_EVENT_DECODERS[topic].decode(raw) for topic, raw in fields.recent_events]
    return customer, fields.states


def _account_fields(account: Account) -> list[str | None]:
    """Money is kept as text: a balance of 15 digits and 4 decimals does not fit 64 bits."""
    return [None if value is None else str(value) for value in account]


def _account(fields: list[str | None]) -> Account:
    observed, kind, currency, balance, status, overdraft, credit = fields
    if observed is None or kind is None or currency is None or balance is None or status is None:
        raise ValueError("an account lacks a field that every account has")
    return Account(
        int(observed),
        kind,
        currency,
        int(balance),
        status,
        int(overdraft) if overdraft is not None else None,
        int(credit) if credit is not None else None,
    )
