"""What decoding costs: microseconds a record, for each topic and against bare JSON parsing.

python bench/decode.py [--records N]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import orjson  # noqa: E402
from decode_samples import FULL, record_of  # noqa: E402

from operators.decode import Decoder, parse_json  # noqa: E402
from operators.fields import FIELDS  # noqa: E402
from state.records import Record  # noqa: E402

ROUNDS = 200
ORDINARY = (*FIELDS["in.transactions"].required, "account_id", "channel", "merchant_id", "mcc", "country")


def fastest_us(work: Callable[[], object], records: int) -> float:
    """Microseconds a record in the fastest of many short rounds: the others were disturbed by something else."""
    rounds = []
    for _ in range(ROUNDS):
        start = perf_counter()
        for _ in range(records):
            work()
        rounds.append(perf_counter() - start)
    return min(rounds) / records * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures decoding.")
    parser.add_argument("--records", type=int, default=500, help="records a round (default: 500)")
    count = parser.parse_args().records
    transaction = FULL["in.transactions"]
    broken = transaction | {"currency": "EURO"}
    samples = {
        f"transaction, ordinary ({len(ORDINARY)} fields)": record_of(
            "in.transactions", {name: transaction[name] for name in ORDINARY}, key=b"c-1"
        ),
        f"transaction, full ({len(transaction)} fields)": record_of("in.transactions", transaction, key=b"c-1"),
        "transaction, unknown country": record_of("in.transactions", transaction | {"country": "XX"}),
        "transaction, dead letter": record_of("in.transactions", broken),
        **{topic: record_of(topic, body) for topic, body in FULL.items() if topic != "in.transactions"},
    }
    decoder = Decoder()
    print(f"{'record':<38}{'bytes':>6}{'parse µs':>10}{'decode µs':>11}")
    for name, record in samples.items():
        print(
            f"{name:<38}{len(record.value):>6}{parse_us(record, count):>10.2f}{decode_us(decoder, record, count):>11.2f}"
        )
    body = orjson.loads(samples[f"transaction, full ({len(transaction)} fields)"].value)
    row = Record("in.transactions", 0, 0, record.arrival_us, b"c-1", b"", body)
    print(f"{'transaction, full, row of a table':<38}{'-':>6}{'-':>10}{decode_us(decoder, row, count):>11.2f}")


def parse_us(record: Record, count: int) -> float:
    return fastest_us(lambda: parse_json(record.value), count)


def decode_us(decoder: Decoder, record: Record, count: int) -> float:
    return fastest_us(lambda: decoder.decode(record), count)


if __name__ == "__main__":
    main()
