"""The cash-flow forecast and alert.overdraft_ahead on worlds that nobody tuned on.

python bench/cashflow.py --seeds 101 102 103 [--customers N] [--days D] [--json FILE]

For each seed, over the second half of the period: the share of balances within the 80 % band 7, 14 and 30 days ahead; the pinball loss
(quantiles 10, 50, 90 %) against "same as last month", whose band is that of its own errors, known in hindsight; the scorecard's
figures of the alert, with and without the alarms that it withdrew itself; and how often the amount that an alert names, paid in as
a credit just before or just after it, withdraws it.
"""

from __future__ import annotations

import argparse
import sys
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time
from types import MappingProxyType, SimpleNamespace
from typing import Any, Protocol

import msgspec
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from recurring import read_series  # noqa: E402

from operators.across import Across  # noqa: E402
from operators.alerts import overdraft_ahead as alert  # noqa: E402
from operators.cashflow import Z10  # noqa: E402
from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder, Rejection  # noqa: E402
from operators.forecasts import at_hand, of_customer  # noqa: E402
from operators.knowledge.board import Board  # noqa: E402
from operators.knowledge.buckets import FOREVER_US  # noqa: E402
from operators.knowledge.versions import ModelVersion  # noqa: E402
from simulation.log import write_truth  # noqa: E402
from simulation.runs import messages  # noqa: E402
from simulation.scorecard import score  # noqa: E402
from simulation.scorecard_run import Alarm, Run  # noqa: E402
from simulation.scorecard_truth import Truth, parse_time, read_truth  # noqa: E402
from simulation.settings import CLEAN, Dirt, WorldSettings  # noqa: E402
from simulation.world import STREAMS, TRUTHS, World  # noqa: E402
from state.business_days import DAY_US, day_of  # noqa: E402
from state.customer import Customer  # noqa: E402
from state.events import Account, Consent, Event, Transaction  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.money import EXPONENT, parse_balance  # noqa: E402
from state.records import Record  # noqa: E402
from state.settings_reading import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402
from state.signals import EventTrigger, Signal  # noqa: E402
from state.step import Emission  # noqa: E402
from state.times import parse_rfc3339  # noqa: E402

AHEAD_DAYS = (7, 14, 30)
EVERY_DAYS = 10
"""How often an account's forecast is held against what came."""
QUANTILES = ((0.1, -Z10), (0.5, 0.0), (0.9, Z10))
REPLAYS_MAX = 40
TOLD_DAYS = 20
"""After so many days an alert's two weeks are over, and what became of it is said."""
SECOND_US = 1_000_000


class Balances:
    """What really was on each account at the end of each day."""

    def __init__(self, events: Iterable[Event]) -> None:
        booked: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
        for event in events:
            if isinstance(event, Transaction) and event.balance_after_minor is not None and event.status != "pending":
                signed_minor = event.amount_minor if event.direction == "credit" else -event.amount_minor
                account = (event.customer_id, event.account_id or "")
                after_minor = event.balance_after_minor
                booked[account].append((event.time_us, after_minor - signed_minor, after_minor))
        self._told = {account: _left(rows) for account, rows in booked.items()}

    def at(self, customer_id: str, account: str, day: int) -> float | None:
        """At the end of a day; None before the first and after the last that is known."""
        told = self._told.get((customer_id, account), [])
        at = bisect_left(told, (day + 1) * DAY_US, key=lambda one: one[0])
        return float(told[at - 1][1]) if 0 < at < len(told) else None


def _left(booked: list[tuple[int, int, int]]) -> list[tuple[int, int]]:
    """(time, balance) after all bookings of each moment, out of (time, balance before, balance after) in order of arrival.

    A bank that tells no time of day books many things at midnight, in whatever order. The last is the one that no other begins from;
    where that is not one alone, the last to arrive.

    >>> _left([(0, 10, 9), (0, 12, 10), (5, 9, 3)])
    [(0, 9), (5, 3)]
    """
    told = []
    for time_us, group in groupby(sorted(booked, key=lambda one: one[0]), key=lambda one: one[0]):
        rows = list(group)
        begun_from = {before for _, before, _ in rows}
        ends = {after for *_, after in rows} - begun_from
        told.append((time_us, ends.pop() if len(ends) == 1 else rows[-1][2]))
    return told


class Observed(Protocol):
    """What a forecast is held against, from when on."""

    half_us: int
    balances: Balances


class Bank:
    """One world: its events in order of arrival, its truth, its recurring series and its balances."""

    def __init__(self, settings: WorldSettings) -> None:
        decoder = Decoder()
        self.events: list[Event] = []
        with TemporaryDirectory(prefix="segone-bench-") as folder:
            world = World(settings, Path(folder))
            world.live()
            for message in messages(world.lines()):
                if message.topic in (Transaction.TOPIC, Account.TOPIC, Consent.TOPIC):
                    record = Record(message.topic, 0, len(self.events), message.arrival_us, message.key, message.value)
                    event = decoder.decode(record)
                    if not isinstance(event, Rejection):
                        self.events.append(event)
            self.series = read_series(world.truth(STREAMS))
            write_truth(Path(folder), settings, {name: world.truth(name) for name in TRUTHS})
            self.truth = read_truth(Path(folder) / "truth")
        start_us = parse_time(settings.start.isoformat())
        self.half_us = start_us + settings.days * DAY_US // 2
        self.balances = Balances(self.events)


class Forecasts:
    """Asks for a forecast now and then, as the detector does, and remembers it."""

    def __init__(self, bank: Observed) -> None:
        self.bank = bank
        self.rows: list[list[float]] = []
        """horizon, actual, baseline, turnover, then the quantiles."""
        self.asked: dict[tuple[str, str], int] = {}
        self.whole: list[tuple[int, bool]] = []
        """Of a customer's several accounts together: horizon, and whether what came was within the band."""

    def ask(self, config: Any, state: Any, event: Transaction, customer: Customer) -> None:
        account, day = event.account_id or "", day_of(event.time_us)
        key = (customer.customer_id, account)
        if event.time_us < self.bank.half_us or day < self.asked.get(key, 0) + EVERY_DAYS:
            return
        ahead = alert.look_ahead(state, customer, account, event.currency, event.time_us)
        if ahead is None:
            return
        self.asked[key] = day
        turnover = alert.circumstances(config, ahead, customer).turnover_minor
        for days in AHEAD_DAYS:
            actual, before, then = (self.bank.balances.at(*key, at) for at in (day + days, day - 30, day - 30 + days))
            if actual is not None and before is not None and then is not None:
                quantiles = [ahead.quantile(days, z) for _, z in QUANTILES]
                self.rows.append([days, actual, ahead.balance_minor + then - before, turnover, *quantiles])
        self._ask_whole(state, event, customer, day)

    def _ask_whole(self, state: Any, event: Transaction, customer: Customer, day: int) -> None:
        whole = of_customer(state.accounts, state.card_shares, customer, event.currency, event.time_us)
        if whole is None:
            return
        accounts = at_hand(state.accounts, customer, event.currency)
        for days in AHEAD_DAYS:
            balances = [self.bank.balances.at(customer.customer_id, account, day + days) for account in accounts]
            actual = sum(balance for balance in balances if balance is not None)
            if None not in balances:
                low, high = (whole.quantile(days, z) for z in (-Z10, Z10))
                self.whole.append((days, low <= actual <= high))

    def figures(self) -> dict[str, Any]:
        rows = np.array(self.rows)
        found: dict[str, Any] = {}
        for days in AHEAD_DAYS:
            of = rows[rows[:, 0] == days]
            actual, same, scale = of[:, 1], of[:, 2], of[:, 3]
            errors = np.quantile((actual - same) / scale, [q for q, _ in QUANTILES])
            ours = sum(pinball(actual, of[:, 4 + i], q) for i, (q, _) in enumerate(QUANTILES))
            theirs = sum(pinball(actual, same + errors[i] * scale, q) for i, (q, _) in enumerate(QUANTILES))
            found[f"{days} d"] = {
                "forecasts": len(of),
                "covered": float(np.mean((of[:, 4] <= actual) & (actual <= of[:, 6]))),
                "pinball_better": 1.0 - ours / theirs,
                "median_better": 1.0 - pinball(actual, of[:, 5], 0.5) / pinball(actual, same, 0.5),
            }
            together = [covered for ahead, covered in self.whole if ahead == days]
            if together:
                found[f"{days} d, accounts together"] = {
                    "forecasts": len(together),
                    "covered": float(np.mean(together)),
                }
        return found


def pinball(actual: Any, predicted: Any, quantile: float) -> float:
    gap = actual - predicted
    return float(np.mean(np.maximum(quantile * gap, (quantile - 1.0) * gap)))


def detector_with(forecasts: Forecasts | None) -> Any:
    """The alert; asked for a forecast before each event, if wanted."""

    def on_event(config: Any, state: Any, event: Event, customer: Customer) -> Any:
        if forecasts is not None and isinstance(event, Transaction) and event.status == "posted":
            forecasts.ask(config, state, event, customer)
        return alert.on_event(config, state, event, customer)

    names = ("NAME", "VERSION", "SIGNAL", "Config", "State", "TOPICS", "learn", "on_timer", "in_force")
    return SimpleNamespace(on_event=on_event, **{name: getattr(alert, name) for name in names})


def signals_of(
    events: Sequence[Event],
    forecasts: Forecasts | None = None,
    versions: Sequence[ModelVersion] = (),
    changed: Mapping[str, float] = MappingProxyType({}),
) -> list[Signal]:
    """What the alert says of events, in order of arrival. `versions` come into force as they did when they were learned; `changed` are
    settings of the alert that are not the default."""
    settings, board = load_settings(None, {}, {"detectors": {alert.NAME: dict(changed)}}), Board()
    across = Across(settings.knowledge, board)
    step = CustomerStep(settings.detectors, settings.digest(), (detector_with(forecasts),), across)
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    said: list[Emission] = []
    coming, first = list(versions), 0
    while first < len(events):
        while coming and coming[0].effective_from_us <= events[first].arrival_us:
            board.apply_versions([coming.pop(0)])
        ends_us = coming[0].effective_from_us if coming else FOREVER_US
        last = first + 1
        while last < min(first + 500, len(events)) and events[last].arrival_us < ends_us:
            last += 1
        batch = events[first:last]
        said += shard.apply(batch, 0)
        said += shard.advance(0, max(event.arrival_us for event in batch))
        first = last
    assert not step.detector_errors, step.detector_errors
    return [emission.body for emission in said if isinstance(emission.body, Signal)]


def scored(signals: Iterable[Signal], truth: Truth, keep_retracted: bool) -> dict[str, Any]:
    signals = list(signals)
    retracted = set() if keep_retracted else {signal.retracts for signal in signals if signal.retracts}
    alarms: dict[str, list[Alarm]] = defaultdict(list)
    for signal in signals:
        if signal.state == "OPEN" and signal.id not in retracted:
            assert isinstance(signal.trigger, EventTrigger)
            date_us = parse_time(signal.details["date"])
            at_us = parse_rfc3339(signal.event_time)
            alarms[signal.customer_id].append(
                Alarm(signal.customer_id, at_us, signal.trigger.event_id, signal.score, None, date_us)
            )
    card = next(
        c for c in score(Run({alert.SIGNAL: dict(alarms)}, {}, None), truth, 0).signals if c.type == alert.SIGNAL
    )
    figures, half = card.second_half, card.second_half.rates
    assert half is not None
    return {
        "alarms": figures.alarms,
        "cases": figures.cases,
        "precision": half.precision.value,
        "recall": half.recall.value,
        "false_alarms_per_year": half.false_alarms_per_year.value,
        "lead_days": [figures.days.p10, figures.days.p50, figures.days.p90],
        "calibration_error": card.calibration.expected_error if card.calibration else None,
        "bins": [[round(b.score_mean, 2), round(b.true_share, 2), b.alarms] for b in card.calibration.bins]
        if card.calibration
        else [],
        "date_error_days": card.stated.date_error_days if card.stated else None,
    }


def with_credit(events: Sequence[Event], opened: Signal, shift_us: int) -> list[Event]:
    """The customer's events with the amount that the alert named paid in, `shift_us` from the alert; balances follow."""
    named, at_us = opened.counterfactual, parse_rfc3339(opened.event_time) + shift_us
    assert named is not None
    amount_minor = parse_balance(named["amount"], EXPONENT[named["currency"]])
    changed: list[Event] = []
    trigger = None
    for event in events:
        if event.event_id == opened.trigger.event_id and trigger is None:  # type: ignore[union-attr]
            trigger = event
        same = getattr(event, "account_id", None) == opened.details["account_id"] and event.time_us > at_us
        if same and isinstance(event, Account):
            event = msgspec.structs.replace(event, balance_minor=event.balance_minor + amount_minor)
        elif same and isinstance(event, Transaction) and event.balance_after_minor is not None:
            event = msgspec.structs.replace(event, balance_after_minor=event.balance_after_minor + amount_minor)
        changed.append(event)
    assert isinstance(trigger, Transaction)
    credit = Transaction(
        customer_id=trigger.customer_id,
        transaction_id="paid-in",
        time_us=at_us,
        arrival_us=trigger.arrival_us + shift_us,
        partition=0,
        offset=0,
        amount_minor=amount_minor,
        currency=trigger.currency,
        direction="credit",
        channel="transfer",
        account_id=opened.details["account_id"],
    )
    return sorted([*changed, credit], key=lambda event: event.arrival_us)


def withdrawals(
    bank: Bank, signals: Sequence[Signal], tries: int = REPLAYS_MAX, versions: Sequence[ModelVersion] = ()
) -> dict[str, Any]:
    """Of about `tries` alerts spread over the second half, as far as their end can be told, the share that their own amount withdraws:
    they are not given when it came before, and end without an overdraft when it comes after."""
    of_customer: dict[str, list[Event]] = defaultdict(list)
    for event in bank.events:
        of_customer[event.customer_id].append(event)
    ends_us = bank.events[-1].arrival_us - TOLD_DAYS * DAY_US
    opened = [s for s in signals if s.state == "OPEN" and bank.half_us <= parse_rfc3339(s.event_time) < ends_us]
    opened = opened[:: max(1, len(opened) // tries)]
    not_given = ended = 0
    for one in opened:
        events = of_customer[one.customer_id]
        before = signals_of(with_credit(events, one, -SECOND_US), versions=versions)
        opens = [s for s in signals_of(events, versions=versions) if s.state == "OPEN" and s.trigger == one.trigger]
        assert opens, "an alert that is not given again can't be withdrawn"
        not_given += not any(s.state == "OPEN" and s.trigger == one.trigger for s in before)
        after = [
            s for s in signals_of(with_credit(events, one, SECOND_US), versions=versions) if s.episode == one.episode
        ]
        ended += any(s.state == "RETRACT" or (s.state == "CLOSE" and s.reasons[0].code != "CAME") for s in after)
    count = max(1, len(opened))
    return {"tried": len(opened), "not_given": not_given / count, "ended_without_overdraft": ended / count}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the cash-flow forecast and the overdraft alert.")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--days", type=int, default=540)
    parser.add_argument("--clean", action="store_true", help="without dirt")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    args = parser.parse_args()
    results = {}
    for seed in args.seeds:
        bank = Bank(WorldSettings(args.customers, args.days, seed, dirt=CLEAN if args.clean else Dirt()))
        forecasts = Forecasts(bank)
        before_s = process_time()
        signals = signals_of(bank.events, forecasts)
        cost_us = (process_time() - before_s) * 1e6 / len(bank.events)
        results[str(seed)] = figures = {
            "events": len(bank.events),
            "shard_us_per_event": cost_us,
            "forecast": forecasts.figures(),
            "alert": scored(signals, bank.truth, keep_retracted=False),
            "alert_withdrawn_ones_counted": scored(signals, bank.truth, keep_retracted=True),
            "counterfactual": withdrawals(bank, signals),
        }
        print(seed, msgspec.json.format(msgspec.json.encode(figures), indent=2).decode(), flush=True)
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


if __name__ == "__main__":
    main()
