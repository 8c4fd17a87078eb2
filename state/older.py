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


def from_2(body: bytes) -> bytes:
    """Format 3 compresses what seldom changes (state/still.py), and leaves out what all times and all keys of the ring share."""
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
    columns = [narrowed(times, 8), wide, amounts_of_ring, narrowed(keys, 4), digests, flags, totals]
    still = compressed(msgspec.msgpack.encode([streams, accounts, said, consents]))
    return msgspec.msgpack.encode([
        partition, newest_us, arrival_us, [anchor_us, overflowed, heads, huge, *columns], recent, matured, amounts, merchants, countries,
        devices, hours, place, labels, waiting, refunds, seen, timers, held, states, recent_events, still, b"", awaiting, balances,
        rates_heard, counter,
    ])  # fmt: skip


UPGRADES: Final[dict[int, Callable[[bytes], bytes]]] = {2: from_2}
"""From an older format to the next one."""
