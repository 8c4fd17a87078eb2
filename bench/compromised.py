"""How many compromised merchants of a small bank can be found at all: an oracle that knows the shops, but no customer.

python bench/compromised.py --seeds 641 642 [--customers N] [--days D]

It is told the first label of fraud at each shop that is compromised, and from then on alarms at every payment there until 28 days after the
first fraud that it knows of. No engine is run: a world's events are held against its truth. A case is found if one of its payments
comes after the first label; alarms on other customers' days are false. As in the scorecard, only the second half of the period counts.
"""

# ruff: noqa: E402  (what follows is found from the checkout)

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import msgspec
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from tables import wide

from simulation.log import write_events, write_truth
from simulation.settings import WorldSettings
from simulation.world import TRUTHS, World

COMPROMISED_DAYS = 28

ORACLE = f"""
WITH fraud AS (
    SELECT customer_id, unnest(detail.transaction_ids) AS transaction_id, detail.merchant_id AS merchant_id, start
    FROM truth WHERE kind = 'compromised_merchant'
), payment AS (
    SELECT DISTINCT customer_id, transaction_id, merchant_id, booked_at FROM transactions WHERE direction = 'debit'
), known AS (
    SELECT merchant_id, min(labelled_at) AS told, min(occurred_at) + INTERVAL {COMPROMISED_DAYS} DAY AS until
    FROM labels JOIN fraud USING (customer_id, transaction_id, merchant_id) WHERE label = 'fraud' GROUP BY merchant_id
), world AS (
    SELECT min(booked_at) + (max(booked_at) - min(booked_at)) / 2 AS half, max(booked_at) AS ends FROM payment
), alarm AS (
    SELECT payment.* FROM payment JOIN known USING (merchant_id) WHERE booked_at > told AND booked_at < until
), cases AS (
    SELECT customer_id, start, bool_or((customer_id, transaction_id) IN (SELECT (customer_id, transaction_id) FROM alarm)) AS found
    FROM fraud, world WHERE start >= half GROUP BY customer_id, start
), false_days AS (
    SELECT DISTINCT customer_id, booked_at::DATE FROM alarm, world
    WHERE booked_at >= half AND (customer_id, transaction_id) NOT IN (SELECT (customer_id, transaction_id) FROM fraud)
)
SELECT (SELECT count(*) FROM cases), (SELECT count(*) FROM cases WHERE found), (SELECT count(*) FROM false_days),
       (SELECT epoch(ends - half) / 86400 / 365.25 FROM world)
"""


class Found(msgspec.Struct, frozen=True):
    """What the oracle reaches in one world."""

    cases: int
    found: int
    false_alarms_per_year: float
    """Of each customer."""


def reached(settings: WorldSettings) -> Found:
    with TemporaryDirectory(prefix="segone-compromised-") as name, duckdb.connect(config={"threads": 1}) as db:
        folder = Path(name)
        world = World(settings, folder)
        world.live()
        write_events(folder, world.lines(), settings.partitions)
        write_truth(folder, settings, {kind: world.truth(kind) for kind in TRUTHS})
        options = "format = 'newline_delimited', ignore_errors = true"
        id_ = "'VARCHAR'"
        of_payment = (
            f"customer_id: {id_}, transaction_id: {id_}, merchant_id: {id_}, booked_at: 'TIMESTAMP', direction: {id_}"
        )
        of_label = (
            f"customer_id: {id_}, transaction_id: {id_}, merchant_id: {id_}, label: {id_}, labelled_at: 'TIMESTAMP'"
        )
        of_case = f"kind: {id_}, customer_id: {id_}, start: 'TIMESTAMP', detail: 'STRUCT(merchant_id VARCHAR, transaction_ids VARCHAR[])'"
        for table, files, columns in (
            ("transactions", "events/in.transactions/*.jsonl", of_payment),
            ("labels", "events/in.labels/*.jsonl", f"{of_label}, occurred_at: 'TIMESTAMP'"),
            ("truth", "truth/truth.jsonl", of_case),
        ):
            db.execute(
                f"CREATE TABLE {table} AS SELECT * FROM read_json('{folder / files}', {options}, columns = {{{columns}}})"
            )
        cases, found, false_days, years = db.execute(ORACLE).fetchall()[0]
    return Found(cases, found, false_days / years / settings.customers)


def main() -> None:
    parser = argparse.ArgumentParser(description="How many compromised merchants an oracle finds.")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--customers", type=int, default=250)
    parser.add_argument("--days", type=int, default=450)
    args = parser.parse_args()
    table = Table(title="compromised merchants: an oracle that knows the shops", title_justify="left")
    for heading in ("seed", "cases", "found", "FP/cy"):
        table.add_column(heading, justify="right")
    for seed in args.seeds:
        one = reached(WorldSettings(args.customers, args.days, seed))
        table.add_row(str(seed), str(one.cases), str(one.found), f"{one.false_alarms_per_year:.3f}")
    wide().print(table)


if __name__ == "__main__":
    main()
