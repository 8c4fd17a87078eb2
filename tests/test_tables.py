"""A text file becomes a table whatever its cells hold, and the files of a stream are one table."""

from __future__ import annotations

import csv
from pathlib import Path

import duckdb
import orjson
import pytest

from dataflows.commands.replay import write_scores_parquet
from dataflows.files.long_line import LINE_BYTES_MAX
from dataflows.history.mapping import file_sql
from dataflows.history.ordered import open_history
from operators.decode import Decoder, Rejection
from state.records import Record
from state.settings import ConfigError

TIME = "2025-01-01T10:00:00Z"
FIELDS = {
    "transaction_id": '"id"',
    "customer_id": '"who"',
    "booked_at": '"at"',
    "amount": '"amount"',
    "currency": '{ value = "EUR" }',
    "direction": '{ value = "debit" }',
}


def read(data: Path, head: str = "", **more: str) -> list[Record]:
    """The records of in.transactions, by the fields above and `more`."""
    mapping = data.parent / "mapping.toml"
    fields = "\n".join(f"{name} = {value}" for name, value in (FIELDS | more).items())
    mapping.write_text(f'[[stream]]\ntopic = "in.transactions"\n{head}\n[stream.fields]\n{fields}')
    with open_history(data, mapping, None, None) as history:
        return [record for batch in history.records() for record in batch]


def bodies(records: list[Record], field: str) -> list[object]:
    return [record.body.get(field) for record in records if isinstance(record.body, dict)]


def codes(records: list[Record]) -> list[str]:
    verdicts = [Decoder().decode(record) for record in records]
    return [verdict.code if isinstance(verdict, Rejection) else "" for verdict in verdicts]


def test_every_text_of_a_csv_and_of_json_lines_arrives_as_it_is(tmp_path: Path) -> None:
    texts = [
        'a\n"b"',
        '"\n',
        'a\nb"',
        "\r",
        "a\r\nb",
        ',"',
        "\\",
        '\\"',
        "\x01",
        "\u2028",
        "é\U0001f600",
        " x ",
        "#",
        "'",
    ]
    with (tmp_path / "t.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, quoting=csv.QUOTE_ALL, lineterminator="\n")
        writer.writerow(["id", "who", "at", "amount", "text"])
        writer.writerows([number, "c", TIME, 1, text] for number, text in enumerate(texts))
    assert bodies(read(tmp_path / "t.csv", description='"text"'), "description") == texts
    texts += ["\\N", ""]
    rows = [{"id": number, "who": "c", "at": TIME, "amount": 1, "text": text} for number, text in enumerate(texts)]
    (tmp_path / "t.jsonl").write_bytes(b"\n".join(map(orjson.dumps, rows)))
    assert bodies(read(tmp_path / "t.jsonl", description='"text"'), "description") == texts


def test_an_id_that_became_floating_point_is_the_same_in_json_lines_as_in_parquet(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(f'{{"id":123.0,"who":"c","at":"{TIME}","amount":1}}')
    assert bodies(read(tmp_path / "t.jsonl"), "transaction_id") == ["123"]


def test_columns_without_a_name_are_passed_over(tmp_path: Path) -> None:
    """The index that a data frame writes first; a separator at the end of every line."""
    (tmp_path / "t.csv").write_text(f",id,who,at,amount,\n0,7,c,{TIME},1.00,\n")
    records = read(tmp_path / "t.csv", head="where = \"amount > 0 AND who = 'c'\"")
    assert (bodies(records, "transaction_id"), bodies(records, "amount")) == (["7"], ["1.00"])
    (tmp_path / "t.jsonl").write_text(f'{{"":0,"id":"7","who":"c","at":"{TIME}","amount":1}}')
    assert bodies(read(tmp_path / "t.jsonl"), "transaction_id") == ["7"]


def test_a_row_that_is_far_too_long_is_one_dead_letter_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"id,who,at,amount\n1,{'x' * LINE_BYTES_MAX},{TIME},1\n2,c,{TIME},1\n")
    (tmp_path / "t.jsonl").write_text(
        f'{{"id":1,"who":"{"x" * LINE_BYTES_MAX}"}}\n{{"id":2,"who":"c","at":"{TIME}","amount":1}}\n'
    )
    for name in ("t.csv", "t.jsonl"):
        whole = (tmp_path / name).read_bytes().splitlines()[-2]
        records = read(tmp_path / name)
        assert codes(records) == ["record.too_large", ""]
        assert (records[0].value, records[0].whole_bytes) == (whole[:LINE_BYTES_MAX], len(whole))


def test_a_key_that_one_of_several_json_lines_lacks_is_absent_there(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.jsonl").write_text(f'{{"id":1,"who":"c","at":"{TIME}","amount":5,"k":7}}')
    (folder / "b.jsonl").write_text(f'{{"id":2,"who":"c","at":"{TIME}","amount":6,"mcc":"5411"}}')
    (folder / "c.jsonl").write_text("")
    more = {"mcc": '"mcc"', "description": '{ sql = "abs(k)" }'}
    records = read(folder, 'source = "*.jsonl"', **more)
    assert [bodies(records, field) for field in ("transaction_id", "mcc", "description")] == [
        ["1", "2"],
        [None, "5411"],
        ["7", None],
    ]
    with pytest.raises(ConfigError, match=r"no column 'mc'; did you mean mcc"):
        read(folder, 'source = "*.jsonl"', mcc='"mc"')


def test_a_column_has_one_type_in_all_files_of_a_stream(tmp_path: Path) -> None:
    """Else a place would be 12 by one file and 12.0 by the next, and a day without a payment would end the replay."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, rows in (("a", f"1,c,{TIME},12\n"), ("b", f"2,c,{TIME},12\n3,c,{TIME},0.5\n"), ("c", "")):
        (folder / f"{name}.csv").write_text(f"id,who,at,amount\n{rows}")
    records = read(folder, 'source = "*.csv"', amount='{ sql = "abs(amount)" }', description='{ sql = "amount" }')
    assert bodies(records, "description") == ["12", "12", "0.5"]
    texts = read(folder, 'source = "*.csv"', description="{ sql = \"'m-' || amount\" }")
    assert bodies(texts, "description") == ["m-12.0", "m-12.0", "m-0.5"]


def test_a_parquet_file_without_rows_may_have_any_types(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    select = f"SELECT 1 AS id, 'c' AS who, TIMESTAMP '{TIME[:-1]}' AS \"at\", 1.5 AS amount"
    duckdb.execute(f"COPY ({select}) TO '{folder}/a.parquet' (FORMAT parquet)")
    duckdb.execute(
        f"COPY (SELECT 1.0 AS id, 1.0 AS who, 1.0 AS \"at\", 1.0 AS amount LIMIT 0) TO '{folder}/b.parquet' (FORMAT parquet)"
    )
    assert bodies(read(folder, 'source = "*.parquet"'), "transaction_id") == ["1"]
    canonical = tmp_path / "canonical" / "in.labels"
    canonical.mkdir(parents=True)
    label = f"'c' AS customer_id, '{TIME}' AS labelled_at, 'fraud' AS label, NULL AS occurred_at"
    duckdb.execute(f"COPY (SELECT {label}) TO '{canonical}/0.parquet' (FORMAT parquet)")
    duckdb.execute(f"COPY (SELECT 1.0 AS labelled_at LIMIT 0) TO '{canonical}/1.parquet' (FORMAT parquet)")
    with open_history(canonical.parent, None, None, None) as history:
        assert codes([record for batch in history.records() for record in batch]) == [""]


def test_a_folder_may_be_named_like_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run[2]*'s"
    (folder / "scores").mkdir(parents=True)
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    (folder / "t.csv").write_text(f"id,who,at,amount\n1,c,{TIME},1\n")
    assert codes(read(folder / "t.csv")) == [""]
    lines = folder / "events" / "in.labels.jsonl"
    lines.parent.mkdir()
    lines.write_text(f'{{"customer_id":"c","labelled_at":"{TIME}","label":"fraud"}}')
    with open_history(lines.parent, None, None, None) as history:
        assert history.rows == 1
    score = {"transaction_id": "1", "customer_id": "c", "event_time": TIME, "score": 0.1, "model": "m"}
    (folder / "scores" / "0.jsonl").write_bytes(orjson.dumps(score))
    write_scores_parquet(folder)
    rows = duckdb.execute(f"SELECT transaction_id, score FROM {file_sql(folder / 'scores.parquet')}").fetchall()
    assert rows == [("1", 0.1)]


def test_a_time_with_an_offset_keeps_it_in_conditions_and_expressions(tmp_path: Path) -> None:
    rows = ["1,c,2025-07-01T10:00:00+02:00,1", "2,c,2025-07-01T10:00:00Z,1", "3,c,2025-07-01 08:30:00,1"]
    (tmp_path / "t.csv").write_text("\n".join(["id,who,at,amount", *rows]))
    more = {"booked_at": "{ sql = '\"at\" + INTERVAL 1 HOUR' }"}
    records = read(tmp_path / "t.csv", 'where = """ "at" < \'2025-07-01 09:00:00\' """', **more)
    assert bodies(records, "booked_at") == ["2025-07-01T09:00:00.000000Z", "2025-07-01T09:30:00.000000Z"]
