"""The merchant table: how many transactions each merchant had and how many turned out to be fraud, within 1, 7 and 30 days.

Facts of an open bucket are only counted; `close` publishes rows of what is known at its end. All counts are integers by bucket of
time, so the order in which a bucket's facts come does not matter.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from operators.knowledge.facts import UNLABELLED, MerchantFact
from state.windows import DAY_US

WINDOWS_US = (DAY_US, 7 * DAY_US, 30 * DAY_US)
POPULATION = "population"
MERCHANT = "merchant"


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The table [merchants] of config/detectors.toml."""

    merchants_max: Annotated[int, Meta(ge=1)] = 200_000
    """Of one key; the least recently seen leave."""
    prior_rate: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.002
    prior_transactions: Annotated[float, Meta(gt=0.0)] = 10_000.0
    """How many transactions the prior rate is worth against what the population shows."""
    merchant_weight: Annotated[float, Meta(gt=0.0)] = 30.0
    """How many transactions the population's rate is worth against what one merchant shows."""


class MerchantRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was known of a merchant at `effective_from_us`, the end of a bucket. Windows end there.

    A row of scope `population` speaks of all merchants of one key; its `merchant_id` is the key's name.
    """

    merchant_id: str
    effective_from_us: int
    scope: str
    n_1d: int
    n_7d: int
    n_30d: int
    labelled_1d: int
    labelled_7d: int
    labelled_30d: int
    frauds_1d: int
    frauds_7d: int
    frauds_30d: int
    rate_1d: float
    """Frauds that became known in the window for each transaction in it, shrunk to `prior`; so for 7 and 30 days."""
    rate_7d: float
    rate_30d: float
    prior: float
    """The rate of the population then."""


class MerchantTable:
    """One key's merchants. Bounded by `merchants_max` merchants and 30 days of buckets each."""

    def __init__(self, name: str, config: Config, bucket_us: int) -> None:
        self.name = name
        self._config = config
        self._bucket_us = bucket_us
        self._slots: dict[str, dict[int, list[int]]] = {}
        """By merchant: bucket number → [transactions, labelled, frauds]."""

    def add(self, fact: MerchantFact) -> None:
        slot = self._slots.setdefault(fact.merchant_id, {}).setdefault(fact.time_us // self._bucket_us, [0, 0, 0])
        if fact.label == UNLABELLED:
            slot[0] += 1
        else:
            slot[1] += 1
            slot[2] += fact.label

    def close(self, bucket_end_us: int) -> list[MerchantRow]:
        """The rows that changed since the last close, by merchant, after the population's."""
        return []

    def freeze(self) -> dict[str, bytes]:
        """What changed since the last `freeze`, by item; empty bytes for an item that is gone."""
        return {}

    def thaw(self, items: dict[str, bytes]) -> None:
        """The state of all items ever frozen and not gone since."""
