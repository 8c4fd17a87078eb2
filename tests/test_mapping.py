"""A mapping turns columns of any type into fields as the decoder wants them, and says exactly what is wrong with it."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflows.history.mapping import KINDS, FieldRule, duration_us, field_sql, load_mapping
from dataflows.history.ordered import open_history
from operators.decode import Decoder
from operators.fields import FIELDS
from state.events import EVENT_TYPES, TOPICS, Transaction
from state.records import Record
from state.settings import ConfigError

REQUIRED = """
transaction_id = "id"
customer_id = "id"
booked_at = "at"
amount = "amount"
currency = { value = "EUR" }
direction = { value = "debit" }
"""


def mapped(folder: Path, select: str, fields: str, head: str = "") -> list[Record]:
    """The records that a mapping of in.transactions with `fields` makes of the Parquet file that `select` gives."""
    data = folder / "data.parquet"
    duckdb.execute(f"COPY ({select}) TO '{data}' (FORMAT parquet)")
    with open_history(data, write_mapping(folder, fields, head), None, None) as history:
        return [record for batch in history.records() for record in batch]


def write_mapping(folder: Path, fields: str, head: str = "") -> Path:
    mapping = folder / "mapping.toml"
    mapping.write_text(f'[[stream]]\ntopic = "in.transactions"\n{head}\n[stream.fields]\n{fields}')
    return mapping


def replaced(field: str, value: str) -> str:
    """The required fields with one of them mapped otherwise."""
    lines = [line for line in REQUIRED.splitlines() if not line.startswith(f"{field} =")]
    return "\n".join([*lines, f"{field} = {value}"])


def one(field: str, sql_value: str, value: str = '"x"', folder: Path | None = None) -> object:
    """What a column `x` of this SQL value becomes in a field."""
    assert folder is not None
    fields = replaced(field, value) if field in REQUIRED else f"{REQUIRED}\n{field} = {value}"
    select = f"SELECT {sql_value} AS x, 1 AS id, TIMESTAMP '2025-01-02 03:04:05' AS at, 1.5 AS amount"
    (record,) = mapped(folder, select, fields)
    assert isinstance(record.body, dict)
    return record.body.get(field)


def test_a_row_becomes_a_record_that_decodes(tmp_path: Path) -> None:
    (record,) = mapped(
        tmp_path, "SELECT 7 AS id, TIMESTAMP '2025-01-02 03:04:05' AS at, 12.34::DOUBLE AS amount", REQUIRED
    )
    assert (record.topic, record.partition, record.offset, record.key) == ("in.transactions", 0, 0, b"7")
    assert record.arrival_us == 1_735_787_045_000_000
    event = Decoder().decode(record)
    assert isinstance(event, Transaction)
    assert (event.transaction_id, event.amount_minor, event.time_us) == ("7", 1234, record.arrival_us)


@pytest.mark.parametrize(
    ("sql_value", "value", "expected"),
    [
        ("TIMESTAMP '2025-07-01 12:00:00.123456'", '"x"', "2025-07-01T12:00:00.123456Z"),
        ("TIMESTAMP '2025-07-01 12:00:00'", '{ column = "x", tz = "Europe/Prague" }', "2025-07-01T10:00:00.000000Z"),
        ("TIMESTAMP '2025-01-01 12:00:00'", '{ column = "x", tz = "Europe/Prague" }', "2025-01-01T11:00:00.000000Z"),
        ("TIMESTAMPTZ '2025-07-01 12:00:00+02:00'", '"x"', "2025-07-01T10:00:00.000000Z"),
        ("TIMESTAMP_NS '2025-07-01 12:00:00.123456999'", '"x"', "2025-07-01T12:00:00.123456Z"),
        ("DATE '2025-07-01'", '"x"', "2025-07-01T00:00:00.000000Z"),
        ("'2025-07-01 12:00:00'", '"x"', "2025-07-01T12:00:00.000000Z"),
        ("'2025-07-01t12:00:00.1234569z'", '"x"', "2025-07-01T12:00:00.123456Z"),
        ("'2025-07-01T12:00:00+02:00'", '"x"', "2025-07-01T10:00:00.000000Z"),
        ("'2025-07-01T12:00:00+02:00'", '{ column = "x", tz = "Asia/Tokyo" }', "2025-07-01T10:00:00.000000Z"),
        ("'2025-07-01T12:00:00'", '{ column = "x", tz = "Asia/Tokyo" }', "2025-07-01T03:00:00.000000Z"),
        ("'2025-07-01'", '{ column = "x", tz = "Asia/Tokyo" }', "2025-06-30T15:00:00.000000Z"),
        ("TIMESTAMP '2025-02-26 12:00:00'", '{ column = "x", plus = "7d" }', "2025-03-05T12:00:00.000000Z"),
        ("TIMESTAMP '2025-02-26 12:00:00'", '{ column = "x", plus = "90s" }', "2025-02-26T12:01:30.000000Z"),
        ("'yesterday'", '"x"', "yesterday"),
        ("'2025-02-30T12:00:00Z'", '{ column = "x", plus = "7d" }', "2025-02-30T12:00:00Z"),
        ("1", '{ sql = "make_timestamp(x * 1000000)" }', "1970-01-01T00:00:01.000000Z"),
        ("NULL::TIMESTAMP", '"x"', None),
        ("NULL", '"x"', None),
        ("TIMESTAMPTZ_NS '2025-07-01 12:00:00.123456999+02:00'", '"x"', "2025-07-01T10:00:00.123456Z"),
    ],
)
def test_a_time_becomes_rfc_3339_in_utc_or_stays_as_it_was(
    tmp_path: Path, sql_value: str, value: str, expected: str | None
) -> None:
    assert one("booked_at", sql_value, value, tmp_path) == expected


@pytest.mark.parametrize(
    ("sql_value", "expected"),
    [
        ("2.675::DOUBLE", "2.68"),
        ("2.665::DOUBLE", "2.66"),
        ("57.16::FLOAT", "57.16"),
        ("5", "5.00"),
        ("1e-5::DOUBLE", "0.00"),
        ("'0.125'", "0.12"),
        ("'2.665000000000001'", "2.67"),
        ("2.675::DECIMAL(9,3)", "2.68"),
        ("'1_000'", "1_000"),
        ("' 5'", " 5"),
        ("'five'", "five"),
        ("'nan'::DOUBLE", "nan"),
    ],
)
def test_rounding_is_half_to_even_on_the_decimal_that_people_see(tmp_path: Path, sql_value: str, expected: str) -> None:
    assert one("amount", sql_value, '{ column = "x", round = 2 }', tmp_path) == expected


@settings(max_examples=200, deadline=None)
@given(st.floats(min_value=0, max_value=1e9), st.integers(0, 5))
def test_rounding_equals_decimal_quantisation(value: float, digits: int) -> None:
    rule = FieldRule("amount", "amount", "here", "column", "x", round_digits=digits)
    row = duckdb.execute(f"SELECT {field_sql(rule, 'x', 'DOUBLE')} FROM (SELECT '{value!r}'::DOUBLE AS x)").fetchone()
    assert row is not None
    shortest = Decimal(repr(value)).quantize(Decimal(1).scaleb(-18), ROUND_HALF_EVEN)
    assert Decimal(row[0]) == shortest.quantize(Decimal(1).scaleb(-digits), ROUND_HALF_EVEN)
    assert "e" not in row[0].lower()


@pytest.mark.parametrize(
    ("field", "sql_value", "value", "expected"),
    [
        ("customer_id", "12", '{ column = "x", prefix = "c-" }', "c-12"),
        ("customer_id", "12.0::DOUBLE", '"x"', "12"),
        ("customer_id", "12.5::DOUBLE", '"x"', "12.5"),
        ("customer_id", "12::DECIMAL(18,2)", '"x"', "12"),
        ("customer_id", "'0012.0'", '"x"', "0012.0"),
        ("customer_id", "NULL::INTEGER", '{ column = "x", prefix = "c-" }', None),
        ("customer_id", "'nan'::DOUBLE", '{ column = "x", prefix = "c-" }', None),
        ("customer_id", "'-inf'::FLOAT", '"x"', None),
        ("mcc", "742", '"x"', "0742"),
        ("mcc", "742.0::DOUBLE", '"x"', "0742"),
        ("mcc", "'742'", '"x"', "742"),
        ("amount", "12.5::DOUBLE", '"x"', 12.5),
        ("amount", "12.34::FLOAT", '"x"', 12.34),
        ("amount", "12.340::DECIMAL(9,3)", '"x"', "12.340"),
        ("amount", "12.34::DECIMAL(38,18)", '"x"', "12.34"),
        ("amount", "100::DECIMAL(38,10)", '"x"', "100"),
        ("amount", "12.3456789::DECIMAL(38,18)", '"x"', "12.3456789"),
        ("amount", "'12,5'", '"x"', "12,5"),
        ("lat", "50.1::FLOAT", '"x"', 50.1),
        ("lat", "'50.1'", '"x"', 50.1),
        ("lat", "'north'", '"x"', "north"),
        ("lat", "50.1::DECIMAL(9,3)", '"x"', 50.1),
        ("lat", "NULL::VARCHAR", '"x"', None),
        ("description", "'it''s'", '{ sql = "upper(x) -- loudly" }', "IT'S"),
        ("description", "'x'", '{ value = "it\'s" }', "it's"),
        ("description", "'x'", '{ sql = "CAST(x AS INTEGER)" }', None),
    ],
)
def test_a_value_becomes_what_its_field_wants(
    tmp_path: Path, field: str, sql_value: str, value: str, expected: object
) -> None:
    assert one(field, sql_value, value, tmp_path) == expected


@pytest.mark.parametrize(
    ("sql_value", "expected"),
    [
        ("'2025-03-01'", "2025-03-01"),
        ("'2025-03-01 00:00:00'", "2025-03-01"),
        ("'2025-03-01T23:30:00+02:00'", "2025-03-01T23:30:00+02:00"),
        ("'2025-02-30'", "2025-02-30"),
        ("DATE '1895-03-01'", "1895-03-01"),
        ("TIMESTAMP '2025-03-01 12:00:00'", "2025-03-01"),
        ("20250301", "20250301"),
        ("NULL", None),
    ],
)
def test_a_date_may_be_written_as_a_time(sql_value: str, expected: str | None) -> None:
    rule = FieldRule("opened_on", "day", "here", "column", "x")
    (sql_type,) = duckdb.execute(f"SELECT typeof({sql_value})").fetchone() or ("",)
    row = duckdb.execute(f"SELECT {field_sql(rule, 'x', sql_type)} FROM (SELECT {sql_value} AS x)").fetchone()
    assert row == (expected,)


def test_arrived_at_decides_the_arrival_and_the_own_time_stands_in(tmp_path: Path) -> None:
    select = (
        "SELECT * FROM (VALUES (1, TIMESTAMP '2025-01-01', '2025-01-05T00:00:00Z'),"
        " (2, TIMESTAMP '2025-01-02', 'soon'), (3, NULL, NULL), (4, TIMESTAMP '1950-01-02', NULL)) t(id, \"at\", seen)"
    )
    records = mapped(tmp_path, f"SELECT *, 1 AS amount FROM ({select})", REQUIRED + 'arrived_at = "seen"')
    day_us = 86_400_000_000
    new_year_us = 1_735_689_600_000_000
    assert [(record.offset, record.arrival_us) for record in records] == [
        (2, 0),
        (3, 0),
        (1, new_year_us + day_us),
        (0, new_year_us + 4 * day_us),
    ]


def test_the_kinds_of_fields_cover_the_contract_and_the_events() -> None:
    for topic in TOPICS:
        names = {field.name for field in (*FIELDS[topic].fields, *FIELDS[topic].money)}
        assert KINDS[topic].keys() == names | {"arrived_at"}
        assert KINDS[topic][EVENT_TYPES[topic].TIME_FIELD] == "time"
    assert KINDS["in.accounts"]["payment_due"] == "day"
    assert KINDS["in.transactions"]["balance_after"] == "amount"
    assert KINDS["in.transactions"]["lon"] == "number"


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("2h", 7200), ("7d", 604_800), ("1w", 604_800)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration_us(text, "here") == seconds * 1_000_000


@pytest.mark.parametrize(
    ("fields", "head", "message"),
    [
        (
            replaced("amount", '"amont"'),
            "",
            r"mapping\.toml:stream\.fields\.amount .*no column 'amont'.*did you mean amount",
        ),
        (REQUIRED + 'merchant = "id"', "", r"mapping\.toml:stream\.fields .*unknown key 'merchant'.*merchant_id"),
        (REQUIRED, 'wher = "id = 1"', r"mapping\.toml:stream .*unknown key 'wher'.*where"),
        (REQUIRED, 'where = "nobody = 1"', r"mapping\.toml:stream\.where .*nobody.*its columns are id, at, amount"),
        (REQUIRED, 'where = "id = = 1"', r"mapping\.toml:stream\.where .*syntax error"),
        (REQUIRED, "where = \"CAST('x' || id AS INTEGER) = 1\"", r"mapping\.toml:stream\.where .*TRY_CAST"),
        (REQUIRED, "where = 1", r"mapping\.toml:stream\.where .*not a text"),
        (replaced("amount", '{ sql = "nobody + 1" }'), "", r"stream\.fields\.amount .*nobody.*its columns are"),
        (replaced("amount", "{}"), "", r"stream\.fields\.amount .*exactly one of column, value and sql"),
        (replaced("amount", '{ column = "amount", value = 1 }'), "", r"exactly one of column, value and sql"),
        (replaced("amount", "12"), "", r"stream\.fields\.amount .*a constant is \{ value"),
        (replaced("amount", '{ colum = "amount" }'), "", r"stream\.fields\.amount .*unknown key 'colum'.*column"),
        (replaced("amount", '{ column = "amount", round = 2.5 }'), "", r"stream\.fields\.amount .*round = 2\.5"),
        (replaced("amount", '{ column = "amount", plus = "7d" }'), "", r"plus is not for amount"),
        (replaced("customer_id", '{ column = "id", round = 2 }'), "", r"round is not for customer_id"),
        (replaced("booked_at", '{ column = "at", prefix = "c-" }'), "", r"prefix is not for booked_at"),
        (
            replaced("booked_at", '{ column = "at", plus = "7 days" }'),
            "",
            r"booked_at.*plus: bad duration '7 days'.*7d",
        ),
        (replaced("booked_at", '{ column = "at", plus = "99999999w" }'), "", r"bad duration"),
        (
            replaced("booked_at", '{ column = "at", tz = "Europe/Prag" }'),
            "",
            r"'Europe/Prag'.*did you mean .*Europe/Prague",
        ),
        (replaced("booked_at", '"id"'), "", r"stream\.fields\.booked_at .*INTEGER, which is not a time"),
        ("\n".join(REQUIRED.splitlines()[2:]), "", r"stream\.fields\.transaction_id .*missing"),
    ],
)
def test_a_wrong_mapping_is_refused_with_its_place_and_the_cure(
    tmp_path: Path, fields: str, head: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        mapped(tmp_path, "SELECT 1 AS id, TIMESTAMP '2025-01-02 03:04:05' AS at, 1.5 AS amount", fields, head)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[stream]]\ntopic = "in.transaction"\n', r"stream\.topic .*'in\.transaction'.*did you mean in\.transactions"),
        ('[[stream]]\ntopic = "in.labels"\n', r"stream\.fields .*missing"),
        ("[[streams]]\n", r"unknown key 'streams'.*stream"),
        ("stream = 1\n", r"no stream"),
        ("", r"no stream"),
        ("[[stream]\n", r"not valid TOML.*line 1"),
        pytest.param(f"stream = {'9' * 5000}", r"not valid TOML", id="digits"),
        pytest.param(f"stream = {'[' * 5000}", r"nested too deeply", id="deep"),
    ],
)
def test_a_wrong_mapping_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    mapping = tmp_path / "mapping.toml"
    mapping.write_text(text)
    with pytest.raises(ConfigError, match=rf"mapping\.toml.*{message}"):
        load_mapping(mapping)


def test_a_missing_mapping_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot read the mapping"):
        load_mapping(tmp_path / "none.toml")


@pytest.mark.parametrize("path", sorted(Path("config/mappings").glob("*.toml")), ids=lambda path: path.stem)
def test_every_mapping_that_we_ship_loads(path: Path) -> None:
    assert load_mapping(path)
