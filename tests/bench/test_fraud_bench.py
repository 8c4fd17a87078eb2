"""bench/fraud.py from the outside: a small history in the handbook's shape, engine and baselines side by side."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from pathlib import Path
from typing import Any

import duckdb
import fraud
import orjson
import pytest
from fraud_costs import measure_costs
from fraud_parts import record, rescored

from state.settings_reading import read_toml

MAPPING = fraud.ROOT / "config" / "mappings" / "fraud_handbook.toml"
SEED = 5
PERIOD = ("--from", "2018-08-15", "--to", "2018-08-29", "--no-leave-out-known-cards")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 customers at 50 terminals, 60 days, four payments a day. Frauds from the second month on: large amounts (1), and all that
    is paid at four terminals, whatever the amount (2)."""
    print(f"seed {SEED}")
    path = tmp_path_factory.mktemp("fraud") / "payments.parquet"
    with duckdb.connect() as db:
        db.execute(
            f"""
            COPY (
                WITH drawn AS (
                    SELECT n, hash(n, {SEED}) AS h, hash(n, {SEED} + 1) % 1000 AS luck FROM range(4800) t(n)
                ), truth AS (
                    SELECT *, h // 64 % 50 AS terminal,
                           CASE WHEN n < 1600 THEN 0 WHEN luck < 20 THEN 1 WHEN h // 64 % 50 < 4 THEN 2 ELSE 0 END AS scenario
                    FROM drawn
                )
                SELECT n AS TRANSACTION_ID, TIMESTAMP '2018-07-01' + to_seconds((n * 1080)::BIGINT) AS TX_DATETIME,
                       h % 20 AS CUSTOMER_ID, terminal AS TERMINAL_ID,
                       (20 + h // 4096 % 30) * if(scenario = 1, 20, 1)::DOUBLE AS TX_AMOUNT,
                       (scenario > 0)::TINYINT AS TX_FRAUD, scenario::TINYINT AS TX_FRAUD_SCENARIO
                FROM truth ORDER BY n
            ) TO '{path}' (FORMAT parquet)
            """
        )
    return path


@pytest.fixture(scope="module")
def oracle(history: Path) -> Path:
    """Scores of somebody who knows the truth, for all payments but one."""
    path = history.parent / "scores.parquet"
    with duckdb.connect() as db:
        db.execute(
            f"""
            COPY (
                SELECT 'c-' || CUSTOMER_ID AS customer_id, TRANSACTION_ID::VARCHAR AS transaction_id,
                       TX_FRAUD::DOUBLE AS score, 'oracle' AS model
                FROM '{history}' WHERE TRANSACTION_ID <> 4000
            ) TO '{path}' (FORMAT parquet)
            """
        )
    return path


def bench(*arguments: object) -> int:
    return fraud.main([str(argument) for argument in arguments])


def compared(history: Path, *baselines: str, parts: str = "none", scores: Path | None = None) -> dict[str, Any]:
    """The lines of one run, by name."""
    path = history.parent / "result.json"
    arguments = (*PERIOD, "--parts", parts, "--baselines", ";".join(baselines), "--json", path)
    assert bench(history, "--mapping", MAPPING, *arguments, *(("--scores", scores) if scores else ())) == 0
    return {line["name"]: line for line in orjson.loads(path.read_bytes())["lines"]}


def test_engine_and_baselines_stand_side_by_side_and_a_part_that_is_off_is_missed(history: Path) -> None:
    names = ["customer z", "logistic regression, online", "adaptive random forest, online"]
    lines = compared(history, *names, parts="merchant")
    assert list(lines) == ["segone", "segone without merchant", *names]
    recall = {name: line["measures"]["recall_by_scenario"] for name, line in lines.items()}
    assert recall["customer z"]["1"] == 1.0
    assert recall["segone"]["1"] > 0.8
    assert recall["segone"]["2"] > 0.9
    assert max(recall["segone without merchant"]["2"], recall["customer z"]["2"]) < 0.1
    assert all(lines[name]["score_us"] > 0 for name in names)


def test_scores_learned_again_with_nothing_off_are_those_of_the_replay(history: Path) -> None:
    recording = record(history, MAPPING, fraud.day_us("--to", PERIOD[3]))
    again, whole = rescored(recording, None), [row.score for row in recording.judged]
    assert len(whole) > 3_000
    assert again == pytest.approx(whole, rel=0.02), "but for the rounding of what strangeness looks at"
    assert sum(one == other for one, other in zip(again, whole, strict=True)) > 0.9 * len(whole)


@pytest.mark.usefixtures("batch_models")
def test_batch_models_learn_what_was_known_before_the_test_period(history: Path, oracle: Path) -> None:
    lines = compared(history, *fraud.BATCH, scores=oracle)
    assert list(lines) == ["segone", *fraud.BATCH]
    for name in fraud.BATCH:
        assert lines[name]["measures"]["auc"] > 0.9, name
        assert lines[name]["learn_us"] > 0


def test_a_batch_model_without_its_library_is_told_before_anything_is_replayed(
    history: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(fraud.BATCH, "XGBoost, batch", "no_such_library")
    assert bench(history, "--mapping", MAPPING, "--baselines", "XGBoost, batch") == 2
    assert "no_such_library is not installed; pip install -e .[bench]" in capsys.readouterr().err


def test_scores_that_are_there_already_are_measured_and_missing_ones_count_as_lowest(
    history: Path, oracle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = tmp_path / "result.json"
    arguments = (*PERIOD, "--baselines", "none", "--json", result)
    assert bench(history, "--mapping", MAPPING, *arguments, "--scores", oracle) == 0
    (line,) = orjson.loads(result.read_bytes())["lines"]
    assert (line["measures"]["auc"], line["measures"]["recall"], line["score_us"]) == (1.0, 1.0, None)
    assert line["note"] == "1 model versions, 1 payments without a score"
    assert bench(history, "--mapping", MAPPING, *arguments, "--scores", tmp_path / "none.parquet") == 2
    assert "segone replay --scores" in capsys.readouterr().err


def test_an_unknown_mapping_needs_a_test_period(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = tmp_path / "mine.toml"
    mapping.write_text(MAPPING.read_text("utf-8"), "utf-8")
    assert bench(history, "--mapping", mapping) == 2
    assert "give --from and --to" in capsys.readouterr().err


@pytest.mark.parametrize("flag", ["--parts", "--baselines"])
def test_an_unknown_name_is_refused_with_the_known_ones(
    history: Path, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(history, "--mapping", MAPPING, flag, "horoscope") == 2
    assert f"{flag} horoscope: not known; known are " in capsys.readouterr().err


def test_the_time_of_a_part_is_that_of_its_functions(history: Path) -> None:
    parts = {"amounts": ["operators.anomaly.amount:step"], "nothing": []}
    amounts, nothing, everything = measure_costs(history, MAPPING, parts, None)
    assert (amounts.part, amounts.calls) == ("amounts", 4800)
    assert (nothing.part, nothing.calls, nothing.each_us) == ("nothing", 0, 0.0)
    assert everything.calls > 4800, "labels are records, too"
    assert 0.0 < amounts.each_us < everything.each_us


def test_every_function_that_is_to_be_timed_is_there() -> None:
    parts = read_toml(fraud.ROOT / "bench" / "fraud.toml")["costs"]
    places = [place for functions in parts.values() for place in functions]
    assert places
    for place in places:
        module, _, name = place.partition(":")
        assert callable(attrgetter(name)(import_module(module))), place
