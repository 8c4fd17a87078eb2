"""The synthetic bank as a stream: customers live one after another, their records are sorted by arrival on disk.

Memory holds one chunk of customers, however many there are; the chunk's size changes no byte.
"""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson

from simulation.almanac import Almanac
from simulation.bank import Bank
from simulation.bills import pay_bills, take_on_bills
from simulation.cards import charge_services, settle_card
from simulation.contact import keep_in_touch
from simulation.dirt import add_reversals, arrive
from simulation.habits import fit_budget, spend
from simulation.income import earn
from simulation.interactions import use_app
from simulation.ledger import Ledger
from simulation.life import TOPIC, Life
from simulation.person import become_person
from simulation.plants import cast, demands, tell_stories
from simulation.randomness import identify
from simulation.refinancing import refinance_cases
from simulation.runs import Message, merged, messages, run_line, write_run
from simulation.savings import look_after_money, report_accounts
from simulation.settings import WorldSettings
from simulation.standing import money_cases, stream_line, streams
from simulation.trips import take_trips
from simulation.truth import cases, count_case, refusal_lines, truth_line

CUSTOMER_DAYS_PER_CHUNK = 20_000
"""About 50,000 transactions, some 100 MB."""

BEHAVIOURS: tuple[Callable[[Life], None], ...] = (
    earn,
    pay_bills,
    spend,
    look_after_money,
    settle_card,
    charge_services,
    report_accounts,
    use_app,
    keep_in_touch,
)
Tally = Counter[str]
Report = Callable[[int], None]


@cache
def surroundings(settings: WorldSettings) -> tuple[Bank, Almanac]:
    """What all customers of a world share, made once in each process."""
    return Bank(settings.seed, settings.days), Almanac(settings.start, settings.days)


def live(settings: WorldSettings, number: int) -> tuple[Life, Ledger]:
    """The whole life of customer `number`: a sum of behaviours, booked."""
    bank, almanac = surroundings(settings)
    life = Life(settings, bank, almanac, number)
    parts = cast(settings, number)
    become_person(life, demands(parts))
    take_on_bills(life)
    fit_budget(life)
    take_trips(life)
    tell_stories(life, parts)
    for behaviour in BEHAVIOURS:
        behaviour(life)
    ledger = Ledger(life)
    ledger.book()
    return life, ledger


def live_chunk(settings: WorldSettings, first: int, last: int, folder: Path) -> Tally:
    """Customers first to last - 1: writes their run and their truth into `folder` and returns what there is to count."""
    tally: Tally = Counter()
    lines: list[bytes] = []
    rates = surroundings(settings)[0].rates()
    with (
        without_garbage_collection(),
        truth_path(folder, first).open("wb") as truth,
        truth_path(folder, first, STREAMS).open("wb") as standing,
        truth_path(folder, first, MONEY).open("wb") as money,
        truth_path(folder, first, CONSENTS).open("wb") as consents,
    ):
        for number in range(first, last):
            life, ledger = live(settings, number)
            add_reversals(life, ledger.bookings)
            lines += arrive(life)
            for case in cases(life):
                truth.write(truth_line(life, case))
                count_case(tally, case)
            found = streams(life, ledger.bookings)
            standing.writelines(stream_line(life, series) for series in found if series.payments)
            money.writelines(truth_line(life, case) for case in money_cases(life, found))
            money.writelines(truth_line(life, case) for case in refinance_cases(life, ledger.bookings, rates))
            consents.writelines(refusal_lines(life))
            tally["customers"] += 1
            tally["transactions"] += len(ledger.bookings)
            tally["declined purchases"] += ledger.declined
            tally["accounts"] += len(life.accounts)
            tally["customers whose books don't add up"] += not ledger.adds_up()
    write_run(run_path(folder, first), lines)
    return tally


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """A chunk is some hundred thousand tuples without cycles: looking through them again and again cost a sixth of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def run_path(folder: Path, first: int) -> Path:
    return folder / f"run-{first}"


TRUTH, STREAMS, MONEY, CONSENTS = TRUTHS = ("truth", "streams", "money", "consents")
"""The files of truth: planted cases, recurring streams, cases that follow from those, and purposes that were refused."""


def truth_path(folder: Path, first: int, name: str = TRUTH) -> Path:
    return folder / f"{name}-{first}"


def market_lines(settings: WorldSettings) -> list[bytes]:
    """The market's rates, which belong to no customer; the key is the series."""
    bank, almanac = surroundings(settings)
    lines = []
    for rate in bank.rates():
        at_us = almanac.time_us(rate.day, 8 * 3600)
        record: dict[str, str | float] = {"rate_id": "r-" + identify(settings.seed, "rate " + rate.series, rate.day)}
        record |= {"observed_at": almanac.text(at_us), "series": rate.series, "value": rate.value_bp / 100}
        record |= {"product": rate.product} if rate.product else {}
        record |= {"currency": "EUR"}
        lines.append(run_line(at_us, TOPIC["in.market"], rate.series, orjson.dumps(record).decode()))
    return lines


class World:
    """A world in the making, with its runs in `folder`. First `live`, then read `lines` and `truth`."""

    def __init__(self, settings: WorldSettings, folder: Path, chunk: int = 0) -> None:
        """`chunk`: customers at once; 0 chooses by the length of their lives."""
        self.settings, self.folder = settings, folder
        size = chunk or max(1, CUSTOMER_DAYS_PER_CHUNK // settings.days)
        self._chunks = [(first, min(first + size, settings.customers)) for first in range(0, settings.customers, size)]
        self.tally: Tally = Counter()

    def live(self, processes: int = 1, report: Report = lambda customers: None) -> None:
        """Writes all runs; `report` hears how many customers have lived since it heard last."""
        write_run(self.folder / "run-market", market_lines(self.settings))
        if processes == 1 or len(self._chunks) == 1:
            for first, last in self._chunks:
                self._count(live_chunk(self.settings, first, last, self.folder), report)
            return
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(live_chunk, self.settings, first, last, self.folder) for first, last in self._chunks]
            for job in jobs:
                self._count(job.result(), report)

    def _count(self, tally: Tally, report: Report) -> None:
        self.tally.update(tally)
        report(tally["customers"])

    def lines(self) -> Iterator[bytes]:
        """All records, as lines of a run, in order of (arrival, topic, key). Can be read once."""
        return merged([self.folder / "run-market", *(run_path(self.folder, first) for first, _ in self._chunks)])

    def truth(self, name: str = TRUTH) -> Iterator[bytes]:
        """The lines of one of TRUTHS, customer by customer."""
        for first, _ in self._chunks:
            with truth_path(self.folder, first, name).open("rb") as file:
                yield from file


def stream(settings: WorldSettings, processes: int = 1) -> Iterator[Message]:
    """All records of a world in order of arrival. They are made and sorted on disk first, so the first one takes a while."""
    with TemporaryDirectory(prefix="segone-simulate-") as folder:
        world = World(settings, Path(folder))
        world.live(processes)
        yield from messages(world.lines())
