"""Profiles of older formats: each function makes of the bytes of one format, without the version byte, those of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from state.packed import apart
from state.still import MOVING, compressed
from state.windows import AMOUNT_BYTES, TIME_BYTES

FIELDS_2: Final = 28
"""Of format 2, whose last ones an early profile lacks."""
LATER_2: Final[tuple[Any, ...]] = ([], [], [], {}, {}, -1, (0, 0))
"""What it then has: recent events, streams, what awaits a label, balances, consents, rates heard, the counter."""
FIELDS_3: Final = 26
PAYEE_2: Final = 13
"""Which field of a recent transaction its payee is."""
PAYEE_FIELDS: Final = 3
"""Since format 3: account and channel, which came after them, are the transaction's."""


def from_2(body: bytes) -> bytes:
    """Format 3 compresses what seldom changes (state/still.py), may leave out what all times and all keys of the ring share, and leaves out
    what a payee has in common with its transaction, and when a country was seen."""
    fields = msgspec.msgpack.decode(body)
    if not isinstance(fields, list) or len(fields) < FIELDS_2 - len(LATER_2):
        raise ValueError("a profile of format 2 is cut short")
    fields += LATER_2[len(fields) - FIELDS_2 :] if len(fields) < FIELDS_2 else ()
    (
        partition, newest_us, arrival_us, ring, recent, matured, amounts, merchants, countries, devices, hours, place, accounts, labels,
        said, waiting, refunds, seen, timers, held, states, recent_events, streams, awaiting, balances, consents, rates_heard, counter,
        *_,
    ) = fields  # fmt: skip
    anchor_us, overflowed, heads, huge, times, wide, amounts_of_ring, keys, digests, flags, totals = ring
    for entry in recent:
        if len(entry) > PAYEE_2 and entry[PAYEE_2] is not None:
            del entry[PAYEE_2][PAYEE_FIELDS:]
    columns = [(b"", times), wide, amounts_of_ring, (b"", keys), digests, flags, totals]
    seen_last = sorted(countries, key=lambda country: (countries[country], country))
    still = compressed(msgspec.msgpack.encode([streams, accounts, said, consents]))
    return msgspec.msgpack.encode([
        partition, newest_us, arrival_us, [anchor_us, overflowed, heads, huge, *columns], recent, matured, amounts, merchants, seen_last,
        devices, hours, place, labels, waiting, refunds, seen, timers, held, states, recent_events, still, b"", awaiting, balances,
        rates_heard, counter,
    ])  # fmt: skip


def from_3(body: bytes) -> bytes:
    """Format 4 compresses what changes with every event, too, and the higher bytes of numbers with it."""
    fields = msgspec.msgpack.decode(body)
    if not isinstance(fields, list) or len(fields) < FIELDS_3:
        raise ValueError("a profile of format 3 is cut short")
    (
        partition, newest_us, arrival_us, ring, recent, matured, amounts, merchants, countries, devices, hours, place, labels, waiting,
        refunds, seen, timers, held, states, recent_events, still, still_states, awaiting, balances, rates_heard, counter, *_,
    ) = fields  # fmt: skip
    anchor_us, overflowed, heads, huge, times, wide, amounts_of_ring, keys, digests, flags, totals = ring
    times, later = apart(widened(times, 8), 8, TIME_BYTES)
    amounts_of_ring, larger = apart(amounts_of_ring, 8 if wide else 4, AMOUNT_BYTES)
    _, keys = apart(widened(keys, 4), 4, 0)
    columns, rest = ([], [])
    if awaiting:
        digests_awaiting, times_us, merchants_awaiting, features, early, *expired = awaiting
        times_us, later_us = apart(times_us, 8, TIME_BYTES)
        columns = [digests_awaiting, times_us]
        rest = [later_us, merchants_awaiting, early, expired[0] if expired else 0, features]
    ring = [anchor_us, overflowed, heads, huge, wide, later, larger, keys, flags, totals]
    moving = msgspec.msgpack.encode([
        partition, newest_us, arrival_us, ring, recent, matured, countries, hours, place, labels, waiting, refunds, timers, states, rest,
        balances, rates_heard, counter,
    ])  # fmt: skip
    return msgspec.msgpack.encode([
        compressed(moving, MOVING), [times, amounts_of_ring, digests], amounts, merchants, devices, seen, columns, still, still_states,
        held, recent_events,
    ])  # fmt: skip


def widened(narrow: list[bytes], size: int) -> bytes | bytearray:
    """A column of integers of `size` bytes, of which format 3 kept the highest bytes that all share once, and the others."""
    shared, left = narrow
    if not shared:
        return left
    kept = size - len(shared)
    column = bytearray((bytes(kept) + shared) * (len(left) // kept))
    for at in range(kept):
        column[at::size] = left[at::kept]
    return column


UPGRADES: Final[dict[int, Callable[[bytes], bytes]]] = {2: from_2, 3: from_3}
"""From an older format to the next one."""
