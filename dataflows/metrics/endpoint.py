"""The HTTP port of a worker: /metrics, /healthz, /readyz. Read only, no TLS, no login: loopback unless told otherwise."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any, ClassVar

import structlog
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from dataflows.log_lines import where
from dataflows.metrics.collector import WorkerCollector
from dataflows.metrics.engine import EngineCollector, serve_engine
from dataflows.metrics.health import Health
from dataflows.worker import Worker
from state.settings import ConfigError

REQUEST_TIMEOUT_S = 5.0
"""A client that opens a connection and says nothing is let go."""
ANSWER_S_MAX = 15.0
"""So is one that says little by little."""
CONNECTIONS_MAX = 64
"""Beyond it the oldest connection is cut: each has a thread and a file, which the worker needs, and whoever fills them all must not keep a
probe out."""

_log = structlog.get_logger("segone.metrics")


def serve(worker: Worker, port_offset: int) -> Endpoint | None:
    """Opens the port of the settings plus `port_offset`, and answers from a thread; None if the port is 0.

    Raises ConfigError if the port can't be had.
    """
    settings = worker.settings.metrics
    if settings.port == 0:
        return None
    registry = CollectorRegistry()
    health = Health(worker)
    registry.register(WorkerCollector(worker, health))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    if settings.engine_port:
        serve_engine(settings.engine_port + port_offset, worker.state_dir)
        registry.register(EngineCollector(settings.engine_port + port_offset))
    try:
        endpoint = Endpoint((settings.host, settings.port + port_offset), registry, health)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else "ports end at 65535"
        raise ConfigError(
            f"[metrics] host and port: cannot listen on {settings.host}:{settings.port + port_offset} ({reason}); "
            "choose another (process i of a local cluster takes port + i)"
        ) from error
    threading.Thread(target=endpoint.serve_forever, name="metrics", daemon=True).start()
    return endpoint


class Endpoint(ThreadingHTTPServer):
    """One thread per request; none keeps the process alive."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, address: tuple[str, int], registry: CollectorRegistry, health: Health) -> None:
        super().__init__(address, Answers)
        self.registry = registry
        self.health = health
        self._open: dict[Any, float] = {}
        """Connections and since when, the oldest first; only the thread that serves adds some."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open[request] = time.monotonic()
        for oldest in list(self._open)[:-CONNECTIONS_MAX]:
            self._cut(oldest)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Called about twice a second."""
        for request, since_s in list(self._open.items()):
            if time.monotonic() - since_s > ANSWER_S_MAX:
                self._cut(request)

    def _cut(self, request: Any) -> None:
        """Ends what its thread waits for; the thread closes it."""
        self._open.pop(request, None)
        with contextlib.suppress(OSError):
            request.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        """Without asking for the host's full name, as HTTPServer does: where no name server answers, that takes long."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away while we answered is nobody's fault; whatever else kept us from answering is told."""
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, (ConnectionError, TimeoutError)):
            _log.error("a request to the port got no answer", error=where(error))


class Answers(BaseHTTPRequestHandler):
    """GET and HEAD of the three paths."""

    server: Endpoint
    server_version = "segone"
    sys_version = ""
    timeout: ClassVar[float] = REQUEST_TIMEOUT_S

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._answer(200, content_type, encode(self.server.registry))
        elif path == "/healthz":
            self._answer_health(self.server.health.not_live())
        elif path == "/readyz":
            self._answer_health(self.server.health.not_ready())
        else:
            self._answer(404, "text/plain; charset=utf-8", b"/metrics, /healthz or /readyz\n")

    do_HEAD = do_GET  # noqa: N815

    def _answer_health(self, reasons: list[str]) -> None:
        text = "".join(f"{reason}\n" for reason in reasons) or "ok\n"
        self._answer(503 if reasons else 200, "text/plain; charset=utf-8", text.encode())

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape every few seconds is no news."""
