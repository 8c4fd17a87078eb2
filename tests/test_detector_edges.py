"""The edges of detectors: what is just enough to count and what just isn't. Cases (tests/cases) tell stories far from them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from shard_bench import TABLES
from streams import DAY_US, HOUR_US, MINUTE_US, NOON_US, transaction

from operators.alerts import bill_changed, bill_due, duplicate_charge, fee, overdraft_ahead, price_rise
from operators.anomaly import amount, geo, hour, income_missed, novelty, velocity
from operators.detector import Say
from operators.episodes import _goes_on
from operators.intent.frame import IntentConfig, Reading, speak
from operators.intent.frame import State as IntentState
from operators.standing import kind_of
from state.customer import Place, Said
from state.payee import payee_of
from state.recurring import CHANNELS, Stream
from state.rhythm import MONTHLY, Rhythm
from state.times import NEVER_US
from state.windows import overall_key, pack_key

EUR_OUT, EUR_IN = overall_key(pack_key("EUR", False, 0)), overall_key(pack_key("EUR", True, 0))
BUY = transaction("t-now", NOON_US)


def config_of(module: Any) -> Any:
    return msgspec.convert(TABLES[module.NAME], module.Config)


def view(**changes: Any) -> Any:
    customer = SimpleNamespace(
        recent=[],
        said=[],
        hours=[0] * 24,
        merchants={},
        countries={"CZ": None},
        devices={1: None},
        knows_merchant=lambda merchant, until_us: False,
        knows_country=lambda country, until_us: country == "CZ",
        place_before=lambda until_us: None,
    )
    for name in list(changes):
        if hasattr(customer, name):
            setattr(customer, name, changes.pop(name))
    fields: dict[str, Any] = {
        "time_us": NOON_US,
        "key": pack_key("EUR", False, 0),
        "matured": 100,
        "merchant": 7,
        "amount_z": 0.0,
    }
    fields["overall_totals"] = [0] * 8
    return SimpleNamespace(customer=customer, amount_mean=3.0, **{**fields, **changes})


def recent(minutes_before: float, **changes: Any) -> Any:
    fields = {
        "transaction_id": f"t-{minutes_before:g}",
        "time_us": NOON_US - int(minutes_before * MINUTE_US),
        "key": pack_key("EUR", False, 0),
        "learned": True,
        "channel": "ecommerce",
        "merchant": 9,
        "device": 0,
    }
    return SimpleNamespace(**{**fields, **changes})


def monthly(amounts: tuple[int, ...], *, hits: int = 0, credit: bool = False, **changes: Any) -> Stream:
    """Payments on the 1st; the last of them on the 1st of March 2025."""
    rhythm = Rhythm(MONTHLY, 1, 0)
    days = tuple(rhythm.day(2025 * 12 + 2 - back, "EUR") for back in reversed(range(len(amounts))))
    fields: dict[str, Any] = {
        "id": 1,
        "payee": 11,
        "reference": 0,
        "key": EUR_IN if credit else EUR_OUT,
        "name": "Payee",
        "account": "a-1",
        "channel_code": CHANNELS.index("transfer" if credit else "direct_debit"),
        "days": days,
        "amounts": amounts,
        "hits": hits or len(amounts),
        "last_id": "t-last",
        "rhythm": rhythm,
        "mature": True,
    }
    return Stream(**(fields | changes))


def test_an_amount_counts_from_one_standard_deviation_on() -> None:
    config = config_of(amount)
    assert amount.step(config, None, BUY, view(amount_z=1.0)) is None
    found = amount.step(config, None, BUY, view(amount_z=1.5))
    assert found is not None and found.strength == pytest.approx(2.0 * math.log(1.25))


def test_an_hour_is_odd_once_there_is_a_habit_and_only_if_three_times_rarer_than_others() -> None:
    config = config_of(hour)
    hours = [0] * 24
    hours[18] = 80
    assert hour.step(config, None, BUY, view(hours=hours, matured=29)) is None
    found = hour.step(config, None, BUY, view(hours=hours, matured=30))
    assert found is not None and found.reasons[0].value == pytest.approx(0.5 / 92)
    hours[13] = 1  # beside: a quarter of it counts
    found = hour.step(config, None, BUY, view(hours=hours))
    assert found is not None and found.reasons[0].value == pytest.approx(0.75 / 93)
    hours[12] = 4
    assert hour.step(config, None, BUY, view(hours=hours)) is None


@pytest.mark.parametrize(("z", "share"), [(0.5, 0.0), (1.5, 0.5), (2.5, 1.0), (9.0, 1.0)])
def test_what_is_new_counts_with_the_size_of_the_amount(z: float, share: float) -> None:
    config = config_of(novelty)
    abroad = transaction("t-now", NOON_US, country="BR")
    assert novelty.step(config, None, abroad, view(amount_z=z, matured=9)) is None
    found = novelty.step(config, None, abroad, view(amount_z=z, matured=10))
    assert (found.strength if found else 0.0) == pytest.approx(share * (config.merchant + config.country))


def test_a_burst_needs_four_payments_within_the_hour_and_names_those_alone() -> None:
    """Neither a salary within the hour nor a payment in another currency is one of those that are counted."""
    config, state = config_of(velocity), velocity.State()
    others = [
        recent(61),
        recent(59, learned=False),
        recent(50),
        recent(40, key=pack_key("EUR", True, 0)),
        recent(30),
        recent(20, key=pack_key("USD", False, 0)),
        recent(10),
    ]
    three = view(recent=others, overall_totals=[2] + [0] * 7)
    four = view(recent=others, overall_totals=[3] + [0] * 7)
    quiet = msgspec.structs.replace(config, hour=velocity.Kind(others=0.01))
    assert velocity.step(quiet, state, BUY, three) is None
    found = velocity.step(quiet, state, BUY, four)
    assert found is not None and found.transaction_ids == ("t-50", "t-30", "t-10")
    assert found.reasons[0].value == 4


def test_a_burst_of_strange_payments_needs_three_and_the_stronger_of_two_views_is_told() -> None:
    config, state = config_of(velocity), velocity.State()
    online = transaction("t-now", NOON_US, channel="ecommerce")
    assert velocity.step(config, state, online, view(recent=[recent(100)])) is None
    found = velocity.step(config, state, online, view(recent=[recent(200), recent(100)]))
    assert found is not None and found.reasons[0].code == "STRANGE_ONLINE_BURST"
    crowd = [recent(minutes) for minutes in (50, 40, 30, 20, 10)]
    stronger = view(recent=crowd, overall_totals=[20] + [0] * 7)
    found = velocity.step(config, state, online, stronger)
    assert found is not None and found.reasons[0].code == "VELOCITY_HIGH"


def test_what_is_learned_of_a_burst_is_at_most_three_standard_deviations() -> None:
    config = config_of(velocity)
    crowding = velocity.Crowding()
    for number in range(12):
        crowding.learn(config, config.hour, NOON_US + number * MINUTE_US, HOUR_US)
    before, (_, mean, dispersion) = crowding.others, crowding.usual(config.hour, NOON_US + 12 * MINUTE_US)
    crowding.learn(config, config.hour, NOON_US + 12 * MINUTE_US, HOUR_US)
    assert crowding.others - before == pytest.approx(mean + 3.0 * math.sqrt(dispersion * mean), rel=1e-3)


@pytest.mark.parametrize(
    ("lat", "minutes", "spoken"),
    [
        (53.5, 11, False),  # 389 km: near places explain it
        (53.7, 11, True),  # 411 km
        (54.0, 21, False),  # 444 km, of which 100 are imprecision, in 21 minutes: 985 km/h; without them 1,270
        (54.0, 5, True),  # clocks differ: ten minutes at least
    ],
)
def test_a_journey_is_impossible_from_four_hundred_kilometres_and_an_airliners_speed_on(
    lat: float, minutes: float, spoken: bool
) -> None:
    place = Place(NOON_US - int(minutes * MINUTE_US), 50.0, 14.0, "t-0")
    there = transaction("t-now", NOON_US, lat=lat, lon=14.0)
    found = geo.step(config_of(geo), geo.State(), there, view(place_before=lambda until_us: place))
    if minutes == 21:
        assert found is not None and found.reasons[0].value == pytest.approx((444.8 - 100) / 0.35, rel=1e-3)
        return
    assert (found is not None) == spoken
    if found is not None:
        text = found.reasons[0].text
        assert "at least" in text and f"{found.reasons[0].value:.0f} km/h" in text


def test_a_place_is_usual_from_the_fourth_stay_on_and_a_home_has_a_share_of_all_payments() -> None:
    config, there = config_of(geo), transaction("t-now", NOON_US, lat=53.0, lon=14.0)
    for stays, away in ((3, True), (4, False)):
        state = geo.State([geo.Spot(50.0, 14.0, 50.0, 9), geo.Spot(53.0, 14.0, 2.0, stays)], 60, NOON_US, home=0, at=0)
        assert (geo.step(config, state, there, view()) is not None) == away, stays
    spots = [geo.Spot(50.0, 14.0, 39.0), geo.Spot(53.0, 14.0, 36.0), geo.Spot(56.0, 14.0, 25.0)]
    assert geo._home(config, geo.State(spots, 100)) == -1
    spots[0].weight = 41.0
    assert geo._home(config, geo.State(spots, 100)) == 0


def test_beyond_340_km_a_trip_is_no_likelier_and_nobody_moves_without_groceries() -> None:
    config = config_of(geo)
    state = geo.State([geo.Spot(50.0, 14.0, 50.0, 9)], 60, NOON_US, home=0, at=0)
    far = geo.step(config, state, transaction("t-now", NOON_US, lat=60.0, lon=14.0, mcc="5812"), view())
    assert far is not None and far.strength == config.distance_max
    assert geo._lives_there(config, 21 * DAY_US, 4) and not geo._lives_there(config, 21 * DAY_US, 3)


def test_what_covers_a_missed_salary() -> None:
    config, missed = config_of(income_missed), monthly((200_000,) * 6, credit=True)
    due_day = missed.due_day()
    assert due_day is not None

    def covers(amount_minor: int, own: int = 0, **changes: Any) -> bool:
        fields = {"id": 2, "payee": 22, "days": (due_day,), "amounts": (amount_minor,), "hits": 1, "rhythm": None}
        other = msgspec.structs.replace(missed, **(fields | changes))
        return income_missed._covered(config, missed, due_day, [missed, other], {own})

    assert covers(100_000) and not covers(99_999)
    assert not covers(100_000, own=22)
    assert covers(100_000, days=(due_day - 6,)) and not covers(100_000, days=(due_day - 7,))
    assert not covers(100_000, hits=3), "it was there before"
    again: dict[str, Any] = {"hits": 9, "rhythm": missed.rhythm, "amounts": (100_000, 100_000)}
    assert covers(100_000, **again, days=(due_day - 92, due_day)), "after parental leave"
    assert not covers(100_000, **again, days=(due_day - 31, due_day))


@pytest.mark.parametrize(
    ("amounts", "changed"),
    [
        ((1_000, 1_000, 1_000, 1_030), True),
        ((1_000, 1_000, 1_000, 1_029), False),
        ((1_000, 1_000, 1_000, 970), True),
        ((1_000, 1_001, 1_000, 1_300), False),
        ((800, 900, 1_000, 1_000, 1_000, 1_300), False),
    ],
)
def test_a_bill_has_changed_by_three_percent_against_three_equal_ones(amounts: tuple[int, ...], changed: bool) -> None:
    assert bill_changed._changed(config_of(bill_changed), monthly(amounts)) == changed


@pytest.mark.parametrize(
    ("amounts", "risen"),
    [
        ((1_000, 1_000, 1_020, 1_020), True),
        ((1_000, 1_000, 1_019, 1_019), False),
        ((1_000, 1_000, 1_020, 1_021), False),
        ((1_000, 1_001, 1_050, 1_050), False),
    ],
)
def test_a_price_has_risen_by_two_percent_twice(amounts: tuple[int, ...], risen: bool) -> None:
    assert price_rise._risen(config_of(price_rise), monthly(amounts)) == risen


def test_a_regular_fee_is_expected_at_its_usual_price_only() -> None:
    config, charged = (
        config_of(fee),
        transaction("t-now", NOON_US, 490, channel="fee", counterparty="Bank", merchant_id=None),
    )
    payee = payee_of(charged)
    assert payee is not None
    usual = monthly((490,) * 5, channel_code=CHANNELS.index("fee"), account="", payee=payee.digest)
    now = view(current_streams=None)
    now.customer.current_streams = lambda until_us: [usual]
    due_us = (usual.due_day() or 0) * DAY_US
    now.time_us = due_us
    assert fee.step(config, None, charged, now) is None
    dearer = msgspec.structs.replace(charged, amount_minor=590)
    assert fee.step(config, None, dearer, now) is not None
    assert fee.step(config, None, msgspec.structs.replace(charged, amount_minor=0), now) is None


@pytest.mark.parametrize(
    ("amount_minor", "mcc", "minutes", "twice"),
    [
        (2_549, "5411", 30, True),
        (2_549, "5411", 30.1, False),
        (199, "5411", 1, False),
        (200, "5411", 1, True),
        (499, None, 1, False),
        (501, None, 1, True),
        (499, "4111", 1, False),
    ],
)
def test_a_charge_is_the_same_within_half_an_hour_and_from_an_amount_on_that_is_somebodys_trouble(
    amount_minor: int, mcc: str | None, minutes: float, twice: bool
) -> None:
    again = transaction("t-now", NOON_US, amount_minor, mcc=mcc)
    seen = view(recent=[recent(minutes, merchant=7, amount_minor=amount_minor)])
    assert (duplicate_charge.step(config_of(duplicate_charge), None, again, seen) is not None) == twice


def test_a_card_in_use_for_a_month_is_reminded_of_unless_paid_or_drawn() -> None:
    config, due_us = config_of(bill_due), NOON_US + 6 * DAY_US
    due_day, told_day = due_us // DAY_US, NOON_US // DAY_US - 3
    for used_day, proven in ((due_day - 32, True), (due_day - 31, False), (None, False)):
        state = bill_due.State({} if used_day is None else {"card": used_day})
        assert bill_due._is_proven(state, "card", due_us) == proven
    known: Any = SimpleNamespace(payment_minor=3_000, currency="EUR", observed_us=told_day * DAY_US)

    def reminds(*streams: Stream) -> bool:
        customer: Any = SimpleNamespace(current_streams=lambda: streams, recent=[recent(5)], streams=[])
        return bool([*bill_due._remind_card(config, "card", known, due_us, NOON_US, customer)])

    def paid(amount_minor: int, day: int, channel: str = "transfer") -> Stream:
        return monthly((amount_minor,), credit=True, account="card", days=(day,), channel_code=CHANNELS.index(channel))

    assert reminds()
    assert not reminds(paid(3_000, told_day)) and reminds(paid(2_999, told_day)) and reminds(paid(3_000, told_day - 1))
    assert not reminds(paid(1_500, told_day), paid(1_500, told_day + 1)), "in two parts"
    assert reminds(paid(3_000, told_day, "ecommerce")), "a refund"
    for back, drawn in ((62, True), (63, False)):
        assert reminds(paid(3_000, told_day - back, "direct_debit")) != drawn


def test_a_missed_salary_is_grave_and_what_is_a_twentieth_of_all_income_is_not_looked_at() -> None:
    config, salary = config_of(income_missed), monthly((200_000,) * 6, credit=True)
    due_day = salary.due_day()
    assert due_day is not None

    def missed(amount_minor: int) -> list[str]:
        other = msgspec.structs.replace(salary, id=2, payee=22, name="Other", amounts=(amount_minor,) * 6)
        timer: Any = SimpleNamespace(due_us=income_missed._check_us(config, due_day))
        customer: Any = SimpleNamespace(
            current_streams=lambda: [salary, other], accounts={}, said=[], newest_us=timer.due_us
        )
        said = [one for one in income_missed.on_timer(config, None, timer, customer) if isinstance(one, Say)]
        assert {one.severity for one in said} == {"HIGH"}
        return [one.details["stream"] for one in said]

    assert missed(10_000) == ["Payee"] and missed(11_000) == ["Payee", "Other"]


def test_a_card_is_reminded_of_in_as_many_days_as_are_left() -> None:
    """Told late, fewer than the usual six."""
    known = SimpleNamespace(payment_minor=3_000, currency="EUR")
    said = bill_due._card_due(config_of(bill_due), "a-1", known, NOON_US + 2 * DAY_US, NOON_US, "t-1")  # type: ignore[arg-type]
    assert said.reasons[0].value == 2
    said = bill_due._due(config_of(bill_due), monthly((8_800,) * 4), 20_000)
    assert said.valid_until_us == 20_001 * DAY_US and said.reasons[0].value == 6, "until the end of its day"


def said_of(signal: str, **changes: Any) -> Said:
    return Said(signal, "e-1", 0, NOON_US, NEVER_US, b"", 1, 0.3, "t-0", "OPEN", "", False)._replace(**changes)


@pytest.mark.parametrize(
    ("amounts", "over"),
    [
        ((1_000, 1_000, 1_100, 1_100), False),
        ((1_000, 1_100, 1_100, 1_100, 1_100), False),
        ((1_100,) * 5, True),
        ((1_000, 1_000, 1_100, 1_100, 1_000), True),
    ],
)
def test_a_risen_price_is_no_news_after_five_payments_or_once_it_falls(amounts: tuple[int, ...], over: bool) -> None:
    stream = monthly(amounts)
    customer: Any = SimpleNamespace(
        streams=[],
        streams_with=lambda streams, recent: [stream],
        said=[said_of(price_rise.SIGNAL, kind=kind_of(stream))],
    )
    newest: Any = recent(-5, payee=object(), amount_minor=amounts[-1])
    assert bool([*price_rise.learn(config_of(price_rise), None, newest, customer)]) == over


def test_who_spends_the_account_every_month_is_looked_at_after_sixty_payments() -> None:
    config = config_of(overdraft_ahead)

    def looked_at(balance_minor: int = 30_000, amount_minor: int = 2_500, matured: int = 60) -> bool:
        ring = {EUR_OUT: [0] * 7 + [50_000]}
        customer: Any = SimpleNamespace(matured=matured, ring=ring, recent=[recent(5, account="a-1", channel="atm")])
        event = transaction("t-now", NOON_US, amount_minor, account_id="a-1")
        return overdraft_ahead.worth_a_look(config, event, customer, balance_minor)

    assert looked_at() and not looked_at(matured=59)
    assert looked_at(50_000) and not looked_at(50_001) and not looked_at(-1)
    assert not looked_at(amount_minor=2_499), "a second small movement of the day"


def test_an_intent_ends_far_below_the_score_at_which_it_began() -> None:
    config, state = IntentConfig(threshold=0.5, close_below=0.15, valid_s=1e9), IntentState(stages={"": "exploring"})
    week: Any = SimpleNamespace(weeks=10, day=20_000, end_us=NOON_US)
    customer: Any = SimpleNamespace(said=[said_of("intent.x")])
    steps = {}
    for score in (0.31, 0.16, 0.15, 0.1499):
        judged: Any = SimpleNamespace(score=score, reasons=(), calibrated=False, score_base=0.0, version="v")
        reading = Reading(judged, "exploring", dict, lambda: ("t-1",))
        steps[score] = [one.state for one in speak("intent.x", config, state, week, customer, reading)]
    assert steps == {0.31: [], 0.16: [], 0.15: ["UPDATE"], 0.1499: ["CLOSE"]}


def test_an_episode_silences_its_own_time_only() -> None:
    """An event that happened before it, though it came later, is no part of it."""
    customer: Any = SimpleNamespace(said=[said_of("x", active_until_us=NOON_US + 10)])
    assert [_goes_on(customer, "x", "", NOON_US + at) for at in (-1, 0, 10, 11)] == [False, True, True, False]
