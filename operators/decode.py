"""Decode: a record becomes a typed event or a rejection with a stable code; never an exception, never a silent drop."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from typing import Any

import msgspec
import orjson

from operators.fields import FIELDS, TopicFields
from operators.rules import REPAIRS, Counts, Rejected, read_time
from state.countries import COUNTRIES
from state.events import EVENT_TYPES, Event, Transaction
from state.money import EXPONENT, WHOLE_DIGITS_MAX, AmountError, parse_amount, parse_balance
from state.records import Record

# Every code a dead letter can carry, and what it means. Codes are stable: consumers branch on them.
CODES: dict[str, str] = {
    "record.too_large": "the record has more bytes than allowed",
    "json.malformed": "the bytes are not one JSON text in UTF-8",
    "json.not_object": "the JSON text is not an object",
    "field.missing": "a required field is absent or null",
    "field.type": "a field has the wrong JSON type",
    "field.value": "a field has a value that isn't allowed",
    "amount.format": "an amount is not a plain unsigned decimal (a balance: one with an optional minus)",
    "amount.precision": "an amount has digits beyond the currency's minor unit that are not zeros",
    "currency.unknown": "a currency is no ISO 4217 code with minor units",
    "time.format": "a time is not an RFC 3339 time with an offset",
    "time.range": "a time lies before 1970 or after 2200",
    "time.future": "the event lies too far ahead of its arrival",
    "id.format": "an id is empty, too long, or has control characters or blanks at an end",
    "topic.unknown": "the topic is none of the input topics",
    "internal.error": "applying the record failed: a bug of ours, to be reported; the record is kept",
}


_COUNTRIES_OR_NONE = COUNTRIES | {None}


class DecodeLimits(msgspec.Struct, frozen=True):
    """`record_bytes_max`: larger records are refused unread. `ahead_s_max`: how far an event may lie after arrival."""

    record_bytes_max: int = 64 * 1024
    ahead_s_max: int = 24 * 3600


class Rejection(msgspec.Struct, frozen=True):
    """Why a record is a dead letter: a code of CODES, the JSON path of the value, and a sentence for people."""

    code: str
    path: str
    message: str


class _Plan(msgspec.Struct, frozen=True):
    """A topic's fields, laid out so that a record costs one look-up per field that it has."""

    event_class: type[Event]
    rules: dict[str, tuple[str, Callable[[Any, Counts], Any]]]
    required: tuple[str, ...]
    money: tuple[tuple[str, str, Callable[[str, int], int]], ...]


def _plan(topic: str, fields: TopicFields) -> _Plan:
    return _Plan(
        event_class=EVENT_TYPES[topic],
        rules={field.name: (field.attribute, field.rule.read) for field in fields.fields},
        required=fields.required,
        money=tuple((field.name, field.attribute, field.parse) for field in fields.money),
    )


_PLANS: dict[str, _Plan] = {topic: _plan(topic, fields) for topic, fields in FIELDS.items()}


def parse_json(value: bytes) -> object:
    """The JSON value of `value`. Raises ValueError for anything but one strict UTF-8 JSON text:
    a byte order mark, NUL, NaN, Infinity, a lone surrogate, 1,024 levels or more. Of duplicate keys the last counts."""
    return orjson.loads(value)


def arrival_of(topic: str, body: object) -> int | None:
    """When a record of a file arrived (UTC microseconds): its `arrived_at`, else the event's own time, else None."""
    event_class = EVENT_TYPES.get(topic)
    if event_class is None or not isinstance(body, dict):
        return None
    for name in ("arrived_at", event_class.TIME_FIELD):
        value = body.get(name)
        if value is not None:  # the usual case of `arrived_at`, too frequent for an exception
            with suppress(Rejected):
                return read_time(value, {})
    return None


class Decoder:
    """Turns records into events. `counts` says how often each of REPAIRS was made so far."""

    def __init__(self, limits: DecodeLimits | None = None) -> None:
        limits = limits or DecodeLimits()
        self._record_bytes_max = limits.record_bytes_max
        self._ahead_us_max = limits.ahead_s_max * 1_000_000
        self.counts: Counts = dict.fromkeys(REPAIRS, 0)

    def uncounted(self) -> Decoder:
        """Another one with the same limits, for records that were decoded, and their repairs counted, elsewhere."""
        return Decoder(DecodeLimits(self._record_bytes_max, self._ahead_us_max // 1_000_000))

    def decode(self, record: Record) -> Event | Rejection:
        """The event in `record`, or why there is none."""
        plan = _PLANS.get(record.topic)
        if plan is None:
            return Rejection("topic.unknown", "$", "the topic is none of the input topics")
        if len(record.value) > self._record_bytes_max or record.whole_bytes:
            return Rejection("record.too_large", "$", self._too_large(record))
        body = record.body
        if body is None:
            try:
                body = parse_json(record.value)
            except ValueError as error:
                return Rejection("json.malformed", "$", str(error))
        if type(body) is not dict:
            return Rejection("json.not_object", "$", "must be a JSON object")
        if plan.event_class is Transaction:
            event = self._ordinary_transaction(record, body)
            if event is not None:
                return event
        return self._event(plan, record, body)

    def _too_large(self, record: Record) -> str:
        limit = f"more than {self._record_bytes_max} bytes"
        if not record.whole_bytes:
            return limit
        return f"{limit}: it has {record.whole_bytes}, of which the first {len(record.value)} are kept"

    def _ordinary_transaction(self, record: Record, body: dict[str, Any]) -> Transaction | None:
        """The transaction, if nothing in it needs mending or explaining; else None, and `_event` says what is wrong.

        This is a short cut for nearly all records: types, lengths and enumerations are checked in one pass in C.
        It accepts only what `_event` accepts, with the same result (tests compare the two).
        """
        try:
            exponent = EXPONENT[body["currency"]]
            balance = body.get("balance_after")
            event = msgspec.convert(
                {
                    **body,
                    "time_us": read_time(body["booked_at"], self.counts),
                    "amount_minor": _minor(body["amount"], parse_amount, exponent),
                    "balance_after_minor": None if balance is None else _minor(balance, parse_balance, exponent),
                    "arrival_us": record.arrival_us,
                    "partition": record.partition,
                    "offset": record.offset,
                },
                Transaction,
            )
        except (KeyError, TypeError, ValueError, Rejected):
            return None
        # No id may have a control character anywhere or a blank beside a bar; whatever might is left to `_event`.
        ids = (
            f"{event.transaction_id}|{event.customer_id}|{event.account_id}|{event.merchant_id}|{event.card_id}|"
            f"{event.device_id}|{event.original_transaction_id}|"
        )
        mcc = event.mcc
        if (
            not ids.isprintable()
            or ids[0] == " "
            or " |" in ids
            or "| " in ids
            or event.time_us > record.arrival_us + self._ahead_us_max
            or event.country not in _COUNTRIES_OR_NONE
            or (mcc is not None and not (len(mcc) == 4 and mcc.isdigit() and mcc.isascii()))
            or (event.lat is None) is not (event.lon is None)
            # Only a table, never JSON, can hold text that has no UTF-8.
            or not (
                record.value
                or f"{event.merchant_name}{event.counterparty}{event.city}{event.description}".isprintable()
            )
        ):
            return None
        if record.key is not None and record.key != event.customer_id.encode():
            self.counts["key.mismatch"] += 1
        return event

    def _event(self, plan: _Plan, record: Record, body: dict[str, Any]) -> Event | Rejection:
        for name in plan.required:
            if body.get(name) is None:
                return Rejection("field.missing", f"$.{name}", "is required")
        rules, counts = plan.rules, self.counts
        values: dict[str, Any] = {}
        name = ""
        try:
            for name, value in body.items():
                if value is not None and name in rules:
                    attribute, read = rules[name]
                    values[attribute] = read(value, counts)
            for name, attribute, parse in plan.money:
                value = body.get(name)
                if value is not None:
                    if "currency" not in values:
                        return Rejection("field.missing", "$.currency", f"is required beside {name}")
                    values[attribute] = _minor(value, parse, EXPONENT[values["currency"]])
        except (Rejected, AmountError) as rejected:
            return Rejection(rejected.code, f"$.{name}", str(rejected))
        if values["time_us"] > record.arrival_us + self._ahead_us_max:
            limit_s = self._ahead_us_max // 1_000_000
            return Rejection("time.future", f"$.{plan.event_class.TIME_FIELD}", f"more than {limit_s} s after arrival")
        if ("lat" in values or "lon" in values) and (values.get("lat") is None or values.get("lon") is None):
            counts["place.invalid"] += 1
            values["lat"] = values["lon"] = None
        if record.key is not None and "customer_id" in values and record.key != values["customer_id"].encode():
            counts["key.mismatch"] += 1
        return plan.event_class(
            arrival_us=record.arrival_us, partition=record.partition, offset=record.offset, **values
        )


def _minor(value: Any, parse: Callable[[str, int], int], exponent: int) -> int:
    """Minor units of an amount given as text or as a JSON number (which counts by its shortest form)."""
    if type(value) is str:
        return parse(value, exponent)
    if type(value) is int:
        if abs(value) >= 10**WHOLE_DIGITS_MAX:
            raise Rejected("amount.format", f"more than {WHOLE_DIGITS_MAX} digits before the point")
        return parse(str(value), exponent)
    if type(value) is float:
        text = repr(value)
        return parse(format(Decimal(text), "f") if "e-" in text else text, exponent)
    raise Rejected("field.type", "must be a string or a number")
