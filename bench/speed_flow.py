"""The peers' simple work in our engine: its Kafka source, its shards' store and its exactly-once sink around a step of three lines.

python bench/speed_flow.py BOOTSTRAP TOPIC_OUT STATE_DIR
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.recovery import RecoveryConfig, init_db_dir

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from speed_simple import TOPIC_IN, Profile, line_of  # noqa: E402

from dataflows.batches import OutputBatch, RecordBatch  # noqa: E402
from dataflows.garbage import collect_young_only  # noqa: E402
from dataflows.kafka.sink import KafkaOutput  # noqa: E402
from dataflows.kafka.source import KafkaInput  # noqa: E402
from dataflows.route import to_sink  # noqa: E402
from state.digest import shard_of  # noqa: E402
from state.records import Output  # noqa: E402
from state.settings import KafkaSettings  # noqa: E402
from state.store import DiskStore  # noqa: E402

SHARDS = 16
SINK_PARTITIONS = 1
EPOCH = timedelta(seconds=1)
WRITE_BEHIND = 64


class SimpleShard(StatefulBatchLogic[Any, tuple[str, OutputBatch], bytes]):
    """Live profiles in a dict, their bytes in the store, a token for each epoch: what dataflows/shard_logic.py does for customers."""

    def __init__(self, resume: bytes | None, state: Path, topic_out: str) -> None:
        self._resume, self._state, self._topic = resume, state, topic_out
        self._store: Any = None
        self._hot: dict[str, Profile] = {}
        self._dirty: dict[str, Profile] = {}
        self._unproven = False

    def on_batch(
        self, values: list[tuple[int, list[dict[str, Any]]]]
    ) -> tuple[Iterable[tuple[str, OutputBatch]], bool]:
        if self._store is None:
            self._store = DiskStore.open(self._state, values[0][0])
            self._store.restore(self._resume)
        if self._unproven:
            self._unproven = False
            self._store.proven()
        outputs = [self._one(payment) for _, payments in values for payment in payments]
        self._store.write_behind(WRITE_BEHIND)
        return list(to_sink(outputs, SINK_PARTITIONS, proof=True)), StatefulBatchLogic.RETAIN

    def _one(self, payment: dict[str, Any]) -> Output:
        customer_id = payment["customer_id"]
        profile = self._hot.get(customer_id)
        if profile is None:
            profile = self._hot[customer_id] = Profile(self._store.get(customer_id))
        self._dirty[customer_id] = profile
        line = line_of(payment, profile)
        return Output(self._topic, customer_id.encode(), line, payment["id"].encode())

    def snapshot(self) -> bytes:
        for customer_id, profile in self._dirty.items():
            self._store.put(customer_id, profile.freeze(), None)
        self._dirty.clear()
        self._unproven = True
        return bytes(self._store.checkpoint(b""))


def build(source: KafkaInput, sink: KafkaOutput, state: Path, topic_out: str, began_s: list[float]) -> Dataflow:
    flow = Dataflow("simple")

    def decode(batches: Iterable[RecordBatch]) -> Iterable[tuple[str, Any]]:
        for batch in batches:
            if batch.records and not began_s:
                began_s.append(time.process_time())
            by_shard: dict[int, list[Any]] = {}
            for record in batch.records:
                payment = orjson.loads(record.value)
                by_shard.setdefault(shard_of(payment["customer_id"], SHARDS), []).append(payment)
            for shard in range(SHARDS) if batch.tick else by_shard:
                yield f"{shard:04d}", (shard, by_shard.get(shard, []))
            if batch.tick:
                yield from ((str(part), OutputBatch([], proof=True)) for part in range(SINK_PARTITIONS))

    routed = op.flat_map_batch("decode", op.input("records", flow, source), decode)
    split = op.branch("spoken", routed, lambda item: isinstance(item[1], OutputBatch))
    said = op.stateful_batch("customers", split.falses, lambda resume: SimpleShard(resume, state, topic_out))
    outputs: Any = op.merge("outputs", split.trues, op.map("said", said, lambda item: item[1]))
    op.output("written", outputs, sink)
    return flow


def main() -> None:
    bootstrap, topic_out, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    settings = KafkaSettings(
        bootstrap_servers=bootstrap, sink_partitions=SINK_PARTITIONS, transactional_id=topic_out, group_id=topic_out
    )
    recovery = folder / "recovery"
    recovery.mkdir(parents=True)
    init_db_dir(recovery, 1)
    source = KafkaInput(settings, [TOPIC_IN], end_at_high_watermark=True)
    began_s: list[float] = []
    collect_young_only()
    flow = build(source, KafkaOutput(settings, [topic_out]), folder / "state", topic_out, began_s)
    cli_main(flow, epoch_interval=EPOCH, recovery_config=RecoveryConfig(str(recovery)))
    print(orjson.dumps({"cpu_s": time.process_time() - began_s[0]}).decode())


if __name__ == "__main__":
    main()
