"""The soak on a real Kafka: workers killed, the broker killed and restarted, the broker away for good."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from contextlib import redirect_stdout

from broker import READY_TIMEOUT_S, Broker
from said import Said, comparable, in_order_read, on_kafka
from soak_phase import BROKER_TIMEOUT_S, FIRST_CHECKPOINT_S_MAX, Soak, checkpoints, read_the_rest, wait_until
from streams_under_load import PARTITIONS, Feeder, KafkaLog, KafkaReader, bursts, outputs_on_kafka, records_on_kafka
from worker_process import WorkerProcess

from dataflows.commands.init import run as init
from simulation.runs import Message
from state.events import BROADCAST, TOPICS

BROKER_GONE_TIMEOUT_S = 4.0
BROKER_GONE_EXIT_S_MAX = 30.0


class KafkaPhase:
    """A fresh broker with its topics, a feeder, a reader that looks on, and at the end the comparison."""

    def __init__(
        self,
        soak: Soak,
        name: str,
        broker_timeout_s: float = BROKER_TIMEOUT_S,
        messages: list[Message] | None = None,
    ) -> None:
        """`messages`: the input, if it is not that of the soak."""
        self.soak = soak
        self.name = name
        self.messages = soak.messages if messages is None else messages
        self.phase, self._began_s = soak.begin(name, len(self.messages))
        self.broker = Broker().start()
        self.config = soak.settings(name, "kafka", self.broker.bootstrap, broker_timeout_s)
        self.state = soak.folder / name / "state"
        self.worker = soak.worker(name, self.config)
        with (soak.folder / name / "init.log").open("w") as told, redirect_stdout(told):
            init(argparse.Namespace(config=self.config, input=None, output=None, state=None))
        counts = {topic: 1 if topic in BROADCAST else PARTITIONS for topic in TOPICS}
        self.log = KafkaLog(self.broker.bootstrap, counts)
        self.reader = KafkaReader(self.broker.bootstrap)
        self.reader.start()

    def feeder(self, over_s: float) -> Feeder:
        feeder = Feeder(list(bursts(self.messages)), self.log.write, over_s)
        feeder.start()
        return feeder

    def feed_all(self) -> None:
        self.log.write(self.messages)

    def finish(self, reference: Said | None) -> Said:
        """Reads what is left with an undisturbed worker and compares all; without a reference the result is one."""
        found, fed = self._read_all()
        if len(fed) != len(self.messages):
            self.phase.surprises.append(
                f"the input topics hold {len(fed)} records, {len(self.messages)} were sent: the feeder is to blame"
            )
        self.soak.judge(self.phase, self._began_s, found if reference is None else reference, found)
        self.broker.stop()
        return found

    def finish_as_fed(self) -> None:
        """The same where a broker died: the feeder's client may have sent again what had arrived but was not confirmed. So the
        reference is an undisturbed run over what the input topics hold in the end, on a broker of its own."""
        found, fed = self._read_all()
        self.broker.stop()
        sent = Counter(
            one._replace(arrival_us=one.arrival_us // 1000 * 1000) for one in self.messages
        )  # as Kafka keeps it
        missing = sent - Counter(fed)
        if missing:
            self.phase.surprises.append(f"{missing.total()} records sent are not in the input topics")
        self.soak.tell(f"{self.name}: {len(fed) - len(self.messages)} records were sent again by the feeder's client")
        again = KafkaPhase(self.soak, f"{self.name}: its input, undisturbed", messages=fed)
        try:
            again.feed_all()
            reference = again.finish(None)
        finally:
            again.close()
        self.soak.judge(self.phase, self._began_s, reference, found)

    def _read_all(self) -> tuple[Said, list[Message]]:
        """What was said in the end, and what the input topics hold."""
        bounded = self.soak.folder / f"{self.name}.bounded.toml"
        text = self.config.read_text().replace("[kafka]", "[kafka]\nend_at_high_watermark = true")
        bounded.write_text(text)
        worker = WorkerProcess(self.soak.folder / self.name / "worker.log", "--config", str(bounded))
        read_the_rest(self.phase, worker)
        outputs = outputs_on_kafka(self.broker.bootstrap)
        live = self.reader.finish(len(outputs))
        if Counter(live) != Counter(outputs):
            self.phase.surprises.append(f"a reader at work saw {len(live)} outputs, {len(outputs)} are there")
        return on_kafka(outputs, headers=True), records_on_kafka(self.broker.bootstrap)

    def close(self) -> None:
        self.worker.end()
        self.broker.stop()


def soak_kafka(soak: Soak, in_file: Said | None) -> None:
    undisturbed = KafkaPhase(soak, "kafka, undisturbed")
    try:
        undisturbed.feed_all()
        reference = undisturbed.finish(None)
        if in_file is not None:
            compare_logs(soak, undisturbed, in_file)
    finally:
        undisturbed.close()
    kill_workers(soak, reference)
    kill_broker(soak)
    lose_broker(soak)


def compare_logs(soak: Soak, undisturbed: KafkaPhase, in_file: Said) -> None:
    phase, began_s = soak.begin("kafka against files")
    outputs = undisturbed.reader.read
    plain = in_order_read(comparable(on_kafka(outputs, headers=False)))
    soak.judge(phase, began_s, in_order_read(comparable(in_file)), plain)


def kill_workers(soak: Soak, reference: Said) -> None:
    work = KafkaPhase(soak, "kafka, workers killed")
    try:
        feeder = work.feeder(over_s=soak.args.kills * 3.5)
        soak.kill_until(work.phase, work.worker, work.state, soak.args.kills)
        soak.tell(f"{work.name}: {feeder.fed:,} records fed during the kills")
        work.worker.end()
        feeder.finish()
        work.finish(reference)
    finally:
        work.close()


def kill_broker(soak: Soak) -> None:
    """The broker dies and comes back while everybody goes on; the worker must live through it."""
    # A busy machine may take longer to start a broker than a worker with the usual patience would wait.
    work = KafkaPhase(soak, "kafka, broker killed", broker_timeout_s=READY_TIMEOUT_S + BROKER_TIMEOUT_S)
    away_s: list[float] = []
    try:
        feeder = work.feeder(over_s=soak.args.broker_kills * 8.0)
        processes = soak.rng.choice(soak.args.processes)
        work.phase.starts[str(processes)] = 1
        work.worker.start(processes)
        wait_until(lambda: checkpoints(work.state) > 0, FIRST_CHECKPOINT_S_MAX)
        for _ in range(soak.args.broker_kills):
            time.sleep(soak.rng.uniform(1.0, 4.0))
            killed_s = time.monotonic()
            work.broker.kill()
            time.sleep(soak.rng.uniform(0.0, 2.0))
            work.broker.start()
            away_s.append(time.monotonic() - killed_s)
            work.phase.broker_kills += 1
        soak.tell(f"{work.name}: it was away for {', '.join(f'{one_s:.1f}' for one_s in away_s)} s")
        time.sleep(3.0)
        if (code := work.worker.wait(0)) is not None:
            work.phase.surprises.append(f"the worker did not live through it: {code}: {work.worker.told(600)}")
        else:
            code = work.worker.stop(timeout_s=60)
            if code != 0:
                work.phase.surprises.append(f"a stop by SIGTERM ended with {code}: {work.worker.told(600)}")
        feeder.finish()
        work.finish_as_fed()
    finally:
        work.close()


def lose_broker(soak: Soak) -> None:
    """The broker stays away: the worker must say so and end; when it is back, nothing is lost."""
    work = KafkaPhase(soak, "kafka, broker away", BROKER_GONE_TIMEOUT_S)
    try:
        feeder = work.feeder(over_s=10.0)
        work.worker.start()
        wait_until(lambda: checkpoints(work.state) > 0, FIRST_CHECKPOINT_S_MAX)
        time.sleep(1.0)
        work.broker.kill()
        work.phase.broker_kills = 1
        began_s = time.monotonic()
        code = work.worker.wait(BROKER_GONE_EXIT_S_MAX)
        took_s = time.monotonic() - began_s
        last = work.worker.told().strip().splitlines()[-1:]
        soak.tell(f"{work.name}: exit {code} after {took_s:.1f} s (broker_timeout_s {BROKER_GONE_TIMEOUT_S}): {last}")
        if code != 1:
            work.phase.surprises.append(f"exit code {code} after {took_s:.1f} s without the broker, not 1")
            work.worker.end()
        work.broker.start()
        feeder.finish()
        work.finish_as_fed()
    finally:
        work.close()
