"""Freezing a customer to compact bytes and thawing them again: one versioned format, MessagePack around packed columns.

Layout: one byte of format version, then a MessagePack array of the fields in the order of `freeze`. Columns of numbers are packed
(8-byte times), River's estimators are their own exact state bytes. An unknown version is refused; an older one goes
through `UPGRADES`, one function per version.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from state.customer import Account, Customer, Familiar, Place, Recent, Said, Timer, Waiting
from state.estimators import Moments, Quantile
from state.events import EVENT_TYPES
from state.windows import Ring

VERSION: Final = 2


def _with_devices(fields: list[Any]) -> list[Any]:
    """Format 1 had no devices; fields that entries gained since have defaults."""
    return [*fields[:10], {}, *fields[10:]]


UPGRADES: Final[dict[int, Callable[[list[Any]], list[Any]]]] = {1: _with_devices}
"""From an older version to the next one: a function from the older field list to the newer."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list)
_EVENT_DECODERS: Final = {topic: msgspec.json.Decoder(type_) for topic, type_ in EVENT_TYPES.items()}


class FrozenError(Exception):
    """The bytes of a profile can't be read: written by a newer release, or damaged."""


def freeze(customer: Customer, states: dict[str, list[Any]]) -> bytes:
    """The bytes of a customer. `states` holds the detectors' own states, each as [version, bytes]."""
    return bytes([VERSION]) + _encoder.encode(
        [
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
            bytes(customer.hours) if max(customer.hours) < 256 else customer.hours,
            customer.place,
            {
                key: [str(value) if isinstance(value, int) else value for value in account]
                for key, account in customer.accounts.items()
            },
            customer.labels,
            customer.said,
            customer.waiting,
            customer.refunds,
            customer.seen,
            customer.timers,
            [(event.TOPIC, msgspec.json.encode(event)) for event in customer.held],
            states,
        ]
    )


def thaw(customer_id: str, frozen: bytes, retention_us: int) -> tuple[Customer, dict[str, list[Any]]]:
    """The customer and the detectors' states. Raises FrozenError for bytes that this release can't read."""
    version = frozen[0] if frozen else 0
    if version > VERSION:
        raise FrozenError(
            f"a profile was written in format {version}, this release reads up to {VERSION}: "
            "start the newer release, or restore an older state"
        )
    try:
        fields = _decoder.decode(memoryview(frozen)[1:])
        while version < VERSION:
            fields = UPGRADES[version](fields)
            version += 1
        return _thaw(customer_id, fields, retention_us)
    except (msgspec.DecodeError, ValueError, IndexError, KeyError, TypeError) as error:
        raise FrozenError(
            f"a profile's bytes are damaged ({type(error).__name__}): run `segone state verify`"
        ) from error


def _thaw(customer_id: str, fields: list[Any], retention_us: int) -> tuple[Customer, dict[str, list[Any]]]:
    customer = Customer(customer_id, retention_us)
    customer.partition, customer.newest_us, customer.arrival_us = fields[0], fields[1], fields[2]
    customer.ring = Ring.thaw(fields[3], retention_us)
    customer.recent = [Recent(*entry) for entry in fields[4]]
    customer.matured = fields[5]
    customer.amounts = {key: Moments.thaw(*moments) for key, moments in fields[6].items()}
    customer.quantiles = {key: (Quantile.thaw(*low), Quantile.thaw(*high)) for key, (low, high) in fields[7].items()}
    customer.merchants = {key: Familiar(*known) for key, known in fields[8].items()}
    customer.countries = {key: Familiar(*known) for key, known in fields[9].items()}
    customer.devices = {key: Familiar(*known) for key, known in fields[10].items()}
    customer.hours = list(fields[11])
    customer.place = Place(*fields[12]) if fields[12] is not None else None
    customer.accounts = {key: _account(account) for key, account in fields[13].items()}
    customer.labels = fields[14]
    customer.said = [Said(*said) for said in fields[15]]
    customer.waiting = {key: Waiting(*waiting) for key, waiting in fields[16].items()}
    customer.refunds = {key: Waiting(*refund) for key, refund in fields[17].items()}
    customer.seen = fields[18]
    customer.timers = [Timer(*timer) for timer in fields[19]]
    customer.held = [_EVENT_DECODERS[topic].decode(raw) for topic, raw in fields[20]]
    return customer, fields[21]


def _account(fields: list[Any]) -> Account:
    """Money is kept as text: a balance of 15 digits and 4 decimals does not fit 64 bits."""
    observed, kind, currency, balance, status, overdraft, credit = fields
    return Account(
        int(observed),
        kind,
        currency,
        int(balance),
        status,
        int(overdraft) if overdraft is not None else None,
        int(credit) if credit is not None else None,
    )
