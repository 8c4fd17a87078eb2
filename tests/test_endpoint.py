"""The worker's port among clients that hold on to it: a probe is answered, and threads and files stay few."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from scrape import ask, wait_until

from dataflows.metrics import endpoint as module
from dataflows.metrics.endpoint import Endpoint


@pytest.fixture
def port() -> Iterator[int]:
    health = SimpleNamespace(not_live=list)
    endpoint = Endpoint(("127.0.0.1", 0), CollectorRegistry(), health)  # type: ignore[arg-type]
    threading.Thread(target=endpoint.serve_forever, args=(0.01,), daemon=True).start()
    yield endpoint.server_address[1]
    endpoint.shutdown()
    endpoint.server_close()


def test_more_clients_than_there_is_room_for_cost_the_oldest_their_place_and_no_probe_its_answer(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CONNECTIONS_MAX", 5)
    before = threading.active_count()
    with ExitStack() as stack:
        idle = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(30)]
        assert ask(port, "/healthz").status == 200
        assert idle[0].recv(1) == b"", "the oldest was cut"
        wait_until(lambda: threading.active_count() - before <= 5, "threads of those that were cut end")


def test_a_client_that_speaks_for_ever_is_cut(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S_MAX", 0.2)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /healthz")
        client.settimeout(0.02)
        give_up_s = time.monotonic() + 30
        while time.monotonic() < give_up_s:
            try:
                assert client.recv(1) == b""
                return
            except TimeoutError:
                with contextlib.suppress(ConnectionError):
                    client.sendall(b"x")
            except ConnectionError:
                return
    pytest.fail("still connected")
