"""A row of the merchant table: what was known of one merchant, or of all of one key, when a bucket closed."""

from __future__ import annotations

from typing import Final

import msgspec

POPULATION: Final = "population"
MERCHANT: Final = "merchant"


class MerchantRow(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was known at `effective_from_us`, the end of a bucket.

    A row of scope `population` speaks of all merchants of one key; its `merchant_id` is the key's name. An empty row of a
    merchant says that nothing is known of it any longer.
    """

    merchant_id: str
    effective_from_us: int
    scope: str
    n_1d: int
    """Transactions of the last day, 7 days and 30 days."""
    n_7d: int
    n_30d: int
    settled_1d: int
    """Transactions of the newest day, 7 and 30 days for which labels would have come by now, and the frauds among them."""
    settled_7d: int
    settled_30d: int
    frauds_1d: int
    frauds_7d: int
    frauds_30d: int
    rate_1d: float
    """Frauds for each settled transaction, shrunk to `prior`; more if so many frauds of newer ones are known already. So for 7 and 30
    days."""
    rate_7d: float
    rate_30d: float
    prior: float
    """The rate of the population then."""
    streak: int
    """Frauds in the newest row of slots of which each was fraud for the most part; 0 if the newest settled one was not."""
    streak_from_us: int
    """When its first slot began; 0 without a streak."""
    fraud_us: int
    """The end of the slot of the newest known fraud; 0 if none is known."""
    empty: bool = False
