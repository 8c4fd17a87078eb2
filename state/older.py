"""Profiles of older formats: each function makes of the bytes of one format, without the version byte, those of the next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from state.packed import narrowed
from state.still import compressed

FIELDS_2: Final = 28
"""Of format 2, whose last ones an early profile lacks."""
LATER_2: Final[tuple[Any, ...]] = ([], [], [], {}, {}, -1, (0, 0))
"""What it then has: recent events, streams, what awaits a label, balances, consents, rates heard, the counter."""
PAYEE_2: Final = 13
"""Which field of a recent transaction its payee is."""
PAYEE_FIELDS: Final = 3
"""Of format 3: account and channel, which came after them, are the transaction's."""


def from_2(body: bytes) -> bytes:
    """Format 3 compresses what seldom changes (state/still.py), and leaves out what all times and all keys of the ring share, what a
    payee has in common with its transaction, and when a country was seen."""
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
    columns = [narrowed(times, 8), wide, amounts_of_ring, narrowed(keys, 4), digests, flags, totals]
    seen_last = sorted(countries, key=lambda country: (countries[country], country))
    still = compressed(msgspec.msgpack.encode([streams, accounts, said, consents]))
    return msgspec.msgpack.encode([
        partition, newest_us, arrival_us, [anchor_us, overflowed, heads, huge, *columns], recent, matured, amounts, merchants, seen_last,
        devices, hours, place, labels, waiting, refunds, seen, timers, held, states, recent_events, still, b"", awaiting, balances,
        rates_heard, counter,
    ])  # fmt: skip


UPGRADES: Final[dict[int, Callable[[bytes], bytes]]] = {2: from_2}
"""From an older format to the next one."""
