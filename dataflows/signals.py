"""The flow, from topics to signals. Read it from the top: one straight line.

    topics in ──► decode ──► route to shard ──► customer step ──► topics out
                    └──────────────► dead letters ──────┼──────────┘
                                                        └─► knowledge ─┘

What is learned across customers is beside the line: what the customer step reports goes to the knowledge keys, and comes back through
the shelf (docs/knowledge.md).
Step ids are the keys of the recovery store: renaming one orphans its state.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.operators import KeyedStream

from dataflows.batches import KnowledgeBatch, OutputBatch, RecordBatch
from dataflows.knowledge.logic import KnowledgeLogic
from dataflows.loading import load_checked
from dataflows.log_lines import configure, tell_start
from dataflows.metered import MeteredInput
from dataflows.metrics.endpoint import serve
from dataflows.route import ShardBatch
from dataflows.shard_logic import ShardLogic
from dataflows.witness import WatchedLogic, WatchedOutput
from dataflows.worker import Worker
from operators.pseudonym import pseudonyms_of


def build(worker: Worker) -> Dataflow:
    """The dataflow over a worker's source, shards and sink."""
    flow = Dataflow("segone")

    def decode(batches: Iterable[RecordBatch]) -> Iterable[tuple[str, ShardBatch | OutputBatch]]:
        with worker.witness:
            yield from worker.router(batches)

    records = op.input("records", flow, MeteredInput(worker.source, worker.tally, worker.witness))
    routed = op.flat_map_batch("decode", records, decode)
    split = op.branch("accepted", routed, lambda item: isinstance(item[1], ShardBatch))
    interval_s = worker.settings.state.checkpoint_interval_ms / 1000

    def shard(resume: bytes | None) -> WatchedLogic:
        logic = ShardLogic(
            resume,
            worker.open_shard,
            worker.sink_partitions,
            worker.live,
            interval_s,
            worker.quarantine,
            worker.stopping.is_set,
            worker.reporter if worker.keys else None,
            tally=worker.tally,
            accounting=worker.accounting,
            pseudonyms=pseudonyms_of(worker.settings),
        )
        return WatchedLogic(logic, worker.witness)

    def knowledge_key(resume: bytes | None) -> WatchedLogic:
        return WatchedLogic(KnowledgeLogic(resume, worker.open_key, worker.sink_partitions), worker.witness)

    said = op.stateful_batch("customers", cast(KeyedStream[ShardBatch], split.trues), shard)
    addressed = op.map("address", said, lambda item: item[1])
    spoken = op.branch("spoken", addressed, lambda item: isinstance(item[1], OutputBatch))
    learned = op.stateful_batch("knowledge", cast(KeyedStream[KnowledgeBatch], spoken.falses), knowledge_key)
    versions = op.map("versions", learned, lambda item: item[1])
    outputs = cast(KeyedStream[OutputBatch], op.merge("outputs", split.falses, spoken.trues, versions))
    op.output("written", outputs, WatchedOutput(worker.sink, worker.witness))
    return flow


def flow() -> Dataflow:
    """For `python -m bytewax.run dataflows.signals:flow`: settings from the file named by SEGONE_CONFIG, and the environment; with the
    logs and the port of `segone run`. docs/operating.md tells what else that command does."""
    path = os.environ.get("SEGONE_CONFIG")
    settings = load_checked(Path(path) if path else None)
    configure(settings.logs)
    worker = Worker.open(settings)
    worker.own_state()
    serve(worker, 0)
    tell_start(settings)
    return build(worker)
