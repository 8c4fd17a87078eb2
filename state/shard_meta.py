"""What a checkpoint holds of a shard beside its customers."""

from __future__ import annotations

import msgspec

from state.counters import Counters
from state.market import Rates


class Meta(msgspec.Struct, array_like=True):
    """Clocks (by source partition, microseconds UTC), counters, and the market's rates by source partition."""

    clocks_us: dict[int, int]
    counters: Counters
    holders: dict[str, int] = {}
    """Of states made before the store had an index of holders: their source partitions by customer. Empty since."""
    rates_us: dict[int, dict[str, int]] = {}
    """Of the same: source partition → series → when its newest rate was observed. Empty since."""
    market: dict[int, Rates] = {}


def encode_meta(meta: Meta) -> bytes:
    return msgspec.msgpack.encode(meta)


def decode_meta(encoded: bytes) -> Meta:
    """Older bytes are brought up to date, but for `holders`: only the shard can put them into the index."""
    meta = msgspec.msgpack.decode(encoded, type=Meta)
    for partition, newest_us in meta.rates_us.items():
        meta.market[partition] = Rates(newest_us)
    meta.rates_us = {}
    return meta
