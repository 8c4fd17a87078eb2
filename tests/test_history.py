"""A history is read whole and in order: every row of every file is one record, in the contract's order, in any memory."""

from __future__ import annotations

import random
from pathlib import Path

import duckdb
import orjson
import pytest

from dataflows.history.ordered import open_history
from operators.decode import Decoder, Rejection
from state.events import TOPICS, rfc3339
from state.records import Record
from state.settings import ConfigError

NEW_YEAR_US = 1_735_689_600_000_000
MINUTE_US = 60_000_000
SEED = 20_250_101

FIELDS = """
transaction_id = "id"
customer_id = { column = "who", prefix = "c-" }
booked_at = "at"
amount = "amount"
currency = { value = "EUR" }
direction = { value = "debit" }
"""
LABEL_FIELDS = """
transaction_id = "id"
customer_id = { column = "who", prefix = "c-" }
labelled_at = { column = "at", plus = "7d" }
label = { value = "fraud" }
"""


def read(data: Path, mapping: Path | None = None, from_us: int | None = None, to_us: int | None = None) -> list[Record]:
    with open_history(data, mapping, from_us, to_us) as history:
        records = [record for batch in history.records() for record in batch]
        assert len(records) == history.rows
    return records


def write_mapping(folder: Path, *streams: tuple[str, str, str]) -> Path:
    """A mapping with one stream for each (topic, further keys, fields)."""
    mapping = folder / "mapping.toml"
    mapping.write_text(
        "".join(f'[[stream]]\ntopic = "{topic}"\n{head}\n[stream.fields]{fields}' for topic, head, fields in streams)
    )
    return mapping


def transaction(number: int, minute: int, **more: object) -> dict[str, object]:
    return {
        "transaction_id": f"t-{number}",
        "customer_id": f"c-{number % 7}",
        "booked_at": rfc3339(NEW_YEAR_US + minute * MINUTE_US),
        "amount": "1.00",
        "currency": "EUR",
        "direction": "debit",
        **more,
    }


def write_lines(path: Path, lines: list[bytes], end: bytes = b"\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(line + end for line in lines))


def places(records: list[Record]) -> list[tuple[str, int, int]]:
    return [(record.topic, record.partition, record.offset) for record in records]


def table_of(rows: int) -> str:
    return (
        "SELECT i AS id, i % 7 AS who, TIMESTAMP '2025-01-01' + to_minutes(CAST((i * 37) % 100 AS BIGINT)) AS \"at\","
        f" i + 0.5 AS amount, i % 10 = 0 AS bad FROM range({rows}) r(i)"
    )


def test_a_table_is_sorted_by_arrival_and_labels_come_when_they_become_known(tmp_path: Path) -> None:
    duckdb.execute(f"COPY ({table_of(2_500)}) TO '{tmp_path}/t.parquet' (FORMAT parquet)")
    mapping = write_mapping(
        tmp_path, ("in.labels", 'where = "bad"', LABEL_FIELDS), ("in.transactions", 'source = "*.parquet"', FIELDS)
    )
    records = read(tmp_path / "t.parquet", mapping)
    keys = [(record.arrival_us, TOPICS.index(record.topic), record.offset) for record in records]
    assert keys == sorted(keys)
    assert len(records) == 2_750
    decoder = Decoder()
    assert not [record for record in records if isinstance(decoder.decode(record), Rejection)]
    assert sum(record.topic == "in.labels" for record in records) == 250
    assert records[0].arrival_us == NEW_YEAR_US
    assert records[-1].topic == "in.labels"
    assert records[-1].arrival_us == NEW_YEAR_US + 7 * 1440 * MINUTE_US + 90 * MINUTE_US


def test_equal_arrivals_are_ordered_by_topic_then_file_name_then_row(tmp_path: Path) -> None:
    for name in ("b", "a"):
        duckdb.execute(
            f"COPY (SELECT i AS id, 1 AS who, TIMESTAMP '2025-01-01' AS \"at\", 1 AS amount FROM range(3) r(i))"
            f" TO '{tmp_path}/{name}.parquet' (FORMAT parquet)"
        )
    fields = LABEL_FIELDS.replace(', plus = "7d"', "")
    mapping = write_mapping(
        tmp_path,
        ("in.labels", 'source = "a.parquet"', fields),
        ("in.transactions", 'source = "*.parquet"', FIELDS),
        ("in.transactions", 'source = "a.parquet"', FIELDS),
    )
    of_a = [("in.transactions", partition, row) for row in range(3) for partition in (0, 1)]
    of_b = [("in.transactions", 2, row) for row in range(3)]
    assert places(read(tmp_path, mapping)) == [*of_a, *of_b, *(("in.labels", 0, row) for row in range(3))]


def test_csv_and_json_lines_give_the_same_records_as_parquet(tmp_path: Path) -> None:
    bodies = []
    for suffix, options in (("parquet", "FORMAT parquet"), ("csv", "FORMAT csv, DELIM ';'"), ("jsonl", "FORMAT json")):
        data = tmp_path / f"t.{suffix}"
        select = table_of(300).replace("i + 0.5", "CAST(i + 0.5 AS VARCHAR)")
        duckdb.execute(f"COPY ({select}) TO '{data}' ({options})")
        mapping = write_mapping(
            tmp_path, ("in.transactions", 'where = "amount > 100 AND bad"', FIELDS), ("in.labels", "", LABEL_FIELDS)
        )
        mapping.write_text(mapping.read_text().replace("amount > 100", "CAST(amount AS DOUBLE) > 100"))
        bodies.append([(record.topic, record.offset, record.arrival_us, record.body) for record in read(data, mapping)])
    assert len(bodies[0]) == 320
    assert bodies[0] == bodies[1] == bodies[2]


def test_a_condition_compares_the_numbers_of_a_csv_as_numbers(tmp_path: Path) -> None:
    rows = [
        "id,who,at,amount",
        "1,1,2025-01-01,99.5",
        "2,1,2025-01-01,100.4",
        "3,1,2025-01-01,7",
        "4,1,2025-01-01,much",
    ]
    (tmp_path / "t.csv").write_text("\n".join(rows))
    mapping = write_mapping(tmp_path, ("in.transactions", 'where = "amount > 100"', FIELDS))
    assert [record.offset for record in read(tmp_path / "t.csv", mapping)] == [1]


def test_broken_rows_of_a_csv_become_dead_letters_with_their_bytes(tmp_path: Path) -> None:
    lines = [
        b"\xef\xbb\xbfid,who,at,amount",
        b'1,7,2025-01-01T10:00:00Z,"1.50"',
        b"2,7,2025-01-01T10:00:00Z",
        b"3,7,2025-01-01T10:00:00Z,1,00",
        b"4,\xff,2025-01-01T10:00:00Z,1.00",
        b"5,7,2025-01-01T10:00:00Z,",
        b"6,7,soon,1.00",
        b'007,"a,""b""\nc",2025-01-01T09:00:00Z,1.00',
    ]
    write_lines(tmp_path / "t.csv", lines, b"\r\n")
    streams = [("in.transactions", 'where = "id > 0"', FIELDS), ("in.labels", "", LABEL_FIELDS)]
    records = read(tmp_path / "t.csv", write_mapping(tmp_path, *streams))
    transactions = [record for record in records if record.topic == "in.transactions"]
    assert [record.offset for record in transactions] == [1, 2, 3, 5, 6, 0, 4]
    assert [record.value for record in transactions[:3]] == lines[2:5]
    verdicts = [Decoder().decode(record) for record in transactions]
    codes = [verdict.code if isinstance(verdict, Rejection) else "" for verdict in verdicts]
    assert codes == ["json.malformed"] * 3 + ["time.format", "id.format", "", "field.missing"]
    assert transactions[4].body["transaction_id"] == "007"
    assert transactions[4].body["customer_id"] == 'c-a,"b"\nc'
    # A broken row is one dead letter, however many streams read its file.
    assert sum(record.topic == "in.labels" for record in records) == 4


def test_broken_lines_under_a_mapping_become_dead_letters_with_their_bytes(tmp_path: Path) -> None:
    lines = [
        orjson.dumps({"id": 1, "who": "x", "at": "2025-01-01T10:00:00Z", "amount": 1.5}),
        b'{"id": 2',
        b"[3]",
        b"",
        orjson.dumps({"at": "2025-01-01T09:00:00Z", "more": {"deep": [1]}, "who": None}),
    ]
    write_lines(tmp_path / "t.jsonl", lines)
    records = read(tmp_path / "t.jsonl", write_mapping(tmp_path, ("in.transactions", "", FIELDS)))
    assert [(record.offset, record.value) for record in records] == [(1, lines[1]), (2, lines[2]), (4, b""), (0, b"")]
    assert records[2].key is None
    assert records[3].body["amount"] == "1.5"


def test_topics_in_canonical_form_are_merged_line_by_line(tmp_path: Path) -> None:
    good = [orjson.dumps(transaction(number, minute)) for number, minute in enumerate((5, 1, 9))]
    label = {"customer_id": "c-1", "labelled_at": rfc3339(NEW_YEAR_US + MINUTE_US), "label": "fraud"}
    lines = [b"{broken first", good[0], b"", good[1], b"\xff{", good[2], b'{"customer_id": "c-1"}']
    write_lines(tmp_path / "in.transactions" / "3.jsonl", lines, b"\r\n")
    write_lines(
        tmp_path / "in.transactions" / "x.jsonl", [orjson.dumps(transaction(9, 7, arrived_at="1970-01-01T00:00:01Z"))]
    )
    (tmp_path / "in.labels.jsonl").write_bytes(orjson.dumps(label))
    records = read(tmp_path)
    assert places(records) == [
        ("in.transactions", 3, 0),
        ("in.transactions", 0, 0),
        ("in.transactions", 3, 3),
        ("in.transactions", 3, 4),
        ("in.labels", 0, 0),
        ("in.transactions", 3, 1),
        ("in.transactions", 3, 5),
        ("in.transactions", 3, 6),
    ]
    assert [record.value for record in records if record.partition == 3] == [
        lines[offset] for offset in (0, 3, 4, 1, 5, 6)
    ]
    assert (records[0].arrival_us, records[0].body, records[1].arrival_us) == (0, None, 1_000_000)
    assert records[3].arrival_us == records[2].arrival_us == NEW_YEAR_US + MINUTE_US
    assert (records[2].key, records[2].body) == (b"c-1", orjson.loads(good[1]))


def test_a_log_is_read_up_to_what_is_committed(tmp_path: Path) -> None:
    lines = [orjson.dumps(transaction(number, number)) for number in range(4)]
    write_lines(tmp_path / "in.transactions" / "0.jsonl", lines)
    committed = tmp_path / "in.transactions" / "0.committed"
    committed.write_text(str(sum(len(line) + 1 for line in lines[:2])))
    assert [record.offset for record in read(tmp_path)] == [0, 1]
    for damaged in ("some", "9" * 5000):
        committed.write_text(damaged)
        with pytest.raises(ConfigError, match=r"0\.committed"):
            read(tmp_path)


def test_a_file_name_of_too_many_digits_is_no_partition_number(tmp_path: Path) -> None:
    lines = [orjson.dumps(transaction(number, number)) for number in range(2)]
    write_lines(tmp_path / "in.transactions" / f"{'9' * 60}.jsonl", lines[:1])
    write_lines(tmp_path / "in.transactions" / "0.jsonl", lines[1:])
    assert places(read(tmp_path)) == [("in.transactions", 1, 0), ("in.transactions", 0, 0)]


def test_canonical_parquet_equals_canonical_lines(tmp_path: Path) -> None:
    numbers = [*range(50)]
    random.Random(SEED).shuffle(numbers)
    rows = [transaction(number, number % 11, lat=50.5, lon=14.25, mcc=None, extra=1) for number in numbers]
    write_lines(tmp_path / "lines" / "in.transactions.jsonl", [orjson.dumps(row) for row in rows])
    folder = tmp_path / "columns" / "in.transactions"
    folder.mkdir(parents=True)
    select = f"SELECT * FROM read_json('{tmp_path}/lines/in.transactions.jsonl')"
    duckdb.execute(f"COPY ({select}) TO '{folder}/0.parquet' (FORMAT parquet)")
    decoder = Decoder()
    events = [decoder.decode(record) for record in read(tmp_path / "lines")]
    assert events == [decoder.decode(record) for record in read(tmp_path / "columns")]
    assert not any(isinstance(event, Rejection) for event in events), f"seed {SEED}"


def test_a_naive_time_in_canonical_parquet_is_a_dead_letter_as_in_lines(tmp_path: Path) -> None:
    (tmp_path / "in.labels").mkdir()
    select = "SELECT 'c-1' AS customer_id, '2025-01-01 10:00:00' AS labelled_at, 'fraud' AS label"
    duckdb.execute(f"COPY ({select}) TO '{tmp_path}/in.labels/0.parquet' (FORMAT parquet)")
    (record,) = read(tmp_path)
    verdict = Decoder().decode(record)
    assert isinstance(verdict, Rejection)
    assert (verdict.code, verdict.path) == ("time.format", "$.labelled_at")


@pytest.mark.parametrize("kind", ["lines", "table"])
def test_from_and_to_cut_half_open_and_split_the_history_without_loss(tmp_path: Path, kind: str) -> None:
    mapping = None
    if kind == "lines":
        lines = [b"{", *(orjson.dumps(transaction(number, number)) for number in range(6))]
        write_lines(tmp_path / "in.transactions" / "0.jsonl", lines)
    else:
        duckdb.execute(f"COPY ({table_of(50)}) TO '{tmp_path}/t.parquet' (FORMAT parquet)")
        mapping = write_mapping(tmp_path, ("in.transactions", 'source = "*.parquet"', FIELDS))
    whole = read(tmp_path, mapping)
    cut_us = whole[len(whole) // 2].arrival_us
    before, after = read(tmp_path, mapping, None, cut_us), read(tmp_path, mapping, cut_us, None)
    assert before + after == whole
    assert max(record.arrival_us for record in before) < cut_us == after[0].arrival_us
    assert read(tmp_path, mapping, cut_us, cut_us) == []


@pytest.mark.parametrize("kind", ["lines", "table"])
def test_an_input_larger_than_the_memory_is_sorted_all_the_same(tmp_path: Path, kind: str) -> None:
    rows, mapping = (10_000, None) if kind == "lines" else (60_000, None)
    order = random.Random(SEED).sample(range(rows), rows)
    if kind == "lines":
        lines = [orjson.dumps(transaction(number, number, description="x" * 2_000)) for number in order]
        write_lines(tmp_path / "in.transactions" / "0.jsonl", lines)
    else:
        select = (
            "SELECT i AS id, 1 AS who, TIMESTAMP '2025-01-01' + to_minutes(hash(i) % 100000) AS \"at\", 1 AS amount,"
            f" repeat(md5(i::VARCHAR), 60) AS words FROM range({rows}) r(i)"
        ).replace("hash(i) % 100000", "CAST(hash(i) % 100000 AS BIGINT)")
        duckdb.execute(f"COPY ({select}) TO '{tmp_path}/t.parquet' (FORMAT parquet, ROW_GROUP_SIZE 8192)")
        mapping = write_mapping(
            tmp_path, ("in.transactions", 'source = "*.parquet"', f'{FIELDS}description = "words"\n')
        )
    arrivals: list[int] = []
    with open_history(tmp_path, mapping, None, None, memory_limit_mb=100) as history:
        for batch in history.records():
            assert len(batch) <= 1_000
            arrivals += [record.arrival_us for record in batch]
    assert len(arrivals) == rows, f"seed {SEED}"
    assert arrivals == sorted(arrivals)


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    write_lines(tmp_path / "data" / "in.transactions.jsonl", [orjson.dumps(transaction(1, 1))])
    with open_history(tmp_path / "data", None, None, None) as history:
        assert list(temporary.iterdir())
        next(history.records())
    assert list(temporary.iterdir()) == []
    with pytest.raises(ConfigError):
        open_history(tmp_path, None, None, None)
    assert list(temporary.iterdir()) == []


def test_wrong_data_is_refused_with_its_place_and_the_cure(tmp_path: Path) -> None:
    mapping = write_mapping(tmp_path, ("in.transactions", 'source = "*.parquet"', FIELDS))
    without_source = tmp_path / "without.toml"
    without_source.write_text(mapping.read_text().replace('source = "*.parquet"', ""))
    data = tmp_path / "data"
    with pytest.raises(ConfigError, match="data: there is no such file or folder"):
        open_history(data, mapping, None, None)
    data.mkdir()
    with pytest.raises(ConfigError, match=r"stream\.source .*no file in .*data matches '\*\.parquet'"):
        open_history(data, mapping, None, None)
    with pytest.raises(ConfigError, match=r"stream\.source .*missing, and .* is a folder"):
        open_history(data, without_source, None, None)
    with pytest.raises(ConfigError, match="holds no topic"):
        open_history(data, None, None, None)
    (data / "t.parquet").write_bytes(b"no parquet at all")
    with pytest.raises(ConfigError, match=r"t\.parquet: cannot read the file: .*magic bytes"):
        open_history(data, mapping, None, None)
    with pytest.raises(ConfigError, match=r"t\.parquet: is a file; .*--mapping"):
        open_history(data / "t.parquet", None, None, None)
    (data / "t.xlsx").write_bytes(b"")
    with pytest.raises(ConfigError, match=r"t\.xlsx is of no known kind; .*\.parquet"):
        open_history(data / "t.xlsx", without_source, None, None)
    (data / "t.csv").write_text("id,id\n1,2\n")
    with pytest.raises(ConfigError, match=r"t\.csv: .*'id' twice"):
        open_history(data / "t.csv", without_source, None, None)
    (data / "in.transaction").mkdir()
    with pytest.raises(ConfigError, match=r"unknown topic 'in\.transaction'; did you mean in\.transactions"):
        open_history(data, None, None, None)
    (data / "in.transaction").rename(data / "in.transactions")
    with pytest.raises(ConfigError, match=r"holds no topic .*did you mean .*data"):
        open_history(tmp_path, None, None, None)
