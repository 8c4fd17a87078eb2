"""The port of a real worker: what it counts is what happened, whoever asks; health and readiness; no customer in any label."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cli_samples import as_line, transaction, write_log
from model_samples import model_version
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from scrape import ask, free_ports, scrape, wait_until
from structlog.testing import capture_logs
from worker_process import ROOT, WorkerProcess

from dataflows.batches import RecordBatch
from dataflows.cli import main
from dataflows.kafka.source import KafkaInput
from dataflows.knowledge.pacing import Pacemaker
from dataflows.metrics.collector import WorkerCollector
from dataflows.metrics.endpoint import Endpoint
from dataflows.metrics.engine import families
from dataflows.metrics.health import Health
from dataflows.quarantine import Quarantine
from dataflows.route import Accounting, Router, ShardBatch
from dataflows.shard_logic import ShardLogic
from dataflows.tally import AGE_S, Tally
from dataflows.worker import Worker
from operators.across import Across
from operators.customer_step import CustomerStep, make_policy
from operators.decode import Decoder, Rejection
from operators.knowledge.versions import SHADOW, PayloadError
from state.memory_store import MemoryStore
from state.records import Record
from state.settings import Settings
from state.settings_reading import load_settings
from state.shard import Shard

pytestmark = pytest.mark.xdist_group("metrics")  # one world for all

MARK = "MARKED"
"""In every id, name, text and amount that a customer could be known by."""

AMOUNT = "7301.17"
OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four customers with a fraud each, duplicates, broken records, and ids, texts and amounts that are marked."""
    folder = tmp_path_factory.mktemp("events")
    records: list[tuple[str, bytes]] = []
    for customer in range(4):
        for number in range(60):
            body = transaction(customer, number)
            for key in ("transaction_id", "customer_id", "merchant_id"):
                body[key] = f"{MARK}-{body[key]}"
            body |= {"description": f"{MARK} rent", "counterparty": f"{MARK} landlord", "city": f"{MARK}town"}
            body |= {"amount": AMOUNT} if number == 55 else {}
            body |= {"country": MARK} if number == 7 else {}
            records += [(body["customer_id"], as_line(body))] * (1 + (number == 3))
    broken = as_line(transaction(0, 60, customer_id=f"{MARK}-c-0", amount=f"{MARK} euros"))
    write_log(folder, "in.transactions", [*records, *[(f"{MARK}-c-0", broken)] * 3])
    rate = {"rate_id": "r-1", "observed_at": "2025-01-01T00:00:00Z", "series": "ecb", "value": "3.5"}
    write_log(folder, "in.market", [("", as_line(rate))])
    return folder


def worker_on(events: Path, folder: Path, toml: str) -> WorkerProcess:
    config = folder / "segone.toml"
    config.write_text(
        "[log]\npartitions = 2\nfollow = true\npoll_ms = 10\n[shard]\ncount = 4\n[state]\ncheckpoint_interval_ms = 100\n"
        + toml
    )
    places = ("--config", str(config), "--input", str(events), "--output", str(folder / "out"))
    return WorkerProcess(folder / "worker.log", *places)


@pytest.fixture(scope="module")
def running(events: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A worker that has read everything and waits for more."""
    folder, port = tmp_path_factory.mktemp("running"), free_ports(1)
    worker = worker_on(events, folder, f"[metrics]\nport = {port}\n[detectors.transaction]\nthreshold = 0.02\n")
    worker.start()
    read = 4 * 61 + 3 + 1
    wait_until(
        lambda: scrape(port).total("segone_events_total") == read and ask(port, "/readyz").status == 200, worker.told()
    )
    yield SimpleNamespace(port=port, folder=folder, worker=worker, read=read)
    worker.end()


def test_what_the_scrape_counts_is_what_the_files_hold(running: SimpleNamespace) -> None:
    found = scrape(running.port)
    assert found.total("segone_records_read_total") == running.read
    outcomes = {
        name: found.total("segone_events_total", outcome=name) for name in ("applied", "duplicate", "dead_letter")
    }
    assert outcomes == {"applied": 4 * 60 + 1, "duplicate": 4, "dead_letter": 3}
    assert found.total("segone_dead_letters_total", topic="in.transactions", code="amount.format") == 3
    assert found.total("segone_repairs_total") == found.total("segone_repairs_total", repair="country.unknown") == 4
    assert found.total("segone_customers") == 4 == found.total("segone_hot_customers")
    assert found.total("segone_shards_telling_rates") == 0, "nobody here has a loan"
    assert found.total("segone_conservation_difference") == 0
    assert found.total("segone_event_age_seconds_count", topic="in.transactions") == 4 * 61
    assert found.total("segone_processing_latency_seconds_count") == 4 * 61
    assert found.total("segone_shards") == 4
    assert found.total("segone_lag_bytes") == 0
    assert found.total("segone_store_bytes", part="table") > 0
    written: Counter[tuple[str, str]] = Counter()
    for path in (running.folder / "out").glob("signals.*/*.jsonl"):
        for line in path.read_bytes().splitlines():
            signal = json.loads(line)
            written[signal["type"], signal["state"]] += 1
    assert written[("anomaly.transaction", "OPEN")] >= 4
    assert {key: found.total("segone_signals_total", type=key[0], state=key[1]) for key in written} == written


def test_checkpoints_are_counted_and_timed(running: SimpleNamespace) -> None:
    before = scrape(running.port)
    wait_until(
        lambda: scrape(running.port).total("segone_checkpoints_total") > before.total("segone_checkpoints_total"),
        "one more",
    )
    after = scrape(running.port)
    assert after.total("segone_checkpoint_seconds_count") == after.total("segone_checkpoints_total")
    assert after.total("segone_checkpoint_pause_seconds_count") >= after.total("segone_checkpoints_total")
    assert abs(time.time() - after.total("segone_checkpoint_last_timestamp_seconds")) < 60
    assert before.total("segone_checkpoint_seconds_sum") > 0


def test_the_scrape_is_openmetrics_for_who_asks_for_it_and_text_for_others(running: SimpleNamespace) -> None:
    plain, open_ = ask(running.port, "/metrics"), ask(running.port, "/metrics", OPENMETRICS)
    assert plain.content_type.startswith("text/plain; version=0.0.4")
    assert open_.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert open_.text.endswith("# EOF\n") and "# EOF" not in plain.text
    assert "# TYPE segone_events counter" in open_.text and "# TYPE segone_events_total counter" in plain.text


def test_names_follow_the_conventions_and_every_family_has_a_help_text(running: SimpleNamespace) -> None:
    ours = {name: family for name, family in scrape(running.port).families.items() if name.startswith("segone_")}
    assert len(ours) > 30
    for name, family in ours.items():
        assert family.documentation, name
        if family.type == "counter":
            assert all(sample.name == f"{name}_total" for sample in family.samples)
        if family.type == "histogram":
            assert name.endswith("_seconds")
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "python_gc_collections_total"):
        assert scrape(running.port).total(name) > 0


def test_neither_scrape_nor_logs_hold_anything_of_a_customer(running: SimpleNamespace) -> None:
    for text in (
        ask(running.port, "/metrics").text,
        ask(running.port, "/metrics", OPENMETRICS).text,
        running.worker.told(10**6),
    ):
        assert "segone" in text
        assert MARK not in text
        assert AMOUNT not in text and "730117" not in text


def test_a_live_and_ready_worker_says_so_and_unknown_paths_are_not_found(running: SimpleNamespace) -> None:
    assert ask(running.port, "/healthz")[::2] == (200, "ok\n")
    assert ask(running.port, "/readyz")[::2] == (200, "ok\n")
    assert ask(running.port, "/secret").status == 404
    assert scrape(running.port).total("segone_live") == 1 == scrape(running.port).total("segone_ready")


def test_the_port_listens_on_loopback_only(running: SimpleNamespace) -> None:
    listening = [
        line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]
    ]
    addresses = {row[1] for row in listening if row[3] == "0A" and row[1].endswith(f":{running.port:04X}")}
    assert addresses == {f"0100007F:{running.port:04X}"}


def test_each_process_of_a_cluster_has_a_port_and_together_they_count_every_record_once(
    events: Path, tmp_path: Path
) -> None:
    first = free_ports(2)
    worker = worker_on(events, tmp_path, f"[metrics]\nport = {first}\n")
    try:
        worker.start(2)
        both = (first, first + 1)
        wait_until(lambda: sum(scrape(port).total("segone_events_total") for port in both) == 4 * 61 + 4, worker.told())
        wait_until(lambda: all(ask(port, "/readyz").status == 200 for port in both), "both are ready")
        found = [scrape(port) for port in both]
        assert sum(each.total("segone_records_read_total") for each in found) == 4 * 61 + 4
        assert [each.total("segone_conservation_difference") for each in found] == [0, 0]
        assert sum(each.total("segone_shards") for each in found) == 4
        assert worker.stop() == 0
    finally:
        worker.end()


def test_the_engines_own_metrics_are_merged_where_its_port_is_set(events: Path, tmp_path: Path) -> None:
    port = free_ports(2)
    worker = worker_on(events, tmp_path, f"[metrics]\nport = {port}\nengine_port = {port + 1}\n")
    try:
        worker.start()
        wait_until(
            lambda: scrape(port).total("bytewax_item_out_count_total", step_id="segone.records") > 0, worker.told()
        )
        text = ask(port, "/metrics").text
        series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
        assert [name for name, count in Counter(series).items() if count > 1] == [], (
            "Prometheus refuses repeated series"
        )
        assert MARK not in text
    finally:
        worker.end()


def test_under_the_engines_own_command_port_and_logs_are_the_same(events: Path, tmp_path: Path) -> None:
    port = free_ports(1)
    config = tmp_path / "segone.toml"
    config.write_text(
        f'[log]\nfollow = true\npartitions = 2\ninput = "{events}"\noutput = "{tmp_path}/out"\n[logs]\nformat = "json"\n'
        f'[state]\ndir = "{tmp_path}/state"\n[shard]\ncount = 4\n[metrics]\nport = {port}\n'
    )
    documented = re.search(r"SEGONE_CONFIG=segone.toml python (.+)", (ROOT / "docs" / "operating.md").read_text())
    assert documented is not None
    command = [sys.executable, *documented[1].replace("STATE", f"{tmp_path}/state").split()]
    log = tmp_path / "worker.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "SEGONE_CONFIG": str(config)}, stdout=file, stderr=file
        )
    try:
        wait_until(lambda: scrape(port).total("segone_events_total") == 4 * 61 + 4, log.read_text())
        wait_until(lambda: ask(port, "/readyz").status == 200, "an epoch is committed")
    finally:
        process.kill()
        process.wait()
    (line,) = log.read_text().splitlines()
    told = json.loads(line)
    assert (told["event"], told["config"]["metrics"]["port"]) == ("started", port)


def test_a_port_in_use_is_told_with_its_key_and_ends_with_2(
    events: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        worker = worker_on(events, tmp_path, f"[metrics]\nport = {port}\n")
        assert worker.run() == 2
        assert main(["check", "--config", str(tmp_path / "segone.toml")]) == 2
        assert "metrics port" in capsys.readouterr().err
    assert f"[metrics] host and port: cannot listen on 127.0.0.1:{port} (Address already in use)" in worker.told()


# ---- without a process: what can't be waited for


def worker_at_rest(tmp_path: Path, settings: Settings, pacemaker: Pacemaker | None = None, **source: Any) -> Worker:
    stopping = SimpleNamespace(is_set=lambda: False)
    made = SimpleNamespace(**{"stopping": stopping, "lag_bytes": dict} | source)
    return Worker(settings, made, SimpleNamespace(), 1, tmp_path, live=True, pacemaker=pacemaker)


def test_a_worker_is_ready_only_when_an_epoch_is_committed_and_it_is_not_far_behind(tmp_path: Path) -> None:
    lag = {("in.transactions", "0"): 0}
    worker = worker_at_rest(tmp_path, load_settings(environment={}), lag_bytes=lambda: lag)
    health = Health(worker)
    assert health.not_live() == []
    assert "no epoch of this run is committed yet" in health.not_ready()[0]
    worker.tally.beat()
    worker.tally.committed()
    assert health.not_ready() == []
    lag["in.transactions", "0"] = 32_000_001
    assert health.not_ready() == ["32000001 bytes behind ([metrics] ready_lag_bytes_max = 32000000)"]
    worker.stopping.is_set = lambda: True  # type: ignore[method-assign]
    assert "stopping" in health.not_ready()


def test_a_worker_is_not_ready_while_nobody_says_how_far_its_input_goes(tmp_path: Path) -> None:
    worker = worker_at_rest(tmp_path, load_settings(environment={}))
    worker.source = KafkaInput(worker.settings.kafka, ["in.transactions"])
    worker.tally.committed()
    worker.source.unknown["0"] = 1
    assert Health(worker).not_ready() == ["how far 1 partitions of the input go is not known: no broker has told yet"]
    worker.source.unknown["0"] = 0
    worker.source.heard_s |= {"0": time.monotonic() - 5, "1": time.monotonic()}
    assert Health(worker).not_ready() == []
    worker.source.heard_s["0"] -= 10
    assert "no broker has been heard for 15 s" in Health(worker).not_ready()[0]


def test_a_loop_that_stands_still_is_not_live(tmp_path: Path) -> None:
    worker = worker_at_rest(tmp_path, load_settings(environment={"SEGONE__METRICS__STALLED_AFTER_S": "5"}))
    worker.tally.beat_s = time.monotonic() - 4
    assert Health(worker).not_live() == []
    worker.tally.beat_s = time.monotonic() - 6
    assert "nothing has moved for 6 s ([metrics] stalled_after_s = 5)" in Health(worker).not_live()[0]
    assert Health(worker).not_ready()


def test_models_in_force_are_shown_with_their_quality(tmp_path: Path) -> None:
    worker = worker_at_rest(tmp_path, load_settings(environment={}))
    assert told_of_models(worker) == {("segone_model_info", "champion", "transaction@prior"): 1.0}
    board = worker.board.board
    metrics = {"auc": 0.91, "log_loss": 0.02, "unknown": 1.0, "drifts": 2.0}
    board.apply_versions([model_version("transaction@1", metrics, 1_000_000)])
    board.apply_versions([model_version("shadow@1", {}, 2_000_000, SHADOW)])
    first = {
        ("segone_model_info", "champion", "transaction@1"): 1.0,
        ("segone_model_info", "shadow", "shadow@1"): 1.0,
        ("segone_model_effective_timestamp_seconds", "champion", ""): 1.0,
        ("segone_model_effective_timestamp_seconds", "shadow", ""): 2.0,
        ("segone_model_drifts", "champion", ""): 2.0,
        ("segone_model_quality", "champion", "auc"): 0.91,
        ("segone_model_quality", "champion", "log_loss"): 0.02,
    }
    assert told_of_models(worker) == first
    board.pin(model_version("transaction@0", {}, 500_000))
    assert told_of_models(worker)["segone_model_info", "champion", "transaction@0"] == 1.0
    assert told_of_models(worker)["segone_model_effective_timestamp_seconds", "champion", ""] == 0.5
    board.unpin("transaction")
    unreadable = model_version("transaction@2", {}, 3_000_000)
    with pytest.raises(PayloadError):
        board.apply_versions([msgspec.structs.replace(unreadable, payload=b"?")])
    assert told_of_models(worker) == first, "what can't score is not in force"


def told_of_models(worker: Worker) -> dict[tuple[str, str, str], float]:
    """By metric, role, and measure or version."""
    return {
        (
            sample.name,
            sample.labels["role"],
            sample.labels.get("measure", sample.labels.get("version", "")),
        ): sample.value
        for family in WorkerCollector(worker, Health(worker)).collect()
        if family.name.startswith("segone_model")
        for sample in family.samples
    }


def test_labels_and_what_waits_for_one_are_counted_and_so_is_patience_that_ended(tmp_path: Path) -> None:
    settings = load_settings(environment={})
    pacemaker = Pacemaker([tmp_path / "nobody"], settings.knowledge.bucket_us, 0.0)
    worker = worker_at_rest(tmp_path, settings, pacemaker=pacemaker)
    across = Across(settings.knowledge, worker.board.board)
    step = CustomerStep(settings.detectors, settings.digest(), across=across)
    worker.steps.append(step)
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    decoder = Decoder()

    def read(topic: str, number: int, body: dict[str, Any]) -> None:
        event = decoder.decode(Record(topic, 0, number, 1_735_776_000_000_000 + number, None, as_line(body)))
        assert not isinstance(event, Rejection)
        shard.apply([event], 0)

    bought = [transaction(0, number) for number in range(3)]
    for number, body in enumerate(bought):
        read("in.transactions", number, body)
    said = {"customer_id": bought[0]["customer_id"], "label": "fraud"}
    for number, id_ in enumerate((bought[1]["transaction_id"], bought[1]["transaction_id"], "t-to-come")):
        read("in.labels", number, said | {"transaction_id": id_, "labelled_at": f"2025-01-02T0{number}:00:00Z"})
    pace = pacemaker()
    pace.unpaced += 2
    found = {
        sample.labels.get("outcome", sample.name): sample.value
        for family in WorkerCollector(worker, Health(worker)).collect()
        if family.name in ("segone_label_joins", "segone_unpaced")
        for sample in family.samples
    }
    assert found == {
        "awaiting": 3,
        "joined": 1,
        "unknown": 1,
        "early": 1,
        "unlabelled": 0,
        "crowded_out": 0,
        "segone_unpaced_total": 2,
    }


@pytest.mark.parametrize("fault", ["lost on the way", "came twice", "lost before it was sent", "lost in the shard"])
def test_a_record_that_does_not_add_up_stops_the_checkpoint(tmp_path: Path, fault: str) -> None:
    settings = load_settings(environment={})
    accounting, tally = Accounting(), Tally()
    router = Router(Decoder(), ["0000"], 1, accounting, Quarantine(tmp_path))
    step = CustomerStep(settings.detectors, settings.digest())
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    logic = ShardLogic(None, lambda _: shard, 1, False, 1.0, Quarantine(tmp_path), tally=tally, accounting=accounting)

    def send(number: int) -> list[ShardBatch]:
        record = Record(
            "in.transactions", 0, number, 1_735_776_000_000_000 + number, None, as_line(transaction(1, number))
        )
        batch = RecordBatch("0", [record], record.arrival_us, True, False)
        return [item for _, item in router([batch]) if isinstance(item, ShardBatch)]

    logic.on_batch(send(0))
    logic.snapshot()
    assert tally.conservation == {0: 0}
    batches = send(1)
    if fault == "lost on the way":
        batches = send(2)
    elif fault == "came twice":
        batches *= 2
    elif fault == "lost before it was sent":
        accounting.read["in.transactions"] += 1
    logic.on_batch(batches)
    if fault == "lost in the shard":
        shard.counters.applied -= 1
    with pytest.raises(AssertionError, match="law 11: 1 records were lost or counted twice"):
        logic.snapshot()
    assert tally.conservation == {0: 1}


def test_a_scrape_that_fails_says_why_and_a_client_that_leaves_is_no_failure() -> None:
    class Failing(Collector):
        def collect(self) -> Iterator[Metric]:
            raise FileNotFoundError(MARK)

    registry = CollectorRegistry()
    registry.register(Failing())
    endpoint = Endpoint(("127.0.0.1", 0), registry, SimpleNamespace())  # type: ignore[arg-type]
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    port = endpoint.server_address[1]
    with capture_logs() as told:
        with pytest.raises(ConnectionError):
            ask(port, "/metrics")
        wait_until(lambda: told, "a line")
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # leaves with a reset
        assert ask(port, "/").status == 404
    endpoint.shutdown()
    endpoint.server_close()
    (line,) = told
    assert line["error"].startswith("FileNotFoundError at test_metrics.py")
    assert MARK not in str(line)


def test_series_that_the_engine_repeats_are_added_up() -> None:
    text = (
        "# TYPE bytewax_writes_total counter\n"
        'bytewax_writes_total{part="0",name="a"} 2\nbytewax_writes_total{part="0",name="a"} 3\nbytewax_writes_total{part="1",name="a"} 4\n'
        "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 7\n"
    )
    (family,) = families(text)
    assert [(sample.labels["part"], sample.value) for sample in family.samples] == [("0", 5), ("1", 4)]


def test_ages_fall_into_the_buckets_of_their_bounds() -> None:
    tally = Tally()
    histogram = tally.event_age["in.transactions"]
    for age_s in (-1.0, *AGE_S, 1e9):
        histogram.observe(max(0.0, age_s))
    assert histogram.counts == [2] + [1] * len(AGE_S)
    assert histogram.cumulative()[-1] == ("+Inf", len(AGE_S) + 2)


def test_every_metric_is_documented_and_every_documented_metric_exists(running: SimpleNamespace) -> None:
    told = set(re.findall(r"`(segone_\w+)`", (ROOT / "docs" / "operating.md").read_text().partition("# Runbooks")[0]))
    exist = {
        name if family.type != "counter" else f"{name}_total"
        for name, family in scrape(running.port).families.items()
        if name.startswith("segone_")
    }
    on_kafka = {
        name for name in told - exist if re.match(r"segone_(lag_records|outputs|delivery|transaction_seconds)", name)
    }
    assert told == exist | on_kafka
    assert len(on_kafka) == 8
