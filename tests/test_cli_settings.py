"""Settings: what overrides what, and what a person is told who got one wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from dataflows.loading import require_tables
from state.settings import ConfigError, Settings
from state.settings_reading import load_settings


def settings(tmp_path: Path, toml: str = "", environment: dict[str, str] | None = None, **log: object) -> Settings:
    path = tmp_path / "bank.toml"
    path.write_text(toml)
    return load_settings(path, environment or {}, {"log": log}, require_tables)


def refusal(tmp_path: Path, toml: str = "", environment: dict[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, toml, environment)
    return str(caught.value).replace(str(tmp_path), "…")


def test_each_source_overrides_the_one_before(tmp_path: Path) -> None:
    name = "SEGONE__LOG__PARTITIONS"
    assert settings(tmp_path).log.partitions == 4
    assert settings(tmp_path, "[log]\npartitions = 5").log.partitions == 5
    assert settings(tmp_path, "[log]\npartitions = 5", {name: "6"}).log.partitions == 6
    assert settings(tmp_path, "[log]\npartitions = 5", {name: "6"}, partitions=7).log.partitions == 7


def test_a_source_changes_only_what_it_names(tmp_path: Path) -> None:
    read = settings(tmp_path, "[log]\npartitions = 5\n[detectors.geo]\nthreshold = 0.9", {"SEGONE__LOG__POLL_MS": "9"})
    assert (read.log.partitions, read.log.poll_ms, read.log.batch_records_max) == (5, 9, 2000)
    assert read.detectors["geo"]["threshold"] == 0.9
    assert read.detectors["geo"]["speed_kmh_max"] == 900.0


def test_a_detector_can_be_set_in_the_environment_and_changes_the_digest(tmp_path: Path) -> None:
    changed = settings(tmp_path, environment={"SEGONE__DETECTORS__GEO__THRESHOLD": "0.75"})
    assert changed.detectors["geo"]["threshold"] == 0.75
    assert changed.digest() != settings(tmp_path).digest()


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("[logg]\nkind = 'files'", "…/bank.toml:[logg]: no such section; did you mean 'log'?"),
        ("[log]\nfolow = true", "…/bank.toml:[log] folow: no such setting; did you mean 'follow'?"),
        ("[log]\nzzz = 1", "…/bank.toml:[log] zzz: no such setting; known are batch_records_max, follow, input,"),
        ("[log]\nfollow = 'yes'", "…/bank.toml:[log] follow: Expected `bool`, got `str`"),
        ("[log]\nkind = 'kafak'", "…/bank.toml:[log] kind: Invalid enum value 'kafak'; choose one of files, kafka"),
        ("[shard]\ncount = 0", "…/bank.toml:[shard] count: Expected `int` >= 1"),
        ("log = 3", "…/bank.toml:log: is a section and needs keys, as in [log]"),
        ("[kafka]\nclient = 3", "…/bank.toml:[kafka] client: Expected `object`, got `int`"),
        ("[detectors]\ngeo = 3", "…/bank.toml:[detectors]: Expected `object`, got `int`"),
        ("[log", "…/bank.toml: is not valid TOML"),
        ("[log.kind]\nx = 1", "…/bank.toml:[log] kind: Expected `str`, got `object`"),
        ("[shard]\ncount.x = 1", "…/bank.toml:[shard] count: Expected `int`, got `object`"),
        pytest.param(f"[shard]\ncount = {'9' * 5000}", "…/bank.toml: is not valid TOML", id="digits"),
        pytest.param(f"[log]\nkind = {'[' * 5000}", "…/bank.toml: is nested too deeply", id="deep"),
    ],
)
def test_a_wrong_file_is_told_with_file_section_and_key(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        (
            "[detectors.geo]\nspeed_kmh_max = 'fast'",
            "…/bank.toml:[detectors.geo] speed_kmh_max: Expected `float`, got `str`",
        ),
        ("[detectors.geo]\nquiet_s = 1e13", "…/bank.toml:[detectors.geo] quiet_s: Expected `float` <= "),
        ("[detectors.velocity]\nvalid_s = nan", "…/bank.toml:[detectors.velocity] valid_s: Expected `float` "),
        ("[detectors.churn]\nspeed = 1", "…/bank.toml:[detectors.churn]: Object contains unknown field `speed`"),
        ("[detectors.learner.forest]\ntrees = 0", "…/bank.toml:[detectors.learner] forest.trees: Expected `int` >= 1"),
        (
            "[detectors.churn.weights]\nlogs = 1.0",
            "…/bank.toml:[detectors.churn] weights: churn: weights of unknown features: logs",
        ),
        (
            "[detectors.consents]\nexplicit = 1",
            "…/bank.toml:[detectors.consents] explicit: Expected `array`, got `int`",
        ),
        ("[detectors.gio]\nenabled = false", "…/bank.toml:[detectors.gio]: no such detector; known are amount,"),
        (
            "[profiles]\nsensitive_categories = ['x']",
            "…/bank.toml:[profiles] sensitive_categories: there is no category",
        ),
    ],
)
def test_a_wrong_number_of_a_detector_is_told_with_file_table_and_key(tmp_path: Path, toml: str, says: str) -> None:
    assert refusal(tmp_path, toml).startswith(says)


def test_a_wrong_number_of_a_detector_in_the_environment_is_told_so() -> None:
    with pytest.raises(ConfigError, match=r"^environment:\[detectors\.geo\] near_km: Expected `float`, got `str`"):
        load_settings(environment={"SEGONE__DETECTORS__GEO__NEAR_KM": "far"}, check=require_tables)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("SEGONE__LOG__FOLOW", "true", "environment:SEGONE__LOG__FOLOW: no such setting; did you mean 'follow'?"),
        ("SEGONE__LOGG__FOLLOW", "true", "environment:[logg]: no such section; did you mean 'log'?"),
        pytest.param(
            "SEGONE__SHARD__COUNT",
            "9" * 5000,
            "environment:SEGONE__SHARD__COUNT: Expected `int`, got `str`",
            id="digits",
        ),
        ("SEGONE__LOG__FOLLOW", "maybe", "environment:SEGONE__LOG__FOLLOW: Expected `bool`, got `str`"),
        ("SEGONE__LOG", "x", "environment:SEGONE__LOG: names no setting; the form is SEGONE__SECTION__KEY"),
        (
            "SEGONE__LOG__KIND__X",
            "x",
            "environment:SEGONE__LOG__KIND: Expected `str`, got `object`; choose one of files, kafka",
        ),
        ("SEGONE__LOG__INPUT", "a\udcff", "environment:SEGONE__LOG__INPUT: is not UTF-8 text; write it as UTF-8"),
        (
            "SEGONE__KAFKA__CLIENT__SASL_PASSWORD",
            "a\udcff",
            "environment:SEGONE__KAFKA__CLIENT__SASL_PASSWORD: is not UTF-8 text; write it as UTF-8",
        ),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(tmp_path: Path, name: str, value: str, says: str) -> None:
    assert refusal(tmp_path, environment={name: value}) == says


def test_a_flag_that_is_not_utf8_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^command line:\[log\] input: is not UTF-8 text"):
        settings(tmp_path, input="folder\udcff")


def test_two_variables_that_contradict_each_other_are_told(tmp_path: Path) -> None:
    environment = {"SEGONE__DETECTORS__GEO": "1", "SEGONE__DETECTORS__GEO__THRESHOLD": "1"}
    assert "another variable gives 'geo' a value of its own" in refusal(tmp_path, environment=environment)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read \(No such file or directory\); check the path"):
        load_settings(tmp_path / "none.toml", {})


@pytest.mark.parametrize("text", ["1_000", "007", "1e5", "true", "[1]", '"quoted"', "a=b", ""])
def test_text_in_the_environment_counts_as_it_stands(tmp_path: Path, text: str) -> None:
    environment = {"SEGONE__KAFKA__CLIENT__SASL_PASSWORD": text, "SEGONE__LOG__INPUT": text}
    read = settings(tmp_path, environment=environment)
    assert (read.kafka.client["sasl.password"], read.log.input) == (text, text)


@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_is_read_from_the_file_that_is_named(tmp_path: Path, ending: str) -> None:
    (tmp_path / "secret").write_bytes(b"p\xc3\xa4ss word" + ending.encode())
    read = settings(tmp_path, f'[kafka.client]\nsasl.password_file = "{tmp_path}/secret"\nsasl.username = "segone"')
    assert read.kafka.client == {"sasl.password": "päss word", "sasl.username": "segone"}
    read = settings(tmp_path, environment={"SEGONE__KAFKA__CLIENT__SASL_PASSWORD_FILE": f"{tmp_path}/secret"})
    assert read.kafka.client == {"sasl.password": "päss word"}


def test_a_secret_that_cannot_be_read_is_told_by_its_key(tmp_path: Path) -> None:
    missing = refusal(tmp_path, '[kafka.client]\nsasl.password_file = "/nowhere/secret"')
    assert missing.startswith(
        "…/bank.toml:[kafka.client] sasl.password_file: /nowhere/secret cannot be read (No such file"
    )
    (tmp_path / "secret").write_bytes(b"\xff")
    assert "is not UTF-8 text" in refusal(tmp_path, f'[kafka.client]\nsasl.password_file = "{tmp_path}/secret"')


def test_names_of_librdkafka_with_dots_are_one_key_in_every_source(tmp_path: Path) -> None:
    toml = '[kafka.client]\nsasl.password = "file"\n"ssl.ca.location" = "/ca"\n[kafka.consumer]\nfetch.min.bytes = 10'
    read = settings(tmp_path, toml, {"SEGONE__KAFKA__CLIENT__SASL_PASSWORD": "environment"})
    assert read.kafka.client == {"sasl.password": "environment", "ssl.ca.location": "/ca"}
    assert read.kafka.consumer == {"fetch.min.bytes": 10}
