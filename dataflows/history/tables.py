"""Files as tables in DuckDB: Parquet where it lies; CSV and JSON Lines copied into a temporary table, all text.

CSV and JSON Lines are read by Python, row by row, and not by DuckDB's readers: these guess types from a sample and stop
at, or skip, a row that doesn't fit. Here no row is lost: one that is no row of its table is kept as `#broken`.
"""

from __future__ import annotations

import csv
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import orjson

from dataflows.history.mapping import literal, quoted
from operators.decode import parse_json
from state.settings import ConfigError

SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl", ".ndjson")
_COLUMNS_MAX = 2_000
_ROW_BYTES_MAX = 16 * 1024 * 1024
_NULL = r"\N"
_BYTES_KEPT = "surrogateescape"
_NOT_UTF8 = re.compile("[\udc80-\udcff]")

Row = tuple[int, bytes | None, list[str | None]]


class Table(NamedTuple):
    """A file as SQL. `relation` has its columns by their names, in natural types; `plain` gives for each column the SQL
    and the type of its value as the file has it; `row` is SQL of the row's number from 0, `broken` of the base64 of a
    row that is none."""

    relation: str
    plain: dict[str, tuple[str, str]]
    row: str
    broken: str


def open_table(db: duckdb.DuckDBPyConnection, path: Path, name: str, folder: Path, expressions: Iterable[str]) -> Table:
    """The table in `path`. Text is copied to table `name` by way of a file in `folder`; columns that `expressions`
    mention get the type that most of their values have, for use there. Raises ConfigError for an unreadable file."""
    try:
        if path.suffix == ".parquet":
            return _parquet(db, path)
        if path.suffix in (".csv", ".tsv"):
            columns = _csv_header(path)
            return _text(db, name, folder, columns, _csv_rows(path, columns), expressions)
        columns = _json_columns(path)
        return _text(db, name, folder, columns, _json_rows(path, columns), expressions)
    except (duckdb.Error, OSError) as error:
        raise ConfigError(
            f"{path}: cannot read the file: {brief(error)}; check that it is what its suffix says"
        ) from error


def brief(error: BaseException) -> str:
    """The first sentence of DuckDB's message, without its kind and the drawing of the statement.

    >>> brief(ValueError("Binder Error: no such thing\\n\\nLINE 1: select"))
    'no such thing'
    """
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"^[A-Z][A-Za-z ]* Error: ", "", line).strip().rstrip(".;!")


def _parquet(db: duckdb.DuckDBPyConnection, path: Path) -> Table:
    pattern = re.sub(r"([*?\[])", r"[\1]", str(path))
    relation = f"read_parquet({literal(pattern)}, file_row_number = true)"
    described = db.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    plain = {column: (quoted(column), sql_type) for column, sql_type, *_ in described if column != "file_row_number"}
    return Table(relation, plain, "file_row_number", "NULL")


def _text(
    db: duckdb.DuckDBPyConnection,
    name: str,
    folder: Path,
    columns: list[str],
    rows: Iterator[Row],
    expressions: Iterable[str],
) -> Table:
    copy = folder / f"{name}.csv"
    with copy.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        for row, broken, cells in rows:
            kept = [_NULL if cell is None else cell for cell in cells] if broken is None else [_NULL] * len(columns)
            writer.writerow((row, _NULL if broken is None else b64encode(broken).decode(), *kept))
    stored = [f"#{index}" for index in range(len(columns))]
    types = {"#row": "BIGINT", "#broken": "VARCHAR"} | dict.fromkeys(stored, "VARCHAR")
    db.execute(
        f"CREATE TABLE {name} AS FROM read_csv({literal(str(copy))}, columns = {types}, header = false,"
        f" auto_detect = false, delim = ',', quote = '\"', escape = '\"', nullstr = '{_NULL}', max_line_size = {_ROW_BYTES_MAX})"
    )
    copy.unlink()
    selected = ['"#row"', '"#broken"', *map(quoted, stored)]
    for column, place in zip(columns, map(quoted, stored), strict=True):
        mentioned = any(column.casefold() in expression.casefold() for expression in expressions)
        sql_type = _natural_type(db, name, place) if mentioned else "VARCHAR"
        selected.append(f"TRY_CAST({place} AS {sql_type}) AS {quoted(column)}")
    plain = {column: (quoted(place), "VARCHAR") for column, place in zip(columns, stored, strict=True)}
    return Table(f"(SELECT {', '.join(selected)} FROM {name})", plain, '"#row"', '"#broken"')


def _natural_type(db: duckdb.DuckDBPyConnection, name: str, place: str) -> str:
    """The narrowest type that at least half of the column's values have; 007 is a text, and 1 beside 1.5 no integer."""
    is_number = f"NOT regexp_matches({place}, '^-?0[0-9]') AND TRY_CAST({place} AS DOUBLE) IS NOT NULL"
    counts = db.execute(
        f"SELECT count({place}), count(*) FILTER ({is_number}),"
        f" count(*) FILTER (regexp_full_match({place}, '-?(0|[1-9][0-9]{{0,17}})')),"
        f" count(*) FILTER (TRY_CAST({place} AS TIMESTAMP) IS NOT NULL),"
        f" count(*) FILTER (lower({place}) IN ('true', 'false')) FROM {name}"
    ).fetchone()
    assert counts is not None
    values, numbers, integers, times, booleans = counts
    if 2 * numbers >= values > 0:
        return "BIGINT" if integers == numbers else "DOUBLE"
    if 2 * times >= values > 0:
        return "TIMESTAMP"
    return "BOOLEAN" if 2 * booleans >= values > 0 else "VARCHAR"


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
        if columns.count(column) > 1:
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
        if len(cells) == len(columns) and "\0" not in text and (text.isascii() or not _NOT_UTF8.search(text)):
            yield row, None, [cell or None for cell in cells]
        else:
            yield row, text.rstrip("\r\n").encode("utf-8", _BYTES_KEPT), []


def _json_objects(path: Path) -> Iterator[tuple[int, bytes, dict[str, Any] | None]]:
    """(line number, line, its object or None) of each line that is not empty."""
    with path.open("rb") as file:
        for row, line in enumerate(file):
            text = line.rstrip(b"\r\n")
            if not text:
                continue
            try:
                body = parse_json(text)
            except ValueError:
                body = None
            yield row, text, body if isinstance(body, dict) else None


def _json_columns(path: Path) -> list[str]:
    columns: dict[str, None] = {}
    for _, _, body in _json_objects(path):
        if body is not None and not body.keys() <= columns.keys():
            columns |= dict.fromkeys(body)
            if len(columns) > _COLUMNS_MAX:
                raise ConfigError(f"{path}: its objects have more than {_COLUMNS_MAX} different keys; is it a table?")
    return list(columns)


def _json_rows(path: Path, columns: list[str]) -> Iterator[Row]:
    for row, text, body in _json_objects(path):
        cells = [] if body is None else [_cell(body.get(column)) for column in columns]
        if any(cell is not None and "\0" in cell for cell in cells):
            body = None
        yield row, text if body is None else None, cells


def _cell(value: Any) -> str | None:
    if value is None or type(value) is str:
        return value
    return orjson.dumps(value).decode() if isinstance(value, (bool, dict, list)) else repr(value)
