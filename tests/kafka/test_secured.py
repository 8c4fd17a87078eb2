"""A broker with TLS, passwords and rights: what passes through, what is told when something is denied, and that secrets stay secret."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AclOperation, ResourceType
from secured_broker import SecuredBroker
from talking import Sent, committed, send
from worker_process import WorkerProcess

from dataflows.cli import main
from dataflows.files.sink import ALL_TOPICS
from state.digest import partition_of
from state.events import TOPICS

PASSWORD = "correct-horse-7d1f"
WRONG_PASSWORD = "wrong-horse-9c2e"
USER = "segone"
PARTITIONS = 2
START_TIMEOUT_S = 10.0


@pytest.fixture(scope="module")
def secured(own_broker: object, startable: None) -> Iterator[SecuredBroker]:
    """Beside the usual broker; `own_broker` is asked for so that these tests run where Kafka's do."""
    broker = SecuredBroker({USER: PASSWORD})
    broker.start()
    yield broker
    broker.stop()


class Flow:
    """A configuration with topics of its own."""

    def __init__(self, broker: SecuredBroker, folder: Path) -> None:
        self.broker = broker
        self.prefix = f"{uuid.uuid4().hex[:8]}."
        self._folder = folder
        (folder / "password").write_text(f"{PASSWORD}\n")
        self.config = self._write("segone.toml", broker.secure_bootstrap, self._login())
        # Topics are made by an administrator, who is not the worker.
        assert main(["init", "--config", str(self._write("admin.toml", broker.bootstrap, ""))]) == 0

    def allow(self, but: str = "") -> None:
        """The rights that docs/security.md names; of the topic `but` only to know that it is there."""
        for topic in (*TOPICS, *ALL_TOPICS):
            needed = [AclOperation.READ] if topic in TOPICS else [AclOperation.READ, AclOperation.WRITE]
            granted = [AclOperation.DESCRIBE] if topic == but else needed
            self.broker.allow(USER, ResourceType.TOPIC, self.prefix + topic, granted)
        if but != "groups":
            self.broker.allow(USER, ResourceType.GROUP, f"{self.prefix}*", [AclOperation.READ])
        if but != "transactions":
            granted = [AclOperation.WRITE, AclOperation.DESCRIBE]
            self.broker.allow(USER, ResourceType.TRANSACTIONAL_ID, f"{self.prefix}*", granted)

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def run(self) -> tuple[int | None, str]:
        """A worker over what is there now: its exit code, and all that it told."""
        worker = WorkerProcess(self._folder / "worker.log", "--config", str(self.config))
        return worker.run(), worker.told(50_000)

    def _login(self) -> str:
        return f"""
[kafka.client]
security.protocol = "SASL_SSL"
sasl.mechanism = "SCRAM-SHA-512"
sasl.username = "{USER}"
sasl.password_file = "{self._folder}/password"
ssl.ca.location = "{self.broker.ca_path}"
"""

    def _write(self, name: str, bootstrap: str, login: str) -> Path:
        path = self._folder / name
        path.write_text(f"""
[log]
kind = "kafka"
[state]
dir = "{self._folder}/state"
[shard]
count = 2
[kafka]
bootstrap_servers = "{bootstrap}"
topic_prefix = "{self.prefix}"
group_id = "{self.prefix}positions"
transactional_id = "{self.prefix}flow"
partitions = {PARTITIONS}
sink_partitions = 1
start_timeout_s = {START_TIMEOUT_S}
broker_timeout_s = 20.0
end_at_high_watermark = true
{login}""")
        return path


@pytest.fixture
def flow(secured: SecuredBroker, tmp_path: Path) -> Flow:
    return Flow(secured, tmp_path)


def pay(flow: Flow, customers: int) -> None:
    """One payment of each customer."""
    messages = []
    for number in range(customers):
        key = f"c-{number}".encode()
        payment = {
            "transaction_id": f"t-{number}",
            "customer_id": f"c-{number}",
            "booked_at": "2025-05-01T10:00:00Z",
            "amount": "12.50",
            "currency": "EUR",
            "direction": "debit",
        }
        partition = partition_of(key, PARTITIONS)
        messages.append(
            Sent(f"{flow.prefix}in.transactions", partition, json.dumps(payment).encode(), key, 1_746_093_601_000)
        )
    send(flow.broker.bootstrap, messages)


def test_a_worker_with_exactly_the_documented_rights_does_its_work_and_tells_no_secret(
    flow: Flow, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.allow()
    pay(flow, 7)
    assert main(["check", "--config", str(flow.config)]) == 0
    checked = capsys.readouterr()
    code, told = flow.run()
    assert code == 0, told
    scores = committed(flow.broker.bootstrap, f"{flow.prefix}scores", PARTITIONS)
    assert sorted(seen.key or b"" for seen in scores) == sorted(b"c-%d" % number for number in range(7))
    assert "SCRAM-SHA-512" in checked.out and "SCRAM-SHA-512" in told, "the settings are shown"
    assert PASSWORD not in checked.out + checked.err + told
    assert "not committed" not in told, "positions go to the consumer group"


@pytest.mark.parametrize("topic", ["in.transactions", "scores"])
def test_a_denied_topic_is_one_error_that_names_it_and_says_what_to_do(
    flow: Flow, topic: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow.allow(but=topic)
    pay(flow, 3)
    code, told = flow.run()
    (error,) = [line for line in told.splitlines() if line.startswith("segone run:")]
    assert code == 1
    denied = "(Read)" if topic == "in.transactions" else "(Read, Write)"
    assert f"needs: topic {flow.prefix}{topic} {denied}. Grant them" in error
    assert "Traceback" not in told and PASSWORD not in told
    assert main(["check", "--config", str(flow.config)]) == 2
    assert f"{flow.prefix}{topic}" in " ".join(capsys.readouterr().out.split()), "check says the same beforehand"


def test_a_topic_that_may_not_be_seen_is_not_taken_for_one_that_is_missing(
    flow: Flow, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = flow.run()
    assert code == 2, told
    assert main(["check", "--config", str(flow.config)]) == 2
    for said in (told, " ".join(capsys.readouterr().out.split())):
        assert "in.transactions" in said and "may not see" in said


@pytest.mark.parametrize(
    ("denied", "named"),
    [
        ("transactions", "transactional id {}flow"),
        ("groups", "group {}flow-0 (Read), group {}positions (Read)"),
    ],
)
def test_a_transactional_id_or_group_that_is_not_granted_is_named(flow: Flow, denied: str, named: str) -> None:
    flow.allow(but=denied)
    flow.change(f"start_timeout_s = {START_TIMEOUT_S}", "start_timeout_s = 2.0")
    pay(flow, 3)
    code, told = flow.run()
    (error,) = [line for line in told.splitlines() if line.startswith("segone run:")]
    assert code == 1, told
    assert named.replace("{}", flow.prefix) in error and "rights" in error


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('/password"', '/wrong"', "Authentication failed"),
        ("ssl.ca.location", 'client.dns.lookup = "use_all_dns_ips"\n# ssl.ca.location', "certificate"),
    ],
    ids=["wrong password", "unknown authority"],
)
def test_who_is_not_let_in_is_told_why_and_the_password_is_not(flow: Flow, old: str, new: str, why: str) -> None:
    (flow.config.parent / "wrong").write_text(WRONG_PASSWORD)
    flow.change(old, new)
    flow.change(f"start_timeout_s = {START_TIMEOUT_S}", "start_timeout_s = 2.0")
    code, told = flow.run()
    assert code == 1, told
    (error,) = [line for line in told.splitlines() if line.startswith("segone run:")]
    assert why in error
    assert PASSWORD not in told and WRONG_PASSWORD not in told
