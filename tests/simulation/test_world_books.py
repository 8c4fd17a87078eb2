"""Balances are right to the cent, and overdrafts are what the balances say."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from worlds import SMALL_CLEAN, records, with_dirt, world

from simulation.settings import WorldSettings


def minor(text: str) -> int:
    whole, _, cents = text.lstrip("-").partition(".")
    return (-1 if text.startswith("-") else 1) * (int(whole) * 100 + int(cents or 0))


def history(settings: WorldSettings) -> dict[str, list[tuple[str, str, int, int]]]:
    """For each account its records in order of time: (time, topic, signed amount, balance) in minor units."""
    accounts: dict[str, list[tuple[str, str, int, int]]] = defaultdict(list)
    for record in records(settings, "in.transactions"):
        if "balance_after" in record:
            sign = 1 if record["direction"] == "credit" else -1
            row = (
                record["booked_at"],
                "in.transactions",
                sign * minor(record["amount"]),
                minor(record["balance_after"]),
            )
            accounts[record["account_id"]].append(row)
    for record in records(settings, "in.accounts"):
        accounts[record["account_id"]].append((record["observed_at"], "in.accounts", 0, minor(record["balance"])))
    return {account: sorted(rows) for account, rows in accounts.items()}


def check_balances(settings: WorldSettings) -> None:
    for account, rows in history(settings).items():
        for (_, _, _, before), (time, topic, amount, after) in pairwise(rows):
            assert before + amount == after, (account, time, topic)


def test_each_balance_is_the_one_before_plus_the_amount() -> None:
    check_balances(SMALL_CLEAN)


def test_charges_in_error_and_their_reversals_keep_the_books() -> None:
    check_balances(with_dirt(reversals=0.3))


def test_overdrafts_of_the_truth_are_those_of_the_balances() -> None:
    owner, kinds = {}, {}
    for record in records(SMALL_CLEAN, "in.accounts"):
        owner[record["account_id"]], kinds[record["account_id"]] = record["customer_id"], record["kind"]
    computed = set()
    for account, rows in history(SMALL_CLEAN).items():
        if kinds[account] != "current":
            continue
        since = None
        for time, topic, _, balance in rows:
            if balance < 0 and since is None and topic == "in.transactions":
                since = time
            elif balance >= 0 and since is not None:
                computed.add((owner[account], since, time))
                since = None
        if since is not None:
            computed.add((owner[account], since, "open"))
    told = [case for case in world(SMALL_CLEAN)[1] if case["kind"] == "overdraft"]
    assert len(told) > 5
    ends = {time for _, _, time in computed}
    assert {(c["customer_id"], c["start"], c["end"] if c["end"] in ends else "open") for c in told} == computed


def test_money_moved_between_own_accounts_arrives() -> None:
    """Every transfer to an own account has its other half within seconds, with the same amount."""
    accounts = {record["account_id"] for record in records(SMALL_CLEAN, "in.accounts")}
    halves: dict[tuple[Any, ...], int] = defaultdict(int)
    for record in records(SMALL_CLEAN, "in.transactions"):
        if record.get("counterparty") in accounts:
            pair = tuple(sorted((record["account_id"], record["counterparty"])))
            halves[pair] += minor(record["amount"]) * (1 if record["direction"] == "credit" else -1)
    assert halves
    assert set(halves.values()) == {0}


def test_there_are_five_kinds_of_income_and_at_least_six_categories_of_spending() -> None:
    transactions = list(records(SMALL_CLEAN, "in.transactions"))
    credits = {record.get("description") for record in transactions if record["direction"] == "credit"}
    assert {"Salary", "Wages", "Invoice", "Pension"} <= credits
    assert len({record["mcc"] for record in transactions if record["channel"] == "card_present"}) >= 6
