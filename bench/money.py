"""Everything about money ahead, on worlds that nobody tuned on, by one command.

python bench/money.py --seeds 101 102 103 [--customers N] [--days D] [--json FILE]

For each seed, with its dirt and over the second half of the period: the scorecard of every signal about money; of missed income the
false alarms of irregular earners by themselves; recurring streams and next payments (bench/recurring.py); the cash-flow forecast's bands
and its pinball loss, and how often an alert's own amount withdraws it (bench/cashflow.py); the bytes that a customer's profile takes at
the end, and what an event costs. The probability of overdrafts is learned on the way, as in a replay: `overdraft_line` is what was learned
by the end. "Withdrawn ones counted" scores every alarm that was ever given. Only the detectors of money run:
the profile's bytes are without what others learn.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from typing import Any

import msgspec
from cashflow import Bank, Forecasts, detector_with, withdrawals
from recurring import Series, Tally, foretell

from dataflows.knowledge.offline import OfflineKnowledge
from operators.across import Across
from operators.alerts import overdraft_ahead
from operators.alerts.overdraft_outcomes import line_of
from operators.catalogue import CATALOGUE
from operators.customer_step import CustomerStep, make_policy
from operators.knowledge.board import Board
from operators.knowledge.facts import Example
from operators.knowledge.versions import CHAMPION, ModelVersion
from simulation.scorecard import score
from simulation.scorecard_card import SignalScore
from simulation.scorecard_run import read_run
from simulation.settings import Dirt, WorldSettings
from state.awaiting import Awaiting
from state.business_days import day_of
from state.events import Transaction
from state.frozen import freeze
from state.memory_store import MemoryStore
from state.records import Record
from state.settings_reading import load_settings
from state.shard import Shard
from state.signals import Signal
from state.step import Emission

MONEY = (
    "income_missed",
    "income_drop",
    "bill_changed",
    "price_rise",
    "new_subscription",
    "duplicate_charge",
    "fee",
    "bill_due",
    "overdraft_ahead",
)
SIGNALS = frozenset(detector.SIGNAL for detector in CATALOGUE if detector.NAME in MONEY)


class Course:
    """One world's events through the production step, watched."""

    def __init__(self, bank: Bank) -> None:
        self.bank, self.forecasts, self.tally = bank, Forecasts(bank), Tally()
        money = [detector for detector in CATALOGUE if detector.NAME in MONEY]
        watched = [detector_with(self.forecasts) if d is overdraft_ahead else d for d in money]
        settings, board = load_settings(environment={}), Board()
        self.knowledge = OfflineKnowledge(settings, board)
        across = Across(settings.knowledge, board)
        self.step = CustomerStep(settings.detectors, settings.digest(), tuple(watched), across)
        self.shard = Shard(0, self.step, make_policy(settings, self.step, 1), MemoryStore())
        self.signals: list[Signal] = []
        self.spent_s = 0.0
        self.board = board
        self.versions: list[ModelVersion] = []
        """Of how likely overdrafts are, in the order in which they came into force."""

    def run(self) -> None:
        expected = {
            customer_id: {
                (day, amount, series.credit): (series, at)
                for series in of
                if not series.optional
                for at, (day, amount) in enumerate(series.payments)
            }
            for customer_id, of in self.bank.series.items()
        }
        for event in self.bank.events:
            if isinstance(event, Transaction) and event.time_us >= self.bank.half_us:
                customer = self.shard.customer(event.customer_id)
                foretell(self.tally, customer, event, expected.get(event.customer_id, {}))
            began_s = process_time()
            self._learn(event.arrival_us)
            self._keep(self.shard.apply([event], 0))
            self._keep(self.shard.advance(0, event.arrival_us))
            self.spent_s += process_time() - began_s
        assert not self.step.detector_errors, self.step.detector_errors

    def _learn(self, arrival_us: int) -> None:
        """What was learned of the buckets before this moment comes into force."""
        for begins_us, _ in self.knowledge.by_bucket([Record("", 0, 0, arrival_us, None, b"")]):
            if begins_us is not None:
                for _ in self.knowledge.close(begins_us, {0: len(self.bank.series)}):
                    pass
                version = self.board.in_force.get((overdraft_ahead.NAME, CHAMPION))
                if version is not None and (not self.versions or version != self.versions[-1]):
                    self.versions.append(version)

    def _keep(self, emissions: list[Emission]) -> None:
        for emission in emissions:
            if isinstance(emission.body, Signal):
                self.signals.append(emission.body)
            elif isinstance(emission.body, Example) and emission.body.model == overdraft_ahead.NAME:
                self.knowledge.learn(emission.body)

    def profile_bytes(self) -> dict[str, int]:
        customers = [self.shard.customer(customer_id) for customer_id in self.bank.series]
        for customer in customers:
            customer.awaiting = Awaiting()
        sizes = sorted(len(freeze(customer, self.step.freeze_states(customer))) for customer in customers)
        return {"p50": sizes[len(sizes) // 2], "p99": sizes[len(sizes) * 99 // 100]}

    def line(self) -> dict[str, float]:
        """What outcomes have taught about the log-odds of overdrafts."""
        line = line_of(overdraft_ahead.Config(), self.board.champion(overdraft_ahead.NAME))
        return {"slope": line.slope, "offset": line.offset}

    def judge_streams(self) -> dict[str, Any]:
        end_us = self.bank.truth.world.end_us
        assert end_us is not None
        for customer_id, of in self.bank.series.items():
            self.tally.judge(of, self.shard.customer(customer_id).current_streams(), day_of(end_us))
        return self.tally.figures()


def scores(signals: list[Signal], bank: Bank, withdrawn: bool) -> dict[str, Any]:
    """The scorecard's figures by signal type, as `segone score` makes them. `withdrawn`: alarms that were withdrawn count, too."""
    encode = msgspec.json.Encoder().encode
    with TemporaryDirectory(prefix="segone-money-") as folder:
        topic = Path(folder) / "signals.alert"
        topic.mkdir()
        kept = (signal for signal in signals if not withdrawn or signal.state != "RETRACT")
        (topic / "0.jsonl").write_bytes(b"".join(encode(signal) + b"\n" for signal in kept))
        card = score(read_run(Path(folder)), bank.truth, 0)
    return {one.type: dict(figures_of(one)) for one in card.signals if one.type in SIGNALS}


def figures_of(card: SignalScore) -> Iterator[tuple[str, Any]]:
    half = card.second_half
    assert half.rates is not None
    yield from {
        "cases": half.cases,
        "alarms": half.alarms,
        "repeated": half.repeated,
        "precision": half.rates.precision.value,
        "recall": half.rates.recall.value,
        "f1": half.rates.f1.value,
        "false_alarms_per_year": half.rates.false_alarms_per_year.value,
        "days_p10_p50_p90": [half.days.p10, half.days.p50, half.days.p90],
    }.items()
    if card.calibration is not None:
        yield "calibration_error", card.calibration.expected_error


def irregular_alarms(signals: list[Signal], bank: Bank, days: int) -> dict[str, Any]:
    """Alarms of missed income, in the whole period, of customers to whom no income comes regularly: all of them are false."""
    irregular = {customer_id for customer_id, of in bank.series.items() if not any(has_rhythm(one) for one in of)}
    alarms = [
        s for s in signals if s.type == "anomaly.income_missed" and s.state == "OPEN" and s.customer_id in irregular
    ]
    years = len(irregular) * days / 365.25
    return {"customers": len(irregular), "alarms_per_year": len(alarms) / years if years else None}


def has_rhythm(series: Series) -> bool:
    return series.stream == "income" and len(series.payments) > 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures everything about money ahead.")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--days", type=int, default=540)
    parser.add_argument("--replays", type=int, default=40, help="alerts whose own amount is tried")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    args = parser.parse_args()
    results = {}
    for seed in args.seeds:
        bank = Bank(WorldSettings(args.customers, args.days, seed, dirt=Dirt()))
        course = Course(bank)
        course.run()
        overdrafts = [signal for signal in course.signals if signal.type == overdraft_ahead.SIGNAL]
        results[str(seed)] = figures = {
            "events": len(bank.events),
            "signals": scores(course.signals, bank, withdrawn=False),
            "overdraft_line": course.line(),
            "withdrawn_ones_counted": scores(course.signals, bank, withdrawn=True),
            "income_missed_of_irregular_earners": irregular_alarms(course.signals, bank, args.days),
            "streams": course.judge_streams(),
            "forecast": course.forecasts.figures(),
            "counterfactual": withdrawals(bank, overdrafts, args.replays, course.versions),
            "profile_bytes": course.profile_bytes(),
            "event_us": course.spent_s * 1e6 / len(bank.events),
        }
        print(seed, msgspec.json.format(msgspec.json.encode(figures), indent=2).decode(), flush=True)
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


if __name__ == "__main__":
    sys.exit(main())
