"""A recent transaction as it is frozen: without what follows from the rest of it."""

from __future__ import annotations

from typing import Final, NamedTuple

from state.customer import Recent
from state.digest import digest64
from state.payee import Payee
from state.recurring import CHANNELS

LEARNED: Final = 1
POSTED: Final = 2
CHANNEL: Final = 4
"""What of `marks` is above: the index into CHANNELS."""
_CODES: Final = {channel: code for code, channel in enumerate(CHANNELS)}


class FrozenRecent(NamedTuple):
    """The digest is that of the id; a payee's account and channel are the transaction's."""

    time_us: int
    transaction_id: str
    amount_minor: int
    key: int
    merchant: int
    country: str | None
    lat: float | None
    lon: float | None
    marks: int
    device: int
    payee: tuple[int, int, str] | None
    """Digest, reference, name."""
    account: str
    balance_minor: int | None
    mcc: int


def freeze_recent(recent: Recent) -> FrozenRecent:
    (
        time_us, _, transaction_id, amount_minor, key, merchant, country, lat, lon, channel, learned, posted, device, payee,
        account, balance_minor, mcc,
    ) = recent  # fmt: skip
    marks = _CODES[channel] * CHANNEL | learned * LEARNED | posted * POSTED
    short = None if payee is None else payee[:3]
    return FrozenRecent(
        time_us, transaction_id, amount_minor, key, merchant, country, lat, lon, marks, device, short, account, balance_minor, mcc
    )  # fmt: skip


def thaw_recent(frozen: FrozenRecent) -> Recent:
    """Raises IndexError for a channel that there is not."""
    (
        time_us, transaction_id, amount_minor, key, merchant, country, lat, lon, marks, device, short, account, balance_minor, mcc,
    ) = frozen  # fmt: skip
    channel = CHANNELS[marks // CHANNEL]
    payee = None if short is None else Payee(*short, account, channel)
    return Recent(
        time_us, digest64(transaction_id), transaction_id, amount_minor, key, merchant, country, lat, lon, channel,
        bool(marks & LEARNED), bool(marks & POSTED), device, payee, account, balance_minor, mcc,
    )  # fmt: skip
