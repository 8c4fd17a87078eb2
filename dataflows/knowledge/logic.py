"""A knowledge key inside Bytewax: opens at its first item, answers batches, and gives the engine a token at each epoch's end."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bytewax.operators import StatefulBatchLogic

from dataflows.batches import KnowledgeBatch, OutputBatch
from dataflows.knowledge.key import KnowledgeKey
from dataflows.route import to_sink
from state.records import Output

WRITE_BEHIND_CHUNK = 256


class KnowledgeLogic(StatefulBatchLogic[KnowledgeBatch, tuple[str, OutputBatch], bytes]):
    """The engine's view of one knowledge key. `open_key` opens it by name; the token is applied as soon as the name is known."""

    def __init__(self, resume: bytes | None, open_key: Callable[[str], KnowledgeKey], sink_partitions: int) -> None:
        self._resume = resume
        self._open_key = open_key
        self._sink_partitions = sink_partitions
        self._key: KnowledgeKey | None = None
        self._unproven = False

    def on_batch(self, values: list[KnowledgeBatch]) -> tuple[Iterable[tuple[str, OutputBatch]], bool]:
        key = self._key
        if key is None:
            key = self._key = self._open_key(values[0].key)
            key.restore(self._resume)
        if self._unproven and any(batch.proof for batch in values):
            # A source item of a later epoch: the engine has committed the one of our last token.
            self._unproven = False
            key.proven()
        outputs: list[Output] = []
        for batch in values:
            outputs += key.take(batch)
        key.announce()
        key.write_behind(WRITE_BEHIND_CHUNK)
        return list(to_sink(outputs, self._sink_partitions, proof=True)), StatefulBatchLogic.RETAIN

    def snapshot(self) -> bytes:
        if self._key is None:
            assert self._resume is not None, "the engine asks for a snapshot only of a key that it awoke"
            return self._resume
        self._unproven = True
        return self._key.checkpoint()
