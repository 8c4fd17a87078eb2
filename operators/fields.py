"""The fields of each input topic: the table that the decoder goes by and that the JSON Schemas are generated from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, get_args

from operators.rules import (
    COUNTRY,
    CURRENCY,
    DAY,
    ID,
    LATITUDE,
    LONGITUDE,
    MCC,
    MESSAGE,
    NAME,
    NOT_NEGATIVE,
    NUMBER,
    SHARE,
    TEXT,
    TIME,
    Rule,
    one_of,
)
from state.events import Channel, Direction, Status
from state.money import parse_amount, parse_balance


class Field(NamedTuple):
    """A field of a topic: its name in JSON, its attribute of the event, its rule."""

    name: str
    attribute: str
    rule: Rule
    required: bool = False


class MoneyField(NamedTuple):
    """A field whose value is read with the exponent of the record's currency."""

    name: str
    attribute: str
    parse: Callable[[str, int], int]
    required: bool = False


class TopicFields(NamedTuple):
    """All fields of a topic."""

    fields: tuple[Field, ...]
    money: tuple[MoneyField, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """The names of the fields that every record must have."""
        names = [field.name for field in self.fields if field.required]
        return (*names, *(field.name for field in self.money if field.required))


def _must(name: str, rule: Rule, attribute: str = "") -> Field:
    return Field(name, attribute or name, rule, required=True)


def _may(name: str, rule: Rule, attribute: str = "") -> Field:
    return Field(name, attribute or name, rule)


_CUSTOMER = _must("customer_id", ID)

FIELDS: dict[str, TopicFields] = {
    "in.transactions": TopicFields(
        (
            _must("transaction_id", ID),
            _CUSTOMER,
            _must("booked_at", TIME, "time_us"),
            _must("currency", CURRENCY),
            _must("direction", one_of(get_args(Direction))),
            _may("account_id", ID),
            _may("status", one_of(get_args(Status))),
            _may("channel", one_of(get_args(Channel), fallback="other")),
            _may("merchant_id", ID),
            _may("merchant_name", TEXT),
            _may("mcc", MCC),
            _may("counterparty", TEXT),
            _may("country", COUNTRY),
            _may("city", TEXT),
            _may("lat", LATITUDE),
            _may("lon", LONGITUDE),
            _may("card_id", ID),
            _may("device_id", ID),
            _may("original_transaction_id", ID),
            _may("description", TEXT),
        ),
        (
            MoneyField("amount", "amount_minor", parse_amount, required=True),
            MoneyField("balance_after", "balance_after_minor", parse_balance),
        ),
    ),
    "in.accounts": TopicFields(
        (
            _must("account_id", ID),
            _CUSTOMER,
            _must("observed_at", TIME, "time_us"),
            _must("kind", one_of(("current", "savings", "credit_card", "loan", "mortgage", "investment"))),
            _must("currency", CURRENCY),
            _may("interest_rate", NUMBER),
            _may("payment_due", DAY, "payment_due_us"),
            _may("product", TEXT),
            _may("opened_on", DAY, "opened_us"),
            _may("status", one_of(("open", "closed"))),
        ),
        (
            MoneyField("balance", "balance_minor", parse_balance, required=True),
            MoneyField("overdraft_limit", "overdraft_limit_minor", parse_amount),
            MoneyField("credit_limit", "credit_limit_minor", parse_amount),
            MoneyField("minimum_payment", "minimum_payment_minor", parse_amount),
        ),
    ),
    "in.interactions": TopicFields(
        (
            _must("interaction_id", ID),
            _CUSTOMER,
            _must("occurred_at", TIME, "time_us"),
            _must("kind", one_of(("page", "search", "calculator", "click", "login", "abandon"))),
            _may("channel", TEXT),
            _may("page", TEXT),
            _may("query", TEXT),
            _may("session_id", ID),
            _may("device_id", ID),
            _may("dwell_s", NOT_NEGATIVE),
        )
    ),
    "in.applications": TopicFields(
        (
            _must("application_id", ID),
            _CUSTOMER,
            _must("applied_at", TIME, "time_us"),
            _must("product", NAME),
            _must("status", one_of(("started", "submitted", "approved", "declined", "withdrawn", "completed"))),
            _may("currency", CURRENCY),
        ),
        (MoneyField("amount", "amount_minor", parse_amount),),
    ),
    "in.labels": TopicFields(
        (
            _CUSTOMER,
            _must("labelled_at", TIME, "time_us"),
            _must(
                "label",
                one_of(
                    (
                        "fraud",
                        "not_fraud",
                        "product_taken",
                        "life_event",
                        "churned",
                        "goal_reached",
                        "useful",
                        "not_useful",
                    )
                ),
            ),
            _may("transaction_id", ID),
            _may("merchant_id", ID),
            _may("product", TEXT),
            _may("kind", TEXT),
            _may("occurred_at", TIME, "occurred_us"),
            _may("signal_id", ID),
        )
    ),
    "in.messages": TopicFields(
        (
            _must("message_id", ID),
            _CUSTOMER,
            _must("sent_at", TIME, "time_us"),
            _must("text", MESSAGE),
            _may("channel", TEXT),
            _may("direction", TEXT),
            _may("language", TEXT),
        )
    ),
    "in.touchpoints": TopicFields(
        (
            _must("touchpoint_id", ID),
            _CUSTOMER,
            _must("occurred_at", TIME, "time_us"),
            _must("kind", one_of(("impression", "click", "conversion", "dismiss"))),
            _may("campaign", TEXT),
            _may("channel", TEXT),
            _may("offer", TEXT),
            _may("signal_id", ID),
            _may("propensity", SHARE),
            _may("value", NUMBER),
        )
    ),
    "in.consents": TopicFields(
        (
            _CUSTOMER,
            _must("decided_at", TIME, "time_us"),
            _must("purpose", one_of(("service", "marketing", "profiling", "health", "sharing"))),
            _must("status", one_of(("granted", "revoked"))),
            _may("legal_basis", TEXT),
            _may("expires_at", TIME, "expires_us"),
        )
    ),
    "in.market": TopicFields(
        (
            _must("rate_id", ID),
            _must("observed_at", TIME, "time_us"),
            _must("series", NAME),
            _must("value", NUMBER),
            _may("product", TEXT),
            _may("currency", CURRENCY),
        )
    ),
}
