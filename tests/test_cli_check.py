"""`segone check` and `segone init`: everything is looked at, nothing is changed; everything is made, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_samples import as_line, signal, transaction, write_log, write_signals

from dataflows.cli import main
from dataflows.kafka.topics import faults, plans
from state.events import TOPICS
from state.settings import KafkaSettings
from state.settings_reading import load_settings


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    write_log(tmp_path / "in", "in.transactions", [(f"c-{n}", as_line(transaction(n, n))) for n in range(9)])
    return tmp_path


def checked(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = main(["check", *map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def line_of(out: str, subject: str) -> str:
    """What was found, wherever the lines were broken."""
    start = out.index(subject)
    return " ".join(out[start:].split())


def test_a_run_that_would_start_is_ok_and_nothing_is_changed(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(bank.rglob("*"))
    code, out, err = checked(capsys, "--input", bank / "in", "--output", bank / "out")
    assert (code, err) == (0, "")
    assert line_of(out, "detectors ").startswith("detectors ok config sha256:")
    assert line_of(out, "input folder").startswith(f"input folder ok {bank / 'in'}: 2 partitions; in.transactions")
    assert line_of(out, "output folder").startswith(f"output folder ok {bank / 'out'}: can be made")
    assert "a run would begin with a new state" in line_of(out, "state folder")
    assert sorted(bank.rglob("*")) == before


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    code, out, err = checked(capsys, "--input", tmp_path / "none", "--output", tmp_path / "file")
    assert code == 2
    assert line_of(out, "input folder").startswith(f"input folder failed {tmp_path / 'none'}: no such folder")
    assert line_of(out, "output folder").startswith(f"output folder failed [log] output: {tmp_path / 'file'} cannot be")
    assert "3 of 4 checks failed: input folder, output folder, state folder" in err


def test_without_folders_the_settings_to_make_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = checked(capsys)
    assert code == 2
    assert "[log] input: no folder is named; set it, or give --input DIR" in out
    assert "[log] output: no folder is named; set it, or give --output DIR" in out


def test_topics_that_are_not_co_partitioned_are_told(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = [(f"c-{n}", as_line({"customer_id": f"c-{n}", "label": "fraud"})) for n in range(9)]
    write_log(bank / "in", "in.labels", labels, partitions=1)
    code, out, _ = checked(capsys, "--input", bank / "in", "--output", bank / "out")
    assert code == 2
    assert "in.labels: has 1 partitions where other topics have 2" in " ".join(out.split())


def test_an_unknown_key_and_an_unknown_detector_end_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "bank.toml"
    config.write_text("[shard]\ncuont = 3")
    code, _, err = checked(capsys, "--config", config)
    assert (code, err) == (2, f"segone check: {config}:[shard] cuont: no such setting; did you mean 'count'?\n")
    config.write_text("[detectors.telepathy]\nthreshold = 0.5")
    code, _, err = checked(capsys, "--config", config)
    assert code == 2
    assert err.startswith(f"segone check: {config}:[detectors.telepathy]: no such detector; known are amount,")


def test_signals_without_their_state_are_told(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_signals(bank / "out", signal())
    code, out, _ = checked(capsys, "--input", bank / "in", "--output", bank / "out")
    assert code == 2
    assert "holds signals of an earlier run whose state is not in" in " ".join(out.split())


def test_a_state_that_does_not_fit_the_settings_is_told(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--input", str(bank / "in"), "--output", str(bank / "out")]) == 0
    config = bank / "bank.toml"
    config.write_text("[shard]\ncount = 32")
    arguments = ("--input", bank / "in", "--output", bank / "out")
    assert checked(capsys, *arguments)[0] == 0
    code, out, _ = checked(capsys, *arguments, "--config", config)
    assert code == 2
    assert "segone.json: shards is 64, the settings say 32" in " ".join(out.split())


def test_secrets_are_masked_and_other_settings_are_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "bank.toml"
    config.write_text(
        '[log]\nkind = "kafka"\n[kafka]\nbootstrap_servers = "localhost:1"\nbroker_timeout_s = 0.2\nstart_timeout_s = 0.2\n'
        '[kafka.client]\nsasl.username = "visible"\nsasl.password = "hidden-1"\nssl.key.pem = "hidden-2"\n'
        'sasl.oauthbearer.client.secret = "hidden-3"\n'
    )
    code, out, err = checked(capsys, "--config", config, "--state", tmp_path / "state")
    assert code == 2
    assert '"sasl.username" = "visible"' in out
    assert "hidden" not in out + err
    assert out.count("********") == 3


def test_a_wrong_broker_address_is_told_once_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEGONE__LOG__KIND", "kafka")
    monkeypatch.setenv("SEGONE__KAFKA__BOOTSTRAP_SERVERS", "localhost:1")
    monkeypatch.setenv("SEGONE__KAFKA__BROKER_TIMEOUT_S", "0.2")
    monkeypatch.setenv("SEGONE__KAFKA__START_TIMEOUT_S", "0.2")
    code, out, _ = checked(capsys, "--state", tmp_path / "state")
    assert code == 2
    said = " ".join(out.split())
    assert "broker and topics failed no Kafka broker at localhost:1 answered" in said
    assert "kafka.bootstrap_servers" in said
    assert main(["init", "--state", str(tmp_path / "state")]) == 2
    # The client library's own lines are log records: where an earlier test has set up logging, they stand before ours.
    told = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("{")]
    assert len(told) == 1
    assert told[0].startswith("segone init: [kafka] bootstrap_servers: no Kafka broker at localhost:1 answered")
    assert not (tmp_path / "state").exists()


# ---- init


def test_init_makes_folders_that_a_run_starts_on_and_a_second_init_makes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--input", str(tmp_path / "in"), "--output", str(tmp_path / "out")]
    assert main(["init", *arguments]) == 0
    assert capsys.readouterr().out.count("made ") == 3
    made = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    assert {path.parent.name for path in made if path.suffix == ".jsonl"} == set(TOPICS)
    assert main(["init", *arguments]) == 0
    out = capsys.readouterr().out
    assert (out.count("was there "), out.count("made ")) == (3, 0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == made
    assert main(["check", *arguments]) == 0
    assert main(["run", *arguments]) == 0


def test_init_leaves_an_input_that_is_there_alone(bank: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted((bank / "in").rglob("*"))
    assert main(["init", "--input", str(bank / "in"), "--output", str(bank / "out")]) == 0
    assert f"was there  input folder {bank / 'in'}" in capsys.readouterr().out
    assert sorted((bank / "in").rglob("*")) == before


def test_init_names_the_folders_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 2
    assert "[log] input and output" in capsys.readouterr().err


def kafka(**changes: object) -> KafkaSettings:
    return load_settings(None, {}, {"kafka": changes}).kafka


@pytest.mark.parametrize(("partitions", "sink_partitions"), [(1, 4), (4, 4), (6, 4), (12, 3)])
def test_planned_topics_have_no_fault(partitions: int, sink_partitions: int) -> None:
    settings = kafka(partitions=partitions, sink_partitions=sink_partitions, topic_prefix="x.")
    planned = plans(settings)
    assert faults(settings, {plan.name: plan.partitions for plan in planned}) == []
    assert {plan.name for plan in planned if plan.config.get("cleanup.policy") == "compact"} == {
        "x.profiles",
        "x.models",
        "x.merchants",
    }


def test_each_fault_of_topics_is_found() -> None:
    settings = kafka(sink_partitions=4)
    present = {plan.name: plan.partitions for plan in plans(settings)}
    assert "no input topic in.labels;" in faults(settings, {k: v for k, v in present.items() if k != "in.labels"})[0]
    assert "no output topic late;" in faults(settings, {k: v for k, v in present.items() if k != "late"})[0]
    assert "in.labels 3" in faults(settings, present | {"in.labels": 3})[0]
    assert "sink_partitions = 4 must divide" in faults(settings, present | {"late": 6})[0]
    assert faults(settings, present | {"in.market": 3}) == []
