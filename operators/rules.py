"""The rules for values: what a single value must look like, for the decoder and for the published JSON Schemas.

A rule's `read` takes a value as it came from JSON (never null) and the repair counts; it returns the value in internal
units or raises Rejected. Messages never repeat the value: they end in logs, and values are customers' data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from unicodedata import category

from state.countries import COUNTRIES
from state.events import ID_CHARACTERS_MAX, TEXT_CHARACTERS_MAX
from state.money import EXPONENT
from state.windows import DAY_US

MESSAGE_BYTES_MAX = 16 * 1024
YEAR_MIN, YEAR_MAX = 1970, 2200
OPENED_YEAR_MIN = 1800

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_US_END = (datetime(YEAR_MAX + 1, 1, 1, tzinfo=UTC) - _EPOCH).days * DAY_US

TIME_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-5][0-9])"
NUMBER_LIMIT = 1e15

# What the decoder mends instead of refusing, each time counted under this name.
REPAIRS: dict[str, str] = {
    "channel.unknown": "a transaction's channel that isn't in the list became `other`",
    "country.unknown": "a country that is no ISO 3166-1 alpha-2 code was dropped",
    "mcc.malformed": "a merchant category code that isn't four digits was dropped",
    "place.invalid": "a place whose latitude or longitude is out of range or missing was dropped",
    "text.cut": "a text longer than its limit was cut",
    "key.mismatch": "the record's key isn't its customer_id (the event counts for the customer_id)",
}

Counts = dict[str, int]


class Rejected(Exception):
    """A value that breaks its rule; becomes a dead letter. `code` is one of `operators.decode.CODES`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Rule(NamedTuple):
    """How a value is read, and the JSON Schema of what is accepted."""

    read: Callable[[Any, Counts], Any]
    schema: dict[str, Any]


_full_time = re.compile(TIME_PATTERN).fullmatch
_full_date = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_full_mcc = re.compile(r"[0-9]{4}").fullmatch


def _must_be_string(value: object) -> None:
    if type(value) is not str:
        raise Rejected("field.type", "must be a string")


def read_id(value: Any, _counts: Counts) -> str:
    """1 to 128 characters, no control characters, no blank at either end; returned as it came."""
    if type(value) is str and 0 < len(value) <= ID_CHARACTERS_MAX and value.isprintable() and value.strip() is value:
        return value
    _must_be_string(value)
    text: str = value
    if not 0 < len(text) <= ID_CHARACTERS_MAX:
        raise Rejected("id.format", f"must have 1 to {ID_CHARACTERS_MAX} characters")
    if text.strip() != text:
        raise Rejected("id.format", "must not begin or end with a blank")
    # Not printable in Python's sense is more than control characters: a soft hyphen or a private-use letter is allowed.
    if any(category(character) in ("Cc", "Cs") for character in text):
        raise Rejected("id.format", "must not contain control characters")
    return text


def _encoded(value: Any) -> bytes:
    """The UTF-8 of a text. Half of a surrogate pair, which no JSON but perhaps a table may bring, has none."""
    _must_be_string(value)
    try:
        return bytes(value.encode())
    except UnicodeEncodeError:
        raise Rejected("field.value", "contains half of a surrogate pair") from None


def read_text(value: Any, counts: Counts) -> str:
    """Any string; beyond 512 characters it is cut and counted."""
    _encoded(value)
    text: str = value
    if len(text) > TEXT_CHARACTERS_MAX:
        counts["text.cut"] += 1
        return text[:TEXT_CHARACTERS_MAX]
    return text


def read_name(value: Any, counts: Counts) -> str:
    """A text that says what the event is about, hence not empty."""
    text = read_text(value, counts)
    if not text.strip():
        raise Rejected("field.value", "must not be empty")
    return text


def read_message(value: Any, counts: Counts) -> str:
    """Any string; beyond 16 KiB of UTF-8 it is cut before the character that would exceed them, and counted."""
    encoded = _encoded(value)
    if len(encoded) <= MESSAGE_BYTES_MAX:
        return str(value)
    counts["text.cut"] += 1
    return str(encoded[:MESSAGE_BYTES_MAX].decode(errors="ignore"))


def read_time(value: Any, _counts: Counts) -> int:
    """RFC 3339 with an offset, years 1970 to 2200, as UTC microseconds; finer digits are cut.

    >>> read_time("1970-01-01T01:00:00.0000019+01:00", {})
    1
    """
    if type(value) is not str:
        raise Rejected("field.type", "must be a string")
    if _full_time(value) is None:
        raise Rejected("time.format", "must be an RFC 3339 date and time with an offset or Z")
    try:
        since = datetime.fromisoformat(value) - _EPOCH
    except ValueError:
        since = _unusual_time(value) - _EPOCH
    time_us = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    if not 0 <= time_us < TIME_US_END:
        raise Rejected("time.range", f"must lie between {YEAR_MIN} and {YEAR_MAX}")
    return time_us


def _unusual_time(value: str) -> datetime:
    """A time in lower case, or the reason why there is no such time. A second 60 (leap second) ends here, too."""
    if value.startswith("0000"):
        raise Rejected("time.range", f"must lie between {YEAR_MIN} and {YEAR_MAX}")
    try:
        return datetime.fromisoformat(value.upper())
    except ValueError as error:
        raise Rejected("time.format", f"no such time: {error}") from None


def read_day(value: Any, counts: Counts) -> int:
    """A full date (`2025-03-01`, taken as its midnight UTC) or a time as in `read_time`; from 1800 on."""
    if type(value) is not str or _full_date(value) is None:
        return read_time(value, counts)
    try:
        day = date.fromisoformat(value)
    except ValueError as error:
        raise Rejected("time.format", f"no such date: {error}") from None
    if not OPENED_YEAR_MIN <= day.year <= YEAR_MAX:
        raise Rejected("time.range", f"must lie between {OPENED_YEAR_MIN} and {YEAR_MAX}")
    return (day - _EPOCH.date()).days * DAY_US


def read_currency(value: Any, _counts: Counts) -> str:
    """An ISO 4217 code that has minor units, current or historic."""
    if type(value) is not str:
        raise Rejected("field.type", "must be a string")
    if value not in EXPONENT:
        raise Rejected("currency.unknown", "must be an ISO 4217 code in upper case that has minor units")
    return value


def read_country(value: Any, counts: Counts) -> str | None:
    """An ISO 3166-1 alpha-2 code; anything else is dropped and counted."""
    if type(value) is str and value in COUNTRIES:
        return value
    counts["country.unknown"] += 1
    return None


def read_mcc(value: Any, counts: Counts) -> str | None:
    """Four digits; anything else is dropped and counted."""
    if type(value) is str and _full_mcc(value) is not None:
        return value
    counts["mcc.malformed"] += 1
    return None


def _degrees(limit: float) -> Callable[[Any, Counts], float | None]:
    """Degrees, or None: a place is dropped, and counted, as a whole by the decoder."""

    def read(value: Any, _counts: Counts) -> float | None:
        return float(value) if type(value) in (float, int) and -limit <= value <= limit else None

    return read


def _number(
    pattern: str = r"-?[0-9]{1,15}(\.[0-9]{1,15})?",
    least: float = -NUMBER_LIMIT,
    most: float = NUMBER_LIMIT,
) -> Rule:
    """A number in [least, most], as a JSON number or as text in the form of `pattern`."""
    full = re.compile(pattern).fullmatch

    def read(value: Any, _counts: Counts) -> float:
        if type(value) is str:
            if full(value) is None:
                raise Rejected("field.value", f"must be a decimal number between {least:g} and {most:g}")
        elif type(value) not in (float, int):
            raise Rejected("field.type", "must be a number")
        elif not least <= value <= most:  # so written that NaN, which a table may hold, fails too
            raise Rejected("field.value", f"must lie between {least:g} and {most:g}")
        return float(value)

    number = {"type": "number", "minimum": least, "maximum": most}
    return Rule(read, {"anyOf": [number, {"type": "string", "pattern": f"^({pattern})$"}]})


def one_of(values: Iterable[str], fallback: str | None = None) -> Rule:
    """One of `values`, exactly. With a fallback any other string becomes that and is counted."""
    canonical = {value: value for value in values}  # so that events share one string of each

    def read(value: Any, counts: Counts) -> str:
        if type(value) is not str:
            raise Rejected("field.type", "must be a string")
        found = canonical.get(value)
        if found is not None:
            return found
        if fallback is None:
            raise Rejected("field.value", f"must be one of {', '.join(canonical)}")
        counts["channel.unknown"] += 1
        return fallback

    if fallback is None:
        return Rule(read, {"enum": list(canonical)})
    described = f"one of {', '.join(canonical)}; any other string counts as {fallback}"
    return Rule(read, {"type": "string", "description": described})


_TIME = {"type": "string", "pattern": f"^{TIME_PATTERN}$"}


# Control characters and blanks at the ends, as ECMA regular expressions and Python's both read them.
_ID_SCHEMA = {
    "type": "string",
    "minLength": 1,
    "maxLength": ID_CHARACTERS_MAX,
    "pattern": r"^(?!\s)[^\u0000-\u001f\u007f-\u009f]*[^\s\u0000-\u001f\u007f-\u009f]$",
}

ID = Rule(read_id, _ID_SCHEMA)
TEXT = Rule(read_text, {"type": "string"})
NAME = Rule(read_name, {"type": "string", "pattern": r"\S"})
MESSAGE = Rule(read_message, {"type": "string"})
TIME = Rule(read_time, _TIME)
DAY = Rule(read_day, {"anyOf": [_TIME, {"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}]})
CURRENCY = Rule(read_currency, {"enum": sorted(EXPONENT)})
COUNTRY = Rule(read_country, {"description": "ISO 3166-1 alpha-2 in upper case; anything else is dropped"})
MCC = Rule(read_mcc, {"description": "four digits (ISO 18245); anything else is dropped"})
LATITUDE = Rule(
    _degrees(90.0), {"description": "degrees from -90 to 90; anything else is dropped, as is one without lon"}
)
LONGITUDE = Rule(_degrees(180.0), {"description": "degrees from -180 to 180; dropped like lat"})
NUMBER = _number()
NOT_NEGATIVE = _number(r"[0-9]{1,15}(\.[0-9]{1,15})?", least=0.0)
SHARE = _number(r"0(\.[0-9]{1,15})?|1(\.0{1,15})?", least=0.0, most=1.0)
