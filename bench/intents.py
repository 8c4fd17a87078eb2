"""How good are the intents on planted worlds: what `segone score` says of them, by quarter too; how well products are ranked week by
week; what an event costs.

python bench/intents.py [--customers N] [--days D] [--seed S …] [--dirt]

Only the intents run (the other detectors don't touch them), on a shard of the production code. Cases of customers who refuse marketing or
profiling are left out (docs/consent.md).
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
from intent_weeks import clean_world

from operators.catalogue import read_configs
from operators.customer_step import CustomerStep, make_policy
from operators.decode import Decoder, Rejection
from operators.detector import HOOKS, Detector, DetectorConfig
from operators.encode import encode
from operators.intent import churn, home_purchase, life_event, product, traces
from operators.intent.frame import reasons_of, score_of
from simulation.log import write_truth
from simulation.runs import messages
from simulation.scorecard import score
from simulation.scorecard_card import Scorecard
from simulation.scorecard_matching import judge
from simulation.scorecard_rules import Case, rules_of
from simulation.scorecard_run import Run, read_run
from simulation.scorecard_truth import Truth, read_truth
from simulation.settings import WorldSettings
from simulation.world import TRUTHS, World
from state.memory_store import MemoryStore
from state.records import Record
from state.settings_reading import load_settings
from state.shard import Shard

INTENTS: tuple[Detector, ...] = (traces, home_purchase, churn, life_event, product)
QUARTER_US = 91 * traces.DAY_US


class Clock:
    """Seconds spent in the hooks of the intents."""

    def __init__(self) -> None:
        self.spent_s = 0.0
        self._within = False

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
        self._weeks: dict[str, list[tuple[traces.Week, dict[str, float]]]] = defaultdict(list)
        self.detector: Any = SimpleNamespace(
            NAME="ranks", VERSION=1, SIGNAL=None, Config=DetectorConfig, State=None, look=self._look
        )

    def _look(self, config: Any, state: Any, week: traces.Week, customer: Any) -> None:
        model = self._config
        scores = {}
        for name in (name for name, one in model.products.items() if one.intent == product.NAME):
            base = model.score_base + model.by_product.get(name, 0.0)
            scores[name] = score_of(base, reasons_of(model.weights, product.features_of(model, week, name)))
        self._weeks[customer.customer_id].append((week, scores))

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
            for week, scores in weeks:
                if week.end_us < from_us:
                    continue
                coming = [c for c in taken[customer_id] if ahead(week, c, days)]
                for name, one in scores.items():
                    rows[name].append((one, any(c.detail["product"] == name for c in coming)))
                for case in coming:
                    if 14 <= (case.start_us - week.end_us) / traces.DAY_US < 21:
                        likeliest = sorted(scores, key=scores.__getitem__, reverse=True)[: product.NEXT_MAX]
                        among.append(case.detail["product"] in likeliest)
        for name, found in rows.items():
            outcomes = np.array([outcome for _, outcome in found], dtype=float)
            if outcomes.any():
                print(f"{name}: AUC {area(np.array([score for score, _ in found]), outcomes):.3f}")
        if among:
            print(f"next product among the three likeliest two weeks before: {sum(among)} of {len(among)}")


def run_world(settings: WorldSettings, ranks: Ranks) -> tuple[Run, Truth, int, float]:
    """What the intents say in a world, the truth, the number of events and the seconds spent in the hooks."""
    clock, loaded, decoder = Clock(), load_settings(environment={}), Decoder()
    detectors = (*(clock.watched(one) for one in INTENTS), ranks.detector)
    step = CustomerStep(loaded.detectors, "bench", detectors)
    shard, events = Shard(0, step, make_policy(loaded, step, 1), MemoryStore()), 0
    with TemporaryDirectory(prefix="segone-intents-") as name:
        folder = Path(name)
        world = World(settings, folder)
        world.live()
        write_truth(folder, settings, {kind: world.truth(kind) for kind in TRUTHS})
        for topic in ("signals.intent", "scores"):
            (folder / "run" / topic).mkdir(parents=True)
        with (
            (folder / "run" / "signals.intent" / "0.jsonl").open("wb") as signals,
            (folder / "run" / "scores" / "0.jsonl").open("wb") as scores,
        ):
            files = {"signals.intent": signals, "scores": scores}
            for message in messages(world.lines()):
                record = Record(message.topic, 0, events, message.arrival_us, message.key, message.value)
                event = decoder.decode(record)
                if isinstance(event, Rejection) or not event.customer_id:
                    continue
                events += 1
                for emission in shard.apply([event], 0):
                    output = encode(emission)
                    if output.topic in files:
                        files[output.topic].write(output.value + b"\n")
        assert not step.detector_errors, step.detector_errors
        return read_run(folder / "run"), read_truth(folder / "truth"), events, clock.spent_s


def show(card: Scorecard) -> None:
    for signal in card.signals:
        if not signal.type.startswith("intent.") or signal.second_half.rates is None:
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
    args = parser.parse_args()
    for seed in args.seed:
        settings = clean_world(seed, args.customers, args.days)
        if args.dirt:
            settings = WorldSettings(args.customers, args.days, seed)
        ranks = Ranks()
        run, truth, events, spent_s = run_world(settings, ranks)
        print(
            f"\nseed {seed}, {args.customers} customers x {args.days} days, {events:,} events, {spent_s / events * 1e6:.1f} µs an event"
        )
        show(score(run, truth, resamples=0))
        assert truth.world.start_us is not None and truth.world.end_us is not None
        ranks.show(truth.cases, (truth.world.start_us + truth.world.end_us) // 2)
        print("\n".join(quarters(run, truth, truth.world.start_us, truth.world.end_us)))


if __name__ == "__main__":
    main()
