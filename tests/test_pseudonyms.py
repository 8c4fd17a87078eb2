"""Pseudonyms: no output tells a customer's id, nothing else changes, and a state folder keeps to its key."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from dataflows.cli import main
from dataflows.state_note import prepare_state
from operators.pseudonym import Pseudonyms
from simulation.settings import WorldSettings
from simulation.world import stream
from state.digest import partition_of
from state.events import TOPICS
from state.settings import ConfigError
from state.settings_reading import load_settings

SEED, RECORDS, PARTITIONS = 31, 2500, 4
KEY = "sixteen characters and more"
SETTINGS = "[detectors.transaction]\nthreshold = 0.02\n[shard]\nallowed_lateness_s = 21600.0\n"
HIDDEN = ("id", "retracts", "customer_id")

Said = dict[str, list[dict[str, Any]]]


def customers(messages: Path) -> set[str]:
    lines = (line for path in messages.glob("*/*.jsonl") for line in path.read_bytes().splitlines())
    found = set()
    for line in lines:
        try:
            found.add(str(json.loads(line).get("customer_id", "")))
        except ValueError:
            continue
    return {customer for customer in found if len(customer) > 4}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """An input, and a replay of it without a key and with one."""
    folder = tmp_path_factory.mktemp("pseudonyms")
    (folder / "key").write_text(KEY + "\n")
    (folder / "plain.toml").write_text(SETTINGS)
    (folder / "hidden.toml").write_text(f'{SETTINGS}[privacy]\npseudonym_key_file = "{folder}/key"\n')
    for topic in TOPICS:
        (folder / "events" / topic).mkdir(parents=True)
    for message in islice(stream(WorldSettings(customers=12, days=90, seed=SEED)), RECORDS):
        path = folder / "events" / message.topic / f"{partition_of(message.key, PARTITIONS)}.jsonl"
        with path.open("ab") as file:
            file.write(message.value + b"\n")
    for name in ("plain", "hidden"):
        config = str(folder / f"{name}.toml")
        assert main(["replay", str(folder / "events"), "--config", config, "--out", str(folder / name)]) == 0
    return folder / "events", folder / "plain", folder / "hidden"


def said(out: Path) -> dict[str, Said]:
    """Records by topic and customer, in order."""
    found: dict[str, Said] = defaultdict(lambda: defaultdict(list))
    for path in sorted(out.glob("*/*.jsonl")):
        if not path.parent.name.endswith(".dlq"):
            for line in path.read_text().splitlines():
                record = json.loads(line)
                found[path.parent.name][record.get("customer_id", "")].append(record)
    return found


def test_no_output_but_dead_letters_holds_a_customers_id(runs: tuple[Path, Path, Path]) -> None:
    events, plain, hidden = runs
    known = customers(events)
    assert len(known) >= 12, f"seed {SEED}"

    def told(out: Path) -> set[str]:
        texts = [path.read_text() for path in out.glob("*/*.jsonl") if not path.parent.name.endswith(".dlq")]
        return {customer for customer in known if any(f'"{customer}"' in text for text in texts)}

    assert told(plain), "the check can fail"
    assert told(hidden) == set()


def test_all_else_is_as_without_a_key(runs: tuple[Path, Path, Path]) -> None:
    events, plain, hidden = runs
    names = {customer: Pseudonyms(KEY).of(customer) for customer in customers(events)}
    before, after = said(plain), said(hidden)
    assert before.keys() == after.keys() >= {"scores", "signals.anomaly"}
    for topic, of_customers in before.items():
        assert {names.get(customer, customer) for customer in of_customers} == after[topic].keys()
        for customer, records in of_customers.items():
            kept = [{k: v for k, v in record.items() if k not in HIDDEN} for record in records]
            now = after[topic][names.get(customer, customer)]
            assert kept == [{k: v for k, v in record.items() if k not in HIDDEN} for record in now], f"seed {SEED}"


def test_ids_of_signals_are_new_unique_and_still_name_what_is_retracted(runs: tuple[Path, Path, Path]) -> None:
    _, plain, hidden = runs

    def ids(out: Path) -> tuple[set[str], list[tuple[str, str]]]:
        signals = [
            one for topic, each in said(out).items() if "signals" in topic for many in each.values() for one in many
        ]
        assert len({one["id"] for one in signals}) == len(signals) > 0
        return {one["id"] for one in signals}, [(one["id"], one["retracts"]) for one in signals if one["retracts"]]

    (before, _), (after, retracted) = ids(plain), ids(hidden)
    assert not before & after
    assert len(before) == len(after)
    assert all(opened in after for _, opened in retracted)


def test_a_state_folder_keeps_to_its_key(tmp_path: Path) -> None:
    def with_key(key: str) -> Any:
        return load_settings(environment={"SEGONE__PRIVACY__PSEUDONYM_KEY": key} if key else {})

    assert prepare_state(tmp_path / "state", with_key(KEY))
    assert not prepare_state(tmp_path / "state", with_key(KEY))
    for other in ("another key of that length", ""):
        with pytest.raises(
            ConfigError, match=r"segone\.json: pseudonym_key is .* begin with a new state folder"
        ) as told:
            prepare_state(tmp_path / "state", with_key(other))
        assert KEY not in str(told.value)
    assert KEY not in (tmp_path / "state" / "segone.json").read_text()


def test_a_key_that_could_be_guessed_is_refused_and_no_key_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "events" / "in.transactions").mkdir(parents=True)
    (tmp_path / "events" / "in.transactions" / "0.jsonl").touch()
    arguments = ["check", "--input", str(tmp_path / "events"), "--output", str(tmp_path / "out")]
    monkeypatch.setenv("SEGONE__PRIVACY__PSEUDONYM_KEY", "short-4711")
    assert main(arguments) == 2
    first = capsys.readouterr()
    assert "[privacy] pseudonym_key" in first.err
    monkeypatch.setenv("SEGONE__PRIVACY__PSEUDONYM_KEY", KEY)
    assert main(arguments) == 0
    second = capsys.readouterr()
    assert "pseudonym_key" in second.out
    for text in (first.out, first.err, second.out, second.err):
        assert "short-4711" not in text and KEY not in text
