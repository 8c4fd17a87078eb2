"""Bytewax's own metrics, taken from its web server in this process, to be shown beside ours.

The engine keeps them in Rust and shows them nowhere else. Its server listens on all interfaces and cannot be told otherwise, so it is
off unless `[metrics] engine_port` is set.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

PREFIX = "bytewax_"
TIMEOUT_S = 1.0


def serve_engine(port: int, folder: Path) -> None:
    """To be called before the flow starts: the engine reads its environment then. It leaves a drawing of the flow in `folder`."""
    os.environ["BYTEWAX_DATAFLOW_API_ENABLED"] = "1"
    os.environ["BYTEWAX_DATAFLOW_API_PORT"] = str(port)
    os.environ["BYTEWAX_DATAFLOW_API_CACHE_PATH"] = str(folder)


class EngineCollector(Collector):
    """The families `bytewax_…` of this process; none while the engine does not answer."""

    def __init__(self, port: int) -> None:
        self._port = port

    def collect(self) -> Iterator[Metric]:
        try:
            connection = HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
            connection.close()
        except (OSError, HTTPException):
            return
        yield from families(text)


def families(text: str) -> Iterator[Metric]:
    """The engine's families out of its exposition. It repeats some series, which Prometheus would refuse: they are added up."""
    for family in text_string_to_metric_families(text):
        if family.name.startswith(PREFIX):
            family.samples = _added_up(family.samples)
            yield family


def _added_up(samples: Sequence[Sample]) -> list[Sample]:
    sums: dict[tuple[str, tuple[tuple[str, str], ...]], Sample] = {}
    for sample in samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        before = sums.get(key)
        sums[key] = sample if before is None else sample._replace(value=before.value + sample.value)
    return list(sums.values())
