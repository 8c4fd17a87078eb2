"""What the shards are called in the engine: names that it spreads evenly over its workers.

Bytewax gives a key to worker hash(key) modulo workers. Of 64 names that only count up, one of two workers would get 38 and one of four 22,
and everybody waits for the busiest at the end of a bucket. So each name has an ending with which its hash falls where the shard's number
would. Nothing but the balance hangs on how the engine hashes; the names themselves are the keys of its recovery store and stay for a
state's life.
"""

from __future__ import annotations

from functools import cache

COUNTED, SPREAD = 1, 2
"""How a state's shards are named: by their number alone, or spread. States made before there was a choice are COUNTED."""

EVEN_OVER = 48
"""Worker counts that divide it get equal shares, as nearly as the shard count allows; others get what chance gives."""

_MASK = (1 << 64) - 1


@cache
def shard_names(count: int, naming: int) -> tuple[str, ...]:
    """The name of each shard in the engine.

    >>> shard_names(3, COUNTED)
    ('0000', '0001', '0002')
    >>> [worker_hash(name) % 2 for name in shard_names(4, SPREAD)]
    [0, 1, 0, 1]
    """
    return tuple(f"{shard:04d}" if naming == COUNTED else _spread(shard) for shard in range(count))


def shard_numbered(name: str) -> int:
    """Which shard a name is of, however it was named.

    >>> shard_numbered("0012"), shard_numbered("0012.45")
    (12, 12)
    """
    return int(name.partition(".")[0])


def _spread(shard: int) -> str:
    ending = 0
    while worker_hash(name := f"{shard:04d}.{ending}") % EVEN_OVER != shard % EVEN_OVER:
        ending += 1
    return name


def worker_hash(key: str) -> int:
    """The hash by which Bytewax chooses a worker: Rust's default for strings, SipHash-1-3 without a secret over the UTF-8 bytes and 0xff.

    Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012).
    """
    data = key.encode() + b"\xff"
    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    state = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    for word in words:
        a, b, c, d = state
        a, b, c, d = _round(a, b, c, d ^ word)
        state = (a ^ word, b, c, d)
    a, b, c, d = state
    state = _round(*_round(*_round(a, b, c ^ 0xFF, d)))
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a = (a + b) & _MASK
    b = _turned(b, 13) ^ a
    a = _turned(a, 32)
    c = (c + d) & _MASK
    d = _turned(d, 16) ^ c
    a = (a + d) & _MASK
    d = _turned(d, 21) ^ a
    c = (c + b) & _MASK
    b = _turned(b, 17) ^ c
    return a, b, _turned(c, 32), d


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
