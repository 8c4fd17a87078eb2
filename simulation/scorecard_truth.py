"""The truth of a planted world: its cases and decoys, and its period and customers where world.json tells them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import orjson

from simulation.scorecard_rules import ALIASES, DAY_US, Case
from state.settings import ConfigError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
US = timedelta(microseconds=1)
CUSTOMERS_MAX = 10_000_000_000
"""More than there are people; beyond it the bootstrap could not count them."""
END_US_MAX = (datetime.max.replace(tzinfo=UTC) - EPOCH) // US


class Refusal(NamedTuple):
    """A time in which a customer refused a purpose."""

    purpose: str
    from_us: int
    to_us: int

    def touches(self, purposes: Collection[str], from_us: int, to_us: int) -> bool:
        """Whether one of `purposes` was refused at some time of [from_us, to_us]."""
        return self.purpose in purposes and self.from_us <= to_us and from_us < self.to_us


Refusals = Mapping[str, list[Refusal]]
"""By customer."""


class World(NamedTuple):
    """What world.json tells; None for what it doesn't."""

    start_us: int | None = None
    end_us: int | None = None
    customers: int | None = None


@dataclass
class Truth:
    """`without_customer` counts cases of nobody in particular: no customer's alarm can be held against them."""

    cases: list[Case]
    decoys: list[Case]
    without_customer: int
    world: World
    refusals: dict[str, list[Refusal]] = field(default_factory=dict)


def read_truth(folder: Path) -> Truth:
    """Raises ConfigError, with file:line for a line that isn't a case."""
    path = folder / "truth.jsonl"
    if not path.is_file():
        raise ConfigError(
            f"{path}: no such file. --truth names the folder that holds truth.jsonl: "
            "segone simulate writes it to OUT/truth"
        )
    truth = Truth([], [], 0, _read_world(folder / "world.json"))
    _read_cases(path, truth)
    more = folder / "money.jsonl"
    if more.is_file():
        _read_cases(more, truth)
    consents = folder / "consents.jsonl"
    if consents.is_file():
        _read_refusals(consents, truth)
    return truth


def _read_cases(path: Path, truth: Truth) -> None:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                case = parse_case(line)
            except ValueError as error:
                raise ConfigError(
                    f"{path}:{number}: not a case of truth: {error}. Expected one JSON object a line: "
                    '{"kind", "customer_id", "start", "end", "detail"}'
                ) from error
            if case.kind == "decoy":
                truth.decoys.append(case)
            elif case.customer_id:
                truth.cases.append(case)
            else:
                truth.without_customer += 1


def _read_refusals(path: Path, truth: Truth) -> None:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                body = orjson.loads(line)
                refusal = Refusal(str(body["purpose"]), parse_time(body["from"]), parse_time(body["to"]))
                truth.refusals.setdefault(str(body["customer_id"]), []).append(refusal)
            except (ValueError, KeyError, TypeError) as error:
                raise ConfigError(
                    f"{path}:{number}: not a refusal: {error}. Expected one JSON object a line: "
                    '{"customer_id", "purpose", "from", "to"}'
                ) from error


def parse_case(line: bytes) -> Case:
    """Needs a kind and a start; end, detail and even the customer may be missing. Raises ValueError."""
    body = orjson.loads(line)
    if not isinstance(body, dict):
        raise ValueError("not a JSON object")
    kind, customer_id, end = body.get("kind"), body.get("customer_id"), body.get("end")
    if not isinstance(kind, str) or not kind:
        raise ValueError("kind is missing")
    if body.get("start") is None:
        raise ValueError("start is missing")
    detail = body.get("detail")
    return Case(
        kind=ALIASES.get(kind, kind),
        customer_id="" if customer_id is None else str(customer_id),
        start_us=parse_time(body["start"]),
        end_us=None if end is None else parse_time(end),
        detail=detail if isinstance(detail, dict) else {},
    )


def _read_world(path: Path) -> World:
    if not path.is_file():
        return World()
    try:
        body = orjson.loads(path.read_bytes())
        start_us = None if body.get("start") is None else parse_time(body["start"])
        end_us = None if body.get("end") is None else parse_time(body["end"])
        if end_us is None and start_us is not None and body.get("days") is not None:
            end_us = start_us + int(float(body["days"]) * DAY_US)
        customers = body.get("customers")
        if customers is not None:
            customers = len(customers) if isinstance(customers, list | dict) else int(customers)
            if not 0 <= customers <= CUSTOMERS_MAX:
                raise ValueError(f"customers must be from 0 to {CUSTOMERS_MAX:,}")
        if end_us is not None and end_us > END_US_MAX:
            raise ValueError("the period ends after the year 9999")
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise ConfigError(
            f"{path}: {error}. Expected one JSON object with start, end and customers; "
            "without the file the run's scores tell them"
        ) from error
    return World(start_us, end_us, customers)


def time_us_of(when: datetime) -> int:
    """Microseconds since 1970; a time without an offset is UTC."""
    return ((when if when.tzinfo else when.replace(tzinfo=UTC)) - EPOCH) // US


def parse_time(text: object) -> int:
    """Liberal, as somebody else wrote it: RFC 3339, without an offset (UTC) or only a date (its first moment).

    >>> parse_time("2024-01-01") == parse_time("2024-01-01T01:00:00+01:00")
    True

    Raises ValueError.
    """
    if not isinstance(text, str):
        raise ValueError(f"expected a time like 2024-05-31T08:00:00Z, got {text!r}")
    return time_us_of(datetime.fromisoformat(text))
