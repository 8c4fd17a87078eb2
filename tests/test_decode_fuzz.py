"""Decode under fire: 10,000 mutated records, each of them an event or a listed code, and the short cut tells no lies."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson
from decode_samples import ARRIVAL_US, FULL, record_of

from operators.dead_letter import as_file_line, dead_letter
from operators.decode import CODES, Decoder, Rejection, parse_json
from state.events import EVENT_TYPES, TOPICS, Event, Transaction
from state.records import Record

SEED = 20_250_304
ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 17, 2**63, 1e308, -0.0, 1.5, [], {}, [1, [2]], {"a": {"b": 1}}),
    *("", " ", "0", "-0", "-1", "12.345", "1e5", "NaN", "EUR", "debit", "€", "\u202e", "x" * 600, "\x00", "a\nb", " a"),
    *("2025-02-30T00:00:00Z", "2025-03-04T12:34:56+14:00", "2999-01-01T00:00:00Z", "1900-01-01T00:00:00Z", "today"),
)


def flip_bytes(rng: random.Random, value: bytes) -> bytes:
    changed = bytearray(value)
    for _ in range(rng.randint(1, 4)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut_off(rng: random.Random, value: bytes) -> bytes:
    return value[: rng.randrange(len(value))]


def insert_bytes(rng: random.Random, value: bytes) -> bytes:
    at = rng.randrange(len(value))
    piece = rng.choice(
        [b"\x00", b"\xff", b"\xef\xbb\xbf", b"\\ud800", b"NaN", b"1e999", b'"', b"{", b"]", b"9" * 400, "é💳".encode()]
    )
    return value[:at] + piece + value[at:]


def change_value(rng: random.Random, value: bytes) -> bytes:
    body = orjson.loads(value)
    for _ in range(rng.randint(1, 3)):
        body[rng.choice(list(body))] = rng.choice(ODD_VALUES)
    return orjson.dumps(body)


def swap_fields(rng: random.Random, value: bytes) -> bytes:
    body = orjson.loads(value)
    one, other = rng.sample(list(body), 2)
    body[one], body[other] = body[other], body[one]
    return orjson.dumps(body)


def drop_or_repeat_field(rng: random.Random, value: bytes) -> bytes:
    body = orjson.loads(value)
    name = rng.choice(list(body))
    if rng.random() < 0.5:
        del body[name]
        return orjson.dumps(body)
    return value[:-1] + b"," + orjson.dumps({name: rng.choice(ODD_VALUES)})[1:]


def nest(rng: random.Random, value: bytes) -> bytes:
    depth = rng.choice([1, 10, 900, 1100, 20_000])
    return value[:-1] + b',"nested":' + b"[" * depth + b"]" * depth + b"}"


def write_huge_number(rng: random.Random, value: bytes) -> bytes:
    name = orjson.dumps(rng.choice(list(orjson.loads(value))))
    return value[:-1] + b"," + name + b":" + b"9" * rng.choice([16, 30, 310, 5000]) + b"}"


MUTATIONS: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    flip_bytes,
    cut_off,
    insert_bytes,
    change_value,
    swap_fields,
    drop_or_repeat_field,
    nest,
    write_huge_number,
)


def mutated_records(seed: int, count: int) -> list[Record]:
    rng = random.Random(seed)
    records = []
    for offset in range(count):
        topic = rng.choice([*TOPICS, "in.transactions", "in.transactions"])
        value = rng.choice(MUTATIONS)(rng, orjson.dumps(FULL[topic]))
        records.append(record_of(topic, value, offset=offset, key=rng.choice([None, b"c-1", b"\xff"])))
    return records


def test_ten_thousand_mutated_records_are_all_accounted_for() -> None:
    print(f"seed {SEED}")
    decoder = Decoder()
    outcomes: Counter[str] = Counter()
    for record in mutated_records(SEED, 10_000):
        result = decoder.decode(record)
        if isinstance(result, Rejection):
            assert result.code in CODES, record.value
            line = orjson.loads(as_file_line(dead_letter(record, result)))
            assert (line["code"], line["offset"]) == (result.code, record.offset)
            outcomes[result.code] += 1
        else:
            assert type(result) is EVENT_TYPES[record.topic]
            orjson.dumps([getattr(result, name) for name in result.__struct_fields__])
            outcomes["event"] += 1
    print(dict(outcomes))
    assert sum(outcomes.values()) == 10_000
    # A fuzzer that only ever broke the JSON, or never broke anything, would prove nothing.
    assert outcomes["event"] > 1_000
    assert len(outcomes) > 10


class CarefulDecoder(Decoder):
    """The decoder without its short cut for ordinary transactions."""

    def _ordinary_transaction(self, *_: Any) -> Transaction | None:
        return None


def test_the_short_cut_for_transactions_gives_what_the_rules_give() -> None:
    print(f"seed {SEED + 1}")
    quick, careful = Decoder(), CarefulDecoder()
    for record in mutated_records(SEED + 1, 10_000):
        assert quick.decode(record) == careful.decode(record), record.value
    assert quick.counts == careful.counts


def test_the_short_cut_is_taken_by_ordinary_transactions() -> None:
    decoder = Decoder()
    for body in (FULL["in.transactions"], FULL["in.transactions"] | {"lat": None, "lon": None, "mcc": None}):
        assert decoder._ordinary_transaction(record_of("in.transactions", b""), body) is not None


def test_bodies_from_tables_with_values_that_json_lacks_are_accounted_for() -> None:
    lone, huge = "\ud800", 10**400
    decoder, careful = Decoder(), CarefulDecoder()
    for topic in TOPICS:
        for name in FULL[topic]:
            for value in (math.nan, math.inf, -math.inf, lone, huge, b"bytes", object, (1,), {1: 2}, 1 + 2j):
                record = Record(topic, 0, 0, ARRIVAL_US, None, b"", FULL[topic] | {name: value})
                result = decoder.decode(record)
                assert isinstance(result, Event | Rejection)
                assert result == careful.decode(record), (topic, name, type(value))
                if isinstance(result, Rejection):
                    assert result.code in CODES
                    as_file_line(dead_letter(record, result))


def test_parse_json_raises_nothing_but_value_error() -> None:
    print(f"seed {SEED + 2}")
    for record in mutated_records(SEED + 2, 2_000):
        try:
            parse_json(record.value)
        except ValueError:
            continue
