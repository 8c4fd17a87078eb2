"""Each matching rule of docs/scorecard.md on a hand-made case. The period is 200 days, so day 100 onwards counts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulation.scorecard import score
from simulation.scorecard_card import SignalScore
from simulation.scorecard_rules import DAY_US, HITS, STATES, Case
from simulation.scorecard_run import Alarm, Run
from simulation.scorecard_truth import Truth, World

PERIOD_DAYS = 200
CUSTOMERS = ("ann", "bob", "cyd")


def case(kind: str, start: float, end: float | None = None, customer_id: str = "ann", **detail: object) -> Case:
    return Case(kind, customer_id, round(start * DAY_US), None if end is None else round(end * DAY_US), detail)


def alarm(day: float, customer_id: str = "ann", event_id: str = "", value: str | None = None) -> Alarm:
    return Alarm(customer_id, round(day * DAY_US), event_id, value=value)


def scored(signal_type: str, cases: list[Case], alarms: list[Alarm], decoys: tuple[Case, ...] = ()) -> SignalScore:
    of_customer: dict[str, list[Alarm]] = {}
    for one in alarms:
        of_customer.setdefault(one.customer_id, []).append(one)
    run = Run({signal_type: of_customer}, dict.fromkeys(CUSTOMERS, 0), PERIOD_DAYS * DAY_US - 1)
    truth = Truth(cases, list(decoys), 0, World())
    card = score(run, truth, resamples=0)
    return next(one for one in card.signals if one.type == signal_type)


def outcome(card: SignalScore) -> tuple[int, int, int | None]:
    """Cases, hits and false alarms of the second half."""
    return card.second_half.cases, card.second_half.hits, card.second_half.false_alarms


def test_an_alarm_within_the_window_is_a_hit_and_its_delay_is_measured_from_the_start() -> None:
    card = scored("anomaly.category_surge", [case("medical_surge", 110)], [alarm(121)])
    assert outcome(card) == (1, 1, 0)
    assert card.second_half.days.p50 == pytest.approx(11.0)
    assert card.measure == "delay"


def test_a_lead_is_measured_back_from_the_moment_anticipated() -> None:
    card = scored("alert.overdraft_ahead", [case("overdraft", 150, 153)], [alarm(145)])
    assert outcome(card) == (1, 1, 0)
    assert card.second_half.days.p50 == pytest.approx(5.0)
    assert card.measure == "lead"


def test_the_lead_on_a_process_is_measured_back_from_its_end() -> None:
    card = scored("intent.home_purchase", [case("home_purchase", 110, 190)], [alarm(120)])
    assert outcome(card) == (1, 1, 0)
    assert card.second_half.days.p50 == pytest.approx(70.0)


def test_silence_misses_the_case_and_leaves_precision_undefined() -> None:
    card = scored("anomaly.category_surge", [case("medical_surge", 110)], [])
    assert outcome(card) == (1, 0, 0)
    rates = card.second_half.rates
    assert rates is not None
    assert (rates.precision.value, rates.recall.value, rates.f1.value) == (None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("signal_type", "of", "day"),
    [
        ("anomaly.category_surge", case("medical_surge", 120), 119.9),
        ("alert.overdraft_ahead", case("overdraft", 150), 135.9),
        ("intent.churn", case("churn", 195), 100.0 - 30),
    ],
)
def test_an_alarm_before_the_window_is_false_if_it_is_in_the_second_half(
    signal_type: str, of: Case, day: float
) -> None:
    card = scored(signal_type, [of], [alarm(day)])
    assert outcome(card) == (1, 0, 1 if day >= PERIOD_DAYS / 2 else 0)


def test_an_anticipation_at_the_very_moment_is_too_late_and_false() -> None:
    card = scored("alert.overdraft_ahead", [case("overdraft", 150, 153)], [alarm(150), alarm(151)])
    assert outcome(card) == (1, 0, 2)


def test_an_anticipation_just_before_the_moment_is_a_hit() -> None:
    card = scored("alert.overdraft_ahead", [case("overdraft", 150)], [alarm(149.999)])
    assert outcome(card) == (1, 1, 0)


def test_a_detection_after_its_window_is_false_once_the_case_is_over() -> None:
    card = scored("anomaly.category_surge", [case("medical_surge", 110, 130)], [alarm(170.1)])
    assert outcome(card) == (1, 0, 1)


def test_a_detection_after_its_window_is_late_while_the_case_lasts() -> None:
    card = scored("anomaly.category_surge", [case("medical_surge", 110, 190)], [alarm(180)])
    assert outcome(card) == (1, 0, 0)
    assert card.second_half.late == 1


def test_a_second_alarm_on_one_case_counts_neither_for_nor_against() -> None:
    card = scored("anomaly.category_surge", [case("medical_surge", 110)], [alarm(112), alarm(115), alarm(120)])
    assert outcome(card) == (1, 1, 0)
    assert card.second_half.repeated == 2
    assert card.second_half.rates is not None
    assert card.second_half.rates.precision.value == 1.0


def test_one_alarm_hits_only_one_of_two_cases() -> None:
    cases = [case("overdraft", 150), case("overdraft", 152)]
    assert outcome(scored("alert.overdraft_ahead", cases, [alarm(145)])) == (2, 1, 0)
    assert outcome(scored("alert.overdraft_ahead", cases, [alarm(145), alarm(146)])) == (2, 2, 0)


def test_alarms_are_spread_over_overlapping_cases_whatever_the_order_of_truth() -> None:
    cases = [case("overdraft", 160), case("overdraft", 150)]
    card = scored("alert.overdraft_ahead", cases, [alarm(147), alarm(155)])
    assert outcome(card) == (2, 2, 0)


def test_another_customers_case_makes_no_hit() -> None:
    card = scored("anomaly.category_surge", [case("medical_surge", 110)], [alarm(112, "bob")])
    assert outcome(card) == (1, 0, 1)


def test_another_kinds_case_makes_no_hit() -> None:
    card = scored("anomaly.category_surge", [case("takeover", 110)], [alarm(110.5)])
    assert outcome(card) == (0, 0, 1)


def test_cases_and_false_alarms_of_the_first_half_do_not_count() -> None:
    cases = [case("medical_surge", 20), case("medical_surge", 99)]
    card = scored("anomaly.category_surge", cases, [alarm(25), alarm(10), alarm(90)])
    assert outcome(card) == (0, 0, 0)


def test_an_alarm_of_the_second_half_on_a_case_of_the_first_is_neither_right_nor_false() -> None:
    card = scored("anomaly.category_surge", [case("medical_surge", 90)], [alarm(105)])
    assert outcome(card) == (0, 0, 0)
    assert card.second_half.alarms == 1


def test_an_early_lead_on_a_case_of_the_second_half_may_lie_in_the_first() -> None:
    card = scored("intent.home_purchase", [case("home_purchase", 95 + 10, 160)], [alarm(98)])
    assert outcome(card) == (1, 1, 0)
    assert card.second_half.days.p50 == pytest.approx(62.0)


def test_a_kind_that_excuses_makes_no_case_and_no_false_alarm() -> None:
    card = scored("anomaly.transaction", [case("impossible_travel", 120)], [alarm(120.2)])
    assert outcome(card) == (0, 0, 0)
    assert card.second_half.excused == 1


def test_an_alarm_on_a_transaction_that_truth_names_is_a_hit_outside_the_window() -> None:
    named = case("compromised_merchant", 110, 138, transaction_ids=["t-7", "t-9"])
    assert outcome(scored("anomaly.transaction", [named], [alarm(130, event_id="t-9")])) == (1, 1, 0)
    late = scored("anomaly.transaction", [named], [alarm(130, event_id="t-8")])
    assert outcome(late) == (1, 0, 0)
    assert late.second_half.late == 1


def test_naming_a_transaction_does_not_widen_the_window_of_anything_but_fraud() -> None:
    named = case("medical_surge", 110, 190, transaction_ids=["t-9"])
    card = scored("anomaly.category_surge", [named], [alarm(180, event_id="t-9")])
    assert outcome(card) == (1, 0, 0)


def test_one_signal_type_answers_several_kinds_and_recall_is_told_by_kind() -> None:
    cases = [case("takeover", 120, 121), case("compromised_merchant", 150, customer_id="bob")]
    card = scored("anomaly.transaction", cases, [alarm(120.5)])
    assert outcome(card) == (2, 1, 0)
    assert {kind.kind: (kind.cases, kind.hits) for kind in card.kinds if kind.cases} == {
        "takeover": (1, 1),
        "compromised_merchant": (1, 0),
    }


def test_decoys_are_reported_by_variant_and_their_alarms_are_false() -> None:
    decoys = (
        case("decoy", 120, 125, "ann", **{"for": "medical_surge", "variant": "dental"}),
        case("decoy", 120, 125, "bob", **{"for": "medical_surge", "variant": "dental"}),
        case("decoy", 20, 25, "cyd", **{"for": "medical_surge", "variant": "dental"}),
        case("decoy", 120, None, "cyd", **{"for": "medical_surge", "variant": "prescriptions"}),
        case("decoy", 120, None, "cyd", **{"for": "takeover", "variant": "holiday"}),
    )
    card = scored("anomaly.category_surge", [], [alarm(121), alarm(122)], decoys)
    assert outcome(card) == (0, 0, 2)
    assert [(one.variant, one.decoys, one.alarmed) for one in card.decoys] == [
        ("dental", 2, 1),
        ("prescriptions", 1, 0),
    ]


def test_a_hit_on_a_real_case_is_not_held_against_a_decoy_of_the_same_customer() -> None:
    decoy = case("decoy", 115, 120, **{"for": "medical_surge", "variant": "dental"})
    card = scored("anomaly.category_surge", [case("medical_surge", 110)], [alarm(116)], (decoy,))
    assert [(one.decoys, one.alarmed) for one in card.decoys] == [(1, 0)]


def test_a_wrong_detail_is_still_a_hit_but_not_a_right_one() -> None:
    cases = [case("trip", 120, 127), case("relocation", 120, customer_id="bob")]
    card = scored("anomaly.geo", cases, [alarm(121, value="trip"), alarm(122, "bob", value="trip")])
    assert outcome(card) == (2, 2, 0)
    assert card.stated is not None
    assert (card.stated.compared, card.stated.right) == (2, 1)


def test_figures_by_value_are_strict_about_it() -> None:
    cases = [case("life_event", 120, event="child"), case("life_event", 120, customer_id="bob", event="move")]
    card = scored("intent.life_event", cases, [alarm(121, value="child"), alarm(122, "bob", value="child")])
    child, move = card.by_value["child"], card.by_value["move"]
    assert (child.cases, child.hits, child.false_alarms) == (1, 1, 1)
    assert (move.cases, move.hits, move.false_alarms) == (1, 0, 0)
    assert card.macro_f1 == pytest.approx((2 / 3 + 0) / 2)


def test_an_alarm_cannot_be_wrong_about_a_detail_that_the_truth_does_not_tell() -> None:
    cases = [case("life_event", 120), case("life_event", 120, customer_id="bob", event="child")]
    child = scored("intent.life_event", cases, [alarm(121, value="child")]).by_value["child"]
    assert (child.cases, child.hits, child.excused, child.false_alarms) == (1, 0, 1, 0)


def test_where_two_cases_are_open_the_alarm_goes_to_the_one_that_it_states() -> None:
    cases = [case("product", 130, product="card"), case("product", 180, product="loan")]
    card = scored("intent.product", cases, [alarm(120, value="loan")])
    assert card.second_half.days.p50 == pytest.approx(60.0)


def test_false_alarms_are_counted_per_customer_year_observed() -> None:
    card = scored("anomaly.category_surge", [], [alarm(150), alarm(160)])
    rates = card.second_half.rates
    assert rates is not None
    assert card.second_half.customer_years == pytest.approx(3 * 100 / 365.25)
    assert rates.false_alarms_per_year.value == pytest.approx(2 / (3 * 100 / 365.25), rel=1e-3)


def test_a_customer_who_joins_late_is_observed_only_from_the_first_score() -> None:
    run = Run({}, {"ann": 0, "bob": 150 * DAY_US}, PERIOD_DAYS * DAY_US - 1)
    card = score(run, Truth([], [], 0, World()), resamples=0)
    assert card.customer_years == pytest.approx((100 + 50) / 365.25)


def test_time_within_two_windows_is_covered_once() -> None:
    cases = [case("overdraft", 150), case("overdraft", 152), case("overdraft", 151, customer_id="bob")]
    card = scored("alert.overdraft_ahead", cases, [])
    assert card.precision_by_chance == pytest.approx((16 + 14) / 300)


def test_cold_start_counts_the_first_sixty_days_of_each_customer_wherever_they_lie() -> None:
    surge = "anomaly.category_surge"
    told = {"ann": [alarm(30), alarm(70)], "bob": [alarm(150, "bob")]}
    run = Run({surge: told}, {"ann": 0, "bob": 140 * DAY_US}, PERIOD_DAYS * DAY_US - 1)
    card = score(run, Truth([case("medical_surge", 141, customer_id="bob")], [], 0, World()), resamples=0)
    cold = next(one for one in card.signals if one.type == surge).cold_start
    assert cold is not None
    assert (cold.cases, cold.hits, cold.false_alarms, cold.customers) == (1, 1, 1, 2)
    assert cold.customer_years == pytest.approx(120 / 365.25)


def test_a_type_that_the_table_does_not_know_is_shown_without_a_verdict() -> None:
    card = scored("insight.mood", [], [alarm(150)])
    assert card.role == "unmatched"
    assert (card.second_half.alarms, card.second_half.false_alarms, card.second_half.rates) == (1, None, None)


def test_kinds_that_no_signal_answers_are_reported_as_ignored() -> None:
    run = Run({}, dict.fromkeys(CUSTOMERS, 0), PERIOD_DAYS * DAY_US)
    card = score(run, Truth([case("lottery_win", 120), case("lottery_win", 130)], [], 0, World()), resamples=0)
    assert card.ignored_kinds == {"lottery_win": 2}


def test_customers_whom_only_the_world_knows_add_quiet_years() -> None:
    run = Run({}, dict.fromkeys(CUSTOMERS, 0), PERIOD_DAYS * DAY_US)
    card = score(run, Truth([], [], 0, World(0, 200 * DAY_US, 10)), resamples=0)
    assert card.customers == 10
    assert card.customer_years == pytest.approx(1000 / 365.25)


DAYS = st.lists(st.integers(100, 199), max_size=8)


@given(starts=DAYS, told=DAYS)
def test_as_many_cases_are_hit_as_any_assignment_of_alarms_could_hit(starts: list[int], told: list[int]) -> None:
    """Against a maximum matching by augmenting paths."""
    reach = [[index for index, day in enumerate(told) if start - 14 <= day < start] for start in starts]
    taken: dict[int, int] = {}

    def place(one: int, tried: set[int]) -> bool:
        for index in reach[one]:
            if index not in tried:
                tried.add(index)
                if index not in taken or place(taken[index], tried):
                    taken[index] = one
                    return True
        return False

    best = sum(place(one, set()) for one in range(len(starts)))
    card = scored("alert.overdraft_ahead", [case("overdraft", start) for start in starts], [alarm(day) for day in told])
    assert card.second_half.hits == best


@given(starts=DAYS, told=DAYS, random=st.randoms(use_true_random=False))
def test_every_alarm_has_one_verdict_and_the_order_of_lines_does_not_matter(
    starts: list[int], told: list[int], random: Random
) -> None:
    cases = [case("medical_surge", start, start + 80) for start in starts]
    alarms = [alarm(day) for day in told]
    half = scored("anomaly.category_surge", cases, alarms).second_half
    assert half.false_alarms is not None
    assert half.hits + half.repeated + half.late + half.excused + half.false_alarms == half.alarms == len(told)
    random.shuffle(cases)
    random.shuffle(alarms)
    assert scored("anomaly.category_surge", cases, alarms).second_half == half


@pytest.mark.parametrize("signal_type", HITS)
def test_a_type_is_measured_by_lead_or_by_delay_but_not_by_both(signal_type: str) -> None:
    assert len({rule.measure for rule in HITS[signal_type] if not rule.excuses}) == 1


def test_details_are_compared_only_for_types_of_the_table() -> None:
    assert STATES.keys() <= HITS.keys()


def test_false_alarms_a_year_are_those_of_the_time_that_is_shown_not_of_rounded_days() -> None:
    run = Run({"alert.fee": {"ann": [alarm(150)]}}, {"ann": round(149.6 * DAY_US)}, PERIOD_DAYS * DAY_US - 1)
    card = score(run, Truth([], [], 0, World(0, PERIOD_DAYS * DAY_US)), resamples=0)
    fee = next(one for one in card.signals if one.type == "alert.fee").second_half
    assert fee.rates is not None and fee.false_alarms == 1
    assert fee.rates.false_alarms_per_year.value == pytest.approx(1 / card.customer_years, rel=1e-12)


def test_a_window_before_a_customers_first_score_is_no_chance_to_be_right() -> None:
    """The last two of the fourteen days before an overdraft were observed, and the ten days after it."""
    run = Run({}, {"ann": 148 * DAY_US}, 160 * DAY_US - 1)
    world = World(0, 160 * DAY_US)
    card = score(run, Truth([case("overdraft", 150)], [], 0, world), resamples=0)
    overdraft = next(one for one in card.signals if one.type == "alert.overdraft_ahead")
    assert overdraft.precision_by_chance == pytest.approx(2 / 12)
