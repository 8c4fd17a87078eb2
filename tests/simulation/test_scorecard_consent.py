"""The scorecard asks for nothing that a customer has refused, and tells what was said all the same."""

from __future__ import annotations

import pytest

from simulation.scorecard_matching import Verdict, judge
from simulation.scorecard_rules import DAY_US, Case, rules_of
from simulation.scorecard_run import Alarm
from simulation.scorecard_truth import Refusal

TYPE = "intent.churn"
CASES = {"c-1": [Case("churn", "c-1", 100 * DAY_US, 100 * DAY_US, {})]}


def alarm(day: int) -> dict[str, list[Alarm]]:
    return {"c-1": [Alarm("c-1", day * DAY_US, "t-1", None, None, None)]}


@pytest.mark.parametrize(
    ("purpose", "from_day", "counts"),
    [("marketing", 0, False), ("profiling", 99, False), ("profiling", 101, True), ("health", 0, True)],
)
def test_a_case_of_somebody_who_refuses_is_none(purpose: str, from_day: int, counts: bool) -> None:
    refusals = {"c-1": [Refusal(purpose, from_day * DAY_US, 200 * DAY_US)]}
    judged = judge(TYPE, rules_of(TYPE), CASES, alarm(80), refusals=refusals)
    assert len(judged.matches) == int(counts)
    assert judged.alarms[0][1] is (Verdict.HIT if counts else Verdict.EXCUSED)


def test_without_refusals_all_cases_count() -> None:
    assert len(judge(TYPE, rules_of(TYPE), CASES, {}).matches) == 1
