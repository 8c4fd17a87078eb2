"""Each kind of dirt comes at its rate, and dirt only adds to the clean world."""

from __future__ import annotations

from collections import Counter
from datetime import datetime

import orjson
import pytest
from worlds import SMALL_CLEAN, TIME_FIELD, records, with_dirt, world

TOLERANCE = 0.15
"""Of the rate; the worlds have some 10,000 records."""

LATENESS_S = 48 * 3600


def clean_values() -> Counter[bytes]:
    return Counter(message.value for message in world(SMALL_CLEAN)[0])


def test_a_clean_world_has_no_dirt() -> None:
    assert max(clean_values().values()) == 1
    for message in world(SMALL_CLEAN)[0]:
        record = orjson.loads(message.value)
        assert "arrived_at" not in record
        assert record.get("status") not in ("reversed", "pending")
        assert datetime.fromisoformat(record[TIME_FIELD[message.topic]]).timestamp() * 1e6 == message.arrival_us


@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_disorder_delays_its_share_by_at_most_48_hours(rate: float) -> None:
    settings = with_dirt(disorder=rate)
    delays_s = []
    for message in world(settings)[0]:
        record = orjson.loads(message.value)
        happened_s = datetime.fromisoformat(record[TIME_FIELD[message.topic]]).timestamp()
        delays_s.append(message.arrival_us / 1e6 - happened_s)
        if "arrived_at" in record:
            assert datetime.fromisoformat(record["arrived_at"]).timestamp() * 1e6 == message.arrival_us
    assert sum(delay > 0 for delay in delays_s) / len(delays_s) == pytest.approx(rate, rel=TOLERANCE)
    assert min(delays_s) == 0
    assert 24 * 3600 < max(delays_s) < LATENESS_S


def without_arrival(value: bytes) -> bytes:
    """A record as it was before it was delayed: `arrived_at` is always the last field."""
    head, _, arrival = value.partition(b',"arrived_at"')
    return head + b"}" if arrival else value


def test_disorder_changes_nothing_but_the_arrival() -> None:
    assert Counter(without_arrival(message.value) for message in world(with_dirt(disorder=0.4))[0]) == clean_values()


def test_duplicates_are_second_copies_at_their_rate() -> None:
    copies = Counter(without_arrival(message.value) for message in world(with_dirt(duplicates=0.1))[0])
    assert copies.keys() == clean_values().keys()
    assert max(copies.values()) == 2
    assert sum(count == 2 for count in copies.values()) / len(copies) == pytest.approx(0.1, rel=TOLERANCE)


def test_malformed_records_come_in_addition_and_none_of_them_is_a_record() -> None:
    rate = 0.05
    sent = world(with_dirt(malformed=rate))[0]
    extra = Counter(message.value for message in sent)
    clean = clean_values()
    assert not clean - extra
    extra -= clean
    assert sum(extra.values()) / sum(clean.values()) == pytest.approx(rate, rel=TOLERANCE)
    broken = 0
    for value in extra:
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            broken += 1
    assert 0 < broken < len(extra)


def test_reversals_undo_charges_that_the_clean_world_never_had() -> None:
    rate = 0.1
    settings = with_dirt(reversals=rate)
    clean = clean_values()
    extra = [orjson.loads(m.value) for m in world(settings)[0] if m.value not in clean]
    assert not clean - Counter(message.value for message in world(settings)[0])
    charges = {r["transaction_id"]: r for r in extra if r["status"] != "reversed"}
    undone = {r.get("original_transaction_id", r["transaction_id"]): r for r in extra if r["status"] == "reversed"}
    transactions = sum(1 for _ in records(SMALL_CLEAN, "in.transactions"))
    assert len(charges) / transactions == pytest.approx(rate, rel=TOLERANCE)
    assert len(undone.keys() & charges.keys()) > 0.97 * len(charges)
    ways = Counter("original_transaction_id" in reversal for reversal in undone.values())
    assert min(ways.values()) > 0.1 * len(undone)
    for transaction_id, reversal in undone.items():
        charge = charges[transaction_id]
        assert (charge["amount"], charge["account_id"]) == (reversal["amount"], reversal["account_id"])
        assert charge["booked_at"] < reversal["booked_at"]
        own_id = "original_transaction_id" in reversal
        assert charge["status"] == ("posted" if own_id else "pending")
        assert reversal["direction"] == ("credit" if own_id else "debit")
