"""Which alarm belongs to which case: one verdict for each alarm, at most one hit for each case.

Alarms are taken in order of time; each one hits at most one case. Where several cases are open for it, it goes to the
one that names its transaction, else the one whose detail it states, else the one that closes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from simulation.scorecard_rules import Case, Rule, expected_value, purposes_of
from simulation.scorecard_run import Alarm
from simulation.scorecard_truth import Refusal, Refusals


class Verdict(Enum):
    """HIT is the first alarm on a case, REPEAT a further one. LATE came after the hit window, but while the detected
    thing lasted; EXCUSED is true of something that the type isn't for. Only FALSE counts against precision, only HIT
    for it."""

    HIT = "hit"
    REPEAT = "repeat"
    LATE = "late"
    EXCUSED = "excused"
    FALSE = "false"


@dataclass(slots=True)
class Match:
    """A case under the rule that makes it a matter of this signal type, and the alarm that hit it, if any did."""

    case: Case
    rule: Rule
    expected: str | None
    opens_us: int
    closes_us: int
    pardoned_until_us: int
    transaction_ids: frozenset[str]
    alarm: Alarm | None = None

    def covers(self, alarm: Alarm) -> bool:
        return self.opens_us <= alarm.time_us <= self.closes_us or alarm.event_id in self.transaction_ids

    def pardons(self, alarm: Alarm) -> bool:
        return self.closes_us < alarm.time_us <= self.pardoned_until_us

    def days(self) -> float:
        """Lead (base - alarm) or delay (alarm - start) of the hit, in days."""
        assert self.alarm is not None
        if self.rule.measure == "lead":
            return (self.rule.base_us(self.case) - self.alarm.time_us) / 86_400e6
        return (self.alarm.time_us - self.case.start_us) / 86_400e6


class Judged(NamedTuple):
    """The outcome for one signal type: the cases that count for recall, and every alarm with its verdict."""

    matches: list[Match]
    alarms: list[tuple[Alarm, Verdict]]


def judge(
    signal_type: str,
    rules: Sequence[Rule],
    cases: dict[str, list[Case]],
    alarms: dict[str, list[Alarm]],
    value: str | None = None,
    refusals: Refusals | None = None,
) -> Judged:
    """Judges all customers' alarms of one type. With `value`, only alarms that state it and cases of which it is the
    right answer count: what remains is the figure of, say, anomaly.geo's "trip" alone. A case whose customer refused
    what the type is for (`refusals`) is none of it."""
    judged = Judged([], [])
    for customer_id in dict.fromkeys((*cases, *alarms)):
        matches = list(
            _matches(signal_type, rules, cases.get(customer_id, ()), value, (refusals or {}).get(customer_id, ()))
        )
        told = [alarm for alarm in alarms.get(customer_id, ()) if value is None or alarm.value == value]
        judged.alarms.extend(_judge_customer(matches, told))
        judged.matches.extend(match for match in matches if not match.rule.excuses)
    return judged


def match_of(signal_type: str, rule: Rule, case: Case) -> Match:
    opens_us, closes_us = rule.window_us(case)
    named = case.detail.get("transaction_ids") if rule.named else None
    return Match(
        case=case,
        rule=rule,
        expected=expected_value(signal_type, rule, case),
        opens_us=opens_us,
        closes_us=closes_us,
        pardoned_until_us=rule.pardoned_until_us(case),
        transaction_ids=frozenset(str(name) for name in named) if isinstance(named, list) else frozenset(),
    )


def _matches(
    signal_type: str, rules: Sequence[Rule], cases: Iterable[Case], value: str | None, refused: Iterable[Refusal]
) -> Iterator[Match]:
    purposes = purposes_of(signal_type)
    for case in cases:
        for rule in rules:
            if rule.kind != case.kind:
                continue
            match = match_of(signal_type, rule, case)
            if any(refusal.touches(purposes, match.opens_us, match.closes_us) for refusal in refused):
                match.rule = rule._replace(excuses=True)
            if value is not None and not match.rule.excuses and match.expected != value:
                if match.expected is not None:
                    continue
                match.rule = rule._replace(excuses=True)  # the truth doesn't say, so the alarm can't be wrong
            yield match


def _judge_customer(matches: list[Match], alarms: list[Alarm]) -> Iterator[tuple[Alarm, Verdict]]:
    for alarm in sorted(alarms, key=lambda alarm: (alarm.time_us, alarm.event_id)):
        yield alarm, _verdict(matches, alarm)


def _verdict(matches: list[Match], alarm: Alarm) -> Verdict:
    covering = [match for match in matches if match.covers(alarm)]
    counted = [match for match in covering if not match.rule.excuses]
    free = [match for match in counted if match.alarm is None]
    if free:
        first = min(
            free,
            key=lambda match: (
                alarm.event_id not in match.transaction_ids,
                match.expected is None or match.expected != alarm.value,
                match.closes_us,
            ),
        )
        first.alarm = alarm
        return Verdict.HIT
    if counted:
        return Verdict.REPEAT
    if covering:
        return Verdict.EXCUSED
    return Verdict.LATE if any(match.pardons(alarm) for match in matches) else Verdict.FALSE
