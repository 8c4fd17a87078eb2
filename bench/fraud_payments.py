"""A history as columns: the payments that the engine scores, which of them were fraud, and when that became known.

Read through the same mapping and decoder as `segone replay`, so baselines and engine see the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from dataflows.history.mapping import StreamRule, literal, load_mapping, quoted
from dataflows.history.ordered import open_history
from operators.decode import Decoder
from state.categories import group_of
from state.events import Label, Transaction
from state.habits import major_units
from state.settings import ConfigError

Array = NDArray[Any]


@dataclass
class Payments:
    """Debits in the order of arrival, one in each row of all columns."""

    ids: list[tuple[str, str]]
    """(customer_id, transaction_id)."""
    time_us: Array
    customers: Array
    """Numbers from 0; so for merchants, where −1 is none."""
    merchants: Array
    amounts: Array
    """In major units."""
    groups: Array
    """Spending groups (state/categories.py)."""
    fraud: Array
    """0 or 1: the truth, from all labels of the file."""
    known_us: Array
    """When a fraud became known; 0 for what is none."""
    scenarios: list[str]
    """Of each payment; empty texts where there is no such column."""

    def __len__(self) -> int:
        return len(self.ids)


def read_payments(data: Path, mapping: Path, scenario: str | None) -> Payments:
    """Raises ConfigError for files and mappings that `segone replay` refuses, too, and for a history without any fraud."""
    decoder = Decoder()
    rows: list[tuple[Any, ...]] = []
    known_us: dict[tuple[str, str], int] = {}
    with open_history(data, mapping, None, None) as history:
        for records in history.records():
            for record in records:
                event = decoder.decode(record)
                if isinstance(event, Transaction) and event.direction == "debit":
                    amount = major_units(event.amount_minor, event.currency)
                    id_ = (event.customer_id, event.transaction_id)
                    rows.append((id_, event.time_us, event.merchant_id, amount, group_of(event.mcc, event.channel)))
                elif isinstance(event, Label) and event.label == "fraud" and event.transaction_id:
                    known_us.setdefault((event.customer_id, event.transaction_id), record.arrival_us)
    ids, times_us, merchants, amounts, groups = (
        (list(column) for column in zip(*rows, strict=True)) if rows else [[]] * 5
    )
    known = np.array([known_us.get(id_, 0) for id_ in ids], dtype=np.int64)
    if not known.any():
        raise ConfigError(f"{mapping}: gives no payment a label fraud; add a stream of in.labels with transaction_id")
    return Payments(
        ids=ids,
        time_us=np.array(times_us, dtype=np.int64),
        customers=_numbered([customer_id for customer_id, _ in ids]),
        merchants=_numbered(merchants),
        amounts=np.array(amounts, dtype=np.float64),
        groups=np.array(groups, dtype=np.int64),
        fraud=(known > 0).astype(np.int64),
        known_us=known,
        scenarios=_scenarios(data, mapping, scenario, ids),
    )


def _numbered(names: list[Any]) -> Array:
    numbers: dict[str, int] = {}
    return np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names], dtype=np.int64)


def _scenarios(data: Path, mapping: Path, column: str | None, ids: list[tuple[str, str]]) -> list[str]:
    """The texts of a column that the mapping leaves out. Transaction ids are taken to be unique in the file."""
    if column is None:
        return [""] * len(ids)
    rule = _transaction_rule(load_mapping(mapping), mapping)
    field = next(field for field in rule.fields if field.name == "transaction_id")
    if field.origin != "column":
        raise ConfigError(f"{field.place}: scenarios are joined by a column; leave --scenario out, or map a column")
    source = str(data if data.is_file() else data / (rule.source or "*"))
    try:
        rows = duckdb.execute(
            f"SELECT CAST({quoted(field.what)} AS VARCHAR), CAST({quoted(column)} AS VARCHAR) FROM {literal(source)}"
        ).fetchall()
    except duckdb.Error as error:
        raise ConfigError(f"--scenario {column}: not to be read from {source}: {error}") from error
    of_transaction = {f"{field.prefix}{id_}": scenario or "" for id_, scenario in rows}
    return [of_transaction.get(transaction_id, "") for _, transaction_id in ids]


def _transaction_rule(rules: tuple[StreamRule, ...], mapping: Path) -> StreamRule:
    for rule in rules:
        if rule.topic == Transaction.TOPIC:
            return rule
    raise ConfigError(f"{mapping}: has no stream of {Transaction.TOPIC}")
