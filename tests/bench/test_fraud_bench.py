"""bench/fraud.py from the outside: a small history in the handbook's shape, engine and baselines side by side."""

from __future__ import annotations

from pathlib import Path

import duckdb
import fraud
import orjson
import pytest

MAPPING = fraud.ROOT / "config" / "mappings" / "fraud_handbook.toml"
SEED = 5


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 customers, 60 days, four payments a day; in the second month some pay twenty times the usual, which is fraud."""
    print(f"seed {SEED}")
    path = tmp_path_factory.mktemp("fraud") / "payments.parquet"
    with duckdb.connect() as db:
        db.execute(
            f"""
            COPY (
                WITH drawn AS (
                    SELECT n, n // 80 AS day, hash(n, {SEED}) AS h, hash(n, {SEED} + 1) % 1000 AS luck FROM range(4800) t(n)
                ), truth AS (SELECT *, (day >= 30 AND luck < 30)::TINYINT AS fraud FROM drawn)
                SELECT n AS TRANSACTION_ID, TIMESTAMP '2018-07-01' + to_seconds((n * 1080)::BIGINT) AS TX_DATETIME,
                       h % 20 AS CUSTOMER_ID, h // 64 % 50 AS TERMINAL_ID,
                       (20 + h // 4096 % 30) * if(fraud = 1, 20, 1)::DOUBLE AS TX_AMOUNT, fraud AS TX_FRAUD, fraud AS TX_FRAUD_SCENARIO
                FROM truth ORDER BY n
            ) TO '{path}' (FORMAT parquet)
            """
        )
    return path


def bench(*arguments: object) -> int:
    return fraud.main([str(argument) for argument in arguments])


def test_engine_and_baselines_find_what_is_easy_and_a_part_that_is_off_shows(history: Path) -> None:
    path = history.parent / "result.json"
    period = ("--from", "2018-08-15", "--to", "2018-08-29", "--no-leave-out-known-cards")
    assert bench(history, "--mapping", MAPPING, *period, "--parts", "amount", "--json", path) == 0
    lines = orjson.loads(path.read_bytes())
    by_name = {line["name"]: line["measures"] for line in lines}
    assert list(by_name) == [
        "segone",
        "segone without amount",
        "customer z",
        "logistic regression, online",
        "adaptive random forest, online",
        "random forest, batch",
        "XGBoost, batch",
    ]
    assert by_name["segone"]["auc"] > 0.95
    assert by_name["segone without amount"] != by_name["segone"]
    for name, measures in by_name.items():
        if not name.startswith("segone without"):
            assert measures["auc"] > 0.9, name
        assert list(measures["recall_by_scenario"]) == ["1"]
    assert all(line["score_us"] > 0 for line in lines)


def test_scores_that_are_there_already_are_measured_and_missing_ones_count_as_lowest(
    history: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores, result = tmp_path / "scores.parquet", tmp_path / "result.json"
    with duckdb.connect() as db:
        db.execute(
            f"""
            COPY (
                SELECT 'c-' || CUSTOMER_ID AS customer_id, TRANSACTION_ID::VARCHAR AS transaction_id,
                       TX_FRAUD::DOUBLE AS score, 'oracle' AS model
                FROM '{history}' WHERE TRANSACTION_ID <> 4000
            ) TO '{scores}' (FORMAT parquet)
            """
        )
    period = ("--from", "2018-08-15", "--to", "2018-08-29", "--baselines", "none", "--json", result)
    assert bench(history, "--mapping", MAPPING, *period, "--scores", scores) == 0
    (line,) = orjson.loads(result.read_bytes())
    assert (line["measures"]["auc"], line["measures"]["recall"], line["score_us"]) == (1.0, 1.0, None)
    assert line["note"] == "1 model versions, 1 payments without a score"
    assert bench(history, "--mapping", MAPPING, *period, "--scores", tmp_path / "none.parquet") == 2
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
