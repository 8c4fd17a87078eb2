"""Any history as records in the order of arrival: topics in canonical form, or tables by a mapping.

DuckDB sorts, out of core, so that an input may be larger than memory: rows of tables themselves, and of JSON Lines
an index (arrival, file, position), since their bytes must reach the decoder as they are. One merge joins the sorted
streams. The order is (arrival, topic in the order of the contract, file name, row).
"""

from __future__ import annotations

import heapq
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple, Self

import duckdb

from dataflows.history.lines import Lines, SourceFile, index_lines, topic_files
from dataflows.history.mapping import (
    ARRIVED_AT,
    KINDS,
    FieldRule,
    StreamRule,
    arrival_sql,
    field_sql,
    load_mapping,
    nearest,
    time_sql,
    value_sql,
)
from dataflows.history.tables import SUFFIXES, Table, brief, of_stream, open_table
from state.events import EVENT_TYPES, TOPICS
from state.records import Record
from state.settings import ConfigError

BATCH_RECORDS = 1_000
_FETCH_ROWS = 2_048
_THREADS = 2
# Of every row of every query; (arrival … partition) is unique, so that a comparison never reaches the values.
_PLACE_COLUMNS = "arrival, topic_order, file_rank, row_number, partition"
_VALUES_FROM = 7

ToRecord = Callable[[tuple[Any, ...]], Record]


class Query(NamedTuple):
    """Rows of _PLACE_COLUMNS, the query's number, and what `to_record` needs. `place` is for errors."""

    sql: str
    to_record: ToRecord
    place: str


class History:
    """Records of a past, sorted. `rows` is how many there are, `partitions` the source partitions that a worker would read them with
    (a mapped table has one). Close it (or use it in `with`): it has temporary files."""

    def __init__(
        self, db: duckdb.DuckDBPyConnection, queries: list[Query], partitions: frozenset[int], resources: ExitStack
    ) -> None:
        self.partitions = partitions
        self._db = db
        self._queries = queries
        self._resources = resources
        self.rows = sum(self._count(query) for query in queries)

    def records(self) -> Iterator[list[Record]]:
        """All records in batches of about 1,000. Raises ConfigError where a file turns out to be unreadable."""
        makers = [query.to_record for query in self._queries]
        # All are sorted before any is read: two sorts that are being read at a time would share the memory, and fail.
        tables = [self._sorted(number, query) for number, query in enumerate(self._queries)]
        merged = heapq.merge(*map(self._rows, self._queries, tables))
        while batch := [makers[row[5]](row) for row in islice(merged, BATCH_RECORDS)]:
            yield batch

    def close(self) -> None:
        """Removes the temporary files."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _count(self, query: Query) -> int:
        try:
            counted = self._db.execute(f"SELECT count(*) FROM ({query.sql})").fetchone()
        except duckdb.Error as error:
            raise ConfigError(f"{query.place}: {brief(error)}; in a condition, convert with TRY_CAST") from error
        return int(counted[0]) if counted else 0

    def _sorted(self, number: int, query: Query) -> str:
        table = f"sorted_{number}"
        try:
            self._db.execute(f"CREATE OR REPLACE TABLE {table} AS FROM ({query.sql}) LIMIT 0")
            self._sort_into(table, query.sql)
        except duckdb.Error as error:
            raise ConfigError(f"{query.place}: cannot sort: {brief(error)}; check files, disk and memory") from error
        return table

    def _sort_into(self, table: str, sql: str) -> None:
        """Appends the rows in order. Where wide rows are more than DuckDB can sort in its memory, half of the period after
        the other."""
        try:
            self._db.execute(f"INSERT INTO {table} FROM ({sql}) ORDER BY {_PLACE_COLUMNS}")
        except duckdb.OutOfMemoryException:
            found = self._db.execute(f"SELECT min(arrival), approx_quantile(arrival, 0.5) FROM ({sql})").fetchone()
            if found is None or found[0] is None:
                raise
            middle_us = max(found[0] + 1, int(found[1]))
            halves = [f"FROM ({sql}) WHERE arrival {side} {middle_us}" for side in ("<", ">=")]
            if self._db.execute(f"SELECT count(*) FROM ({halves[1]})").fetchone() == (0,):
                raise  # one moment alone is too much
            for half in halves:
                self._sort_into(table, half)

    def _rows(self, query: Query, table: str) -> Iterator[tuple[Any, ...]]:
        cursor = self._db.cursor()
        try:
            cursor.execute(f"FROM {table}")
            while rows := cursor.fetchmany(_FETCH_ROWS):
                yield from rows
        except duckdb.Error as error:
            raise ConfigError(f"{query.place}: cannot read on: {brief(error)}; check disk and memory") from error
        finally:
            cursor.close()


def open_history(
    data: Path, mapping: Path | None, from_us: int | None, to_us: int | None, memory_limit_mb: int = 512
) -> History:
    """Opens DATA (a folder of topics, or with a mapping any tables) for arrivals in [from_us, to_us).

    DuckDB keeps to `memory_limit_mb` and sorts the rest in the temporary folder (TMPDIR). Raises ConfigError for
    whatever is wrong with paths, mapping or files.
    """
    if not data.exists():
        raise ConfigError(f"{data}: there is no such file or folder; give the path of the history")
    with ExitStack() as resources:
        folder = Path(resources.enter_context(TemporaryDirectory(prefix="segone-history-")))
        db = resources.enter_context(_connect(folder, memory_limit_mb))
        opening = _Opening(db, folder, _period_sql(from_us, to_us), resources)
        if mapping is None:
            opening.open_topics(data)
        else:
            opening.open_mapped(data, load_mapping(mapping))
        return History(db, opening.queries, frozenset(opening.partitions), resources.pop_all())


def _connect(folder: Path, memory_limit_mb: int) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        str(folder / "history.duckdb"),
        config={
            "memory_limit": f"{memory_limit_mb}MB",
            "threads": _THREADS,
            "temp_directory": str(folder / "sort"),
            "preserve_insertion_order": True,  # a sorted table is read back in its order
            "TimeZone": "UTC",
            "autoinstall_known_extensions": False,
        },
    )


def _period_sql(from_us: int | None, to_us: int | None) -> str:
    limits = [f"arrival >= {from_us}"] if from_us is not None else []
    limits += [f"arrival < {to_us}"] if to_us is not None else []
    return " AND ".join(limits) or "true"


class _Opening:
    """What is found while a history is opened: its queries, each with its number in its rows."""

    def __init__(self, db: duckdb.DuckDBPyConnection, folder: Path, period: str, resources: ExitStack) -> None:
        self.queries: list[Query] = []
        self.partitions: set[int] = {0}
        self._resources = resources
        self._db = db
        self._folder = folder
        self._period = period
        self._tables: dict[Path, Table] = {}

    def open_mapped(self, data: Path, streams: tuple[StreamRule, ...]) -> None:
        """One query per stream (more where files of a stream have columns of other types)."""
        _check_zones(self._db, streams)
        files = [(stream, path) for stream in _streams_of(data, streams) for path in source_files(data, stream)]
        ranks = {path: rank for rank, path in enumerate(sorted({path for _, path in files}, key=Path.as_posix))}
        # The same file in two streams of a topic counts as two partitions: (partition, offset) names one row.
        partitions: dict[str, int] = dict.fromkeys(TOPICS, 0)
        tables = {
            path: open_table(self._db, path, f"table_{rank}", self._folder)
            for path, rank in sorted(ranks.items(), key=lambda found: found[1])
        }
        read: set[Path] = set()
        selects: dict[StreamRule, dict[tuple[str, ...], list[str]]] = {}
        for stream, path, table in sorted(self._seen(files, tables), key=lambda found: ranks[found[1]]):
            file = SourceFile(path, TOPICS.index(stream.topic), ranks[path], partitions[stream.topic])
            partitions[stream.topic] += 1
            if table.empty:  # then its columns may be of any type
                for rule in stream.fields:
                    self._require_column(rule, table, path)
                continue
            select, types = self._select(stream, file, table, path not in read)
            read.add(path)
            selects.setdefault(stream, {}).setdefault(types, []).append(select)
        for stream, by_types in selects.items():
            names = tuple(rule.name for rule in stream.fields)
            for group in by_types.values():
                self._add(group, _from_columns(stream.topic, names), stream.at("where" if stream.where else "source"))

    def _seen(
        self, files: list[tuple[StreamRule, Path]], tables: dict[Path, Table]
    ) -> Iterator[tuple[StreamRule, Path, Table]]:
        """Each file of each stream, as the stream sees it beside its others."""
        for stream in dict.fromkeys(stream for stream, _ in files):
            paths = [path for reading, path in files if reading == stream]
            expressions = [rule.what for rule in stream.fields if rule.origin == "sql"]
            expressions += [stream.where] if stream.where else []
            for path, table in zip(
                paths, of_stream(self._db, [tables[path] for path in paths], expressions), strict=True
            ):
                yield stream, path, table

    def open_topics(self, data: Path) -> None:
        """One query over an index of all JSON Lines, and one per Parquet file."""
        files = topic_files(data)
        self.partitions = {file.partition for file in files}
        lines = [file for file in files if file.path.suffix != ".parquet"]
        if lines:
            index_lines(self._db, lines, self._folder)
            reader = self._resources.enter_context(closing(Lines(lines)))
            self._add(["FROM lines"], reader.record, str(data))
        for file in files:
            if file.path.suffix == ".parquet":
                table = open_table(self._db, file.path, "", self._folder)
                if table.empty:
                    continue
                stream = _canonical_stream(TOPICS[file.topic_order], file.path, table)
                select, _ = self._select(stream, file, table, is_first=True)
                names = tuple(rule.name for rule in stream.fields)
                self._add([select], _from_columns(stream.topic, names), str(file.path))

    def _add(self, selects: list[str], to_record: ToRecord, place: str) -> None:
        number = len(self.queries)
        sql = (
            f"SELECT {_PLACE_COLUMNS}, {number} AS query, * EXCLUDE ({_PLACE_COLUMNS})"
            f" FROM ({' UNION ALL '.join(selects)}) WHERE {self._period}"
        )
        self.queries.append(Query(sql, to_record, place))

    def _select(
        self, stream: StreamRule, file: SourceFile, table: Table, is_first: bool
    ) -> tuple[str, tuple[str, ...]]:
        """The SQL of one stream over one file, and the types of its columns. A broken row belongs to the first stream
        that reads its file."""
        sources = {rule.name: self._source(rule, table, file.path) for rule in stream.fields}
        rules = {rule.name: rule for rule in stream.fields}
        times = [
            time_sql(rules[name], *sources[name])
            for name in (ARRIVED_AT, EVENT_TYPES[stream.topic].TIME_FIELD)
            if name in rules
        ]
        fields = [f"{field_sql(rule, *sources[name])} AS f{i}" for i, (name, rule) in enumerate(rules.items())]
        condition = f"({stream.where}\n)" if stream.where else "true"
        condition = (
            f"({table.broken} IS NOT NULL OR {condition})" if is_first else f"{table.broken} IS NULL AND {condition}"
        )
        select = (
            f"SELECT {arrival_sql(times)} AS arrival, {file.topic_order} AS topic_order, {file.file_rank} AS file_rank,"
            f" {table.row} AS row_number, {file.partition} AS partition, {table.broken} AS broken,"
            f" {', '.join(fields) or 'NULL AS f0'} FROM {table.relation} WHERE {condition}"
        )
        try:
            return select, tuple(sql_type for _, sql_type, *_ in self._db.execute(f"DESCRIBE {select}").fetchall())
        except duckdb.Error as error:
            assert stream.where, f"fields of known columns must be SQL: {error}"
            raise ConfigError(
                f"{stream.at('where')}: {stream.where!r} is not a condition over {file.path.name}: {brief(error)};"
                f" its columns are {', '.join(table.plain)}"
            ) from error

    def _source(self, rule: FieldRule, table: Table, path: Path) -> tuple[str, str]:
        """SQL and type of what a field is made from."""
        self._require_column(rule, table, path)
        if rule.origin == "column":
            return _typed(*table.plain[rule.what])
        # TRY: a row whose expression fails lacks the field, and is a dead letter if it is a required one.
        sql = value_sql(rule.what) if rule.origin == "value" else f"TRY({rule.what}\n)"
        try:
            described = self._db.execute(f"DESCRIBE SELECT {sql} AS f FROM {table.relation}").fetchall()
        except duckdb.Error as error:
            raise ConfigError(
                f"{rule.place}: {rule.what!r} is not an expression over {path.name}: {brief(error)};"
                f" its columns are {', '.join(table.plain)}"
            ) from error
        return _typed(sql, described[0][1])

    def _require_column(self, rule: FieldRule, table: Table, path: Path) -> None:
        if rule.origin == "column" and rule.what not in table.plain:
            raise ConfigError(f"{rule.place}: {path} has no column {rule.what!r}; {nearest(rule.what, table.plain)}")


def _typed(sql: str, sql_type: str) -> tuple[str, str]:
    """A column in which all is NULL may have no type: any would do."""
    return (f"CAST({sql} AS VARCHAR)", "VARCHAR") if sql_type == '"NULL"' else (sql, sql_type)


def _from_columns(topic: str, names: tuple[str, ...]) -> ToRecord:
    def to_record(row: tuple[Any, ...]) -> Record:
        if row[6] is not None:
            whole_bytes, _, broken = row[6].partition(" ")
            return Record(topic, row[4], row[3], row[0], None, b64decode(broken), None, int(whole_bytes))
        values = row[_VALUES_FROM:]
        body = dict(zip(names, values))  # noqa: B905 - the keyword would cost as much as the dict
        if None in values:
            body = {name: value for name, value in body.items() if value is not None}
        customer_id = body.get("customer_id")
        return Record(topic, row[4], row[3], row[0], customer_id.encode() if customer_id else None, b"", body)

    return to_record


def _check_zones(db: duckdb.DuckDBPyConnection, streams: tuple[StreamRule, ...]) -> None:
    zones = [zone for (zone,) in db.execute("SELECT name FROM pg_timezone_names()").fetchall()]
    for rule in (rule for stream in streams for rule in stream.fields):
        if rule.tz != "UTC" and rule.tz not in zones:
            raise ConfigError(f"{rule.place}: tz = {rule.tz!r} is no time zone; {nearest(rule.tz, zones)}")


def _streams_of(data: Path, streams: tuple[StreamRule, ...]) -> list[StreamRule]:
    """All streams, or if DATA is a file those whose source matches its name; if none does, `source` isn't meant."""
    if data.is_dir():
        return list(streams)
    return [stream for stream in streams if stream.source is None or data.match(stream.source)] or list(streams)


def source_files(data: Path, stream: StreamRule) -> list[Path]:
    """The files that a stream reads: DATA itself, or those in it that match `source`. Raises ConfigError if none do."""
    place = stream.at("source")
    if data.is_file():
        files = [data]
    elif stream.source is None:
        raise ConfigError(f'{place}: missing, and {data} is a folder; add one, such as source = "*.parquet"')
    else:
        try:
            files = [path for path in data.glob(stream.source) if path.is_file()]
        except (ValueError, NotImplementedError) as error:
            raise ConfigError(f"{place}: bad pattern {stream.source!r} ({error}); make it relative to DATA") from error
    if not files:
        raise ConfigError(f"{place}: no file in {data} matches {stream.source!r}; correct the pattern or the path")
    for path in files:
        if path.suffix not in SUFFIXES:
            raise ConfigError(f"{place}: {path} is of no known kind; the name must end in {', '.join(SUFFIXES)}")
    return files


def _canonical_stream(topic: str, path: Path, table: Table) -> StreamRule:
    """The identity mapping of a Parquet file. Times in text stay as they are: the decoder is strict about them."""
    rules = [
        FieldRule(
            column,
            "text" if KINDS[topic][column] in ("time", "day") and sql_type == "VARCHAR" else KINDS[topic][column],
            f"{path}:{column}",
            "column",
            column,
        )
        for column, (_, sql_type) in table.plain.items()
        if column in KINDS[topic]
    ]
    return StreamRule(topic, str(path), "", None, None, tuple(rules))
