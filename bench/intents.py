"""How good are the intents on planted worlds: what `segone score` says of them, by quarter too; how well products are ranked week by
week; what an event costs. Twice over the same events: with learning, and with the priors frozen at the start. Runs called `unlike` begin
from the prior of a bank whose customers are others.

python bench/intents.py [--customers N] [--days D] [--seed S …] [--dirt] [--run learning|frozen|unlike, learning|unlike, frozen …]

A world is lived through once; the weeks that traces saw in it then pass through the production code of the intents. Cases of customers
who refuse marketing or profiling are left out (docs/consent.md).
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
from intent_priors import ahead, area
from intent_weeks import ROOT as ROOT
from intent_weeks import Moment, Player, clean_world, world_of

from dataflows.knowledge.offline import OfflineKnowledge
from operators.across import Across
from operators.catalogue import read_configs
from operators.customer_step import CustomerStep
from operators.detector import HOOKS, Detector, DetectorConfig
from operators.encode import encode, is_written
from operators.intent import churn, home_purchase, life_event, product, traces
from operators.knowledge.board import Board
from operators.knowledge.facts import Example
from simulation.scorecard import score
from simulation.scorecard_card import Scorecard
from simulation.scorecard_matching import judge
from simulation.scorecard_rules import Case, rules_of
from simulation.scorecard_run import Run, read_run
from simulation.scorecard_truth import Truth
from simulation.settings import WorldSettings
from state.records import Record
from state.settings_reading import load_settings

INTENTS: tuple[Detector, ...] = (home_purchase, churn, life_event, product)
QUARTER_US = 91 * traces.DAY_US
LEARNING: dict[str, dict[str, str]] = {
    "learning": {},
    "frozen": {"SEGONE__DETECTORS__INTENT_LEARNER__ENABLED": "false"},
}
"""What is compared: settings from the environment, by the name of the run."""
UNLIKE = {"SEGONE__DETECTORS__PRODUCT__SCORE_BASE": "-10.4", "SEGONE__DETECTORS__HOME_PURCHASE__SCORE_BASE": "-4.0"}
"""A prior of another bank's: customers there who look are seven times as likely to buy."""
LEARNING |= {f"unlike, {name}": {**environment, **UNLIKE} for name, environment in LEARNING.items()}


class Clock:
    """Seconds spent in the hooks of the intents."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def watched(self, detector: Detector) -> Any:
        hooks = {name: self._timed(getattr(detector, name)) for name in HOOKS if hasattr(detector, name)}
        return SimpleNamespace(**{**vars(detector), **hooks})

    def _timed(self, hook: Any) -> Any:
        def call(*arguments: Any) -> Any:
            began_s = perf_counter()
            answer = hook(*arguments)
            self.spent_s += perf_counter() - began_s
            return answer

        return call


class Ranks:
    """What the model of products thinks of each product at the end of each week, whether it is said or not."""

    def __init__(self) -> None:
        self._config = read_configs(load_settings(environment={}).detectors)[2]["product"]
        self._weeks: dict[str, list[tuple[int, dict[str, float]]]] = defaultdict(list)
        self.detector: Any = SimpleNamespace(
            NAME="ranks", VERSION=1, SIGNAL=None, Config=DetectorConfig, State=None, look=self._look
        )

    def _look(self, config: Any, state: Any, week: traces.Week, customer: Any) -> None:
        judged = product.judged(self._config, week, product.interests_of(self._config, week))
        scores = {name: one.score for name, one in judged.items()}
        self._weeks[customer.customer_id].append((week.end_us, scores))

    def show(self, cases: Sequence[Case], from_us: int) -> None:
        """Over the weeks from `from_us` on: the area under the ROC curve for each product (taken within the horizon), and how often
        the product taken was among the three likeliest two weeks before (by chance: 3 of 5)."""
        days, rows = self._config.horizon_days, defaultdict[str, list[tuple[float, bool]]](list)
        taken = defaultdict[str, list[Case]](list)
        for case in cases:
            if case.kind == "product":
                taken[case.customer_id].append(case)
        among: list[bool] = []
        for customer_id, weeks in self._weeks.items():
            for end_us, scores in weeks:
                if end_us < from_us:
                    continue
                coming = [c for c in taken[customer_id] if ahead(end_us, c, days)]
                for name, one in scores.items():
                    rows[name].append((one, any(c.detail["product"] == name for c in coming)))
                for case in coming:
                    if 14 <= (case.start_us - end_us) / traces.DAY_US < 21:
                        likeliest = sorted(scores, key=scores.__getitem__, reverse=True)[: product.NEXT_MAX]
                        among.append(case.detail["product"] in likeliest)
        for name, found in rows.items():
            outcomes = np.array([outcome for _, outcome in found], dtype=float)
            if outcomes.any():
                print(f"{name}: AUC {area(np.array([score for score, _ in found]), outcomes):.3f}")
        if among:
            print(f"next product among the three likeliest two weeks before: {sum(among)} of {len(among)}")


class Subject:
    """The intents of one run: the customer step of the production code, the knowledge step beside it, and the topics that are written."""

    TOPICS = ("signals.intent", "scores")

    def __init__(self, environment: dict[str, str], folder: Path) -> None:
        loaded, board, self.clock, self.ranks = load_settings(environment=environment), Board(), Clock(), Ranks()
        self.knowledge = OfflineKnowledge(loaded, board)
        detectors = (Player.detector, *(self.clock.watched(one) for one in INTENTS), self.ranks.detector)
        step = CustomerStep(loaded.detectors, "bench", detectors, across=Across(loaded.knowledge, board))
        self.player = Player(step)
        self.folder, self.learn_s, self._files = folder, 0.0, {}
        for topic in self.TOPICS:
            (folder / topic).mkdir(parents=True)
            self._files[topic] = (folder / topic / "0.jsonl").open("wb")

    def take(self, moment: Moment) -> None:
        began_s = perf_counter()
        for begins_us, _ in self.knowledge.by_bucket([Record("", 0, 0, moment.arrival_us, None, b"")]):
            if begins_us is not None:
                for _ in self.knowledge.close(begins_us, {0: len(self.player.customers)}):
                    pass
        self.learn_s += perf_counter() - began_s
        for emission in self.player.pass_by(moment):
            if isinstance(emission.body, Example):
                self.knowledge.learn(emission.body)
            elif is_written(emission) and (output := encode(emission)).topic in self._files:
                self._files[output.topic].write(output.value + b"\n")

    def run(self) -> Run:
        for file in self._files.values():
            file.close()
        assert not self.player.step.detector_errors, self.player.step.detector_errors
        return read_run(self.folder)


def show(card: Scorecard) -> None:
    said = {detector.SIGNAL for detector in INTENTS}
    for signal in card.signals:
        if signal.type not in said or signal.second_half.rates is None:
            continue
        figures, rates = signal.second_half, signal.second_half.rates
        days = figures.days.p50 if figures.days is not None else None
        ece = signal.calibration.expected_error if signal.calibration is not None else None
        print(
            f"{signal.type}: {figures.cases} cases, {figures.alarms} alarms, P {told(rates.precision.value)} "
            f"R {told(rates.recall.value)} FP/cy {told(rates.false_alarms_per_year.value)} days {told(days)} "
            f"ECE {told(ece)} macro F1 {told(signal.macro_f1)} {signal.stated or ''}"
        )
        for value, one in signal.by_value.items():
            if one.rates is not None:
                print(
                    f"    {value}: {one.cases} cases, {one.hits} hits, {one.false_alarms} false, F1 {told(one.rates.f1.value)}"
                )
        for decoys in signal.decoys:
            print(f"    decoys {decoys}")
    print("\n".join(card.notes))


def told(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def quarters(run: Run, truth: Truth, start_us: int, end_us: int) -> Iterator[str]:
    """Precision and recall by the quarter in which a case starts or a false alarm is raised."""
    for name in ("home_purchase", "churn", "product", "life_event"):
        signal, cases = f"intent.{name}", dict[str, list[Case]]()
        rules = rules_of(signal)
        for case in truth.cases:
            if any(rule.kind == case.kind for rule in rules):
                cases.setdefault(case.customer_id, []).append(case)
        judged = judge(signal, rules, cases, run.alarms.get(signal, {}), refusals=truth.refusals)
        for quarter, from_us in enumerate(range(start_us, end_us, QUARTER_US), 1):
            matches = [m for m in judged.matches if from_us <= m.case.start_us < from_us + QUARTER_US]
            false = sum(v.value == "false" and from_us <= a.time_us < from_us + QUARTER_US for a, v in judged.alarms)
            hits = [match.days() for match in matches if match.alarm is not None]
            days = f"{median(hits):.0f}" if hits else "–"
            yield f"{signal} quarter {quarter}: {len(matches)} cases, {len(hits)} hits, {false} false, {days} days"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the intents on planted worlds.")
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--days", type=int, default=540)
    parser.add_argument("--seed", type=int, nargs="+", default=[31, 35, 36])
    parser.add_argument("--dirt", action="store_true", help="with disorder, duplicates, reversals and broken records")
    parser.add_argument(
        "--run", choices=list(LEARNING), nargs="+", default=["learning", "frozen"], help="both unless told"
    )
    parser.add_argument("--cache", type=Path, default=None, help="a folder that keeps the weeks of worlds already seen")
    args = parser.parse_args()
    for seed in args.seed:
        settings = clean_world(seed, args.customers, args.days)
        if args.dirt:
            settings = WorldSettings(args.customers, args.days, seed)
        lives = world_of(settings, args.cache)
        truth, events = lives.told, lives.events
        assert truth.world.start_us is not None and truth.world.end_us is not None
        with TemporaryDirectory(prefix="segone-intents-") as name:
            for run_name in args.run:
                subject = Subject(LEARNING[run_name], Path(name) / run_name)
                for moment in lives.moments:
                    subject.take(moment)
                spent_us, learn_us = (seconds / events * 1e6 for seconds in (subject.clock.spent_s, subject.learn_s))
                print(
                    f"\nseed {seed}, {run_name}, {args.customers} customers x {args.days} days, {events:,} events, "
                    f"{spent_us:.1f} µs an event in the intents, {learn_us:.1f} in the learners"
                )
                run = subject.run()
                show(score(run, truth, resamples=0))
                subject.ranks.show(truth.cases, (truth.world.start_us + truth.world.end_us) // 2)
                print("\n".join(quarters(run, truth, truth.world.start_us, truth.world.end_us)), flush=True)


if __name__ == "__main__":
    main()
