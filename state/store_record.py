"""The record: a customer's value or a checkpoint as bytes, the same in the redo log and in the table.

    crc32 u32 | value length u32 | id length u16 | kind u8 | timer i64 | id | value        (little endian)

The crc32 covers all that follows it. The timer is in microseconds UTC, -1 for none. The value of a HOLDER begins with the
source partition in whose index of holders the customer stands, u32.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

CUSTOMER = 1
CHECKPOINT = 2
HOLDER = 3
"""A customer whom the market's rates concern."""
HEAD_BYTES = 19
NO_TIMER = -1
CHECKPOINT_MARK = b"\xf4SEGONE\xf5"  # not valid UTF-8: tells a torn tail from damage before a checkpoint

_HEAD = struct.Struct("<IIHBq")
_FIELDS = struct.Struct("<IHBq")
_CRC = struct.Struct("<I")
_LENGTHS = struct.Struct("<IH")
_TIMER = struct.Struct("<q")
_PARTITION = struct.Struct("<I")


class DamageError(Exception):
    """A record that is not as it was written; the caller knows in which file and where."""


class UnfinishedError(DamageError):
    """The bytes end before the record does: what a killed process leaves at the end of a log."""


class Header(NamedTuple):
    """The head of a record and where its parts end."""

    value_bytes: int
    id_bytes: int
    kind: int
    timer_us: int

    @property
    def record_bytes(self) -> int:
        """The whole record's length."""
        return HEAD_BYTES + self.id_bytes + self.value_bytes


def encode_record(kind: int, key: bytes, value: bytes, timer_us: int) -> bytes:
    """A whole record.

    >>> record = encode_record(CUSTOMER, b"c-1", b"profile", 1_000_000)
    >>> len(record), value_of(record), timer_of(record)
    (29, b'profile', 1000000)
    """
    prefix = _FIELDS.pack(len(value), len(key), kind, timer_us) + key
    return b"".join((_CRC.pack(zlib.crc32(value, zlib.crc32(prefix))), prefix, value))


def customer_record(customer_id: str, value: bytes, timer_us: int | None, holder_in: int | None) -> bytes:
    """A customer's whole record; `holder_in` is the source partition of a holder.

    >>> record = customer_record("c-1", b"profile", None, 3)
    >>> value_of(record), timer_of(record), holder_of(record)
    (b'profile', -1, 3)
    """
    time_us = NO_TIMER if timer_us is None else timer_us
    if holder_in is None:
        return encode_record(CUSTOMER, customer_id.encode(), value, time_us)
    return encode_record(HOLDER, customer_id.encode(), _PARTITION.pack(holder_in) + value, time_us)


def header_at(data: bytes | memoryview, offset: int = 0) -> Header:
    """The head at `offset`, unchecked. Raises UnfinishedError if the bytes end before it does."""
    if offset + HEAD_BYTES > len(data):
        raise UnfinishedError("unfinished record")
    return Header(*_HEAD.unpack_from(data, offset)[1:])


def check_record(data: bytes | memoryview, offset: int = 0) -> Header:
    """The head at `offset` after the whole record was checked. Raises UnfinishedError if it is cut short, DamageError if
    its crc32 differs."""
    header = header_at(data, offset)
    end = offset + header.record_bytes
    if end > len(data):
        raise UnfinishedError("unfinished record")
    (crc,) = _CRC.unpack_from(data, offset)
    if zlib.crc32(memoryview(data)[offset + 4 : end]) != crc:
        raise DamageError("crc32 differs")
    return header


def value_of(record: bytes) -> bytes:
    """The value of a record known to be whole."""
    start = HEAD_BYTES + int.from_bytes(record[8:10], "little")
    return record[start + _PARTITION.size :] if record[10] == HOLDER else record[start:]


def id_of(record: bytes | memoryview) -> bytes:
    """The id's bytes of a record known to be whole."""
    return bytes(record[HEAD_BYTES : HEAD_BYTES + int.from_bytes(record[8:10], "little")])


def record_bytes_of(record: bytes | memoryview) -> int:
    """The length that a record says it has: of a part of one that holds the head it is more than there is.

    >>> record = customer_record("c-1", b"profile", None, None)
    >>> record_bytes_of(record[:19]) == len(record)
    True
    """
    value_bytes, id_bytes = _LENGTHS.unpack_from(record, 4)
    return HEAD_BYTES + int(value_bytes) + int(id_bytes)


def timer_of(record: bytes | memoryview) -> int:
    """The timer of a record known to be whole (microseconds UTC, NO_TIMER for none)."""
    timer_us: int = _TIMER.unpack_from(record, 11)[0]
    return timer_us


def holder_of(record: bytes | memoryview) -> int | None:
    """The source partition of a holder's record known to be whole; None for everybody else."""
    if record[10] != HOLDER:
        return None
    partition: int = _PARTITION.unpack_from(record, HEAD_BYTES + int.from_bytes(record[8:10], "little"))[0]
    return partition
