"""What a shard tells the knowledge keys: facts and examples at once, and how far each source partition is."""

from __future__ import annotations

from collections.abc import Iterable

from dataflows.batches import KnowledgeBatch, KnowledgeItem
from dataflows.knowledge.board import BoardReader
from dataflows.route import ShardBatch
from operators.across import MODEL
from operators.knowledge.facts import Example, MerchantFact, ScoreCount, merchants_key, model_key
from state.step import Emission


class Reporter:
    """Of one shard. `keys`: all knowledge keys, `merchant_keys` of them for merchants."""

    def __init__(self, shard: int, keys: list[str], merchant_keys: int, reader: BoardReader) -> None:
        self._shard = shard
        self._keys = keys
        self._merchant_keys = merchant_keys
        self._reader = reader
        self._told: dict[int, tuple[int, int]] = {}

    def before(self, batch: ShardBatch) -> None:
        """Before a batch is applied, the board is brought to where it has to be for it."""
        self._reader.require(batch.clock_us, tick=not batch.events)

    def report(self, emissions: Iterable[Emission], partition: int, *, proof: bool) -> list[KnowledgeBatch]:
        """What is to be learned of these emissions, by key."""
        by_key: dict[str, list[KnowledgeItem]] = {}
        for emission in emissions:
            item = emission.body
            if isinstance(item, MerchantFact | Example | ScoreCount):
                by_key.setdefault(self._key_of(item), []).append(item)
        return [KnowledgeBatch(key, self._shard, partition, items, 0, 0, proof) for key, items in by_key.items()]

    def news(self, batch: ShardBatch, customers: int) -> list[KnowledgeBatch]:
        """For every key, if the partition's horizon has moved or the partition is new: after everything before it was reported.
        The learner of transactions is told how many customers the shard knows, too."""
        news = (batch.horizon_us, batch.nonce)
        if not batch.nonce or self._told.get(batch.partition) == news:
            return []
        self._told[batch.partition] = news
        count: list[KnowledgeItem] = [ScoreCount(MODEL, self._shard, batch.clock_us, customers, {})]
        return [
            KnowledgeBatch(key, self._shard, batch.partition, count if key == model_key(MODEL) else [], *news, True)
            for key in self._keys
        ]

    def _key_of(self, item: KnowledgeItem) -> str:
        if isinstance(item, MerchantFact):
            return merchants_key(item.merchant_id, self._merchant_keys)
        return model_key(item.model)
