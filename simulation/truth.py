"""What really happened, for `segone score` alone: the engine never reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import orjson

from simulation.life import Case, Life

WITH_TRANSACTIONS = frozenset(
    {"takeover", "compromised_merchant", "duplicate_charge", "impossible_travel", "price_rise", "trip", "fee"}
)
"""Cases of these kinds that came to no booking (the customer had left) didn't happen."""


def cases(life: Life) -> Iterator[Case]:
    """The cases that happened, in order of their start."""
    first_us, end_us = life.time_us(0), life.time_us(life.days)
    for case in sorted(life.cases, key=lambda case: (case.start_us, case.kind)):
        happened = case.kind not in WITH_TRANSACTIONS or case.transaction_ids
        if happened and first_us <= case.start_us < end_us:
            yield case


def truth_line(life: Life, case: Case) -> bytes:
    """One line of truth.jsonl: {"kind","customer_id","start","end","detail"}."""
    detail = case.detail | ({"transaction_ids": case.transaction_ids} if case.transaction_ids else {})
    start, end = life.text(case.start_us), life.text(max(case.start_us, case.end_us))
    return orjson.dumps(
        {"kind": case.kind, "customer_id": life.customer_id, "start": start, "end": end, "detail": detail},
        option=orjson.OPT_APPEND_NEWLINE,
    )


def refusal_lines(life: Life) -> Iterator[bytes]:
    """Lines of consents.jsonl: {"customer_id","purpose","from","to"}, the times in which a purpose was refused."""
    end = life.text(life.time_us(life.days))
    for purpose, from_us in life.refusals:
        body = {"customer_id": life.customer_id, "purpose": purpose, "from": life.text(from_us), "to": end}
        yield orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def count_case(tally: Counter[str], case: Case) -> None:
    """Counts under "case KIND" or "decoy KIND VARIANT"."""
    if case.kind == "decoy":
        tally[f"decoy {case.detail['for']} {case.detail['variant']}"] += 1
    else:
        tally[f"case {case.kind}"] += 1
