"""Plants do to the events what the truth says, and each has its decoys."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from worlds import SMALL_CLEAN, records, world

from simulation.plants import ALONE, PLANTS, cast, churn
from simulation.plants.story import role
from simulation.settings import DIFFICULTIES, WorldSettings

KINDS = {plant.kind for plant in (*PLANTS, churn.PLANT)}
LONG = replace(SMALL_CLEAN, customers=48, days=360)
US_PER_DAY = 86_400_000_000


def cases(settings: WorldSettings, kind: str) -> list[dict[str, Any]]:
    found = [case for case in world(settings)[1] if case["kind"] == kind]
    assert found, f"no {kind} in {settings}"
    return found


def when(text: str) -> datetime:
    return datetime.fromisoformat(text)


def transactions_of(settings: WorldSettings) -> dict[str, dict[str, Any]]:
    return {record["transaction_id"]: record for record in records(settings, "in.transactions")}


@pytest.mark.parametrize("settings", [SMALL_CLEAN, LONG, replace(LONG, difficulty="hard"), replace(LONG, seed=5)])
def test_each_kind_has_at_least_three_decoys_for_each_case(settings: WorldSettings) -> None:
    truth = world(settings)[1]
    planted = Counter(case["kind"] for case in truth if case["kind"] in KINDS)
    decoys = Counter(case["detail"]["for"] for case in truth if case["kind"] == "decoy")
    assert set(planted) | set(decoys) <= KINDS
    assert {kind: decoys[kind] for kind in planted if decoys[kind] < 3 * planted[kind]} == {}


def test_every_kind_and_every_variant_of_decoy_occurs() -> None:
    truth = world(LONG)[1]
    assert {case["kind"] for case in truth} >= KINDS | {"overdraft", "trip", "decoy"}
    seen = {(case["detail"]["for"], case["detail"]["variant"]) for case in truth if case["kind"] == "decoy"}
    assert seen == {(plant.kind, variant) for plant in (*PLANTS, churn.PLANT) for variant in plant.variants}


@pytest.mark.parametrize("difficulty", DIFFICULTIES)
@pytest.mark.parametrize("customers", [1, 13, 50, 400])
def test_roles_leave_three_decoys_for_each_case_in_worlds_of_any_size(difficulty: str, customers: int) -> None:
    settings = WorldSettings(customers=customers, difficulty=difficulty)
    for plant in (*PLANTS, churn.PLANT):
        parts = [part for number in range(customers) if (part := role(settings, plant, number))]
        struck = sum(part.variant is None for part in parts)
        assert len(parts) - struck >= 3 * struck


def test_no_customer_plays_in_two_cases_that_would_blur_each_other() -> None:
    settings = WorldSettings()
    for number in range(500):
        struck = {story.kind for _, story in cast(settings, number) if story.variant is None}
        assert all(len(struck & group) <= 1 for group in ALONE)
        assert churn.KIND not in struck or struck == {churn.KIND}


def test_plants_happen_in_both_halves_of_the_period() -> None:
    middle = when("2024-01-01T00:00:00Z") + timedelta(days=LONG.days / 2)
    halves: dict[str, set[bool]] = defaultdict(set)
    for case in world(LONG)[1]:
        halves[case["detail"]["for"] if case["kind"] == "decoy" else case["kind"]].add(when(case["start"]) >= middle)
    assert {kind for kind in KINDS if halves[kind] != {True, False}} == set()


def test_truth_lies_within_the_period_and_names_existing_transactions_of_its_customer() -> None:
    transactions = transactions_of(LONG)
    first, last = when("2024-01-01T00:00:00Z"), when("2024-01-01T00:00:00Z") + timedelta(days=LONG.days)
    for case in world(LONG)[1]:
        assert set(case) == {"kind", "customer_id", "start", "end", "detail"}
        assert first <= when(case["start"]) < last
        assert when(case["start"]) <= when(case["end"])
        for transaction_id in case["detail"].get("transaction_ids", ()):
            assert transactions[transaction_id]["customer_id"] == case["customer_id"]


def test_fraud_is_labelled_three_to_ten_days_later_and_nothing_but_fraud() -> None:
    transactions = transactions_of(LONG)
    planted = {
        transaction_id
        for case in world(LONG)[1]
        if case["kind"] in ("takeover", "compromised_merchant", "impossible_travel")
        for transaction_id in case["detail"]["transaction_ids"]
    }
    labelled = set()
    for record in records(LONG, "in.labels"):
        if record["label"] == "fraud":
            delay = when(record["labelled_at"]) - when(transactions[record["transaction_id"]]["booked_at"])
            assert timedelta(days=3) <= delay <= timedelta(days=10)
            labelled.add(record["transaction_id"])
    assert labelled <= planted
    assert len(labelled) > 0.8 * len(planted)


def test_a_takeover_buys_from_a_device_that_the_customer_never_used() -> None:
    transactions = sorted(transactions_of(LONG).values(), key=lambda record: record["booked_at"])
    for case in cases(LONG, "takeover"):
        burst = set(case["detail"]["transaction_ids"])
        own = [record for record in transactions if record["customer_id"] == case["customer_id"]]
        devices = {record["device_id"] for record in own if record["transaction_id"] in burst}
        before = {r.get("device_id") for r in own if r["booked_at"] < case["start"]}
        assert len(devices) == 1
        assert not devices & before
        assert when(case["end"]) - when(case["start"]) < timedelta(hours=31)


def test_after_a_lost_job_the_salary_stays_away() -> None:
    for case in cases(LONG, "income_missed"):
        payer = case["detail"]["stream"]
        paid = [
            record["booked_at"]
            for record in records(LONG, "in.transactions")
            if (record["customer_id"], record.get("counterparty")) == (case["customer_id"], payer)
        ]
        assert len([time for time in paid if time < case["start"]]) >= 2
        assert [time for time in paid if time >= case["start"]] == []


def test_a_duplicate_charge_is_the_same_amount_in_the_same_shop_within_the_hour() -> None:
    transactions = transactions_of(LONG)
    for case in cases(LONG, "duplicate_charge"):
        first, second = (transactions[transaction_id] for transaction_id in case["detail"]["transaction_ids"])
        assert (first["amount"], first["merchant_id"]) == (second["amount"], second["merchant_id"])
        assert timedelta(0) < when(second["booked_at"]) - when(first["booked_at"]) <= timedelta(hours=1)


def test_impossible_travel_is_a_payment_far_away_within_three_hours_and_trips_leave_a_day_for_the_journey() -> None:
    placed = defaultdict(list)
    for record in records(LONG, "in.transactions"):
        if "lat" in record:
            placed[record["customer_id"]].append(record)
    impossible = {t for case in cases(LONG, "impossible_travel") for t in case["detail"]["transaction_ids"]}
    jumps = set()
    for own in placed.values():
        own.sort(key=lambda record: record["booked_at"])
        cloned_until = datetime.min.replace(tzinfo=when("2024-01-01T00:00:00Z").tzinfo)
        for before, after in pairwise(own):
            degrees = abs(before["lat"] - after["lat"]) + abs(before["lon"] - after["lon"])
            gap = when(after["booked_at"]) - when(before["booked_at"])
            if after["transaction_id"] in impossible:
                cloned_until = when(after["booked_at"]) + timedelta(days=2)
            if degrees > 25 and gap < timedelta(hours=6):
                jumps.add(after["transaction_id"])
                assert when(after["booked_at"]) <= cloned_until, (before, after)
    firsts = {case["detail"]["transaction_ids"][0] for case in cases(LONG, "impossible_travel")}
    assert firsts <= jumps


def test_a_price_rise_is_one_step_of_a_bill_that_was_the_same_before() -> None:
    transactions = transactions_of(LONG)
    for case in cases(LONG, "price_rise"):
        raised = transactions[case["detail"]["transaction_ids"][0]]
        assert raised["amount"] == case["detail"]["new"]
        same = ("customer_id", "merchant_id", "description")
        earlier = {
            record["amount"]
            for record in transactions.values()
            if record["booked_at"] < raised["booked_at"] and all(record.get(n) == raised[n] for n in same)
        }
        assert case["detail"]["old"] in earlier


def test_buyers_and_takers_apply_before_the_bank_learns_that_they_took_the_product() -> None:
    applications, labels = records(LONG, "in.applications"), records(LONG, "in.labels")
    completed = {(r["customer_id"], r["product"]): r["applied_at"] for r in applications if r["status"] == "completed"}
    taken = {(r["customer_id"], r["product"]): r["labelled_at"] for r in labels if r["label"] == "product_taken"}
    outcomes = cases(LONG, "home_purchase") + cases(LONG, "product")
    told = {(case["customer_id"], case["detail"]["product"]): case["start"] for case in outcomes}
    assert told == completed
    assert set(taken) <= set(completed)
    assert all(taken[key] > completed[key] for key in taken)


def test_leavers_are_silent_afterwards_and_their_accounts_empty_and_closed() -> None:
    for case in cases(LONG, "churn"):
        later = [
            message
            for message in world(LONG)[0]
            if message.key == case["customer_id"].encode()
            and message.topic in ("in.transactions", "in.interactions", "in.messages")
            and message.arrival_us > when(case["end"]).timestamp() * 1e6 + US_PER_DAY
        ]
        assert later == []
        last = {r["account_id"]: r for r in records(LONG, "in.accounts") if r["customer_id"] == case["customer_id"]}
        assert {record["status"] for record in last.values()} == {"closed"}


def test_the_dial_makes_plants_stronger_or_weaker() -> None:
    sizes = {}
    for difficulty in DIFFICULTIES:
        found = cases(replace(LONG, difficulty=difficulty, customers=28), "takeover")
        sizes[difficulty] = sum(len(case["detail"]["transaction_ids"]) for case in found) / len(found)
    assert sizes["easy"] > sizes["default"] > sizes["hard"]


def test_a_fee_is_one_that_the_bank_charged_and_not_the_accounts_own() -> None:
    transactions = transactions_of(LONG)
    for case in cases(LONG, "fee"):
        (fee,) = [transactions[id_] for id_ in case["detail"]["transaction_ids"]]
        assert (
            fee["channel"] == "fee" and fee["amount"] == case["detail"]["amount"] and fee["booked_at"] == case["start"]
        )
        assert fee["description"] != "Account fee"


def test_a_cards_bill_is_a_case_if_it_was_told_and_nobody_paid_it_until_six_days_before() -> None:
    told = {
        (one["account_id"], one["payment_due"]): one["observed_at"]
        for one in records(LONG, "in.accounts")
        if one["kind"] == "credit_card" and one.get("payment_due") and one["minimum_payment"] != "0.00"
    }
    paid: dict[str, list[str]] = defaultdict(list)
    by_bank = set()
    for one in records(LONG, "in.transactions"):
        if one.get("description") == "Card bill" and one["direction"] == "credit":
            paid[one["account_id"]].append(one["booked_at"])
            by_bank |= {one["account_id"]} if one["channel"] == "direct_debit" else set()
    due = {(case["detail"]["account_id"], case["start"]) for case in cases(LONG, "bill_due")}
    assert due <= set(told)
    for (account_id, on), since in told.items():
        reminded = (when(on) - timedelta(days=6)).strftime("%Y-%m-%dT%H:%M:%SZ")
        settled = any(since < at < reminded for at in paid[account_id])
        if when(on) < when("2024-01-01T00:00:00Z") + timedelta(days=LONG.days) and paid[account_id]:
            assert ((account_id, on) in due) == (not settled and account_id not in by_bank)
