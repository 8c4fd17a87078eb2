"""The scorecard of a run against planted truth: for each signal type how often it was right, how often it cried wolf,
how early or late it spoke, and whether its probabilities can be believed.

The rules are in docs/scorecard.md: windows in `scorecard_rules`, verdicts in `scorecard_matching`, figures in
`scorecard_figures`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from simulation.scorecard_card import Decoys, Figures, KindRecall, Scorecard, SignalScore, Stated
from simulation.scorecard_figures import DAYS_PER_YEAR, Calibration, Row, calibration_of, days_of, rates
from simulation.scorecard_matching import Judged, Match, Verdict, judge, match_of
from simulation.scorecard_period import Observed, Span, cold_start, second_half
from simulation.scorecard_rules import (
    ALIASES,
    DAY_US,
    HITS,
    NULL_TYPE,
    STATES,
    Case,
    Rule,
    is_floor,
    known_kinds,
    purposes_of,
    rules_of,
)
from simulation.scorecard_run import Alarm, Run
from simulation.scorecard_truth import Refusals, Truth
from state.times import rfc3339

VALUES_MAX = 40
"""How many values of a detail (products, life events) get a row of their own."""


@dataclass
class _Sheet:
    """What every signal type is scored with."""

    cases: dict[str, dict[str, list[Case]]]  # by kind, then customer
    decoys: list[Case]
    half: Span
    cold: Span | None
    resamples: int
    seed: int
    refusals: Refusals


def score(run: Run, truth: Truth, resamples: int = 1000, seed: int = 1) -> Scorecard:
    """Raises ConfigError if neither world.json, scores, signals nor truth tells the period."""
    observed = Observed.of(run, truth)
    sheet = _Sheet(
        defaultdict(dict), truth.decoys, second_half(observed), cold_start(observed), resamples, seed, truth.refusals
    )
    ignored: Counter[str] = Counter()
    for case in truth.cases:
        if case.kind in known_kinds():
            sheet.cases[case.kind].setdefault(case.customer_id, []).append(case)
        else:
            ignored[case.kind] += 1
    answerable = {
        name for name in HITS if any(not rule.excuses and rule.kind in sheet.cases for rule in rules_of(name))
    }
    types = sorted(answerable | {*run.alarms, NULL_TYPE}, key=lambda name: (is_floor(name), name not in HITS, name))
    cards = [_score_type(name, run.alarms.get(name, {}), sheet) for name in types]
    return Scorecard(
        period_start=rfc3339(observed.start_us),
        counted_from=rfc3339(observed.half_us),
        period_end=rfc3339(observed.end_us),
        customers=sheet.half.customers(),
        customer_years=sheet.half.years(),
        resamples=resamples,
        seed=seed,
        signals=tuple(cards),
        ignored_kinds=dict(sorted(ignored.items())),
        notes=(*run.notes, *observed.notes, *_notes(truth, cards), *_consent_notes(run, truth)),
    )


def _notes(truth: Truth, cards: Iterable[SignalScore]) -> list[str]:
    notes = []
    if truth.without_customer:
        notes.append(f"{truth.without_customer} cases of truth name no customer and were left out")
    for card in cards:
        if card.role == "signal" and card.second_half.alarms and not card.second_half.cases:
            kinds = ", ".join(rule.kind for rule in rules_of(card.type) if not rule.excuses)
            notes.append(f"{card.type}: the truth counts no case of {kinds}; all its alarms count as false")
    return notes


def _consent_notes(run: Run, truth: Truth) -> list[str]:
    """What was said to be said of nobody who refuses it, type by type where there is something to tell."""
    notes = []
    for name, alarms in sorted(run.alarms.items()):
        purposes = purposes_of(name)
        without = sum(
            any(
                refusal.touches(purposes, alarm.time_us, alarm.time_us)
                for refusal in truth.refusals.get(customer_id, ())
            )
            for customer_id, of_customer in alarms.items()
            for alarm in of_customer
        )
        if purposes and truth.refusals:
            notes.append(
                f"{name}: {without} alarms without consent to {' and '.join(purposes)}; cases of customers who refused it are left out"
            )
    return notes


def _score_type(name: str, alarms: dict[str, list[Alarm]], sheet: _Sheet) -> SignalScore:
    rules = rules_of(name)
    cases: dict[str, list[Case]] = {}
    for kind in dict.fromkeys(rule.kind for rule in rules):
        for customer_id, of_kind in sheet.cases.get(kind, {}).items():
            cases.setdefault(customer_id, []).extend(of_kind)
    judged = judge(name, rules, cases, alarms, refusals=sheet.refusals)
    counted = [match for match in judged.matches if sheet.half.has(match.case.customer_id, match.case.start_us)]
    by_value = {
        value: _figures(judge(name, rules, cases, alarms, value, sheet.refusals), sheet.half, sheet)
        for value in (_values(judged) if name in STATES else ())
    }
    f1s = [figures.rates.f1.value or 0.0 for figures in by_value.values() if figures.rates and figures.cases]
    return SignalScore(
        type=name,
        role="floor" if is_floor(name) else "signal" if rules else "unmatched",
        measure=rules[0].measure if rules else None,
        second_half=_figures(judged, sheet.half, sheet, bool(rules)),
        precision_by_chance=_covered_share(judged.matches, sheet.half) if rules else None,
        cold_start=_figures(judged, sheet.cold, sheet, bool(rules)) if sheet.cold else None,
        calibration=_calibration(judged, sheet.half) if rules else None,
        kinds=_kinds(rules, counted),
        stated=_stated(counted),
        by_value=by_value,
        macro_f1=sum(f1s) / len(f1s) if f1s else None,
        decoys=_decoys(name, rules, judged, sheet),
    )


def _figures(judged: Judged, span: Span, sheet: _Sheet, has_rules: bool = True) -> Figures:
    verdicts: Counter[Verdict] = Counter()
    of_customer: dict[str, list[int]] = {}
    for alarm, verdict in judged.alarms:
        if span.has(alarm.customer_id, alarm.time_us):
            verdicts[verdict] += 1
            if verdict is Verdict.FALSE:
                of_customer.setdefault(alarm.customer_id, [0, 0, 0])[2] += 1
    days = []
    for match in judged.matches:
        if span.has(match.case.customer_id, match.case.start_us):
            sums = of_customer.setdefault(match.case.customer_id, [0, 0, 0])
            sums[0] += 1
            if match.alarm is not None:
                sums[1] += 1
                days.append(match.days())
    years = span.years()
    alarms = verdicts.total()
    return Figures(
        customers=span.customers(),
        customer_years=years,
        alarms=alarms,
        alarms_per_year=alarms / years if years else None,
        cases=sum(sums[0] for sums in of_customer.values()),
        hits=len(days),
        repeated=verdicts[Verdict.REPEAT],
        late=verdicts[Verdict.LATE],
        excused=verdicts[Verdict.EXCUSED],
        false_alarms=verdicts[Verdict.FALSE] if has_rules else None,
        rates=rates(_rows(of_customer, span), sheet.resamples, sheet.seed, years * DAYS_PER_YEAR)
        if has_rules
        else None,
        days=days_of(days),
    )


def _rows(of_customer: dict[str, list[int]], span: Span) -> Counter[Row]:
    """How many customers have which row: most have no case and no alarm, and differ at most in how long they were
    observed."""
    rows: Counter[Row] = Counter({(0, 0, 0, days): customers for days, customers in span.customers_by_days().items()})
    for customer_id, (cases, hits, false_alarms) in of_customer.items():
        days = span.days(customer_id)
        rows[0, 0, 0, days] -= 1
        rows[cases, hits, false_alarms, days] += 1
    return +rows


def _covered_share(matches: Iterable[Match], span: Span) -> float | None:
    """Share of the customers' observed time within at least one hit window."""
    windows: dict[str, list[tuple[int, int]]] = {}
    for match in matches:
        from_us, until_us = span.observed_us(match.case.customer_id)
        opens_us, closes_us = max(match.opens_us, from_us), min(match.closes_us + 1, until_us)
        if opens_us < closes_us:
            windows.setdefault(match.case.customer_id, []).append((opens_us, closes_us))
    covered_us = 0
    for of_customer in windows.values():
        reached_us = 0
        for opens_us, closes_us in sorted(of_customer):
            covered_us += max(0, closes_us - max(opens_us, reached_us))
            reached_us = max(reached_us, closes_us)
    years = span.years()
    return covered_us / (DAY_US * DAYS_PER_YEAR) / years if years else None


def _calibration(judged: Judged, span: Span) -> Calibration | None:
    true = {Verdict.HIT: True, Verdict.REPEAT: True, Verdict.FALSE: False}
    return calibration_of(
        [
            (alarm.probability, true[verdict])
            for alarm, verdict in judged.alarms
            if alarm.probability is not None and verdict in true and span.has(alarm.customer_id, alarm.time_us)
        ]
    )


def _kinds(rules: Iterable[Rule], counted: Iterable[Match]) -> tuple[KindRecall, ...]:
    cases: Counter[str] = Counter()
    hits: Counter[str] = Counter()
    for match in counted:
        cases[match.case.kind] += 1
        hits[match.case.kind] += match.alarm is not None
    return tuple(KindRecall(rule.kind, cases[rule.kind], hits[rule.kind]) for rule in rules if not rule.excuses)


def _stated(counted: Iterable[Match]) -> Stated | None:
    values, errors = [], []
    for match in counted:
        if match.alarm is None:
            continue
        if match.alarm.value is not None and match.expected is not None:
            values.append(match.alarm.value == match.expected)
        if match.alarm.date_us is not None:
            errors.append(abs(match.alarm.date_us // DAY_US - match.rule.base_us(match.case) // DAY_US))
    if not values and not errors:
        return None
    return Stated(len(values), sum(values), len(errors), sum(errors) / len(errors) if errors else None)


def _values(judged: Judged) -> list[str]:
    """The right answers that the truth knows, then what alarms said besides; none if the truth knows none."""
    expected = {match.expected for match in judged.matches if match.expected is not None}
    said = {alarm.value for alarm, _ in judged.alarms if alarm.value is not None}
    return [*sorted(expected), *sorted(said - expected)][:VALUES_MAX] if expected else []


def _decoys(name: str, rules: Iterable[Rule], judged: Judged, sheet: _Sheet) -> tuple[Decoys, ...]:
    false_us: dict[str, list[int]] = {}
    for alarm, verdict in judged.alarms:
        if verdict is Verdict.FALSE:
            false_us.setdefault(alarm.customer_id, []).append(alarm.time_us)
    answered = {rule.kind: rule for rule in reversed(list(rules)) if not rule.excuses}
    planted: Counter[tuple[str, str]] = Counter()
    alarmed: Counter[tuple[str, str]] = Counter()
    for decoy in sheet.decoys:
        named = str(decoy.detail.get("for", ""))
        meant_for = ALIASES.get(named, named)
        rule = answered.get(meant_for) or (next(iter(answered.values()), None) if meant_for == name else None)
        if rule is None or not sheet.half.has(decoy.customer_id, decoy.start_us):
            continue
        match = match_of(name, rule, decoy)
        closes_us = max(match.closes_us, decoy.end_us or 0)
        key = (meant_for, str(decoy.detail.get("variant", "")))
        planted[key] += 1
        alarmed[key] += any(match.opens_us <= time_us <= closes_us for time_us in false_us.get(decoy.customer_id, ()))
    return tuple(Decoys(*key, planted[key], alarmed[key]) for key in sorted(planted))
