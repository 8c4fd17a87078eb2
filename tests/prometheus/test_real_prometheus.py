"""A real Prometheus scrapes real workers: what the dashboards ask for is there, and causes that are produced fire their alerts.

Nobody waits out an alert's `for`: that part is promtool's (tests.yaml). Here its expression must give a series, on scraped values.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cli_samples import as_line, transaction, write_log
from model_samples import model_version
from prometheus_server import RULES, Prometheus, alerts
from scrape import free_ports, scrape, wait_until
from worker_process import WorkerProcess

from dataflows.metrics.endpoint import serve
from dataflows.worker import Worker
from operators.knowledge.versions import CHAMPION
from state.digest import partition_of
from state.settings_reading import load_settings

pytestmark = pytest.mark.xdist_group("prometheus")  # one world for all

DASHBOARDS = sorted((RULES.parent / "grafana").glob("*.json"))

ON_KAFKA_ONLY = {
    "segone_lag_records",
    "segone_transaction_seconds_bucket",
    "segone_outputs_published_total",
    "segone_outputs_pending",
    "segone_outputs_omitted_total",
    "segone_delivery_retries_total",
    "segone_delivery_failures_total",
}
"""Not on a worker on files; tests/kafka/test_kafka_metrics.py shows them."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A worker that follows its input, an ailing one in this process, and a Prometheus that watches both."""
    folder = tmp_path_factory.mktemp("world")
    records = [(f"c-{c}", as_line(transaction(c, n))) for c in range(4) for n in range(56)]
    records.append(("c-1", b"{}"))
    write_log(folder / "in", "in.transactions", records)
    label = {"customer_id": "c-1", "labelled_at": "2025-01-01T00:00:00Z", "label": "useful"}
    write_log(folder / "in", "in.labels", [("c-1", as_line(label))])
    first = free_ports(2)
    config = folder / "segone.toml"
    config.write_text(
        "[log]\npartitions = 2\nfollow = true\npoll_ms = 10\n[shard]\ncount = 4\n[state]\ncheckpoint_interval_ms = 200\n"
        "[knowledge]\nenabled = false\n"  # all is read before the first scrape: nothing old looks like news
        f"[metrics]\nport = {first}\n[detectors.transaction]\nthreshold = 0.02\n"
    )
    places = ("--config", str(config), "--input", str(folder / "in"), "--output", str(folder / "out"))
    worker = WorkerProcess(folder / "worker.log", *places)
    with ExitStack() as ending:
        ending.callback(worker.end)
        worker.start()
        # What was read before the first scrape is no news to a Prometheus, however long a busy machine took for it.
        wait_until(lambda: scrape(first).total("segone_events_total") == len(records) + 1, "all was read")
        endpoint, ailing = ailing_worker(folder, first + 1)
        ending.callback(endpoint.server_close)
        ending.callback(endpoint.shutdown)
        prometheus = Prometheus(folder, [first, first + 1])
        ending.callback(prometheus.stop)
        yield SimpleNamespace(
            prometheus=prometheus,
            worker=worker,
            ailing=ailing,
            folder=folder,
            at=f'instance="127.0.0.1:{first}"',
            port=first,
        )


def ailing_worker(folder: Path, port: int) -> tuple[Any, Worker]:
    """A worker object that does nothing but answer scrapes, with values that nobody wants to see."""
    settings = load_settings(environment={"SEGONE__METRICS__PORT": str(port)})
    source = SimpleNamespace(stopping=threading.Event(), lag_bytes=dict)
    worker = Worker(settings, source, SimpleNamespace(), 1, folder, live=True)
    figures = {"auc": 0.61, "examples": 900.0, "positives": 40.0, "drifts": 1.0}
    worker.board.board.apply_versions([model_version("transaction@2025", figures, 1_735_689_600_000_000)])
    worker.tally.conservation[3] = 2
    worker.tally.committed_at = time.time() - 200
    worker.tally.beat_s = time.monotonic() - 130
    endpoint = serve(worker, 0)
    assert endpoint is not None
    return endpoint, worker


def figures_of(worker: Worker) -> dict[str, float]:
    return worker.board.board.in_force["transaction", CHAMPION].metrics


def expression_of(alert: str) -> str:
    expression: str = alerts()[alert]["expr"]
    return expression


def test_the_scrape_is_taken_whole_and_all_rules_are_healthy(world: SimpleNamespace) -> None:
    world.prometheus.await_values(f"segone_events_total{{{world.at}}}")
    wait_until(lambda: len(world.prometheus.values("up == 1")) == 2, "both were scraped")
    targets = world.prometheus.api("targets")["activeTargets"]
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")] * 2
    wait_until(lambda: all(r["health"] == "ok" for r in rules(world)), "all rules were evaluated")
    assert len(rules(world)) == len(alerts()) + 10


def rules(world: SimpleNamespace) -> list[dict[str, Any]]:
    return [rule for group in world.prometheus.api("rules")["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_only_for_what_exists_and_says_what_it_shows(world: SimpleNamespace, path: Path) -> None:
    dashboard = json.loads(path.read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) >= 10
    world.prometheus.await_values("job:segone_events:rate5m")
    names = set(world.prometheus.api("label/__name__/values")) | ON_KAFKA_ONLY
    recorded = {rule["name"] for rule in rules(world) if rule["type"] == "recording"}
    for panel in panels:
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            expression = target["expr"].replace("$job", "segone")
            world.prometheus.api("query", query=expression)
            asked = set(re.findall(r"\b(?:segone_|job:segone_|process_|up\b)[\w:]*", expression))
            assert asked, expression
            assert asked <= names | recorded, f"{panel['title']}: no such metric"


def test_labels_that_rules_and_dashboards_name_are_labels_of_the_metrics(world: SimpleNamespace) -> None:
    world.prometheus.await_values(f"segone_signals_total{{{world.at}}}")
    expressions = [rule["query"] for rule in rules(world)]
    for path in DASHBOARDS:
        panels = json.loads(path.read_text())["panels"]
        expressions += [target["expr"].replace("$job", "segone") for panel in panels for target in panel["targets"]]
    checked = 0
    for expression in expressions:
        for name, matchers in re.findall(r"\b(segone_\w+)\{([^}]*)\}", expression):
            found = world.prometheus.values(f'{{__name__="{name}"}}')
            if name in ON_KAFKA_ONLY or not found:
                continue
            for label in re.findall(r"(\w+)\s*[=!]~?", matchers):
                assert any(label in labels for labels, _ in found), f"{expression}: {name} has no label {label}"
                checked += 1
    assert checked > 20


def test_a_healthy_worker_fires_nothing_and_an_ailing_one_what_ails_it(world: SimpleNamespace) -> None:
    expected = {"SegoneNotLive", "SegoneNotReady", "SegoneConservationBroken", "SegoneCheckpointStalled"}
    expected |= {"SegoneModelDrift", "SegoneModelQualityLow"}
    world.prometheus.await_values("segone_model_drifts == 1")
    worse = model_version("transaction@2026", figures_of(world.ailing) | {"drifts": 2.0}, 1_767_225_600_000_000)
    world.ailing.board.board.apply_versions([worse])
    for name in expected:
        found = world.prometheus.await_values(expression_of(name))
        assert [labels["instance"] for labels, _ in found] == [f"127.0.0.1:{world.port + 1}"], name
    # Whether the machine's disk fills is up to the machine: other tests write to it.
    for name in alerts().keys() - expected - {"SegoneStateDiskFilling"}:
        assert world.prometheus.values(expression_of(name)) == [], name
    firing = {
        alert["labels"]["alertname"] for alert in world.prometheus.api("alerts")["alerts"] if alert["state"] == "firing"
    }
    assert {"SegoneConservationBroken", "SegoneCheckpointStalled"} <= firing, "those without a `for` fire at once"


def test_broken_records_fire_the_alert_on_dead_letters(world: SimpleNamespace) -> None:
    world.prometheus.await_values(f"segone_ready{{{world.at}}} == 1")
    for _ in range(60):  # rates need a while of growth: broken records keep coming until they are seen
        append(world.folder, "c-1", b'{"customer_id":"c-1"}')
        time.sleep(0.2)
        if found := world.prometheus.values(expression_of("SegoneDeadLetters")):
            break
    else:
        pytest.fail(f"no alert: {world.prometheus.values('segone_events_total')}")
    assert found[0][1] > 0.01
    codes = world.prometheus.values(f'segone_dead_letters_total{{{world.at},code="field.missing"}}')
    assert codes and codes[0][1] > 0


def append(folder: Path, customer: str, line: bytes) -> None:
    with (folder / "in" / "in.transactions" / f"{partition_of(customer.encode(), 2)}.jsonl").open("ab") as file:
        file.write(line + b"\n")


def test_a_worker_that_was_killed_fires_the_alert_on_its_absence(world: SimpleNamespace) -> None:
    world.prometheus.await_values(f"up{{{world.at}}} == 1")
    world.worker.kill()
    found = world.prometheus.await_values(expression_of("SegoneWorkerDown"))
    assert [labels["instance"] for labels, _ in found] == [f"127.0.0.1:{world.port}"]
