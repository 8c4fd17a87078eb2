"""Where in the redo log a checkpoint ends, and the token that carries this through the engine's recovery."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from state.store_error import StoreError

FORMAT_VERSION = 1
_POSITION = struct.Struct("<QQQQ")
_TOKEN = struct.Struct("<4sHI32s")
_CRC = struct.Struct("<I")
_MAGIC = b"SGTK"


class LogPosition(NamedTuple):
    """The end of a checkpoint's record: byte `offset` of segment `segment`.

    `number` counts the shard's checkpoints from 1. `timeline` is drawn anew whenever a shard is restored: two
    checkpoints with one number, of which one was abandoned when the engine resumed before it, differ in it.
    """

    segment: int
    offset: int
    number: int
    timeline: int

    def encode(self) -> bytes:
        """32 bytes."""
        return _POSITION.pack(*self)

    @classmethod
    def decode(cls, data: bytes) -> LogPosition:
        """The reverse of encode; reads the first 32 bytes."""
        return cls(*_POSITION.unpack_from(data))


BEGINNING = LogPosition(0, 0, 0, 0)


def encode_token(position: LogPosition, shard: int) -> bytes:
    """The bytes that the engine keeps for a checkpoint: magic, format version, shard, position, crc32.

    >>> token = encode_token(LogPosition(1, 99, 1, 7), shard=5)
    >>> len(token), decode_token(token, shard=5)
    (46, LogPosition(segment=1, offset=99, number=1, timeline=7))
    """
    body = _TOKEN.pack(_MAGIC, FORMAT_VERSION, shard, position.encode())
    return body + _CRC.pack(zlib.crc32(body))


def decode_token(token: bytes, shard: int) -> LogPosition:
    """The position in a token. Raises StoreError if it is damaged, of a newer version or of another shard."""
    if token[:4] != _MAGIC or len(token) < 6:
        raise StoreError(f"shard {shard}: the recovery folder holds something else than a token of the state store")
    (version,) = struct.unpack_from("<H", token, 4)
    if version > FORMAT_VERSION:
        raise StoreError(
            f"shard {shard}: the recovery folder was written by a newer version of segone (token format {version}; "
            f"this one reads {FORMAT_VERSION}). Run that newer version again"
        )
    body, crc = token[:-4], token[-4:]
    if len(body) != _TOKEN.size or crc != _CRC.pack(zlib.crc32(body)):
        raise StoreError(
            f"shard {shard}: the token in the recovery folder is damaged. Restore the recovery folder together with "
            "the state folder from a backup, or delete both and replay the input"
        )
    _, _, owner, position = _TOKEN.unpack(body)
    if owner != shard:
        raise StoreError(
            f"shard {shard}: the recovery folder's token is of shard {owner}; the folders do not belong together"
        )
    return LogPosition.decode(position)
