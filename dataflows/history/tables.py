"""Files as tables in DuckDB: Parquet where it lies; CSV and JSON Lines copied into a temporary table, all text.

CSV and JSON Lines are read by Python, row by row, and not by DuckDB's readers: these guess types from a sample and stop
at, or skip, a row that doesn't fit. Here no row is lost: one that is no row of its table is kept as `#broken`. The copy
goes by way of JSON Lines, which tell any text, and no text at all, without doubt.
"""

from __future__ import annotations

import csv
import re
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson

from dataflows.files.long_line import LINE_BYTES_MAX
from dataflows.history.lines import Line, lines_of
from dataflows.history.mapping import OFFSET_TEXT, file_sql, quoted
from operators.decode import parse_json
from state.settings import ConfigError

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
_COLUMNS_MAX = 2_000
# JSON may write a byte with six, and DuckDB reads up to 16 MiB as one row unless it is given more memory.
_ROW_BYTES_MAX = 2 << 20
_ROW, _BROKEN = '"#row"', '"#broken"'
_NONE = "CAST(NULL AS VARCHAR)"
_NO_VALUE = ("", "\\N")
"""Of a CSV: \\N is how databases write NULL."""
_BYTES_KEPT = "surrogateescape"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")


class Row(NamedTuple):
    """`cells`, or of a row that is none of its table the bytes, up to LINE_BYTES_MAX of them: `whole_bytes` is 0, or how many
    it has if that is more."""

    number: int
    cells: list[str | None]
    broken: bytes | None = None
    whole_bytes: int = 0


class Table(NamedTuple):
    """A file as SQL. `relation` has its columns by their names, in natural types; `plain` gives for each column the SQL
    and the type of its value as the file has it; `row` is SQL of the row's number from 0, `broken` of a row that is none:
    how many bytes it has if it is cut, else 0, a blank, and the bytes in base64. `stored` names the copy of a text file.
    The columns of a table that is empty may have any type."""

    relation: str
    plain: dict[str, tuple[str, str]]
    row: str
    broken: str
    empty: bool
    stored: str = ""
    has_keys: bool = False
    """Whether a column that another file has may lack here: JSON Lines leave out what is null."""


def open_table(db: duckdb.DuckDBPyConnection, path: Path, name: str, folder: Path) -> Table:
    """The table in `path`. Text is copied to table `name` by way of a file in `folder`; its relation is made by `of_stream`.
    Raises ConfigError for an unreadable file."""
    try:
        if path.suffix == ".parquet":
            return _parquet(db, path)
        if path.suffix in (".csv", ".tsv"):
            columns = _csv_header(path)
            return _text(db, name, folder, columns, _csv_rows(path, columns), has_keys=False)
        columns = _json_columns(path)
        return _text(db, name, folder, columns, _json_rows(path, columns), has_keys=True)
    except (duckdb.Error, OSError) as error:
        raise ConfigError(
            f"{path}: cannot read the file: {brief(error)}; check that it is what its suffix says"
        ) from error


def of_stream(db: duckdb.DuckDBPyConnection, tables: Sequence[Table], expressions: Sequence[str]) -> list[Table]:
    """The tables of one stream. All of JSON Lines get the columns of each. In text, a column that `expressions` mention has
    the type that most of its values in all these files have, for use there."""
    keys = dict.fromkeys(column for table in tables if table.has_keys for column in table.plain)
    whole = [
        table._replace(plain=dict.fromkeys(keys, (_NONE, "VARCHAR")) | table.plain) if table.has_keys else table
        for table in tables
    ]
    types: dict[str, str] = {}
    for column in dict.fromkeys(column for table in tables if table.stored for column in table.plain):
        if any(column.casefold() in expression.casefold() for expression in expressions):
            places = [
                (table.stored, table.plain[column][0]) for table in tables if table.stored and column in table.plain
            ]
            types[column] = _natural_type(db, places)
    return [_with_relation(table, types) if table.stored else table for table in whole]


def _with_relation(table: Table, types: dict[str, str]) -> Table:
    selected = [
        f"TRY_CAST({source} AS {types.get(column, 'VARCHAR')}) AS {quoted(column)}"
        for column, (source, _) in table.plain.items()
    ]
    places = [source for source, _ in table.plain.values() if source != _NONE]
    return table._replace(
        relation=f"(SELECT {', '.join([table.row, table.broken, *places, *selected])} FROM {table.stored})"
    )


def brief(error: BaseException) -> str:
    """The first sentence of DuckDB's message, without its kind and the drawing of the statement.

    >>> brief(ValueError("Binder Error: no such thing\\n\\nLINE 1: select"))
    'no such thing'
    """
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", line).strip().rstrip(".;!")


def _parquet(db: duckdb.DuckDBPyConnection, path: Path) -> Table:
    relation = f"read_parquet({file_sql(path)}, file_row_number = true)"
    described = db.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    plain = {column: (quoted(column), sql_type) for column, sql_type, *_ in described if column != "file_row_number"}
    rows = db.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return Table(relation, plain, "file_row_number", "NULL", rows == (0,))


def _text(
    db: duckdb.DuckDBPyConnection,
    name: str,
    folder: Path,
    columns: list[str],
    rows: Iterator[Row],
    *,
    has_keys: bool,
) -> Table:
    copy, empty = folder / f"{name}.jsonl", True
    with copy.open("wb") as file:
        for row in rows:
            empty = False
            broken = None if row.broken is None else f"{row.whole_bytes} {b64encode(row.broken).decode()}"
            file.write(orjson.dumps({"row": row.number, "broken": broken, "cells": row.cells}) + b"\n")
    # A column without a name (the index of a data frame, a separator at the end) can't be asked for.
    places = {column: quoted(f"#{index}") for index, column in enumerate(columns) if column}
    cells = [f"cells[{index}] AS {places[column]}" for index, column in enumerate(columns, start=1) if column]
    db.execute(
        f"CREATE TABLE {name} AS SELECT {', '.join([f'row AS {_ROW}', f'broken AS {_BROKEN}', *cells])}"
        f" FROM read_json({file_sql(copy)}, format = 'newline_delimited',"
        " columns = {row: 'BIGINT', broken: 'VARCHAR', cells: 'VARCHAR[]'})"
    )
    copy.unlink()
    plain = {column: (place, "VARCHAR") for column, place in places.items()}
    return Table("", plain, _ROW, _BROKEN, empty, name, has_keys)


def _natural_type(db: duckdb.DuckDBPyConnection, places: Sequence[tuple[str, str]]) -> str:
    """The narrowest type that at least half of a column's values have; 007 is a text, and 1 beside 1.5 no integer.
    `places` are the tables that have it, each with its name there."""
    counts = Counter[str]()
    for name, place in places:
        is_number = f"NOT regexp_matches({place}, '^-?0[0-9]') AND TRY_CAST({place} AS DOUBLE) IS NOT NULL"
        counted = db.execute(
            f"SELECT count({place}), count(*) FILTER ({is_number}),"
            f" count(*) FILTER (regexp_full_match({place}, '-?(0|[1-9][0-9]{{0,17}})')),"
            f" count(*) FILTER (TRY_CAST({place} AS TIMESTAMP) IS NOT NULL),"
            f" count(*) FILTER (regexp_matches({place}, '{OFFSET_TEXT}')),"
            f" count(*) FILTER (lower({place}) IN ('true', 'false')) FROM {name}"
        ).fetchone()
        assert counted is not None
        counts.update(
            dict(zip(("values", "numbers", "integers", "times", "offsets", "booleans"), counted, strict=True))
        )
    values, numbers = counts["values"], counts["numbers"]
    if 2 * numbers >= values > 0:
        return "BIGINT" if counts["integers"] == numbers else "DOUBLE"
    if 2 * counts["times"] >= values > 0:
        # A cast to TIMESTAMP would drop the offsets.
        return "TIMESTAMP WITH TIME ZONE" if counts["offsets"] else "TIMESTAMP"
    return "BOOLEAN" if 2 * counts["booleans"] >= values > 0 else "VARCHAR"


def _csv_lines(path: Path, seen: list[str]) -> Iterator[str]:
    """The lines of a file, remembered in `seen`: the reader of rows is the one to forget them."""
    with path.open(encoding="utf-8-sig", errors=_BYTES_KEPT, newline="") as file:
        for line in file:
            seen.append(line)
            yield line


def _csv_reader(path: Path, seen: list[str]) -> Any:
    with path.open(encoding="utf-8-sig", errors=_BYTES_KEPT, newline="") as file:
        header = file.readline()
    delimiter = max(",;\t|", key=header.count)
    return csv.reader(_csv_lines(path, seen), delimiter=delimiter)


def _csv_header(path: Path) -> list[str]:
    columns: list[str] = next(_csv_reader(path, []), [])
    if not columns or len(columns) > _COLUMNS_MAX or _NOT_UTF8.search("".join(columns)):
        raise ConfigError(
            f"{path}: the first line must name the columns (1 to {_COLUMNS_MAX}, in UTF-8); add or correct it"
        )
    for column in columns:
        if column and columns.count(column) > 1:
            raise ConfigError(f"{path}: the first line names the column {column!r} twice; rename one")
    return columns


def _csv_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    seen: list[str] = []
    reader = _csv_reader(path, seen)
    next(reader)
    row = -1
    while True:
        seen.clear()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            cells = ["", *columns]  # a field without an end: kept whole as a broken row
        if not cells:
            continue
        row += 1
        text = "".join(seen)
        is_short = len(text) <= _ROW_BYTES_MAX
        if (
            len(cells) == len(columns)
            and is_short
            and "\0" not in text
            and (text.isascii() or not _NOT_UTF8.search(text))
        ):
            yield Row(row, [None if cell in _NO_VALUE else cell for cell in cells])
        else:
            whole = text.rstrip("\r\n").encode("utf-8", _BYTES_KEPT)
            yield Row(row, [], whole[:LINE_BYTES_MAX], len(whole) if len(whole) > LINE_BYTES_MAX else 0)


def _json_objects(path: Path) -> Iterator[tuple[Line, dict[str, Any] | None]]:
    """Each line that is not empty, and its object or None."""
    for line in lines_of(path):
        try:
            body = None if len(line.text) > _ROW_BYTES_MAX else parse_json(line.text)
        except ValueError:
            body = None
        yield line, body if isinstance(body, dict) else None


def _json_columns(path: Path) -> list[str]:
    columns: dict[str, None] = {}
    for _, body in _json_objects(path):
        if body is not None and not body.keys() <= columns.keys():
            columns |= dict.fromkeys(body)
            if len(columns) > _COLUMNS_MAX:
                raise ConfigError(f"{path}: its objects have more than {_COLUMNS_MAX} different keys; is it a table?")
    return list(columns)


def _json_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    for line, body in _json_objects(path):
        cells = [] if body is None else [_cell(body.get(column)) for column in columns]
        if body is None or any(cell is not None and "\0" in cell for cell in cells):
            yield Row(line.row, [], line.text, line.whole_bytes)
        else:
            yield Row(line.row, cells)


def _cell(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    if isinstance(value, (bool, dict, list)):
        return orjson.dumps(value).decode()
    return repr(value).removesuffix(".0")  # an id that became a floating point number on its way
