"""Digests: short stable names for long strings."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from zlib import crc32

NAMES_MAX = 32_768


def digest64(text: str) -> int:
    """The first 64 bits of BLAKE2b (RFC 7693) over the UTF-8 of `text`, as an unsigned integer.

    Within one customer's few thousand transactions a collision has a probability below 1e-12.

    >>> digest64("t-1")
    14069615865554996162
    """
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


name_digest = lru_cache(maxsize=NAMES_MAX)(digest64)
"""`digest64` for names that come again and again: shops and devices, each asked for several times an event."""


event_digest = lru_cache(maxsize=16)(digest64)
"""`digest64` for the id of the event in hand: asked for by whoever deals with it, one after the other."""


def digest128(*parts: str) -> bytes:
    """The first 128 bits of BLAKE2b over the parts, each preceded by its length, so that ("ab", "c") differs from ("a", "bc").

    >>> digest128("anomaly.geo", "c-1").hex() != digest128("anomaly.geoc", "-1").hex()
    True
    """
    state = blake2b(digest_size=16)
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        state.update(len(raw).to_bytes(4, "big"))
        state.update(raw)
    return state.digest()


def partition_of(key: bytes, partitions: int) -> int:
    """The log partition of a message key: crc32(key) mod partitions (CONTRACTS, section 3).

    >>> partition_of(b"c-1", 4)
    2
    """
    return crc32(key) % partitions


@lru_cache(maxsize=NAMES_MAX)
def shard_of(customer_id: str, shards: int) -> int:
    """The shard of a customer: another hash than the partition's, so that one partition feeds all shards evenly."""
    return int.from_bytes(blake2b(customer_id.encode("utf-8", "surrogatepass"), digest_size=4).digest(), "big") % shards
