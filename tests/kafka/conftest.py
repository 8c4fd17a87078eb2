"""One real Kafka for all tests of this folder, and topics that no other test knows."""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator

import pytest
from broker import Broker, NoServer, jars
from confluent_kafka.admin import AdminClient, NewTopic


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With pytest-xdist (--dist loadgroup) all of them share one worker, hence one broker."""
    for item in items:
        if "own_broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
            item.add_marker(pytest.mark.xdist_group("kafka"))


@pytest.fixture(scope="session")
def startable() -> None:
    """Tests that start a Kafka of their own are skipped where there is none to start, or fail if SEGONE_REQUIRE_KAFKA=1."""
    try:
        jars()
    except NoServer as reason:
        if os.environ.get("SEGONE_REQUIRE_KAFKA") == "1":
            raise
        pytest.skip(f"no Kafka to test against: {reason}")


@pytest.fixture(scope="session")
def own_broker(request: pytest.FixtureRequest) -> Iterator[Broker | None]:
    """A broker that tests may kill and restart; None when SEGONE_TEST_KAFKA names somebody else's."""
    if os.environ.get("SEGONE_TEST_KAFKA"):
        yield None
        return
    request.getfixturevalue("startable")
    broker = Broker().start()
    yield broker
    broker.stop()


@pytest.fixture(scope="session")
def kafka(own_broker: Broker | None) -> str:
    """Bootstrap address of the Kafka to test against."""
    return own_broker.bootstrap if own_broker is not None else os.environ["SEGONE_TEST_KAFKA"]


@pytest.fixture
def mortal_broker(own_broker: Broker | None) -> Iterator[Broker]:
    """The broker, for tests that kill it; runs again afterwards whatever the test did."""
    if own_broker is None:
        pytest.skip("kills the broker, and SEGONE_TEST_KAFKA names one that is not ours")
    yield own_broker
    if not own_broker.running:
        own_broker.start()


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka, "log_level": 0})


class Topics:
    """Makes topics under a prefix that belongs to one test."""

    def __init__(self, admin: AdminClient, prefix: str) -> None:
        self.prefix = prefix
        self._admin = admin

    def create(self, name: str, partitions: int, **config: str) -> str:
        """Create `<prefix>.<name>` and return its full name; config keys with _ for the dots."""
        topic = f"{self.prefix}.{name}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings)
        self._admin.create_topics([new])[topic].result(30)
        deadline_s = time.monotonic() + 30
        while topic not in self._admin.list_topics(timeout=10).topics:  # brokers hear of it a moment later
            assert time.monotonic() < deadline_s, f"{topic} was made but is not listed"
            time.sleep(0.01)
        return topic


@pytest.fixture
def topics(admin: AdminClient, request: pytest.FixtureRequest) -> Topics:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[:40]
    return Topics(admin, f"{name}-{uuid.uuid4().hex[:8]}")
