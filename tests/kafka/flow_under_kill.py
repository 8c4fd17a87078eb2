"""The smallest flow over the real source and sink, run as a process of its own so that tests can kill it.

Arguments: bootstrap address, topic prefix, recovery directory, workers in this process, patience with a silent
broker in seconds. SIGTERM stops it gracefully; SIGUSR1 makes it write where each of its threads stands.
"""

from __future__ import annotations

import faulthandler
import hashlib
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from types import FrameType

import bytewax.operators as op
from bytewax._bytewax import cli_main
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig

from dataflows.batches import OutputBatch, RecordBatch
from dataflows.kafka.sink import KafkaOutput
from dataflows.kafka.source import KafkaInput
from state.records import Output, Record
from state.settings import KafkaSettings


def output_of(record: Record, topic: str) -> Output:
    """One output for each record, with an id that depends on the record alone."""
    position = f"{record.topic}/{record.partition}/{record.offset}"
    output_id = hashlib.blake2b(position.encode(), digest_size=16).digest()
    return Output(topic, record.key or b"", record.value, output_id, (("source-position", position.encode()),))


def main() -> None:
    bootstrap, prefix, recovery, workers, broker_timeout_s = sys.argv[1:]
    settings = KafkaSettings(
        bootstrap_servers=bootstrap,
        transactional_id=prefix,
        sink_partitions=2,
        batch_records_max=50,
        start_timeout_s=4 * float(broker_timeout_s),
        broker_timeout_s=float(broker_timeout_s),
    )
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    faulthandler.register(signal.SIGUSR1)
    source = KafkaInput(settings, [f"{prefix}.in.a", f"{prefix}.in.b"], stopping)
    sink = KafkaOutput(settings, [f"{prefix}.out"])

    def outputs(batch: RecordBatch) -> Iterator[tuple[str, OutputBatch]]:
        made = sorted(
            (output_of(record, f"{prefix}.out") for record in batch.records), key=lambda each: sink.route(each.key)
        )
        for route, routed in groupby(made, lambda each: sink.route(each.key)):
            yield route, OutputBatch(list(routed), proof=True)
        if batch.tick:
            # As the real flow does: a sink partition that sees no item in an epoch that is repeated after a crash would
            # be given the snapshot of the crashed attempt at the next resume.
            for number in range(settings.sink_partitions):
                yield str(number), OutputBatch([], proof=True)

    flow = Dataflow("under_kill")
    records = op.input("read", flow, source)
    op.output("write", op.flat_map("apply", records, outputs), sink)
    cli_main(
        flow,
        workers_per_process=int(workers),
        epoch_interval=timedelta(milliseconds=300),
        recovery_config=RecoveryConfig(Path(recovery)),
    )


if __name__ == "__main__":
    main()
