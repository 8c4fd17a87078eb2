"""Every record of a clean world obeys the contract of its topic, value by value, as an integrator would read it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import orjson
import pytest
from worlds import SMALL_CLEAN, records, world

from simulation.places import TOWNS

LONG = replace(SMALL_CLEAN, customers=48, days=360)


TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
AMOUNT = r"\d{1,15}(\.\d{1,5})?"
BALANCE = "-?" + AMOUNT
ID = r"[\x21-\x7e]{1,128}"
TEXT = r"[^\x00-\x1f]{1,512}"
CHANNEL = "card_present|ecommerce|atm|transfer|direct_debit|standing_order|cash|fee|interest|internal|other"

REQUIRED = {
    "in.transactions": {
        "transaction_id": ID,
        "customer_id": ID,
        "booked_at": TIME,
        "amount": AMOUNT,
        "currency": "EUR",
        "direction": "debit|credit",
    },
    "in.accounts": {
        "account_id": ID,
        "customer_id": ID,
        "observed_at": TIME,
        "kind": "current|savings|credit_card|loan|mortgage|investment",
        "currency": "EUR",
        "balance": BALANCE,
    },
    "in.interactions": {
        "interaction_id": ID,
        "customer_id": ID,
        "occurred_at": TIME,
        "kind": "page|search|calculator|click|login|abandon",
    },
    "in.applications": {
        "application_id": ID,
        "customer_id": ID,
        "applied_at": TIME,
        "product": TEXT,
        "status": "started|submitted|approved|declined|withdrawn|completed",
    },
    "in.labels": {
        "customer_id": ID,
        "labelled_at": TIME,
        "label": "fraud|not_fraud|product_taken|life_event|churned|goal_reached|useful|not_useful",
    },
    "in.messages": {"message_id": ID, "customer_id": ID, "sent_at": TIME, "text": TEXT},
    "in.touchpoints": {
        "touchpoint_id": ID,
        "customer_id": ID,
        "occurred_at": TIME,
        "kind": "impression|click|conversion|dismiss",
    },
    "in.consents": {
        "customer_id": ID,
        "decided_at": TIME,
        "purpose": "service|marketing|profiling|health|sharing",
        "status": "granted|revoked",
    },
    "in.market": {"rate_id": ID, "observed_at": TIME, "series": TEXT, "value": float},
}
OPTIONAL: dict[str, dict[str, Any]] = {
    "in.transactions": {
        "account_id": ID,
        "status": "pending|posted|reversed",
        "channel": CHANNEL,
        "merchant_id": ID,
        "merchant_name": TEXT,
        "mcc": r"\d{4}",
        "counterparty": TEXT,
        "country": "[A-Z]{2}",
        "city": TEXT,
        "lat": float,
        "lon": float,
        "balance_after": BALANCE,
        "card_id": ID,
        "device_id": ID,
        "description": TEXT,
    },
    "in.accounts": {
        "overdraft_limit": AMOUNT,
        "credit_limit": AMOUNT,
        "interest_rate": float,
        "minimum_payment": AMOUNT,
        "payment_due": TIME,
        "product": TEXT,
        "opened_on": TIME,
        "status": "open|closed",
    },
    "in.interactions": {
        "channel": TEXT,
        "page": TEXT,
        "query": TEXT,
        "session_id": ID,
        "device_id": ID,
        "dwell_s": int,
    },
    "in.applications": {"amount": AMOUNT, "currency": "EUR"},
    "in.labels": {"transaction_id": ID, "merchant_id": ID, "product": TEXT, "kind": TEXT, "occurred_at": TIME},
    "in.messages": {"channel": TEXT, "direction": "in|out", "language": "en|de|fr"},
    "in.touchpoints": {"campaign": TEXT, "channel": TEXT, "offer": TEXT},
    "in.consents": {"legal_basis": TEXT},
    "in.market": {"product": TEXT, "currency": "EUR"},
}

OWN_ID = ("transaction_id", "interaction_id", "message_id", "touchpoint_id", "rate_id")


@pytest.mark.parametrize("topic", REQUIRED)
def test_every_value_obeys_the_contract(topic: str) -> None:
    seen = set()
    for record in records(LONG, topic):
        assert REQUIRED[topic].keys() <= record.keys(), record
        seen |= record.keys()
        for name, value in record.items():
            rule = (REQUIRED[topic] | OPTIONAL[topic])[name]
            if isinstance(rule, str):
                assert isinstance(value, str) and re.fullmatch(rule, value), (name, record)
            else:
                assert type(value) in (rule, int), (name, record)
    assert seen == REQUIRED[topic].keys() | OPTIONAL[topic].keys()


def test_keys_are_customers_except_of_the_market_and_ids_are_unique() -> None:
    ids = set()
    for message in world(LONG)[0]:
        record = orjson.loads(message.value)
        assert message.key.decode() == record.get("customer_id", record.get("series"))
        own = next(
            (
                record[n]
                for n in record
                if n in ("transaction_id", "interaction_id", "message_id", "touchpoint_id", "rate_id")
            ),
            None,
        )
        if own is not None and message.topic != "in.labels":
            assert (message.topic, own) not in ids
            ids.add((message.topic, own))


def test_records_are_written_compactly_in_utf8_and_stay_small() -> None:
    for message in world(LONG)[0]:
        assert orjson.dumps(orjson.loads(message.value)) == message.value
        assert len(message.value) < 1500


def test_coordinates_are_those_of_the_city_and_country_of_the_merchant() -> None:
    towns = {town.name: town for town in TOWNS}
    placed = [record for record in records(SMALL_CLEAN, "in.transactions") if "city" in record]
    assert placed
    for record in placed:
        town = towns[record["city"]]
        assert record["country"] == town.country
        assert abs(record["lat"] - town.lat) < 0.05
        assert abs(record["lon"] - town.lon) < 0.05
