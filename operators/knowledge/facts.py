"""What leaves the customer step for the knowledge steps: facts about merchants, labelled examples, counts of scores."""

from __future__ import annotations

from typing import Final
from zlib import crc32

import msgspec

UNLABELLED = -1
MODEL_PREFIX: Final = "model-"
TRANSACTION: Final = "transaction"
INTENTS: Final = "intents"
OVERDRAFT: Final = "overdraft_ahead"


class MerchantFact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One transaction at a merchant (`label` −1), or what became known of one (0 not fraud, 1 fraud).

    `time_us` is when that happened: of a transaction its own time, of a label when it became known.
    """

    merchant_id: str
    time_us: int
    customer_id: str
    transaction_id: str
    label: int = UNLABELLED
    occurred_us: int = 0
    """Of a label: when its transaction was; 0 if nobody knows."""


class Example(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What was seen (`features`: features and scores as they were, packed by the model's schema) and what came of it (`label`, 0 or 1).

    Of the transaction model: a transaction, and whether it turned out to be fraud. Of an intent's: a customer's week, and whether the
    outcome came; `transaction_id` is then the week's name. Of an alert's: what it said, and whether it came true. `weight` says for
    how many examples it speaks: kept negatives speak for those that were left out.
    """

    model: str
    customer_id: str
    transaction_id: str
    time_us: int
    features: bytes
    label: int
    weight: float = 1.0


class ScoreCount(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """How one shard's customers scored: what an alarm budget is measured in.

    `rises` counts customers by the bin of the highest fused score of their day: a customer whose highest score of the day rises
    from one bin to another is taken out of the one and put into the other, so counts of any batches simply add up. All are of
    the day of `time_us`.
    """

    model: str
    shard: int
    time_us: int
    customers: int
    """Known to the shard so far."""
    rises: dict[int, int]


def merchants_key(merchant_id: str, keys: int) -> str:
    """The knowledge key that holds a merchant: merchants-0 to merchants-(keys − 1).

    >>> merchants_key("m-1", 4)
    'merchants-0'
    """
    return f"merchants-{crc32(merchant_id.encode('utf-8', 'surrogatepass')) % keys}"


def model_key(model: str) -> str:
    """The knowledge key that learns a model: intents' models are small, and share one.

    >>> model_key("transaction"), model_key("churn")
    ('model-transaction', 'model-intents')
    """
    return MODEL_PREFIX + (model if model in (TRANSACTION, OVERDRAFT) else INTENTS)
