"""Decode: every rule of the contract for values, and every code by an example."""

from typing import Any

import orjson
import pytest
from decode_samples import ARRIVAL_US, FULL, TIME, record_of
from hypothesis import given
from hypothesis import strategies as st

from operators.decode import CODES, DecodeLimits, Decoder, Rejection, arrival_of, parse_json
from operators.fields import FIELDS
from operators.rules import REPAIRS
from state.events import EVENT_TYPES, TOPICS, Account, Event, Label, MarketRate, Transaction
from state.records import Record
from state.times import rfc3339

PLAIN = {name: FULL["in.transactions"][name] for name in FIELDS["in.transactions"].required}


def decode(topic: str, body: Any, **changes: Any) -> Event | Rejection:
    return Decoder().decode(record_of(topic, body, **changes))


def transaction(**fields: Any) -> Transaction:
    event = decode("in.transactions", PLAIN | fields)
    assert isinstance(event, Transaction), event
    return event


def code_and_path(result: Event | Rejection) -> tuple[str, str]:
    assert isinstance(result, Rejection), result
    assert result.message
    return result.code, result.path


@pytest.mark.parametrize("topic", TOPICS)
def test_a_full_record_of_each_topic_becomes_its_event(topic: str) -> None:
    event = decode(topic, FULL[topic])
    assert type(event) is EVENT_TYPES[topic]
    assert (event.arrival_us, event.partition, event.offset, event.time_us) == (ARRIVAL_US, 3, 7, ARRIVAL_US)
    assert event.event_id
    assert all(getattr(event, name) is not None for name in event.__struct_fields__)


@pytest.mark.parametrize("topic", TOPICS)
def test_only_the_required_fields_are_required_and_null_is_absence(topic: str) -> None:
    required = FIELDS[topic].required
    minimal = {name: FULL[topic][name] for name in required}
    assert type(decode(topic, minimal)) is EVENT_TYPES[topic]
    assert decode(topic, minimal) == decode(topic, {**dict.fromkeys(FULL[topic]), **minimal})
    for name in required:
        without = {key: value for key, value in FULL[topic].items() if key != name}
        assert code_and_path(decode(topic, without)) == ("field.missing", f"$.{name}")
        assert code_and_path(decode(topic, without | {name: None})) == ("field.missing", f"$.{name}")


def test_values_arrive_in_internal_units() -> None:
    event = decode("in.transactions", FULL["in.transactions"])
    assert isinstance(event, Transaction)
    assert (event.amount_minor, event.balance_after_minor, event.lat, event.lon) == (123450, -1200, 50.1, 14.0)
    account = decode("in.accounts", FULL["in.accounts"])
    assert isinstance(account, Account)
    assert (account.balance_minor, account.credit_limit_minor) == (-1200, 100_000)
    assert account.opened_us is not None
    assert rfc3339(account.opened_us) == "1968-05-01T00:00:00.000000Z"


def test_ids_that_are_composed_do_not_depend_on_the_spelling_of_the_time() -> None:
    here = decode("in.accounts", FULL["in.accounts"])
    there = decode("in.accounts", FULL["in.accounts"] | {"observed_at": "2025-03-04T13:34:56.000+01:00"})
    assert isinstance(here, Account)
    assert isinstance(there, Account)
    assert here.event_id == there.event_id == "a-1@2025-03-04T12:34:56.000000Z"
    labels = [
        decode("in.labels", {"customer_id": "c-1", "labelled_at": TIME, "label": "fraud", "transaction_id": id_})
        for id_ in ("t-1", "t-2")
    ]
    assert len({label.event_id for label in labels if isinstance(label, Label)}) == 2


def test_a_market_rate_has_no_customer_even_if_the_record_claims_one() -> None:
    event = decode("in.market", FULL["in.market"] | {"customer_id": "c-1"})
    assert isinstance(event, MarketRate)
    assert event.customer_id == ""


GOLDEN: dict[str, tuple[str, Any, str]] = {
    "record.too_large": ("in.transactions", PLAIN | {"note": "x" * 70_000}, "$"),
    "json.malformed": ("in.transactions", b'{"transaction_id": "t-1",', "$"),
    "json.not_object": ("in.transactions", b"[1, 2]", "$"),
    "field.missing": ("in.transactions", {**PLAIN, "amount": None}, "$.amount"),
    "field.type": ("in.transactions", PLAIN | {"transaction_id": 17}, "$.transaction_id"),
    "field.value": ("in.transactions", PLAIN | {"direction": "DEBIT"}, "$.direction"),
    "amount.format": ("in.transactions", PLAIN | {"amount": "-1.00"}, "$.amount"),
    "amount.precision": ("in.transactions", PLAIN | {"amount": "1.005"}, "$.amount"),
    "currency.unknown": ("in.transactions", PLAIN | {"currency": "eur"}, "$.currency"),
    "time.format": ("in.transactions", PLAIN | {"booked_at": "2025-03-04 12:34:56"}, "$.booked_at"),
    "time.range": ("in.transactions", PLAIN | {"booked_at": "1969-12-31T23:59:59Z"}, "$.booked_at"),
    "time.future": ("in.transactions", PLAIN | {"booked_at": "2025-03-05T12:34:57Z"}, "$.booked_at"),
    "id.format": ("in.transactions", PLAIN | {"customer_id": " c-1"}, "$.customer_id"),
    "topic.unknown": ("in.gossip", PLAIN, "$"),
}


def test_every_code_has_an_example() -> None:
    # "internal.error" is not the decoder's: tests/test_quarantine.py.
    assert set(GOLDEN) == set(CODES) - {"internal.error"}


@pytest.mark.parametrize("code", GOLDEN)
def test_the_example_of_each_code_gets_it(code: str) -> None:
    topic, body, path = GOLDEN[code]
    assert code_and_path(decode(topic, body)) == (code, path)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b" ",
        b"\xef\xbb\xbf{}",
        b"{}\x00",
        b'{"a":"\x00"}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":01}',
        b'{"a":1,}',
        b"{'a':1}",
        b"{} {}",
        b'{"a":' * 5000,
        b"[" * 60_000,
    ],
)
def test_what_is_not_one_strict_json_text_is_malformed(value: bytes) -> None:
    assert code_and_path(decode("in.transactions", value)) == ("json.malformed", "$")
    with pytest.raises(ValueError, match=r"."):
        parse_json(value)


def test_of_duplicate_keys_the_last_counts_and_unknown_fields_are_ignored() -> None:
    value = orjson.dumps(PLAIN)[:-1] + b',"amount":"7","amount_minor":1,"time_us":1,"arrival_us":2,"kind":{"a":[]}}'
    event = decode("in.transactions", value)
    assert isinstance(event, Transaction)
    assert (event.amount_minor, event.time_us, event.arrival_us) == (700, ARRIVAL_US, ARRIVAL_US)
    event = transaction(balance_after_minor=1, offset=9, customer="c-2")
    assert (event.balance_after_minor, event.offset) == (None, 7)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("12.340", "USD", 1234),
        (12.34, "EUR", 1234),
        (0.1, "EUR", 10),
        (100.0, "JPY", 100),
        (5, "KWD", 5000),
        (123456789012345.67, "EUR", 12345678901234567),
        ("999999999999999.9999", "CLF", 9999999999999999999),
        (0, "EUR", 0),
        ("0.00000", "JPY", 0),
        (1e2, "EUR", 10_000),
    ],
)
def test_amounts_are_exact_as_text_and_as_number(amount: Any, currency: str, minor: int) -> None:
    assert transaction(amount=amount, currency=currency).amount_minor == minor


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (True, "EUR", "field.type"),
        ([], "EUR", "field.type"),
        ("1e2", "EUR", "amount.format"),
        (1e15, "EUR", "amount.format"),
        (10**19, "EUR", "amount.format"),
        (10**400, "EUR", "json.malformed"),
        (1e300, "EUR", "amount.format"),
        (-1, "EUR", "amount.format"),
        (-0.5, "EUR", "amount.format"),
        ("12.345", "EUR", "amount.precision"),
        (12.345, "EUR", "amount.precision"),
        (0.00001, "EUR", "amount.precision"),
        (0.000001, "EUR", "amount.format"),
        ("0.1", "JPY", "amount.precision"),
    ],
)
def test_amounts_that_are_refused(amount: Any, currency: str, code: str) -> None:
    text = str(amount) if isinstance(amount, int) and amount > 2**64 else orjson.dumps(amount).decode()
    value = orjson.dumps(PLAIN | {"currency": currency})[:-1] + f',"amount":{text}}}'.encode()
    assert code_and_path(decode("in.transactions", value))[0] == code


def test_an_amount_needs_a_currency_but_a_currency_needs_no_amount() -> None:
    body = {name: value for name, value in FULL["in.applications"].items() if name != "currency"}
    assert code_and_path(decode("in.applications", body)) == ("field.missing", "$.currency")
    del body["amount"]
    assert isinstance(decode("in.applications", body | {"currency": "EUR"}), EVENT_TYPES["in.applications"])


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2025-03-04T13:34:56+01:00", "2025-03-04T12:34:56.000000Z"),
        ("2025-03-04t12:34:56.5z", "2025-03-04T12:34:56.500000Z"),
        ("2025-03-04 12:34:56Z", "2025-03-04T12:34:56.000000Z"),
        ("2025-03-04T12:34:56.1234569Z", "2025-03-04T12:34:56.123456Z"),
        ("2025-03-04T12:34:56-00:00", "2025-03-04T12:34:56.000000Z"),
        ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_stored_in_utc_with_finer_digits_cut(text: str, stored: str) -> None:
    assert rfc3339(transaction(booked_at=text).time_us) == stored


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("2025-03-04T12:34:56", "time.format"),
        ("2025-03-04", "time.format"),
        ("20250304T123456Z", "time.format"),
        ("2025-W10-2T12:34:56Z", "time.format"),
        ("2025-03-04T12:34Z", "time.format"),
        ("2025-03-04T12:34:60Z", "time.format"),
        ("2025-03-04T24:00:00Z", "time.format"),
        ("2025-02-29T00:00:00Z", "time.format"),
        ("2025-03-04T12:34:56,5Z", "time.format"),
        ("2025-03-04T12:34:56.Z", "time.format"),
        ("2025-03-04T12:34:56+24:00", "time.format"),
        ("2025-03-04T12:34:56+0100", "time.format"),
        ("2025-03-04T12:34:56Z\n", "time.format"),
        ("２025-03-04T12:34:56Z", "time.format"),
        ("0000-01-01T00:00:00Z", "time.range"),
        ("1970-01-01T00:59:59+01:00", "time.range"),
        ("2201-01-01T00:00:00Z", "time.range"),
        ("9999-12-31T23:59:59-23:59", "time.range"),
        (1741091696, "field.type"),
    ],
)
def test_times_that_are_refused(text: Any, code: str) -> None:
    assert code_and_path(decode("in.transactions", PLAIN | {"booked_at": text})) == (code, "$.booked_at")


@given(st.integers(0, 7_289_654_399_999_999))
def test_a_time_survives_text_and_back(time_us: int) -> None:
    event = decode("in.transactions", PLAIN | {"booked_at": rfc3339(time_us)}, arrival_us=time_us)
    assert isinstance(event, Transaction)
    assert event.time_us == time_us


def test_an_event_may_lie_just_as_far_ahead_of_its_arrival_as_configured() -> None:
    body = PLAIN | {"booked_at": "2025-03-05T12:34:56Z"}
    assert isinstance(decode("in.transactions", body), Transaction)
    strict = Decoder(DecodeLimits(ahead_s_max=86_399))
    assert code_and_path(strict.decode(record_of("in.transactions", body)))[0] == "time.future"


def test_only_the_events_own_time_must_not_lie_ahead() -> None:
    assert isinstance(decode("in.consents", FULL["in.consents"]), EVENT_TYPES["in.consents"])


@pytest.mark.parametrize("id_", ["a", "x" * 128, "Zoë", "a b", "a|b", "💳", "e\u0301", "\u00ad-soft", "\ue000"])
def test_ids_are_kept_as_they_are(id_: str) -> None:
    event = transaction(transaction_id=id_, merchant_id=id_)
    assert event.transaction_id == event.merchant_id == event.event_id == id_


@pytest.mark.parametrize(
    "id_", ["", "x" * 129, " a", "a ", "\u00a0a", "a\u2003", "a\tb", "a\x00b", "a\x7fb", "a\u0085b"]
)
@pytest.mark.parametrize(
    "name", ["transaction_id", "customer_id", "merchant_id", "device_id", "original_transaction_id"]
)
def test_ids_that_are_refused(name: str, id_: str) -> None:
    assert code_and_path(decode("in.transactions", PLAIN | {name: id_})) == ("id.format", f"$.{name}")


def repairs(topic: str, body: dict[str, Any], **changes: Any) -> tuple[Event, dict[str, int]]:
    decoder = Decoder()
    event = decoder.decode(record_of(topic, body, **changes))
    assert isinstance(event, Event), event
    return event, {name: count for name, count in decoder.counts.items() if count}


@pytest.mark.parametrize(
    ("given_fields", "kept", "repair"),
    [
        ({"channel": "carrier pigeon"}, {"channel": "other"}, "channel.unknown"),
        ({"country": "cz"}, {"country": None}, "country.unknown"),
        ({"country": 203}, {"country": None}, "country.unknown"),
        ({"mcc": "541"}, {"mcc": None}, "mcc.malformed"),
        ({"mcc": 5411}, {"mcc": None}, "mcc.malformed"),
        ({"mcc": "５４１１"}, {"mcc": None}, "mcc.malformed"),
        ({"lat": 91, "lon": 0}, {"lat": None, "lon": None}, "place.invalid"),
        ({"lat": 1.5}, {"lat": None, "lon": None}, "place.invalid"),
        ({"lat": "1.5", "lon": 2}, {"lat": None, "lon": None}, "place.invalid"),
        ({"lat": True, "lon": 2}, {"lat": None, "lon": None}, "place.invalid"),
        ({"description": "é" * 513}, {"description": "é" * 512}, "text.cut"),
        ({"merchant_name": "x" * 600}, {"merchant_name": "x" * 512}, "text.cut"),
    ],
)
def test_what_is_mended_is_counted_once(given_fields: dict[str, Any], kept: dict[str, Any], repair: str) -> None:
    event, counts = repairs("in.transactions", PLAIN | given_fields)
    assert {name: getattr(event, name) for name in kept} == kept
    assert counts == {repair: 1}


def test_an_ordinary_record_is_not_counted_and_the_key_is_compared() -> None:
    assert repairs("in.transactions", FULL["in.transactions"], key=b"c-1")[1] == {}
    assert repairs("in.transactions", FULL["in.transactions"], key=b"c-2")[1] == {"key.mismatch": 1}
    assert repairs("in.labels", FULL["in.labels"], key=b"c-2")[1] == {"key.mismatch": 1}
    assert repairs("in.market", FULL["in.market"], key=b"r-1")[1] == {}
    assert set(Decoder().counts) == set(REPAIRS)


def test_a_message_is_cut_at_16_kib_between_characters() -> None:
    event, counts = repairs("in.messages", FULL["in.messages"] | {"text": "é" * 8192})
    assert counts == {}
    event, counts = repairs("in.messages", FULL["in.messages"] | {"text": "x" + "é" * 8192})
    assert counts == {"text.cut": 1}
    assert event.text == "x" + "é" * 8191  # type: ignore[attr-defined]


def test_a_record_of_exactly_64_kib_is_read() -> None:
    padding = 64 * 1024 - len(orjson.dumps(PLAIN | {"note": ""}))
    assert isinstance(decode("in.transactions", PLAIN | {"note": "x" * padding}), Transaction)
    assert code_and_path(decode("in.transactions", PLAIN | {"note": "x" * (padding + 1)}))[0] == "record.too_large"


@pytest.mark.parametrize(
    ("topic", "name", "value", "code"),
    [
        ("in.interactions", "dwell_s", -1, "field.value"),
        ("in.interactions", "dwell_s", "soon", "field.value"),
        ("in.interactions", "dwell_s", True, "field.type"),
        ("in.interactions", "kind", "Page", "field.value"),
        ("in.touchpoints", "propensity", 1.5, "field.value"),
        ("in.touchpoints", "value", 1e300, "field.value"),
        ("in.market", "value", None, "field.missing"),
        ("in.market", "series", " ", "field.value"),
        ("in.applications", "product", "", "field.value"),
        ("in.accounts", "opened_on", "1799-12-31", "time.range"),
        ("in.accounts", "opened_on", "2025-02-30", "time.format"),
        ("in.accounts", "credit_limit", "-1", "amount.format"),
        ("in.consents", "status", "maybe", "field.value"),
        ("in.labels", "label", "FRAUD", "field.value"),
    ],
)
def test_other_topics_keep_their_rules(topic: str, name: str, value: Any, code: str) -> None:
    assert code_and_path(decode(topic, FULL[topic] | {name: value})) == (code, f"$.{name}")


def test_a_body_that_was_parsed_already_is_not_parsed_again() -> None:
    record = Record("in.transactions", 0, 1, ARRIVAL_US, None, b"", dict(PLAIN))
    event = Decoder().decode(record)
    assert isinstance(event, Transaction)
    assert record.body == PLAIN


def test_an_empty_object_given_as_body_is_not_taken_for_no_body() -> None:
    assert (
        code_and_path(Decoder().decode(Record("in.transactions", 0, 1, ARRIVAL_US, None, b"", {})))[0]
        == "field.missing"
    )


def test_arrival_is_arrived_at_then_the_events_own_time_then_unknown() -> None:
    body = {"booked_at": "1970-01-01T00:00:01Z", "arrived_at": "1970-01-01T00:00:02Z"}
    assert arrival_of("in.transactions", body) == 2_000_000
    assert arrival_of("in.transactions", body | {"arrived_at": "yesterday"}) == 1_000_000
    assert arrival_of("in.transactions", {"booked_at": "1970-01-01T00:00:01Z"}) == 1_000_000
    assert arrival_of("in.transactions", {"booked_at": 5}) is None
    assert arrival_of("in.transactions", {}) is None
    assert arrival_of("in.transactions", [1]) is None
    assert arrival_of("in.gossip", body) is None
