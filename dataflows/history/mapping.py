"""A mapping (TOML) says how any table becomes events: which column, constant or expression gives which field.

`load_mapping` reads and checks the file; `field_sql` and `arrival_sql` say the rules in DuckDB's SQL, so that
millions of rows are converted without a line of Python per row. `docs/mappings.md` is the reference for people.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from operators.fields import FIELDS
from operators.rules import DAY, LATITUDE, LONGITUDE, NOT_NEGATIVE, NUMBER, SHARE, TIME
from state.events import TOPICS
from state.settings import ConfigError

ARRIVED_AT = "arrived_at"
_NUMBER_RULES = (NUMBER, NOT_NEGATIVE, SHARE, LATITUDE, LONGITUDE)


def _kinds(topic: str) -> dict[str, str]:
    kinds = {ARRIVED_AT: "time"}
    for field in FIELDS[topic].fields:
        is_number = any(field.rule is rule for rule in _NUMBER_RULES)
        kinds[field.name] = "time" if field.rule is TIME else "number" if is_number else "text"
        if field.rule is DAY:
            kinds[field.name] = "day"
    return kinds | {field.name: "amount" for field in FIELDS[topic].money}


# topic: {field: time, day, amount, number or text}: how a column of any type is written for the decoder.
KINDS: dict[str, dict[str, str]] = {topic: _kinds(topic) for topic in TOPICS}

_STREAM_KEYS = ("topic", "source", "where", "fields")
_FIELD_KEYS = ("column", "value", "sql", "prefix", "round", "plus", "tz")
_ORIGINS = ("column", "value", "sql")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_ARRIVAL_US_MAX = 7_289_654_399_999_999  # the end of the year 2200, where times end
_DAYS_MAX = 36_500
_ROUND_DIGITS_MAX = 5
_AMOUNT_DECIMALS_MAX = 5  # of the contract
_TIME_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
# What a text must look like to be rounded: "1_000" and " 5" are numbers to DuckDB, not to the contract.
_DECIMAL_TEXT = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
OFFSET_TEXT = r"[0-9]{2}:[0-9]{2}.*(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?)$"
_NAIVE_TYPES = ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "DATE")
_TIME_TYPES = (*_NAIVE_TYPES, "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ_NS", "VARCHAR")


class FieldRule(NamedTuple):
    """Where one field comes from (`origin`: column, value or sql; `what`: its name, constant or expression) and what
    is done to it. `place` is how an error names it."""

    name: str
    kind: str
    place: str
    origin: str
    what: Any
    prefix: str = ""
    round_digits: int | None = None
    plus_us: int = 0
    tz: str = "UTC"


class StreamRule(NamedTuple):
    """One `[[stream]]`: `source` is a glob relative to DATA (None: DATA is the file), `where` a DuckDB condition."""

    topic: str
    place: str
    which: str
    source: str | None
    where: str | None
    fields: tuple[FieldRule, ...]

    def at(self, key: str) -> str:
        """How an error names a key of the stream."""
        return f"{self.place}.{key} {self.which}"


def load_mapping(path: Path) -> tuple[StreamRule, ...]:
    """The streams of a mapping file, checked as far as that is possible without the data. Raises ConfigError."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot read the mapping ({error.strerror}); check the path") from error
    except ValueError as error:  # of TOML, of UTF-8, or of a number with thousands of digits
        raise ConfigError(f"{path}: the mapping is not valid TOML: {error}; correct it there") from error
    except RecursionError:
        raise ConfigError(f"{path}: the mapping is nested too deeply; a [[stream]] is a table of values") from None
    check_keys(table, ("stream",), str(path))
    streams = table.get("stream")
    if not isinstance(streams, list) or not streams or not all(isinstance(stream, dict) for stream in streams):
        raise ConfigError(f"{path}:stream: the mapping has no stream; add a [[stream]] with topic, source and fields")
    return tuple(_stream(path, number, stream) for number, stream in enumerate(streams, start=1))


def check_keys(table: Iterable[str], known: Iterable[str], place: str) -> None:
    """Raises ConfigError for the first key that is not known, and names the nearest that are."""
    known = tuple(known)
    for key in table:
        if key not in known:
            raise ConfigError(f"{place}: unknown key {key!r}; {nearest(key, known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """What to do about an unknown name: the known ones most like it, or all.

    >>> nearest("tx_amont", ["TX_AMOUNT", "CUSTOMER_ID"])
    'did you mean TX_AMOUNT?'
    """
    by_fold = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(by_fold[fold] for fold in close)}?"
    return f"use one of {', '.join(by_fold.values()) or '(there are none)'}"


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text in SQL."""
    return "'" + text.replace("'", "''") + "'"


def file_sql(path: Path) -> str:
    """A file's name in SQL, where DuckDB would take it for a pattern."""
    return literal(re.sub(r"([*?\[])", r"[\1]", str(path)))


def value_sql(value: str | int | float | bool) -> str:
    """A constant of the mapping in SQL."""
    return literal(value) if isinstance(value, str) else str(value).lower()


def field_sql(rule: FieldRule, source: str, sql_type: str) -> str:
    """The SQL that turns `source` (SQL of `sql_type`) into the field: text for ids and codes, RFC 3339 text for times,
    a number or decimal text for numbers. What cannot be converted stays as it is: the decoder rejects it by name."""
    text = f"CAST({source} AS VARCHAR)"
    if rule.kind == "time":
        return f"coalesce(strftime({time_sql(rule, source, sql_type)}, {literal(_TIME_FORMAT)}), {text})"
    if rule.kind == "day":
        return _day(source, sql_type, text)
    if rule.round_digits is not None:
        # Through the shortest decimal text: 2.675 is that, not the binary number a little below it.
        source, sql_type = f"coalesce({_rounded(text, sql_type, rule.round_digits)}, {text})", "VARCHAR"
    if rule.kind in ("number", "amount"):
        return _number(source, sql_type, rule.kind)
    is_float = sql_type in ("DOUBLE", "FLOAT")
    if is_float or sql_type.startswith("DECIMAL"):
        text = f"regexp_replace({text}, '\\.0+$', '')"
    if rule.name == "mcc" and (is_float or sql_type.startswith("DECIMAL") or _is_integer(sql_type)):
        text = f"lpad({text}, CAST(greatest(4, length({text})) AS INTEGER), '0')"
    if is_float:  # a gap in a column of ids is a NaN where floating point knows no NULL, and nobody's id
        text = f"CASE WHEN isfinite({source}) THEN {text} END"
    return f"{literal(rule.prefix)} || {text}" if rule.prefix else text


def time_sql(rule: FieldRule, source: str, sql_type: str) -> str:
    """SQL of a UTC TIMESTAMP (NULL where there is no readable time). Raises ConfigError for a type that is no time."""
    if sql_type not in _TIME_TYPES:
        raise ConfigError(
            f"{rule.place}: {rule.what!r} is of type {sql_type}, which is not a time; convert it, for example"
            ' { sql = "make_timestamp(SECONDS * 1000000)" }'
        )
    if sql_type == "TIMESTAMP WITH TIME ZONE":
        utc = f"{source} AT TIME ZONE 'UTC'"
    elif sql_type == "TIMESTAMPTZ_NS":
        utc = f"make_timestamp(epoch_ns({source}) // 1000)"
    elif sql_type == "VARCHAR":
        # A cast of text to TIMESTAMP silently ignores its offset; one to TIMESTAMPTZ reads a naive text as UTC.
        utc = f"TRY_CAST(upper({source}) AS TIMESTAMPTZ) AT TIME ZONE 'UTC'"
        if rule.tz != "UTC":
            local = _in_zone(f"TRY_CAST(upper({source}) AS TIMESTAMP)", rule.tz)
            utc = f"CASE WHEN regexp_matches(upper({source}), '{OFFSET_TEXT}') THEN {utc} ELSE {local} END"
    else:
        # A cast from nanoseconds rounds; finer digits are to be cut.
        cut = f"make_timestamp(epoch_ns({source}) // 1000)" if sql_type == "TIMESTAMP_NS" else None
        utc = _in_zone(cut or f"CAST({source} AS TIMESTAMP)", rule.tz)
    # TRY: a time beyond what the type can hold is no time, not the end of the replay.
    return f"TRY(({utc}) + to_microseconds({rule.plus_us}))" if rule.plus_us else f"TRY({utc})"


def arrival_sql(times: Iterable[str]) -> str:
    """SQL of the arrival in UTC microseconds: the first usable one of these TIMESTAMPs, 0 if there is none."""
    usable = [f"CASE WHEN epoch_us({time}) BETWEEN 0 AND {_ARRIVAL_US_MAX} THEN epoch_us({time}) END" for time in times]
    return f"coalesce({', '.join([*usable, '0'])})"


def duration_us(text: object, place: str) -> int:
    """A duration such as "7d" (s, m, h, d, w) in microseconds.

    >>> duration_us("7d", "m.toml:stream.fields.labelled_at.plus")
    604800000000
    """
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text) if isinstance(text, str) else None
    if match is None or (seconds := int(match[1]) * _SECONDS[match[2]]) > _DAYS_MAX * 86_400:
        raise ConfigError(
            f'{place}: bad duration {text!r}; write a whole number and s, m, h, d or w, up to {_DAYS_MAX}d, like "7d"'
        )
    return seconds * 1_000_000


def _day(source: str, sql_type: str, text: str) -> str:
    if sql_type == "VARCHAR":  # with an offset it is a moment, which the decoder reads
        naive = (
            f"CASE WHEN NOT regexp_matches(upper({source}), '{OFFSET_TEXT}') THEN TRY_CAST({source} AS TIMESTAMP) END"
        )
        return f"coalesce(strftime({naive}, '%Y-%m-%d'), {text})"
    return f"strftime({source}, '%Y-%m-%d')" if sql_type in _TIME_TYPES else text


def _rounded(text: str, sql_type: str, digits: int) -> str:
    decimal = f"CAST(round_even(TRY_CAST({text} AS DECIMAL(38, 20)), {digits}) AS VARCHAR)"
    return (
        f"CASE WHEN regexp_full_match({text}, '{_DECIMAL_TEXT}') THEN {decimal} END"
        if sql_type == "VARCHAR"
        else decimal
    )


def _number(source: str, sql_type: str, kind: str) -> str:
    text = f"CAST({source} AS VARCHAR)"
    if sql_type == "FLOAT":
        return f"CAST({text} AS DOUBLE)"  # 36.1, not 36.099998474121094
    if sql_type == "DOUBLE" or (_is_integer(sql_type) and "HUGE" not in sql_type):
        return source
    if kind == "amount":
        # Digits of the type, not of the value: 12.34 of a DECIMAL(38, 18) is 12.34.
        scale = int(sql_type.partition(",")[2].strip(" )")) if sql_type.startswith("DECIMAL") else 0
        return f"rtrim(rtrim({text}, '0'), '.')" if scale > _AMOUNT_DECIMALS_MAX else text
    if _is_integer(sql_type) or sql_type.startswith("DECIMAL"):
        return f"CAST({source} AS DOUBLE)"
    if sql_type != "VARCHAR":
        return text
    number, either = f"TRY_CAST({source} AS DOUBLE)", "UNION(number DOUBLE, text VARCHAR)"
    return (
        f"CASE WHEN {source} IS NULL THEN NULL WHEN {number} IS NULL"
        f" THEN CAST(union_value(text := {source}) AS {either})"
        f" ELSE CAST(union_value(number := {number}) AS {either}) END"
    )


def _is_integer(sql_type: str) -> bool:
    return sql_type.endswith(("INT", "INTEGER"))


def _in_zone(naive: str, tz: str) -> str:
    return naive if tz == "UTC" else f"{naive} AT TIME ZONE {literal(tz)} AT TIME ZONE 'UTC'"


def _stream(path: Path, number: int, table: dict[str, Any]) -> StreamRule:
    place = f"{path}:stream"
    here = f"(stream {number})"
    check_keys(table, _STREAM_KEYS, f"{place} {here}")
    topic = table.get("topic")
    if not isinstance(topic, str) or topic not in TOPICS:
        raise ConfigError(f"{place}.topic {here}: unknown topic {topic!r}; {nearest(str(topic), TOPICS)}")
    for key in ("source", "where"):
        if key in table and (not isinstance(table[key], str) or not table[key].strip()):
            raise ConfigError(f"{place}.{key} {here}: {table[key]!r} is not a text; write it in quotes")
    here = f"(stream {number}, {topic})"
    fields = table.get("fields")
    if not isinstance(fields, dict):
        raise ConfigError(f"{place}.fields {here}: missing; add a table [stream.fields]")
    check_keys(fields, KINDS[topic], f"{place}.fields {here}")
    own, money = FIELDS[topic].fields, FIELDS[topic].money
    for name in [field.name for field in own if field.required] + [field.name for field in money if field.required]:
        if name not in fields:
            raise ConfigError(
                f'{place}.fields.{name} {here}: missing, but every event of {topic} needs it; add {name} = "COLUMN"'
            )
    rules = tuple(
        _field(f"{place}.fields.{name} {here}", name, KINDS[topic][name], spec) for name, spec in fields.items()
    )
    return StreamRule(topic, place, here, table.get("source"), table.get("where"), rules)


def _field(place: str, name: str, kind: str, spec: object) -> FieldRule:
    spec = {"column": spec} if isinstance(spec, str) else spec
    if not isinstance(spec, dict):
        raise ConfigError(f'{place}: {spec!r} is neither a column\'s name nor a table; a constant is {{ value = "…" }}')
    check_keys(spec, _FIELD_KEYS, place)
    origins = [key for key in _ORIGINS if key in spec]
    if len(origins) != 1:
        raise ConfigError(f"{place}: needs exactly one of column, value and sql; it has {', '.join(origins) or 'none'}")
    what = spec[origins[0]]
    if not isinstance(what, str if origins[0] != "value" else (str, int, float)) or what == "":
        raise ConfigError(f"{place}: {origins[0]} = {what!r} must be a text that is not empty")
    for key, kinds in (("plus", "time"), ("tz", "time"), ("round", "amount number"), ("prefix", "text")):
        if key in spec and kind not in kinds.split():
            raise ConfigError(f"{place}: {key} is not for {name}, which is of kind {kind}; remove it")
    digits, prefix, tz = spec.get("round"), spec.get("prefix", ""), spec.get("tz", "UTC")
    if "round" in spec and (type(digits) is not int or not 0 <= digits <= _ROUND_DIGITS_MAX):
        raise ConfigError(f"{place}: round = {digits!r} must be a whole number from 0 to {_ROUND_DIGITS_MAX}")
    if not isinstance(prefix, str) or not isinstance(tz, str):
        raise ConfigError(f"{place}: prefix and tz must be texts; write them in quotes")
    plus_us = duration_us(spec["plus"], f"{place}.plus") if "plus" in spec else 0
    return FieldRule(name, kind, place, origins[0], what, prefix, digits, plus_us, tz)
