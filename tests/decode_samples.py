"""One full and one minimal valid body for each input topic, for the tests of decoding and of the schemas."""

from typing import Any

import orjson

from state.records import Record

ARRIVAL_US = 1_741_091_696_000_000  # 2025-03-04T12:34:56Z
TIME = "2025-03-04T12:34:56Z"

FULL: dict[str, dict[str, Any]] = {
    "in.transactions": {
        "transaction_id": "t-1",
        "customer_id": "c-1",
        "booked_at": TIME,
        "amount": "1234.50",
        "currency": "EUR",
        "direction": "debit",
        "account_id": "a-1",
        "status": "pending",
        "channel": "card_present",
        "merchant_id": "m-1",
        "merchant_name": "Corner shop",
        "mcc": "5411",
        "counterparty": "CZ65 0800 0000 1920 0014 5399",
        "country": "CZ",
        "city": "Praha",
        "lat": 50.1,
        "lon": 14,
        "balance_after": "-12.00",
        "card_id": "k-1",
        "device_id": "d-1",
        "original_transaction_id": "t-0",
        "description": "Bread and butter",
    },
    "in.accounts": {
        "account_id": "a-1",
        "customer_id": "c-1",
        "observed_at": TIME,
        "kind": "credit_card",
        "currency": "JPY",
        "balance": -1200,
        "overdraft_limit": "0",
        "credit_limit": "100000",
        "interest_rate": 19.9,
        "minimum_payment": "500",
        "payment_due": "2025-04-01",
        "product": "Gold card",
        "opened_on": "1968-05-01",
        "status": "open",
    },
    "in.interactions": {
        "interaction_id": "i-1",
        "customer_id": "c-1",
        "occurred_at": TIME,
        "kind": "search",
        "channel": "app",
        "page": "/mortgages",
        "query": "fixed rate",
        "session_id": "s-1",
        "device_id": "d-1",
        "dwell_s": 12.5,
    },
    "in.applications": {
        "application_id": "p-1",
        "customer_id": "c-1",
        "applied_at": TIME,
        "product": "mortgage",
        "status": "submitted",
        "amount": "250000",
        "currency": "EUR",
    },
    "in.labels": {
        "customer_id": "c-1",
        "labelled_at": TIME,
        "label": "fraud",
        "transaction_id": "t-1",
        "merchant_id": "m-1",
        "product": "card",
        "kind": "takeover",
        "occurred_at": "2025-02-25T00:00:00+01:00",
        "signal_id": "0" * 32,
    },
    "in.messages": {
        "message_id": "x-1",
        "customer_id": "c-1",
        "sent_at": TIME,
        "text": "Where is\nmy card?",
        "channel": "chat",
        "direction": "inbound",
        "language": "en",
    },
    "in.touchpoints": {
        "touchpoint_id": "o-1",
        "customer_id": "c-1",
        "occurred_at": TIME,
        "kind": "click",
        "campaign": "spring",
        "channel": "email",
        "offer": "savings",
        "signal_id": "0" * 32,
        "propensity": 0.25,
        "value": "-3.5",
    },
    "in.consents": {
        "customer_id": "c-1",
        "decided_at": TIME,
        "purpose": "marketing",
        "status": "granted",
        "legal_basis": "consent",
        "expires_at": "2027-01-01T00:00:00Z",
    },
    "in.market": {
        "rate_id": "r-1",
        "observed_at": TIME,
        "series": "euribor_3m",
        "value": -0.5,
        "product": "mortgage",
        "currency": "EUR",
    },
}


def record_of(topic: str, body: Any, **changes: Any) -> Record:
    """A record as Kafka would give it; `body` is an object to be encoded, or the bytes themselves."""
    value = body if isinstance(body, bytes) else orjson.dumps(body)
    parts: dict[str, Any] = {"partition": 3, "offset": 7, "arrival_us": ARRIVAL_US, "key": None, "value": value}
    return Record(topic, **(parts | changes))
