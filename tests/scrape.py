"""A worker's HTTP port, asked as Prometheus, Kubernetes or a person would."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families
from worker_process import PATIENCE_S

Labels = frozenset[tuple[str, str]]


class Answer(NamedTuple):
    status: int
    content_type: str
    text: str


def free_ports(count: int) -> int:
    """The first of `count` neighbouring loopback ports that nobody listens on now."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            first: int = probe.getsockname()[1]
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except (OSError, OverflowError):
            continue


def ask(port: int, path: str, accept: str = "") -> Answer:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Accept": accept})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return Answer(answer.status, answer.headers["Content-Type"], answer.read().decode())
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.headers["Content-Type"], error.read().decode())


class Scrape:
    """Samples of one scrape, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self.samples: dict[str, dict[Labels, float]] = {}
        for family in self.families.values():
            for sample in family.samples:
                self.samples.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value

    def total(self, name: str, **labels: str) -> float:
        """The sum over all samples of a name that have these labels."""
        wanted = set(labels.items())
        return sum(value for key, value in self.samples.get(name, {}).items() if wanted <= key)


def scrape(port: int) -> Scrape:
    return Scrape(ask(port, "/metrics").text)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    give_up_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            if condition():
                return
        except (ConnectionError, urllib.error.URLError):
            pass  # the port is not open yet
        assert time.monotonic() < give_up_s, f"waited too long until {what}"
        time.sleep(0.05)
