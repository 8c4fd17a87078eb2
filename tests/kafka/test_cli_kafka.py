"""`segone init`, `check` and `dlq` on a real broker."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType
from conftest import Topics
from talking import committed

from dataflows.cli import main
from state.digest import partition_of
from state.events import TOPICS

PARTITIONS, OUTPUT_PARTITIONS = 3, 4


@pytest.fixture
def config(kafka: str, topics: Topics, tmp_path: Path) -> Path:
    path = tmp_path / "kafka.toml"
    path.write_text(
        f'[log]\nkind = "kafka"\n[state]\ndir = "{tmp_path}/state"\n[kafka]\nbootstrap_servers = "{kafka}"\n'
        f'topic_prefix = "{topics.prefix}."\ntransactional_id = "{topics.prefix}"\n'
        f"partitions = {PARTITIONS}\nsink_partitions = 2\nbroker_timeout_s = 20.0\n"
    )
    return path


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main([str(each) for each in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_init_makes_topics_that_check_finds_good_and_a_second_init_makes_none(
    config: Path, topics: Topics, admin: AdminClient, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = said(capsys, "check", "--config", config)
    assert code == 2
    assert f"no input topic {topics.prefix}.in.transactions" in " ".join(out.split())
    code, out, err = said(capsys, "init", "--config", config)
    assert (code, err, out.count("was there")) == (0, "", 0)
    made = {name: len(topic.partitions) for name, topic in admin.list_topics(timeout=10).topics.items()}
    ours = {name.removeprefix(f"{topics.prefix}."): count for name, count in made.items() if topics.prefix in name}
    assert {ours[topic] for topic in TOPICS if topic != "in.market"} == {PARTITIONS}
    assert {count for topic, count in ours.items() if topic not in TOPICS} == {OUTPUT_PARTITIONS}
    names = [f"{topics.prefix}.{topic}" for topic in ("profiles", "models", "merchants", "scores")]
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    policies = {
        resource.name: future.result()["cleanup.policy"].value
        for resource, future in admin.describe_configs(resources).items()
    }
    assert [policies[name] for name in names] == ["compact", "compact", "compact", "delete"]
    code, out, _ = said(capsys, "init", "--config", config)
    assert (code, out.count("made ")) == (0, 0)
    code, out, _ = said(capsys, "check", "--config", config)
    assert code == 0
    assert "input with 3 partitions" in " ".join(out.split())


def test_letters_are_listed_and_go_back_once_byte_for_byte(
    config: Path, kafka: str, topics: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "init", "--config", config)[0] == 0
    customers = [f"c-{n}" for n in range(40)]
    originals = {
        customer: json.dumps({"customer_id": customer, "labelled_at": "2025-01-01T00:00:00Z", "label": label}, indent=1)
        for customer, label in zip(customers, ["fraud", "nonsense"] * 20, strict=True)
    }
    _write_letters(kafka, f"{topics.prefix}.in.labels.dlq", originals)
    code, out, _ = said(capsys, "dlq", "list", "--config", config)
    assert code == 0
    assert "dead letters: 40" in out
    code, out, _ = said(capsys, "dlq", "redrive", "--config", config, "--dry-run")
    assert (code, out.splitlines()[0]) == (0, "20 would be sent")
    code, out, _ = said(capsys, "dlq", "redrive", "--config", config)
    assert (code, out.splitlines()[0]) == (0, "20 sent")
    assert "20 stay: in.labels field.value" in out
    code, out, _ = said(capsys, "dlq", "redrive", "--config", config)
    assert (code, out.splitlines()[:2]) == (
        0,
        ["0 sent", "20 sent by an earlier redrive, not again (--all sends them, too)"],
    )
    seen = committed(kafka, f"{topics.prefix}.in.labels", PARTITIONS)
    good = {customer: text for customer, text in originals.items() if '"fraud"' in text}
    assert sorted((each.key, each.value) for each in seen) == sorted((c.encode(), t.encode()) for c, t in good.items())
    assert all(each.partition == partition_of(each.key or b"", PARTITIONS) for each in seen)


def test_a_run_folder_is_refused_beside_a_configuration_for_kafka(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = said(capsys, "dlq", "list", tmp_path, "--config", config)
    assert code == 2
    assert "leave RUN out" in err


def _write_letters(kafka: str, topic: str, originals: dict[str, str]) -> None:
    producer = Producer({"bootstrap.servers": kafka})
    for offset, (customer, original) in enumerate(originals.items()):
        headers = {"code": "field.value", "path": "$.label", "message": "must be one of", "topic": "in.labels"}
        numbers = {"partition": "1", "offset": str(offset)}
        producer.produce(
            topic,
            original.encode(),
            customer.encode(),
            headers=[(f"dlq.{name}", value.encode()) for name, value in (headers | numbers).items()],
        )
    assert producer.flush(30) == 0


def test_a_simulated_bank_goes_to_the_topics_with_the_prefix_each_record_to_its_customers_partition(
    config: Path, kafka: str, topics: Topics, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = ["--customers", "2", "--days", "40", "--seed", "5", "--partitions", str(PARTITIONS)]
    assert said(capsys, "simulate", *world, "--out", tmp_path / "bank")[0] == 0
    assert said(capsys, "init", "--config", config)[0] == 0
    code, _, err = said(capsys, "simulate", *world, "--kafka", "--config", config)
    assert code == 0
    sent = 0
    for topic in TOPICS:
        count = 1 if topic == "in.market" else PARTITIONS
        found = committed(kafka, f"{topics.prefix}.{topic}", count)
        files = sorted((tmp_path / "bank" / "events" / topic).glob("*.jsonl"))
        assert sorted(message.value for message in found) == sorted(
            line for file in files for line in file.read_bytes().splitlines()
        )
        assert all(message.partition == partition_of(message.key, count) for message in found if message.key)
        sent += len(found)
    assert sent > 100 and f"sent {sent:,} records" in err


def test_a_property_that_the_producer_does_not_know_is_told_before_anything_is_sent(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said(capsys, "init", "--config", config)[0] == 0
    config.write_text(config.read_text() + '\n[kafka.producer]\nno.such.property = "1"\n')
    code, _, err = said(capsys, "simulate", "--customers", "2", "--days", "30", "--kafka", "--config", config)
    assert code == 2
    assert "refuses its configuration" in err and "no.such.property" in err
