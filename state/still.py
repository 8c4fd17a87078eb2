"""What seldom changes of a profile, compressed: recurring streams, accounts, consents, what was said, and some detectors' states.

It is half of a profile and changes with one event in many. So it is compressed when it has changed, and kept so in the meantime: of
what can't change itself it is enough that the items are the same objects as before (`Customer.still`), of states that their bytes are the
same (`Customer.still_states`). A profile that was just thawed has its blocks already. Layout of a block: number of the dictionary
u8; length once decompressed u32, little endian; a Zstandard frame around MessagePack.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import cache
from operator import is_
from pathlib import Path
from typing import Any, Final

import msgspec
import zstandard

from state.consents import Decision
from state.customer import Account, Customer, Said
from state.recurring import Stream

DICTIONARY: Final = 1
"""What new blocks are compressed with (bench/dictionary.py makes one). Blocks of older ones are read as long as those are kept.
With a dictionary blocks are a sixth smaller, and read in two thirds of the time."""
MOVING: Final = 2
"""The dictionary for what changes with every event (state/frozen.py)."""
NO_DICTIONARY: Final = 0
LEVELS: Final = {NO_DICTIONARY: 1, DICTIONARY: 1, MOVING: -3}
"""Of Zstandard, by dictionary. Higher than 1 would find a fortieth more in twice the time; what is compressed at every freezing gets 5 µs,
in which level −3 finds nine tenths of what −1 does in 9."""
BYTES_MAX: Final = 16 * 1024 * 1024
"""Of a block once decompressed. The written limits of a profile allow a tenth of it: whatever claims more is damaged."""


class Still(msgspec.Struct, array_like=True, gc=False):
    """A block as it is encoded."""

    streams: list[Stream]
    accounts: dict[str, Account]
    said: list[Said]
    consents: dict[str, Decision]


class StillInText(Still, array_like=True, gc=False):
    """The same where a number of an account does not fit 64 bits: those are text."""

    accounts: dict[str, list[str | None]]  # type: ignore[assignment]


_HEAD: Final = struct.Struct("<BI")
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Still)
_text_decoder = msgspec.msgpack.Decoder(StillInText)
_states_decoder = msgspec.msgpack.Decoder(dict[str, tuple[int, msgspec.Raw]])


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
    encoded = decompressed(block)
    still: Still | StillInText
    try:
        still = _decoder.decode(encoded)
        customer.accounts = still.accounts
    except msgspec.ValidationError:
        still = _text_decoder.decode(encoded)
        customer.accounts = {key: _account(texts) for key, texts in still.accounts.items()}
    customer.streams = still.streams
    customer.said = still.said
    customer.consents = still.consents
    customer.still = (_items(customer), block)


def freeze_states(customer: Customer, states: Mapping[str, Sequence[Any]]) -> bytes:
    """The block of detectors' states that seldom change, each as [version, state]; empty if there are none."""
    if not states:
        return b""
    encoded = _encoder.encode(states)
    known = customer.still_states
    if known is not None and known[0] == encoded:
        return known[1]
    block = compressed(encoded)
    customer.still_states = (encoded, block)
    return block


def thaw_states(customer: Customer, block: bytes) -> dict[str, tuple[int, msgspec.Raw]]:
    """By detector, each as (version, bytes). Raises ValueError, msgspec.DecodeError for a block that `freeze_states` can't have made."""
    if not block:
        return {}
    encoded = decompressed(block)
    customer.still_states = (encoded, block)
    return _states_decoder.decode(encoded)


def compressed(encoded: bytes, dictionary: int | None = None) -> bytes:
    """
    >>> decompressed(compressed(b"abc" * 1_000)) == b"abc" * 1_000, len(compressed(b"abc" * 1_000)) < 50
    (True, True)
    """
    number = DICTIONARY if dictionary is None else dictionary
    return _HEAD.pack(number, len(encoded)) + _compressor(number).compress(encoded)


def decompressed(block: bytes) -> bytes:
    """Raises ValueError for a damaged block."""
    if len(block) < _HEAD.size:
        raise ValueError("a compressed block is cut short")
    dictionary, length = _HEAD.unpack_from(block)
    if length > BYTES_MAX:
        raise ValueError("a compressed block claims to be impossibly long")
    try:
        frame = memoryview(block)[_HEAD.size :]
        encoded = _decompressor(dictionary).decompress(frame, max_output_size=length, allow_extra_data=False)
    except (zstandard.ZstdError, MemoryError) as error:  # a damaged frame may claim to hold any length
        raise ValueError("a compressed block is damaged") from error
    if len(encoded) != length:
        raise ValueError("a compressed block has another length than it says")
    return encoded


def dictionary_path(number: int) -> Path:
    return Path(__file__).parent / "dictionaries" / f"{number}.zdict"


@cache
def _compressor(dictionary: int) -> zstandard.ZstdCompressor:
    trained, level = _trained(dictionary), LEVELS[dictionary]
    if trained is not None:
        trained.precompute_compress(level=level)
    return zstandard.ZstdCompressor(level=level, dict_data=trained, write_content_size=False)


@cache
def _decompressor(dictionary: int) -> zstandard.ZstdDecompressor:
    return zstandard.ZstdDecompressor(dict_data=_trained(dictionary))


def _trained(number: int) -> zstandard.ZstdCompressionDict | None:
    """Raises ValueError for a dictionary that there is not."""
    if number == NO_DICTIONARY:
        return None
    try:
        return zstandard.ZstdCompressionDict(dictionary_path(number).read_bytes())
    except FileNotFoundError as error:
        raise ValueError("a compressed block names a dictionary that this release has not got") from error


def _items(customer: Customer) -> list[object]:
    """What the block is made of. No item stands for two accounts or purposes: the same items make the same block."""
    return [*customer.streams, *customer.accounts.values(), *customer.said, *customer.consents.values()]


def _encoded(customer: Customer) -> bytes:
    try:
        return _encoder.encode(Still(customer.streams, customer.accounts, customer.said, customer.consents))
    except OverflowError:  # a balance of 15 digits and 4 decimals
        texts = {key: _in_text(account) for key, account in customer.accounts.items()}
        return _encoder.encode(StillInText(customer.streams, texts, customer.said, customer.consents))


def _in_text(account: Account) -> list[str | None]:
    return [None if value is None else str(value) for value in account]


def _account(texts: Sequence[str | None]) -> Account:
    """Raises ValueError for what `_in_text` can't have made. Format 2 left out what was None at the end."""
    observed, kind, currency, balance, status, overdraft, credit, *later = texts
    rate, payment, due = (*later, None, None, None)[:3]
    if observed is None or kind is None or currency is None or balance is None or status is None:
        raise ValueError("an account lacks a field that every account has")
    return Account(
        int(observed),
        kind,
        currency,
        int(balance),
        status,
        int(overdraft) if overdraft is not None else None,
        int(credit) if credit is not None else None,
        float(rate) if rate is not None else None,
        int(payment) if payment is not None else None,
        int(due) if due is not None else None,
    )
