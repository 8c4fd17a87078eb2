"""The forecast: balances whatever the order, bands that cover what they promise, dangers that add up, amounts that prevent them."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_bench import Bench
from streams import NOON_US, account, end_of, transaction

from operators.alerts import overdraft_ahead
from operators.alerts import overdraft_words as words
from operators.cashflow import DRIFT, EVENED, HORIZON_DAYS, Z10, Outlook, card_bill, outlook
from operators.forecasts import SHRUNK, of_account, of_customer, together
from operators.overdraft import Circumstances, covering_minor, danger, enough_minor, first_below, log_odds
from state.balances import BALANCES_MAX, Balance, balance_now, settle, tell
from state.business_days import DAY_US
from state.cash_habit import FACTOR_MAX, FACTOR_MIN, SCALE_USUAL, CashHabit, Memory, Told
from state.estimators import sigmoid
from state.recurring import Flow
from state.settings_reading import load_settings

TODAY = 20_000
MEMORY = Memory(days=60.0, weekdays=25.0, phase_prior=30.0, phases=100.0)
NOW_US = TODAY * DAY_US + 5
WEIGHTS = load_settings(environment={}).detectors[overdraft_ahead.NAME]["weights"]
ABOUT = Circumstances(150_000.0, 20_000.0, 14)


def flow(day: int, amount_minor: float, sd_minor: float = 0.0, probability: float = 1.0) -> Flow:
    due_us = (TODAY + day) * DAY_US + DAY_US // 2
    return Flow(due_us, amount_minor, sd_minor, "EUR", "a-1", day, f"payee {day}", probability, "standing_order")


def habit(mean_minor: float = -2_000.0, sd_minor: float = 1_500.0) -> CashHabit:
    return CashHabit(day=TODAY, days=90, mean_minor=mean_minor, variance=sd_minor**2)


flows = st.lists(
    st.builds(
        flow,
        st.integers(0, 30),
        st.sampled_from((-90_000.0, -5_000.0, 120_000.0)),
        st.sampled_from((0.0, 900.0)),
        st.sampled_from((1.0, 0.8, 0.4)),
    ),
    max_size=8,
)
outlooks = st.builds(
    lambda balance_minor, expected: outlook(balance_minor, expected, habit(), NOW_US, "EUR"),
    st.integers(0, 200_000),
    flows,
)


# ---- balances


def movement(time_us: int, signed_minor: int, balance_minor: int | None = None) -> SimpleNamespace:
    return SimpleNamespace(
        time_us=time_us,
        digest=time_us,
        account="a-1",
        balance_minor=balance_minor,
        signed_minor=signed_minor,
        learned=True,
        posted=True,
    )


@given(
    told=st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 3), st.integers(-100, 100)), min_size=1, unique_by=lambda b: b[:2]
    ),
    order=st.randoms(use_true_random=False),
)
def test_the_newest_balance_counts_whatever_the_order_of_arrival(
    told: list[tuple[int, int, int]], order: random.Random
) -> None:
    shuffled = list(told)
    order.shuffle(shuffled)
    balances: dict[str, Balance] = {}
    for balance in shuffled:
        tell(balances, "a-1", Balance(*balance))
    assert balances == {"a-1": Balance(*max(told))}


@given(st.lists(st.tuples(st.integers(-500, 500), st.booleans()), max_size=20))
def test_a_balance_goes_on_with_movements_that_tell_none(steps: list[tuple[int, bool]]) -> None:
    """Some movements tell the balance, some don't; the oldest mature on the way. Always the sum of all."""
    balances = {"a-1": Balance(0, 0, 1_000)}
    recent: list[SimpleNamespace] = []
    total_minor = 1_000
    for number, (signed_minor, tells) in enumerate(steps, 1):
        total_minor += signed_minor
        recent.append(movement(number, signed_minor, total_minor if tells else None))
        if tells:
            tell(balances, "a-1", Balance(number, number, total_minor))
        if len(recent) > 3:
            settle(balances, recent.pop(0))
        assert balance_now(balances, "a-1", recent) == total_minor


def test_nothing_is_known_of_an_account_that_told_nothing_and_the_table_is_bounded() -> None:
    balances: dict[str, Balance] = {}
    assert balance_now(balances, "a-1", [movement(1, 5)]) is None
    for number in range(3 * BALANCES_MAX):
        tell(balances, f"a-{number}", Balance(number, 0, 0))
    assert sorted(balance.time_us for balance in balances.values()) == list(range(2 * BALANCES_MAX, 3 * BALANCES_MAX))


# ---- forecast


def test_an_outlook_adds_up_day_by_day() -> None:
    expected = [flow(3, -50_000.0), flow(10, 80_000.0, 1_000.0, 0.5)]
    ahead = outlook(100_000, expected, habit(), NOW_US, "EUR", evened=0.0)
    assert len(ahead.means) == len(ahead.sds) == HORIZON_DAYS + 1
    assert ahead.means[2] == 100_000 - 2 * 2_000
    assert ahead.means[3] == 100_000 - 3 * 2_000 - 50_000
    assert ahead.means[10] == 100_000 - 10 * 2_000 - 50_000 + 40_000
    doubt = 0.5 * 1_000.0**2 + 0.25 * 80_000.0**2
    variance = 10 * 1_500.0**2 + DRIFT * 100 * 1_500.0**2 / 60 + doubt + 1.0
    assert ahead.sds[10] ** 2 == pytest.approx(SCALE_USUAL**2 * variance)
    assert ahead.quantile(10, Z10) - ahead.means[10] == pytest.approx(Z10 * ahead.sds[10])


@given(flows, st.sampled_from((0.0, 0.3, 1.0)))
def test_what_a_month_leaves_over_is_evened_out_day_by_day(expected: list[Flow], evened: float) -> None:
    plain = outlook(100_000, expected, habit(), NOW_US, "EUR", evened=0.0)
    even = outlook(100_000, expected, habit(), NOW_US, "EUR", evened=evened)
    left_over = plain.means[-1] - 100_000
    for index in range(HORIZON_DAYS + 1):
        back = evened * left_over * index / HORIZON_DAYS
        assert even.means[index] == pytest.approx(plain.means[index] - back, abs=1e-6)
        assert even.lows[index] == pytest.approx(plain.lows[index] - back, abs=1e-6)
        assert even.everyday[index] == pytest.approx(plain.everyday[index] - back, abs=1e-6)
    assert even.sds == plain.sds and even.usual_minor == plain.usual_minor == pytest.approx(plain.everyday[-1])


def test_on_its_lowest_a_day_has_paid_its_bills_and_waits_for_its_income() -> None:
    """Rent leaves and wages come on one day: in the small hours the account is below zero, at the end of the day it is not."""
    ahead = outlook(50_000, [flow(3, -80_000.0), flow(3, 150_000.0, 0.0, 0.5)], habit(0.0), NOW_US, "EUR", evened=0.0)
    assert (ahead.lows[2], ahead.lows[3], ahead.means[3]) == (50_000.0, -30_000.0, 45_000.0)
    found = danger(WEIGHTS, ahead, ABOUT)
    assert found.days == 3 and [part[0].amount_minor for part in found.flows] == [-80_000.0]


@given(flows, flows)
def test_accounts_together_are_the_sum_of_each(ours: list[Flow], theirs: list[Flow]) -> None:
    first = outlook(10_000, ours, habit(), NOW_US, "EUR")
    second = outlook(90_000, theirs, habit(-500.0, 200.0), NOW_US, "EUR")
    both = together([first, second])
    assert both.balance_minor == 100_000 and len(both.flows) == len(ours) + len(theirs)
    for index in range(HORIZON_DAYS + 1):
        assert both.means[index] == pytest.approx(first.means[index] + second.means[index])
        assert both.lows[index] == pytest.approx(first.lows[index] + second.lows[index])
        independent = first.sds[index] ** 2 + second.sds[index] ** 2
        assert both.sds[index] ** 2 == pytest.approx(SHRUNK**2 * independent)
    assert together([first]) == first


def test_what_moves_between_the_customers_accounts_changes_neither_the_whole_nor_its_doubt() -> None:
    """A weekly plan of 100 euros into savings: the current account's forecast has it, the customer's does not."""
    bench = Bench()
    kinds = {"a-1": "current", "a-2": "savings"}
    bench.run([account(NOON_US, account_id=of, kind=kind) for of, kind in kinds.items()])
    moved = []
    for week in range(4):
        at_us = NOON_US + 7 * week * DAY_US
        one = {"channel": "standing_order", "merchant_id": None, "description": "Savings plan"}
        moved.append(transaction(f"out-{week}", at_us, 10_000, account_id="a-1", counterparty="a-2", **one))
        other = one | {"account_id": "a-2", "counterparty": "a-1", "direction": "credit"}
        moved.append(transaction(f"in-{week}", at_us + 1, 10_000, **other))
    bench.run(moved)
    customer, habits = bench.shard.customer("c-1"), {"a-1": CashHabit(), "a-2": CashHabit()}
    now_us = end_of(moved)
    alone = of_account(habits["a-1"], {}, customer, customer.current_streams(), "a-1", "EUR", 60_000, now_us)
    whole = of_customer(habits, {}, customer, "EUR", now_us)
    assert len(alone.flows) >= 4 and alone.means[-1] <= 60_000 - (1.0 - EVENED) * 39_000
    assert whole is not None and whole.flows == [] and whole.means[-1] == whole.balance_minor
    assert of_customer(habits, {}, customer, "USD", now_us) is None


def test_what_is_overdue_or_due_today_is_expected_tomorrow() -> None:
    ahead = outlook(0, [flow(0, -7_000.0)], habit(0.0, 0.0), NOW_US, "EUR", evened=0.0)
    assert ahead.means[:2] == [0.0, -7_000.0]


@pytest.mark.parametrize("width", [0.4, 1.0, 3.0])
def test_bands_come_to_cover_eight_of_ten_however_wrong_the_model_is(width: float) -> None:
    """Errors `width` times as large as the model thinks."""
    random_ = random.Random(f"bands/{width}")
    one = CashHabit()
    covered = []
    for _ in range(3_000):
        error = random_.gauss(0.0, width * 100.0)
        one.told = Told(1, 0.0, 100.0 * one.scale)
        covered.append(abs(error) <= Z10 * one.told.sd_minor)
        one.judge(round(error), Z10, 0.2, 0.07)
    assert 0.77 <= sum(covered[500:]) / len(covered[500:]) <= 0.83


def test_days_without_spending_count_and_a_long_silence_does_not() -> None:
    one = CashHabit()
    for day in range(TODAY, TODAY + 100, 2):
        one.add(day, -1_000, MEMORY)
    assert one.mean_minor == pytest.approx(-500.0, rel=0.25)
    before = one.days
    one.add(TODAY + 5_000, -1_000, MEMORY)
    assert one.days - before < 100 and one.day == TODAY + 5_000


def test_the_day_of_the_week_is_learned() -> None:
    one = CashHabit()
    for day in range(TODAY, TODAY + 7 * 60):
        one.add(day, -3_000 if day % 7 == 2 else -500, MEMORY)
    assert one.mean_on(2) < 3 * one.mean_on(3) < 0.0


PAYDAY_SPENDING = {0: -6_000, 1: -3_000, 2: -3_000, 3: -3_000}


def with_paydays(spent: Callable[[int], int], cycles: int = 24) -> CashHabit:
    """Everyday spending `spent(days since payday)` over cycles of 30 days; ends on the last day before the next payday."""
    one = CashHabit()
    for day in range(TODAY, TODAY + 30 * cycles):
        since = (day - TODAY) % 30
        one.add(day, spent(since), MEMORY)
        if since == 0:
            one.paid(250_000, 250_000.0)
    return one


def test_the_time_since_payday_is_learned_and_the_next_payday_begins_anew() -> None:
    one = with_paydays(lambda since: PAYDAY_SPENDING.get(since, -1_000))
    last = one.day
    ahead = one.means(last, 30, [last + 1])
    assert ahead[0] < 2.0 * ahead[14] and ahead[2] < 1.5 * ahead[14], "more on the day itself, and on the days after"
    assert sum(ahead) == pytest.approx(-41_000, rel=0.15), "in all, what a month comes to"
    late = one.means(last, 30, [last + 6])
    assert late[:5] == pytest.approx(one.means(last, 5, []), rel=1e-12) and late[5] < 2.0 * late[0]


def test_without_a_payday_or_long_after_it_every_day_of_the_week_is_alike() -> None:
    one = CashHabit()
    for day in range(TODAY, TODAY + 200):
        one.add(day, -1_000, MEMORY)
    assert one.phases == [] and one.means(one.day, 7, []) == pytest.approx([-1_000.0] * 7, rel=0.01)
    paid = with_paydays(lambda since: PAYDAY_SPENDING.get(since, -1_000))
    far = paid.means(paid.day, 120, [])
    assert far[100] == pytest.approx(paid.mean_minor * paid.weekdays[(paid.day + 101) % 7])


def test_a_small_regular_income_begins_no_cycle() -> None:
    one = CashHabit()
    one.add(TODAY, 0, MEMORY)
    one.paid(25_000, 250_000.0)
    assert one.payday == 0
    one.paid(130_000, 250_000.0)
    assert one.payday == TODAY


@given(st.lists(st.integers(-(10**12), 10**12), max_size=90), st.integers(1, 40))
def test_factors_of_phases_stay_in_their_limits_whatever_comes(amounts: list[int], cycle: int) -> None:
    one = CashHabit()
    for at, amount in enumerate(amounts):
        one.add(TODAY + at, amount, MEMORY)
        if at % cycle == 0:
            one.paid(1_000, 1_000.0)
    assert all(FACTOR_MIN <= factor <= FACTOR_MAX for factor in one.phases)
    assert all(math.isfinite(mean) for mean in one.means(one.day, 30, []))


def test_a_card_bill_is_what_is_owed_and_what_will_be_bought_until_then() -> None:
    usual = flow(15, -60_000.0, 5_000.0)
    at_due = card_bill(usual, usual.due_us, 70_000, 1.0)
    assert (at_due.amount_minor, at_due.sd_minor) == (-70_000.0, 5_000.0)
    half_way = card_bill(usual, usual.due_us - 15 * DAY_US, 30_000, 1.0)
    assert half_way.amount_minor == -60_000.0
    assert card_bill(usual, usual.due_us, 200_000, 0.25).amount_minor == -50_000.0


# ---- danger


@given(outlooks)
def test_the_parts_of_a_danger_add_up_to_its_log_odds(ahead: Outlook) -> None:
    found = danger(WEIGHTS, ahead, ABOUT)
    assert found.log_odds == pytest.approx(log_odds(WEIGHTS, ahead, ABOUT), abs=1e-9)
    assert all(math.isfinite(part) for _, part in found.flows)


@given(outlooks, st.sampled_from((0.1, 0.25, 0.4)))
def test_the_amount_named_is_enough_and_the_least_that_is(ahead: Outlook, probability: float) -> None:
    base = -0.5
    enough = enough_minor(WEIGHTS, base, ahead, ABOUT, probability, 100)
    assert enough is not None and enough % 100 == 0
    assert sigmoid(base + log_odds(WEIGHTS, ahead, ABOUT, enough)) < probability
    if enough > 100:
        assert sigmoid(base + log_odds(WEIGHTS, ahead, ABOUT, enough - 100)) >= probability


def test_no_amount_is_named_where_money_alone_is_not_enough() -> None:
    ahead = outlook(0, [], habit(), NOW_US, "EUR")
    assert enough_minor({}, 0.0, ahead, ABOUT, 0.1, 100) is None


@given(outlooks, st.sampled_from((0.0, 1.0, Z10)))
def test_an_amount_that_covers_keeps_each_day_above_zero_and_is_the_least(ahead: Outlook, z: float) -> None:
    more = covering_minor(ahead, 14, z)
    lowest = min(ahead.lows[index] - z * ahead.sds[index] for index in range(1, 15))
    assert more >= 0.0 and lowest + more >= -1e-6
    assert more == 0.0 or lowest + more == pytest.approx(0.0, abs=1e-6)


@given(outlooks, st.sampled_from((0.0, 1.0, Z10)))
def test_the_amount_that_covers_is_early_enough_until_the_day_before_the_first_below(ahead: Outlook, z: float) -> None:
    """The day of the lowest point is too late: the balance is below zero before."""
    first = first_below(ahead, 14, z)
    below = [index for index in range(1, 15) if ahead.lows[index] - z * ahead.sds[index] < 0.0]
    assert first == (below[0] if below else None)
    assert (first is None) == (covering_minor(ahead, 14, z) == 0.0)


def test_an_alert_tells_the_day_of_the_fall_and_by_when_money_helps_not_the_lowest_day() -> None:
    """The rent leaves too little on the third day; the phone bill of the eighth makes it worse."""
    ahead = outlook(60_000, [flow(3, -70_000.0), flow(8, -30_000.0)], habit(-100.0, 10.0), NOW_US, "EUR")
    about = Circumstances(150_000.0, 0.0, 8)
    found = danger(WEIGHTS, ahead, about)._replace(days=8)
    said = words.statement("OPEN", "a-1@x", ("t-1",), ahead, None, found, about, 99_000, 3, None, NOW_US)
    assert (said.details["date"], said.counterfactual and said.counterfactual["by"]) == ("2024-10-07", "2024-10-06")
    grave = [
        words.statement("OPEN", "a-1@x", ("t-1",), ahead, None, found, about, None, 3, limit_minor, NOW_US).severity
        for limit_minor in (None, 0, 10_000_000)
    ]
    assert grave == ["MEDIUM", "HIGH", "MEDIUM"]
    # Where less than nothing is never expected, it is the lowest point that may fall below.
    ahead = outlook(160_000, [flow(3, -70_000.0), flow(8, -30_000.0)], habit(-100.0, 10.0), NOW_US, "EUR")
    said = words.statement("OPEN", "a-1@x", ("t-1",), ahead, None, found, about, 99_000, 1, None, NOW_US)
    assert (said.details["date"], said.counterfactual and said.counterfactual["by"]) == ("2024-10-12", "2024-10-04")


@given(outlooks, st.integers(1, 10**6))
def test_more_money_never_means_more_danger(ahead: Outlook, more_minor: int) -> None:
    assert log_odds(WEIGHTS, ahead, ABOUT, more_minor) <= log_odds(WEIGHTS, ahead, ABOUT)


def test_an_account_that_is_closed_gives_its_place_to_a_new_one() -> None:
    bench = Bench()
    names = [f"a-{number}" for number in range(overdraft_ahead.ACCOUNTS_MAX + 2)]
    *first, second_new, new = names

    def live(from_day: int, accounts: list[str]) -> None:
        for day in range(from_day, from_day + 6):
            at_us = NOON_US + day * DAY_US
            bench.run([transaction(f"{name}-{day}", at_us, account_id=name) for name in accounts])

    bench.run([account(NOON_US, account_id=name) for name in names])
    live(0, first)
    live(6, [new])
    assert set(bench.shard.customer("c-1").states[overdraft_ahead.NAME].accounts) == set(first)
    bench.apply([account(NOON_US + 12 * DAY_US, account_id=first[1], status="closed")])
    live(13, [new, second_new])
    watched = set(bench.shard.customer("c-1").states[overdraft_ahead.NAME].accounts)
    assert len(watched) == overdraft_ahead.ACCOUNTS_MAX and watched & {new, second_new} and first[1] not in watched
