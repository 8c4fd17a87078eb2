"""Freezing a customer to compact bytes and thawing them again: one versioned format, MessagePack around packed columns.

Layout: one byte of format version, then `Fields` as a MessagePack array. What there is much of is kept packed (state/windows.py,
state/packed.py, state/estimators.py) and copied as it is; what seldom changes is compressed when it has changed (state/still.py); the
rest is encoded in one pass in C and compressed each time, as quickly as can be. A field added at the end of `Fields` or `Moving` with a
default is read from older bytes as that default; any other change needs a new version and, from the first release on, a function in
`UPGRADES` (state/older.py). A version that is newer, or too old, is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from state.awaiting import Awaiting
from state.balances import Balance
from state.customer import Customer, Place, Recent, Timer, Waiting
from state.estimators import MomentsTable
from state.events import EVENT_TYPES
from state.older import UPGRADES
from state.packed import Met, Seen
from state.still import MOVING, compressed, decompressed, freeze_states, freeze_still, thaw_states, thaw_still

VERSION: Final = 4


UNKNOWN: Final = -1
"""In place of `Customer.rates_heard` where a profile was written before rates were numbered; the shard sees to it."""

SELDOM: Final = "CHANGES_SELDOM"
"""A detector's state whose class has this attribute, true, is compressed with what seldom changes: of no use if it changes more often
than about once in ten events."""


class Fields(msgspec.Struct, array_like=True, gc=False):
    """A customer as it is written. `moving` is a compressed block: `Moving`."""

    moving: bytes
    ring: list[bytes]
    amounts: bytes
    merchants: bytes
    devices: bytes
    seen: bytes
    awaiting: list[bytes]
    still: bytes
    still_states: bytes
    held: list[tuple[str, bytes]]
    recent_events: list[tuple[str, bytes]]


class Moving(msgspec.Struct, array_like=True, gc=False):
    """What changes with every event and shrinks when it is compressed."""

    partition: int
    newest_us: int
    arrival_us: int
    ring: list[Any]
    recent: list[Recent]
    matured: int
    countries: list[str]
    hours: bytes | list[int]
    place: Place | None
    labels: dict[str, int]
    waiting: dict[int, Waiting]
    refunds: dict[int, Waiting]
    timers: list[Timer]
    states: Mapping[str, Sequence[Any]]
    awaiting: list[Any]
    balances: dict[str, Balance]
    rates_heard: int | None
    counter: tuple[int, int]


class FrozenMoving(Moving, array_like=True, gc=False):
    """The same, as it is read: detectors' states are left to the detectors."""

    states: dict[str, tuple[int, msgspec.Raw]]


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Fields)
_moving_decoder = msgspec.msgpack.Decoder(FrozenMoving)
_EVENT_DECODERS: Final = {topic: msgspec.json.Decoder(type_) for topic, type_ in EVENT_TYPES.items()}
_VERSION_BYTE: Final = bytes([VERSION])


class FrozenError(Exception):
    """The bytes of a profile can't be read: written by a newer release, or damaged."""


def freeze(customer: Customer, states: dict[str, list[Any]]) -> bytes:
    """The bytes of a customer. `states` holds the detectors' own states, each as [version, state]."""
    hours = customer.hours
    seldom: dict[str, list[Any]] = {}
    often: dict[str, list[Any]] = {}
    for name, state in states.items():
        (seldom if getattr(state[1], SELDOM, False) else often)[name] = state
    ring, ring_moving = customer.ring.freeze()
    awaiting, awaiting_moving = customer.awaiting.freeze()
    moving = Moving(
        customer.partition,
        customer.newest_us,
        customer.arrival_us,
        ring_moving,
        customer.recent,
        customer.matured,
        list(customer.countries),
        bytes(hours) if max(hours) < 256 else hours,
        customer.place,
        customer.labels,
        customer.waiting,
        customer.refunds,
        customer.timers,
        often,
        awaiting_moving,
        customer.balances,
        customer.rates_heard,
        customer.counter,
    )
    fields = Fields(
        compressed(_encoder.encode(moving), MOVING),
        ring,
        customer.amounts.freeze(),
        customer.merchants.freeze(),
        customer.devices.freeze(),
        customer.seen.freeze(),
        awaiting,
        freeze_still(customer),
        freeze_states(customer, seldom),
        [(event.TOPIC, msgspec.json.encode(event)) for event in customer.held],
        [(event.TOPIC, msgspec.json.encode(event)) for event in customer.recent_events],
    )
    return _VERSION_BYTE + _encoder.encode(fields)


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
    try:
        for older in range(version, VERSION):
            body = UPGRADES[older](body)
        customer = Customer(customer_id, retention_us)
        fields = _decoder.decode(body)
        moving = _moving_decoder.decode(decompressed(fields.moving))
        _fill(customer, fields, moving)
        return customer, moving.states | thaw_states(customer, fields.still_states)
    except (msgspec.DecodeError, ValueError, IndexError, KeyError, TypeError) as error:
        raise FrozenError(
            f"a profile's bytes are damaged ({type(error).__name__}): run `segone state verify`"
        ) from error


def _fill(customer: Customer, fields: Fields, moving: FrozenMoving) -> None:
    customer.partition, customer.newest_us, customer.arrival_us = moving.partition, moving.newest_us, moving.arrival_us
    customer.ring.thaw(fields.ring, moving.ring)
    customer.recent = moving.recent
    customer.matured = moving.matured
    customer.amounts = MomentsTable(fields.amounts)
    customer.merchants = Met(fields.merchants)
    customer.countries = dict.fromkeys(moving.countries)
    customer.devices = Met(fields.devices)
    customer.hours = list(moving.hours)
    customer.place = moving.place
    customer.labels = moving.labels
    customer.waiting = moving.waiting
    customer.refunds = moving.refunds
    customer.seen = Seen(fields.seen)
    customer.timers = moving.timers
    customer.held = [_EVENT_DECODERS[topic].decode(raw) for topic, raw in fields.held]
    customer.recent_events = [_EVENT_DECODERS[topic].decode(raw) for topic, raw in fields.recent_events]
    thaw_still(customer, fields.still)
    customer.awaiting = Awaiting.thaw(fields.awaiting, moving.awaiting)
    customer.balances = moving.balances
    customer.rates_heard = moving.rates_heard
    customer.counter = moving.counter
