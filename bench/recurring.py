"""Are recurring streams found, and is the next payment foretold? On planted worlds, and on the standing orders of a real bank.

python bench/recurring.py [--customers N] [--days D] [--seed S …]     a world of `segone simulate` for each seed, with its dirt
python bench/recurring.py --berka FOLDER                              the Berka data set, mapped by config/mappings/berka.toml

Recurring F1: at the end of the world, the streams that the profile calls MATURE against the series of truth that go on and have had
three payments; series that depend on balances count neither way. Next payment: at each payment of the second half from a series'
fourth on, what the profile expected just before. Also the size of a profile, and what an event costs the shard.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any, NamedTuple

import duckdb
import orjson

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from dataflows.history.ordered import open_history  # noqa: E402
from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder, Rejection  # noqa: E402
from simulation.runs import messages  # noqa: E402
from simulation.settings import WorldSettings  # noqa: E402
from simulation.world import STREAMS, World  # noqa: E402
from state.business_days import DAY_US, day_of  # noqa: E402
from state.customer import Customer  # noqa: E402
from state.events import BROADCAST, Transaction  # noqa: E402
from state.frozen import freeze  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.money import parse_amount  # noqa: E402
from state.payee import payee_of  # noqa: E402
from state.records import Record  # noqa: E402
from state.recurring import Status, Stream  # noqa: E402
from state.settings_reading import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402
from state.times import parse_rfc3339  # noqa: E402

NEAR_DAYS = 3


class Series(NamedTuple):
    """One series of truth: (day, amount) of each payment."""

    stream: str
    account: str
    credit: bool
    optional: bool
    cadence: str
    payments: list[tuple[int, int]]

    def owns(self, stream: Stream) -> bool:
        known = set(self.payments)
        pairs = [(day, amount) in known for day, amount in zip(stream.days, stream.amounts, strict=True)]
        return stream.credit == self.credit and stream.account == self.account and 2 * sum(pairs) >= len(pairs)


def new_shard() -> Shard:
    settings = load_settings(environment={})
    step = CustomerStep(settings.detectors, settings.digest())
    return Shard(0, step, make_policy(settings, step, 1), MemoryStore())


def read_series(lines: Any) -> dict[str, list[Series]]:
    found: dict[str, list[Series]] = defaultdict(list)
    for line in lines:
        body = orjson.loads(line)
        payments = [(day_of(parse_rfc3339(time)), parse_amount(amount, 2)) for time, amount in body["payments"]]
        found[body["customer_id"]].append(
            Series(
                body["stream"],
                body["account_id"],
                body["direction"] == "credit",
                body["optional"],
                body["cadence"],
                payments,
            )
        )
    return found


class Tally:
    """What was right and wrong in one world."""

    def __init__(self) -> None:
        self.hits = self.false = self.cases = 0
        self.missed: Counter[str] = Counter()
        self.invented: Counter[str] = Counter()
        self.foretold = self.near = self.exact = self.amount_near = 0
        self.unforetold: Counter[str] = Counter()

    def judge(self, truth: list[Series], streams: list[Stream], end_day: int) -> None:
        told = [stream for stream in streams if stream.status(end_day) is Status.MATURE]
        owners = {stream.id: [series for series in truth if series.owns(stream)] for stream in told}
        for series in truth:
            if series.optional or len(series.payments) < 3 or not goes_on(series, end_day):
                continue
            self.cases += 1
            if any(series in of for of in owners.values()):
                self.hits += 1
            else:
                self.missed[f"{series.stream} {series.cadence}"] += 1
        for stream in told:
            if not owners[stream.id]:
                self.false += 1
                self.invented[f"{stream.channel} {'in' if stream.credit else 'out'} hits {stream.hits}"] += 1

    def foretell(self, series: Series, at: int, streams: list[Stream]) -> None:
        """Payment `at` of the series is about to come."""
        day, amount = series.payments[at]
        self.foretold += 1
        for stream in streams:
            if stream.days[-1] == series.payments[at - 1][0] and series.owns(stream):
                due = stream.due_day() if stream.mature else None
                if due is not None:
                    self.near += abs(due - day) <= NEAR_DAYS
                    self.exact += due == day
                    if abs(due - day) > NEAR_DAYS:
                        self.unforetold[f"{series.stream} {series.cadence} late or early"] += 1
                    self.amount_near += abs(stream.usual_minor()[0] - amount) <= 0.15 * amount
                    return
        self.unforetold[f"{series.stream} {series.cadence} unknown"] += 1

    def figures(self) -> dict[str, float]:
        foretold = max(1, self.foretold)
        return {
            "series": self.cases,
            "precision": self.hits / max(1, self.hits + self.false),
            "recall": self.hits / max(1, self.cases),
            "f1": 2 * self.hits / max(1, self.hits + self.false + self.cases),
            "foretold": self.foretold,
            "date_near": self.near / foretold,
            "date_exact": self.exact / foretold,
            "amount_near": self.amount_near / foretold,
        }

    def __str__(self) -> str:
        found = self.figures()
        return (
            "streams: P {precision:.3f} R {recall:.3f} F1 {f1:.3f} ({series} series)\n"
            "next payment ({foretold}): date within {days} days {date_near:.4f}, exact {date_exact:.4f}, "
            "amount within 15 % {amount_near:.4f}\n".format(days=NEAR_DAYS, **found)
            + f"missed {self.missed.most_common(8)}\ninvented {self.invented.most_common(8)}\n"
            f"not foretold {self.unforetold.most_common(8)}"
        )


def goes_on(series: Series, end_day: int) -> bool:
    gaps = [b - a for (a, _), (b, _) in zip(series.payments, series.payments[1:], strict=False)]
    return end_day - series.payments[-1][0] <= 1.2 * max(gaps)


def run_world(settings: WorldSettings) -> None:
    shard, decoder, tally = new_shard(), Decoder(), Tally()
    with TemporaryDirectory(prefix="segone-recurring-") as folder:
        world = World(settings, Path(folder))
        world.live()
        truth = read_series(world.truth(STREAMS))
        expected = {
            customer_id: {
                (day, amount, series.credit): (series, at)
                for series in of
                for at, (day, amount) in enumerate(series.payments)
                if not series.optional
            }
            for customer_id, of in truth.items()
        }
        start_us = int((settings.start.toordinal() - 719163) * DAY_US)
        half_us, end_us = start_us + settings.days // 2 * DAY_US, start_us + settings.days * DAY_US
        events, spent_s = 0, 0.0
        for message in messages(world.lines()):
            event = decoder.decode(Record(message.topic, 0, events, message.arrival_us, message.key, message.value))
            if isinstance(event, Rejection) or message.topic in BROADCAST:
                continue
            if isinstance(event, Transaction) and event.time_us >= half_us:
                foretell(tally, shard.customer(event.customer_id), event, expected.get(event.customer_id, {}))
            began_s = perf_counter()
            shard.apply([event], 0)
            shard.advance(0, event.arrival_us)
            spent_s += perf_counter() - began_s
            events += 1
    sizes = []
    for customer_id, of in truth.items():
        customer = shard.customer(customer_id)
        tally.judge(of, customer.current_streams(), day_of(end_us))
        sizes.append(len(freeze(customer, shard._step.freeze_states(customer))))
    sizes.sort()
    print(f"seed {settings.seed}, {settings.customers} customers x {settings.days} days, {events:,} events")
    print(tally)
    print(
        f"profile: p50 {sizes[len(sizes) // 2]:,} bytes, p99 {sizes[len(sizes) * 99 // 100]:,} bytes; "
        f"{spent_s / events * 1e6:.0f} µs an event"
    )


def foretell(tally: Tally, customer: Customer, event: Transaction, expected: dict[Any, tuple[Series, int]]) -> None:
    found = expected.pop((day_of(event.time_us), event.amount_minor, event.direction == "credit"), None)
    if found is not None and found[1] >= 3 and event.status == "posted":
        tally.foretell(*found, customer.current_streams())


def run_berka(folder: Path) -> None:
    """Standing orders of a real bank: each payee of the table `order`, as far as three payments of it lie in the period."""
    orders = {
        (f"c-{account}", f"{bank}-{to}")
        for account, bank, to in duckdb.sql(
            f"SELECT account_id, bank_to, account_to FROM '{folder / 'order.parquet'}'"
        ).fetchall()
    }
    shard, decoder = new_shard(), Decoder()
    paid: Counter[tuple[str, str]] = Counter()
    found = late = foretold = exact = near = amounts = cash = events = 0
    spent_s = 0.0
    with open_history(folder, ROOT / "config" / "mappings" / "berka.toml", None, None) as history:
        for record in (record for batch in history.records() for record in batch):
            event = decoder.decode(record)
            if not isinstance(event, Transaction):
                continue
            series = event.customer_id, event.counterparty or ""
            counts = series in orders and event.direction == "debit"
            if counts and paid[series] >= 3:
                before = next((s for s in streams_at(shard, event) if s.mature), None)
                foretold += 1
                if before is not None:
                    miss = abs((before.due_day() or 0) - day_of(event.time_us))
                    exact, near = exact + (miss == 0), near + (miss <= NEAR_DAYS)
                    amounts += round(before.usual_minor()[0]) == event.amount_minor
            began_s = perf_counter()
            shard.apply([event], 0)
            shard.advance(0, event.arrival_us)
            spent_s += perf_counter() - began_s
            events += 1
            if counts:
                paid[series] += 1
                if paid[series] == 3:
                    known = any(s.mature and s.last_id == event.transaction_id for s in streams_at(shard, event))
                    found, late = found + known, late + (not known)
    for customer_id in {customer_id for customer_id, _ in paid}:
        cash += sum(stream.channel == "cash" for stream in shard.customer(customer_id).current_streams())
    print(f"berka: {events:,} transactions, {spent_s / events * 1e6:.0f} µs each")
    print(f"series with three payments: {found + late}, found by the third: {found / (found + late):.4f}")
    print(
        f"next payment ({foretold}): date exact {exact / foretold:.4f}, within {NEAR_DAYS} days {near / foretold:.4f}, "
        f"amount exact {amounts / foretold:.4f}; streams of cash: {cash}"
    )


def streams_at(shard: Shard, event: Transaction) -> list[Stream]:
    """The streams of the customer that the event's payee has."""
    payee = payee_of(event)
    assert payee is not None
    streams = shard.customer(event.customer_id).current_streams()
    return [stream for stream in streams if stream.payee == payee.digest and not stream.credit]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures recurring streams.")
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--days", type=int, default=540)
    parser.add_argument("--seed", type=int, nargs="*", default=[11, 12, 13])
    parser.add_argument("--berka", type=Path, default=None)
    args = parser.parse_args()
    if args.berka is not None:
        run_berka(args.berka)
        return
    for seed in args.seed:
        run_world(WorldSettings(args.customers, args.days, seed))


if __name__ == "__main__":
    main()
