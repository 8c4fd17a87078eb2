"""Recurring streams: rhythms with weekends and holidays, payees that drift, contracts at one company, what is expected when."""

from __future__ import annotations

from datetime import date

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_bench import Bench
from streams import DAY_US, NOON_US, account, end_of, full_life, household, shuffled, transaction

from state.business_days import EPOCH_ORDINAL, date_of, day_of, roll
from state.customer import Customer
from state.events import Transaction
from state.frozen import freeze, thaw
from state.income import monthly_minor, own_digests, reliable
from state.recurring import STREAMS_MAX, Status, Stream
from state.rhythm import CADENCES, MONTHLY, Rhythm, fit

ENDLESS_US = 10_000 * DAY_US


def day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - EPOCH_ORDINAL


def paid(name: str, days: list[int], amount_minor: int | list[int] = 2_900, **changes: object) -> list[Transaction]:
    fields = {"channel": "direct_debit", "merchant_id": "m-mobile", "merchant_name": "Corlia Mobile", "mcc": "4814"}
    amounts = amount_minor if isinstance(amount_minor, list) else [amount_minor] * len(days)
    return [
        transaction(f"{name}-{at}", at * DAY_US + 7 * 3_600_000_000, amount, **(fields | changes))
        for at, amount in zip(days, amounts, strict=True)
    ]


def transfers(name: str, days: list[int], amount_minor: int | list[int], payer: str) -> list[Transaction]:
    return paid(
        name,
        days,
        amount_minor,
        direction="credit",
        channel="transfer",
        merchant_id=None,
        counterparty=payer,
        account_id="a-1",
    )


def streams_of(events: list[Transaction]) -> list[Stream]:
    bench = Bench().run(sorted(events, key=lambda event: event.time_us))
    assert bench.on("detector_errors") == []
    return bench.shard.customer("c-1").current_streams()


# ---- rhythms


@given(
    cadence=st.sampled_from([name for name in CADENCES if name != "semi-monthly"]),
    anchor=st.integers(1, 31),
    step=st.sampled_from((-1, 0, 1)),
    phase=st.integers(0, 11),
    start=st.integers(2010, 2030),
)
def test_a_rhythm_is_known_again_from_the_days_that_it_makes(
    cadence: str, anchor: int, step: int, phase: int, start: int
) -> None:
    number = CADENCES.index(cadence)
    months = {"monthly": 1, "bimonthly": 2, "quarterly": 3, "half-yearly": 6, "yearly": 12}.get(cadence)
    rhythm = Rhythm(number, anchor, step, phase % months if months else 0)
    first = rhythm.slot_near(day(f"{start}-03-01"), "EUR")
    days = [rhythm.day(first + at, "EUR") for at in range(7)]
    found = fit(days[:6], "EUR", (step, *({-1, 0, 1} - {step})))
    assert found is not None and found.name == cadence
    following = found.day(found.slot_near(days[5], "EUR") + 1, "EUR")
    assert abs(following - days[6]) <= 3


def test_a_salary_gives_way_to_weekends_and_easter() -> None:
    salary = Rhythm(MONTHLY, 31, -1)
    days = [date_of(salary.day(2024 * 12 + month, "EUR")).isoformat() for month in range(1, 4)]
    assert days == ["2024-02-29", "2024-03-28", "2024-04-30"]  # the 29th of March was Good Friday


def test_random_days_make_no_rhythm() -> None:
    days = [day("2024-01-03") + offset for offset in (0, 11, 50, 57, 99, 118)]
    assert fit(days, "EUR", (1, -1, 0)) is None


def test_an_unknown_currency_has_weekends_and_no_holidays() -> None:
    assert date_of(roll(day("2024-12-25"), 1, "XAF")).isoformat() == "2024-12-25"
    assert date_of(roll(day("2024-12-25"), 1, "EUR")).isoformat() == "2024-12-27"


def test_banks_are_closed_on_the_weekend_of_their_country() -> None:
    """The 25th of October 2024 was a Friday: in Kuwait part of the weekend."""
    assert [date_of(roll(day("2024-10-25"), -1, currency)).isoformat() for currency in ("EUR", "KWD", "XAF")] == [
        "2024-10-25",
        "2024-10-24",
        "2024-10-25",
    ]
    assert date_of(roll(day("2024-10-27"), 1, "KWD")).isoformat() == "2024-10-27"  # a Sunday


def test_a_bill_drawn_on_good_friday_is_the_old_contracts() -> None:
    """By the payment system's calendar it should have come on the Tuesday after Easter, four days later."""
    days = [day(f"2026-{at}") for at in ("01-05", "02-03", "03-03")]
    before = streams_of(paid("bill", days))
    assert [(stream.hits, date_of(stream.due_day() or 0).isoformat()) for stream in before] == [(3, "2026-04-07")]
    (stream,) = streams_of(paid("bill", [*days, day("2026-04-03"), day("2026-05-04")]))
    assert (stream.hits, date_of(stream.due_day() or 0).isoformat()) == (5, "2026-06-03")
    (early, _) = streams_of(paid("bill", [*days, day("2026-03-27")]))
    assert early.hits == 3, "a week too early it is another"


def test_the_halves_of_a_month_stay_so_through_february_and_every_other_week_does_not_become_them() -> None:
    """The 15th and the last as UTC has them where banks book at local midnight: two weeks apart from January to March."""
    halves = [day(f"202{at}") for at in ("5-12-30", "6-01-14", "6-01-29", "6-02-12", "6-02-26", "6-03-12")]
    old = Rhythm(CADENCES.index("semi-monthly"), 14 * 32 + 30, -1)
    found, kept = fit(halves, "EUR", (-1, 1, 0)), fit(halves, "EUR", (-1, 1, 0), old=old)
    assert found is not None and kept is not None
    assert (found.name, kept.name, date_of(kept.day(kept.slot_near(halves[-1], "EUR") + 1, "EUR")).month) == (
        "biweekly",
        "semi-monthly",
        3,
    )
    fortnights = [day("2026-03-12") + 14 * number for number in range(6)]
    changed = fit(fortnights, "EUR", (-1, 1, 0), old=old)
    assert changed is not None and changed.name == "biweekly"


# ---- streams


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 3 * DAY_US))
def test_streams_kept_current_payment_by_payment_equal_those_made_anew(seed: int, delay_us_max: int) -> None:
    bench = Bench()
    events = [*household(seed, weeks=5), *full_life(seed, 20, 2 * DAY_US)]
    for event in shuffled(events, seed, delay_us_max):
        bench.shard.apply([event], 0)
        customer = bench.shard.customer("c-1")
        anew, _ = thaw("c-1", freeze(customer, {}), customer.ring.retention_us)
        assert customer.current_streams() == anew.current_streams()


def test_the_third_payment_makes_a_stream_and_two_missed_ones_end_it() -> None:
    days = [day(f"2025-{month:02d}-10") for month in (1, 2, 3)]
    (two,) = streams_of(paid("bill", days[:2]))
    (three,) = streams_of(paid("bill", days))
    assert two.status(days[1]) is Status.EARLY and three.status(days[2]) is Status.MATURE
    assert three.due_day() == day("2025-04-10") and three.usual_minor()[0] == 2_900
    assert three.status(day("2025-04-30")) is Status.MATURE
    assert three.status(day("2025-05-30")) is Status.ENDED


def test_two_contracts_with_one_company_are_two_streams() -> None:
    days = [day(f"2025-{month:02d}-10") for month in (1, 2, 3, 4)]
    later = [at + 9 for at in days]
    streams = streams_of(
        paid("one", days, description="Contract 1") + paid("two", later, 3_400, description="Contract 2")
    )
    assert sorted((stream.hits, stream.amounts[-1]) for stream in streams) == [(4, 2_900), (4, 3_400)]
    unnamed = streams_of(paid("one", days) + paid("two", later, 9_900))
    assert sorted((stream.hits, stream.amounts[-1]) for stream in unnamed) == [(4, 2_900), (4, 9_900)]


def test_transfers_between_own_accounts_on_weekends_say_nothing_about_a_salary() -> None:
    mondays = [day("2025-02-03") + 7 * week for week in range(11)]
    saved = paid(
        "out",
        [day(text) for text in ("2024-11-02", "2024-12-01", "2025-02-01", "2025-03-02")],
        5_000,
        channel="standing_order",
        counterparty="a-2",
        merchant_id=None,
        account_id="a-1",
    )
    inside = [
        msgspec.structs.replace(
            event, transaction_id="in-" + event.transaction_id, direction="credit", counterparty="a-1", account_id="a-2"
        )
        for event in saved
    ]
    streams = streams_of([*transfers("pay", mondays, 60_000, "Alander Works"), *saved, *inside])
    (wages,) = [stream for stream in streams if stream.name == "Alander Works"]
    assert wages.due_day() == day("2025-04-17")  # before Good Friday: the 21st of April was Easter Monday


@pytest.mark.parametrize(("served_on", "due"), [("2024-02-03", "2024-06-08"), ("2024-02-05", "2024-06-10")])
def test_a_counter_that_serves_on_saturdays_shows_that_the_bank_books_then(served_on: str, due: str) -> None:
    """The 8th of June was a Saturday, none of the 8ths before was on a weekend."""
    rent = paid("rent", [day(f"2024-{month}-08") for month in ("03", "04", "05")], 60_000, channel="transfer")
    cash = [day(served_on) + 7 * week for week in range(4)]
    (stream,) = streams_of([*rent, *paid("cash", cash, 5_000, channel="cash", merchant_id=None)])
    assert date_of(stream.due_day() or 0).isoformat() == due


def test_streams_kept_current_follow_what_the_counter_shows() -> None:
    bench = Bench()
    rent = paid("rent", [day(f"2024-{month}-08") for month in ("03", "04", "05")], 60_000, channel="transfer")
    cash = paid("cash", [day("2024-04-27"), day("2024-05-04"), day("2024-05-09")], 5_000, channel="cash")
    for event in sorted([*rent, *cash], key=lambda event: event.time_us):
        bench.shard.apply([event], 0)
        customer = bench.shard.customer("c-1")
        anew, _ = thaw("c-1", freeze(customer, {}), customer.ring.retention_us)
        assert customer.current_streams() == anew.current_streams()
    assert customer.counter == (2, 2)


@pytest.mark.parametrize("start", range(28))
def test_pay_that_comes_every_four_weeks_is_one_stream_and_not_monthly(start: int) -> None:
    days = [day("2025-01-06") + start + 28 * number for number in range(10)]
    days = [at - max(0, (at + 3) % 7 - 4) for at in days]  # the Friday before a weekend
    (stream,) = streams_of(transfers("pay", days, 150_000, "Alander Works"))
    assert stream.hits == 10 and stream.mature and stream.rhythm is not None
    assert (stream.rhythm.name, stream.due_day()) == ("four-weekly", days[-1] + 28)


@pytest.mark.parametrize(
    "dates",
    [
        ("2025-02-10", "2025-03-10"),  # four weeks apart, as February would have it
        ("2025-02-10", "2025-03-10", "2025-04-10"),
        (
            "2025-01-20",
            "2025-02-17",
            "2025-03-17",
            "2025-04-17",
            "2025-05-16",
        ),  # the first three happen to be four weeks apart
        ("2025-01-31", "2025-02-28", "2025-03-31", "2025-04-30", "2025-05-30"),
    ],
)
def test_monthly_pay_stays_monthly_through_february(dates: tuple[str, ...]) -> None:
    (stream,) = streams_of(transfers("pay", [day(date) for date in dates], 150_000, "Alander Works"))
    assert stream.hits == len(dates) and stream.rhythm is not None
    assert stream.rhythm.name == "monthly"


def test_one_late_payroll_does_not_change_the_cadence() -> None:
    mondays = [day("2024-10-07") + 14 * at for at in range(7)]
    late = [*mondays[:4], mondays[4] + 3, *mondays[5:]]
    (wages,) = streams_of(transfers("pay", late, 105_000, "Alander Works"))
    assert wages.hits == 7 and wages.rhythm is not None and wages.rhythm.name == "biweekly"
    assert wages.due_day() == mondays[-1] + 14


def test_a_bill_that_varies_is_one_stream() -> None:
    days = [day(f"2025-{month:02d}-16") for month in range(1, 7)]
    (stream,) = streams_of(paid("energy", days, [8_500, 9_900, 7_100, 5_600, 5_200, 6_900]))
    assert stream.mature and not stream.steady and stream.hits == 6


def test_a_reversed_payment_is_none() -> None:
    days = [day(f"2025-{month:02d}-10") for month in (1, 2, 3)]
    events = paid("bill", days)
    back = transaction(
        "bill-x",
        events[-1].time_us + DAY_US,
        2_900,
        status="reversed",
        original_transaction_id=events[-1].transaction_id,
    )
    (stream,) = streams_of([*events, back])
    assert stream.hits == 2


def test_what_is_expected_comes_in_order_with_account_and_sign() -> None:
    days = [day(f"2025-{month:02d}-10") for month in (1, 2, 3)]
    pay = transfers("pay", [at + 5 for at in days], 200_000, "Alander Works")
    bench = Bench().run(sorted([*paid("bill", days, account_id="a-1"), *pay], key=lambda event: event.time_us))
    customer: Customer = bench.shard.customer("c-1")
    flows = customer.expected_flows(day("2025-03-16") * DAY_US, day("2025-05-12") * DAY_US)
    told = [(date_of(day_of(flow.due_us)).isoformat(), flow.amount_minor, flow.account) for flow in flows]
    assert (
        told
        == [
            ("2025-04-10", -2_900.0, "a-1"),
            ("2025-04-15", 200_000.0, "a-1"),
            ("2025-05-12", -2_900.0, "a-1"),
        ][: len(told)]
        and len(told) >= 2
    )
    assert all(0.5 < flow.probability <= 1.0 for flow in flows)


def test_nobody_fills_the_memory() -> None:
    events = [
        item
        for number in range(3 * STREAMS_MAX)
        for item in paid("x", [20_000 + number], 1_000 + number, merchant_id=f"m-{number}", merchant_name=None)
    ]
    assert len(streams_of(events)) <= STREAMS_MAX


# ---- income


def income_of(customer: Customer) -> list[tuple[Stream, float]]:
    return reliable(customer.current_streams(), own_digests(customer))


def test_income_is_what_comes_from_others_and_transfers_between_own_accounts_are_none() -> None:
    events = household(1)
    bench = Bench().run(events)
    end_us = end_of(events)
    customer = bench.shard.customer("c-1")
    ((source, probability),) = income_of(customer)
    assert source.name == "Alander Works" and source.rhythm is not None and source.rhythm.name == "weekly"
    assert 0.5 < probability <= 1.0
    assert monthly_minor(source) == pytest.approx(40_000 * 30.4 / 7)
    bench.apply([account(end_us + 1, account_id="Alander Works")])
    assert income_of(customer) == []


def test_a_freelancer_has_no_regular_income() -> None:
    days = [day("2025-01-03") + offset for offset in (0, 9, 40, 44, 47, 83, 90, 131)]
    amounts = [90_000, 30_000, 45_000, 120_000, 61_000, 33_000, 99_000, 20_000]
    events = transfers("inv", days, amounts, "Client")
    bench = Bench().run(events)
    assert income_of(bench.shard.customer("c-1")) == []
    bench.advance(NOON_US + ENDLESS_US)
    assert bench.on("signals") == []
