"""The merchant table equals a brute-force count, whatever the order of facts, and survives freezing at any moment."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.knowledge.facts import UNLABELLED, MerchantFact
from operators.knowledge.merchant_row import MERCHANT, POPULATION, MerchantRow
from operators.knowledge.merchant_table import Config, MerchantTable
from state.windows import DAY_US

CONFIG = Config(prior_rate=0.01, prior_transactions=100.0, merchant_weight=2.0, label_delay_days=7)
DAYS = 90


def life(seed: int, merchants: int = 6) -> list[list[MerchantFact]]:
    """Facts by the day of their arrival: some merchants are honest, one has weeks of fraud; labels come 7 days late."""
    rng = random.Random(seed)
    days: list[list[MerchantFact]] = [[] for _ in range(DAYS + 8)]
    for day in range(DAYS):
        for number in range(merchants):
            for _ in range(rng.randrange(0, 4 if day < 70 else 1)):
                at_us = day * DAY_US + rng.randrange(DAY_US)
                id_ = f"t-{len(days[day])}-{day}"
                days[day].append(MerchantFact(f"m-{number}", at_us, "c-1", id_))
                compromised = number == 1 and 20 <= day < 45
                if rng.random() < (0.9 if compromised else 0.02):
                    known_us = at_us + 7 * DAY_US
                    days[day + 7].append(MerchantFact(f"m-{number}", known_us, "c-1", id_, 1, at_us))
    return days


def rows_of(table: MerchantTable, days: Sequence[Sequence[MerchantFact]]) -> list[list[MerchantRow]]:
    result = []
    for day, facts in enumerate(days):
        for fact in facts:
            table.add(fact)
        result.append(table.close((day + 1) * DAY_US))
    return result


@pytest.mark.parametrize("seed", range(4))
def test_windows_and_rates_equal_a_count_by_hand(seed: int) -> None:
    days = life(seed)
    known: list[MerchantFact] = []
    for day, (facts, rows) in enumerate(zip(days, rows_of(MerchantTable("k", CONFIG, DAY_US), days), strict=True)):
        known += facts
        end_us, settled_us = (day + 1) * DAY_US, (day - 6) * DAY_US
        population = rows[0]
        assert population.scope == POPULATION
        for row in rows:
            own = [fact for fact in known if row.scope == POPULATION or fact.merchant_id == row.merchant_id]
            for length, n, settled, frauds, rate in (
                (1, row.n_1d, row.settled_1d, row.frauds_1d, row.rate_1d),
                (7, row.n_7d, row.settled_7d, row.frauds_7d, row.rate_7d),
                (30, row.n_30d, row.settled_30d, row.frauds_30d, row.rate_30d),
            ):
                bought = [fact.time_us for fact in own if fact.label == UNLABELLED]
                stolen = [fact.occurred_us for fact in own if fact.label == 1]
                assert n == sum(end_us - length * DAY_US <= at < end_us for at in bought)
                window = range(settled_us - length * DAY_US, settled_us)
                assert (settled, frauds) == (sum(at in window for at in bought), sum(at in window for at in stolen))
                weight = 100.0 if row.scope == POPULATION else 2.0
                assert rate == pytest.approx((frauds + weight * row.prior) / (settled + weight), rel=1e-12)
            assert row.prior == (0.01 if row.scope == POPULATION else population.rate_30d)


def test_a_compromised_merchant_shows_a_streak_that_ends_with_honest_business() -> None:
    rows = [{row.merchant_id: row for row in rows} for rows in rows_of(MerchantTable("k", CONFIG, DAY_US), life(1))]
    assert rows[19]["m-1"].streak == 0
    assert rows[40]["m-1"].streak > 10
    assert 18 <= rows[40]["m-1"].streak_from_us / DAY_US <= 22
    assert rows[62]["m-1"].streak == 0
    assert rows[40]["m-1"].rate_7d > 8 * rows[40]["m-1"].prior


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 3), shuffling=st.integers(), cut=st.integers(0, DAYS), batch=st.integers(1, 9))
def test_neither_the_order_within_a_bucket_nor_a_restart_changes_a_row(
    seed: int, shuffling: int, cut: int, batch: int
) -> None:
    days = life(seed)
    expected = rows_of(MerchantTable("k", CONFIG, DAY_US), days)
    table, items, rng = MerchantTable("k", CONFIG, DAY_US), {}, random.Random(shuffling)
    for day, facts in enumerate(days):
        shuffled = rng.sample(list(facts), len(facts))
        for at, fact in enumerate(shuffled):
            table.add(fact)
            if day == cut and at % batch == 0:
                items.update(table.freeze())
        if day == cut:
            items.update(table.freeze())
            table = MerchantTable("k", CONFIG, DAY_US)
            table.thaw({item: raw for item, raw in items.items() if raw})
        assert table.close((day + 1) * DAY_US) == expected[day]
        items.update(table.freeze())


def test_the_table_is_bounded_and_says_whom_it_forgets() -> None:
    table = MerchantTable("k", Config(merchants_max=16), DAY_US)
    for number in range(100):
        table.add(MerchantFact(f"m-{number:03}", DAY_US // 2, "c", f"t-{number}"))
    assert (len(table), table.left_out) == (32, 68)
    rows = table.close(DAY_US)
    assert len(table) <= 16
    gone = {row.merchant_id for row in rows if row.empty}
    assert len(gone) == 32 - len(table) and all(row.scope == MERCHANT for row in rows[1:])
    assert sum(bool(raw) for item, raw in table.freeze().items() if item.startswith("slots/")) == len(table)
    for day in range(1, 62):
        rows = table.close((day + 1) * DAY_US)
    assert len(table) == 0 and [row.scope for row in rows] == [POPULATION]


def test_a_label_of_no_fraud_is_no_fraud_and_no_business() -> None:
    bought = [MerchantFact("m", 17 * DAY_US, "c", f"t-{number}") for number in range(5)]
    disputed = [MerchantFact("m", 20 * DAY_US, "c", f"t-{number}", 0, 17 * DAY_US) for number in range(5)]
    rows = []
    for facts in (bought, bought + disputed):
        table = MerchantTable("k", CONFIG, DAY_US)
        for fact in facts:
            table.add(fact)
        rows.append(table.close(21 * DAY_US))
    assert rows[0] == rows[1] and rows[0][1].n_30d == 5


def test_how_late_labels_are_is_learned() -> None:
    table = MerchantTable("k", Config(label_delay_days=7, label_delay_weight=5.0), DAY_US)
    for number in range(200):
        table.add(MerchantFact("m", 20 * DAY_US, "c", f"t-{number}", 1, 17 * DAY_US))
        table.add(MerchantFact("m", 17 * DAY_US, "c", f"t-{number}"))
    (_, row) = table.close(21 * DAY_US)
    assert (row.frauds_1d, row.settled_1d) == (200, 200), "what happened three days ago is settled"


def test_a_fraud_that_is_known_early_raises_the_rate_at_once_and_none_lowers_it() -> None:
    rates = []
    for early in (False, True):
        table = MerchantTable("k", CONFIG, DAY_US)
        for day in range(20):
            table.add(MerchantFact("m", day * DAY_US, "c", f"t-{day}"))
            if day == 19 and early:
                table.add(MerchantFact("m", day * DAY_US, "c", "t-16", 1, 16 * DAY_US))
            population, row = table.close((day + 1) * DAY_US)
        rates.append((population.rate_30d, row.rate_7d, row.rate_30d, row.frauds_30d))
    (before, week, month, frauds), (after, week_early, month_early, frauds_early) = rates
    assert week_early > 5 * week and month_early > 3 * month
    assert month_early == (1 + 2 * after) / (20 + 2), "one of all twenty, shrunk"
    assert (frauds, frauds_early) == (0, 0) and after == before, "settled counts and the population wait for their time"
