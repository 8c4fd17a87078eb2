"""What a worker on Kafka tells of lag, delivery and checkpoints while its broker is away, and what Kafka's own tools see of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from broker import Broker
from cli_samples import as_line, transaction
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka.admin import AdminClient
from conftest import Topics
from prometheus_server import Prometheus, alerts
from scrape import ask, free_ports, scrape, wait_until
from talking import Sent, send
from worker_process import WorkerProcess

from dataflows.cli import main
from state.digest import partition_of

PARTITIONS, CUSTOMERS, EACH = 2, 60, 400

# Little is fetched ahead, so that most of the input is still on the broker when it goes away.
SETTINGS = """\
[log]
kind = "kafka"
[kafka]
bootstrap_servers = "{bootstrap}"
topic_prefix = "{prefix}."
group_id = "{prefix}"
transactional_id = "{prefix}"
partitions = 2
sink_partitions = 2
batch_records_max = 50
broker_timeout_s = 60.0
[kafka.consumer]
queued.max.messages.kbytes = 16
fetch.message.max.bytes = 4096
[shard]
count = 4
[state]
dir = "{state}"
checkpoint_interval_ms = 200
[metrics]
port = {port}
"""


@pytest.fixture
def running(mortal_broker: Broker, topics: Topics, tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A worker in the middle of its input, and a Prometheus that watches it."""
    port, config = free_ports(1), tmp_path / "kafka.toml"
    places = {"bootstrap": mortal_broker.bootstrap, "prefix": topics.prefix, "state": tmp_path / "state"}
    config.write_text(SETTINGS.format(port=port, **places))
    assert main(["init", "--config", str(config)]) == 0
    bodies = [transaction(customer, number) for number in range(EACH) for customer in range(CUSTOMERS)]
    keys = [str(body["customer_id"]).encode() for body in bodies]
    first_ms = 1_735_776_000_000
    send(
        mortal_broker.bootstrap,
        [
            Sent(
                f"{topics.prefix}.in.transactions",
                partition_of(key, PARTITIONS),
                as_line(body),
                key,
                first_ms + n * 108_000,
            )
            for n, (key, body) in enumerate(zip(keys, bodies, strict=True))
        ],
    )
    prometheus = Prometheus(tmp_path, [port])
    worker = WorkerProcess(tmp_path / "worker.log", "--config", str(config))
    worker.start()
    try:
        yield SimpleNamespace(port=port, worker=worker, prometheus=prometheus, prefix=topics.prefix)
    finally:
        worker.end()
        prometheus.stop()


def test_a_broker_that_is_away_shows_as_lag_and_as_a_stalled_checkpoint_until_it_is_back(
    running: SimpleNamespace, mortal_broker: Broker, admin: AdminClient
) -> None:
    sent = CUSTOMERS * EACH

    def found(name: str, **labels: str) -> float:
        return scrape(running.port).total(name, **labels)

    def lag() -> float:
        return found("segone_lag_records", topic="in.transactions")

    wait_until(lambda: found("segone_outputs_published_total") > 0 < lag(), running.worker.told())
    mortal_broker.kill()
    assert lag() > 0.6 * sent, (
        "killed with most of the input unread: at the pace so far it lasts longer than five minutes"
    )
    lagging = running.prometheus.await_values(alerts()["SegoneLagHigh"]["expr"])
    assert lagging[0][1] > 300
    wait_until(lambda: found("segone_outputs_pending") > 0, "outputs wait for the broker")
    committed_at = found("segone_checkpoint_last_timestamp_seconds")
    time.sleep(2)  # ten epochs
    assert found("segone_checkpoint_last_timestamp_seconds") == committed_at
    assert ask(running.port, "/healthz").status == 200
    stalled = alerts()["SegoneCheckpointStalled"]["expr"]
    assert running.prometheus.values(stalled) == []
    assert running.prometheus.values(stalled, time=str(committed_at + 181)), (
        "it fires three minutes after the last commit"
    )
    mortal_broker.start()
    wait_until(lambda: found("segone_events_total") == sent and lag() == 0, running.worker.told())
    wait_until(lambda: found("segone_outputs_published_total") >= sent, "every transaction has a score")
    assert found("segone_delivery_failures_total") == 0 == found("segone_conservation_difference")
    assert found("segone_transaction_seconds_count") > 0
    wait_until(lambda: ask(running.port, "/readyz").status == 200, "it is ready again")
    wait_until(
        lambda: committed_to_group(admin, running.prefix) == sent, "the group's offsets are those of the input's end"
    )


def committed_to_group(admin: AdminClient, prefix: str) -> int:
    """The sum of the offsets that Kafka's lag tools find in the worker's consumer group."""
    asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(prefix)])
    partitions = asked[prefix].result(10).topic_partitions
    return sum(each.offset for each in partitions if each.topic == f"{prefix}.in.transactions" and each.offset > 0)
