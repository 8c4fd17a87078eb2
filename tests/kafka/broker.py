"""A real Apache Kafka on this machine: one KRaft node in one JVM, for tests and measurements.

`jars()` fetches the server once by Maven into a folder beside this file; `Broker` starts, kills and restarts it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

HERE = Path(__file__).parent
POM = HERE / "pom.xml"
JARS = HERE / "jars"
CLUSTER_ID = "c2Vnb25lLXRlc3RzLTAwMQ"
READY_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0

JVM = (
    "java",
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)

# One node that answers at once: no replication, no waiting for group members, quick return after SIGKILL. Nothing ages:
# tests write timestamps of long ago.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=2000
log.retention.ms=-1
num.network.threads=2
num.io.threads=4
"""


class BrokerFailed(Exception):
    """The broker did not start or did not answer; the message ends with the tail of its log."""


class NoServer(Exception):
    """There is no Kafka server to start: tools are missing, or Maven can't fetch it."""


def jars_present() -> bool:
    return (JARS / _stamp()).exists()


def _stamp() -> str:
    return "pom-" + hashlib.sha256(POM.read_bytes()).hexdigest()[:16]


def jars() -> Path:
    """The folder with the server's jars, fetched by Maven if the pom has changed since they were last fetched.

    Raises:
        NoServer: Java or Maven is missing, or Maven could not fetch them.
    """
    missing = [tool for tool in ("java",) + (() if jars_present() else ("mvn",)) if shutil.which(tool) is None]
    if missing:
        raise NoServer(
            f"{' and '.join(missing)} not found; install Java 17 and Maven, or set SEGONE_TEST_KAFKA=host:port"
        )
    with (HERE / "jars.lock").open(
        "w"
    ) as lock:  # test processes ask side by side, and one must not replace what another runs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars_present():
            _fetch()
    return JARS


def _fetch() -> None:
    """Puts the jars that the pom names in place of those that are there. Raises NoServer."""
    fresh = Path(tempfile.mkdtemp(prefix="jars-", dir=HERE))
    command = ["mvn", "-q", "-B", "-f", str(POM), "dependency:copy-dependencies"]
    done = subprocess.run(
        [*command, "-DincludeScope=runtime", f"-DoutputDirectory={fresh}"], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        shutil.rmtree(fresh)
        raise NoServer(f"Maven could not fetch the Kafka server named in {POM}:\n{done.stdout}{done.stderr}")
    (fresh / _stamp()).touch()
    shutil.rmtree(JARS, ignore_errors=True)
    fresh.rename(JARS)


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now, below those from which outgoing connections take theirs."""
    ports: list[int] = []
    while len(ports) < count:
        port = random.randint(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            ports.append(port)
    return ports


class Broker:
    """One Kafka node with its data in a folder of its own. `start` waits until it answers."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="segone-kafka-"))
        self.port, self._controller_port = free_ports(2)
        self._log_path = self.folder / "broker.log"
        self._config_path = self.folder / "server.properties"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None, "the broker does not run"
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self) -> Broker:
        """Format the data folder if it is new, start the JVM, wait until it answers."""
        if not self._config_path.exists():
            self._format()
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java(), "kafka.Kafka", str(self._config_path)], stdout=log, stderr=log, cwd=self.folder
            )
        self._wait_until_ready()
        return self

    def kill(self) -> None:
        """SIGKILL: what was not yet on disk or answered is lost, as in a crash."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Start again with the same data on the same port (after `kill`), or kill first."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """Orderly end, then remove the data."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()
            self._process = None
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, chars: int = 4000) -> str:
        return self._log_path.read_text(errors="replace")[-chars:] if self._log_path.exists() else "(no log)"

    def _java(self) -> list[str]:
        return [*JVM, "-cp", f"{jars()}/*"]

    def _properties(self) -> str:
        """What the server is configured with. Of a key that comes twice, the last counts."""
        return PROPERTIES.format(data=self.folder / "data", port=self.port, controller_port=self._controller_port)

    def _format_arguments(self) -> list[str]:
        return ["-t", CLUSTER_ID, "-c", str(self._config_path)]

    def _format(self) -> None:
        self._config_path.write_text(self._properties())
        command = [*self._java(), "kafka.tools.StorageTool", "format", *self._format_arguments()]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BrokerFailed(f"Kafka's StorageTool could not format {self.folder}:\n{done.stdout}{done.stderr}")

    def _wait_until_ready(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process is None or self._process.poll() is not None:
                break
            if self._answers(admin):
                return
            time.sleep(0.05)
        self.kill()
        raise BrokerFailed(f"Kafka on port {self.port} did not start; its log ends:\n{self.log_tail()}")

    def _answers(self, admin: AdminClient) -> bool:
        with contextlib.suppress(KafkaException):
            cluster: Any = admin.list_topics(timeout=0.5)
            return bool(cluster.brokers)
        return False


if __name__ == "__main__":  # a broker for the hand: prints its address and runs until interrupted
    broker = Broker().start()
    print(f"Kafka at {broker.bootstrap} (pid {os.getpid()}); Ctrl-C ends it", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        signal.pause()
    broker.stop()
