"""What seldom changes of a profile, compressed: recurring streams, accounts, consents, and what was said.

It is a third of a profile and changes with one event in many. So it is encoded and compressed when it has changed, and kept so in the
meantime (`Customer.still`): freezing asks only whether the items are the same objects as before, since none of them can change itself.
A profile that was just thawed has its block already. Layout: length once decompressed u32, little endian; a Zstandard frame around
`Still` in MessagePack.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from operator import is_
from typing import Final

import msgspec
import zstandard

from state.consents import Decision
from state.customer import Account, Customer, Said
from state.recurring import Stream

LEVEL: Final = 3
"""Of Zstandard, whose levels differ by a twentieth in size here: the last before the time doubles."""
BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a block once decompressed. The written limits of a profile allow a tenth of it: whatever claims more is damaged."""
ACCOUNT_FIELDS: Final = 7
"""Of the first accounts of this format."""

AccountFields = Sequence[int | float | str | None]


class Still(msgspec.Struct, array_like=True, gc=False):
    """A block as it is encoded."""

    streams: list[Stream]
    accounts: Mapping[str, AccountFields]
    said: list[Said]
    consents: dict[str, Decision]


_LENGTH: Final = struct.Struct("<I")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Still)
_compressor = zstandard.ZstdCompressor(level=LEVEL, write_content_size=False)
_decompressor = zstandard.ZstdDecompressor()


def freeze_still(customer: Customer) -> bytes:
    """The block of a customer, made anew only if something in it has changed."""
    items = _items(customer)
    known = customer.still
    if known is not None and len(known[0]) == len(items) and all(map(is_, known[0], items)):
        return known[1]
    block = compressed(_encoded(customer))
    customer.still = (items, block)
    return block


def thaw_still(customer: Customer, block: bytes) -> None:
    """Raises ValueError, msgspec.DecodeError for a block that `freeze_still` can't have made."""
    still = _decoder.decode(decompressed(block))
    customer.streams = still.streams
    customer.accounts = {key: _account(account) for key, account in still.accounts.items()}
    customer.said = still.said
    customer.consents = still.consents
    customer.still = (_items(customer), block)


def compressed(encoded: bytes) -> bytes:
    """
    >>> decompressed(compressed(b"abc" * 1_000)) == b"abc" * 1_000, len(compressed(b"abc" * 1_000)) < 50
    (True, True)
    """
    return _LENGTH.pack(len(encoded)) + _compressor.compress(encoded)


def decompressed(block: bytes) -> bytes:
    """Raises ValueError for a damaged block."""
    if len(block) < _LENGTH.size:
        raise ValueError("a compressed block is cut short")
    (length,) = _LENGTH.unpack_from(block)
    if length > BYTES_MAX:
        raise ValueError("a compressed block claims to be impossibly long")
    try:
        encoded = _decompressor.decompress(
            memoryview(block)[_LENGTH.size :], max_output_size=length, allow_extra_data=False
        )
    except zstandard.ZstdError as error:
        raise ValueError("a compressed block is damaged") from error
    if len(encoded) != length:
        raise ValueError("a compressed block has another length than it says")
    return encoded


def _items(customer: Customer) -> list[object]:
    """What the block is made of. No item stands for two accounts or purposes: the same items make the same block."""
    return [*customer.streams, *customer.accounts.values(), *customer.said, *customer.consents.values()]


def _encoded(customer: Customer) -> bytes:
    still = Still(customer.streams, customer.accounts, customer.said, customer.consents)
    try:
        return _encoder.encode(still)
    except OverflowError:  # a balance of 15 digits and 4 decimals does not fit 64 bits
        still.accounts = {key: _account_as_text(account) for key, account in customer.accounts.items()}
        return _encoder.encode(still)


def _account_as_text(account: Account) -> list[str | None]:
    texts = [None if value is None else str(value) for value in account]
    while texts[-1] is None and len(texts) > ACCOUNT_FIELDS:
        texts.pop()  # rates, payments and due dates were added later: an account without them keeps its bytes
    return texts


def _account(fields: AccountFields) -> Account:
    observed, kind, currency, balance, status, overdraft, credit, *later = fields
    rate, payment, due = (*later, None, None, None)[:3]
    if observed is None or kind is None or currency is None or balance is None or status is None:
        raise ValueError("an account lacks a field that every account has")
    return Account(
        int(observed),
        str(kind),
        str(currency),
        int(balance),
        str(status),
        int(overdraft) if overdraft is not None else None,
        int(credit) if credit is not None else None,
        float(rate) if rate is not None else None,
        int(payment) if payment is not None else None,
        int(due) if due is not None else None,
    )
