"""The weeks that intents look at in simulated worlds, and what the bank hears of the customers: what priors are learned from, and what
the intents are judged on. A world is lived through once and kept; its weeks then pass as often as wanted, in seconds.
"""

from __future__ import annotations

import pickle
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder, Rejection  # noqa: E402
from operators.detector import Look  # noqa: E402
from operators.intent import traces  # noqa: E402
from operators.intent.outcomes import TOPICS as OUTCOME_TOPICS  # noqa: E402
from simulation.log import write_truth  # noqa: E402
from simulation.runs import messages  # noqa: E402
from simulation.scorecard_rules import Case  # noqa: E402
from simulation.scorecard_truth import Truth, read_truth  # noqa: E402
from simulation.settings import CLEAN, WorldSettings  # noqa: E402
from simulation.world import TRUTHS, World  # noqa: E402
from state.consents import decided  # noqa: E402
from state.customer import Customer  # noqa: E402
from state.events import Account, Consent, Event  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.records import Record  # noqa: E402
from state.settings_reading import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402
from state.step import Emission  # noqa: E402


class Moment(NamedTuple):
    """A week that intents look at, because of a transaction, or an event that tells of an outcome or of consent."""

    arrival_us: int
    customer_id: str
    newest_us: int
    time_us: int = 0
    transaction_id: str = ""
    digest: int = 0
    matured: int = 0
    week: traces.Week | None = None
    event: Event | None = None


class Lives:
    """One world: its moments in the order of arrival, its truth, the number of its events."""

    def __init__(self, moments: list[Moment], truth: Truth, events: int) -> None:
        self.moments = moments
        self.told = truth
        self.events = events

    @cached_property
    def weeks(self) -> dict[str, list[traces.Week]]:
        """Each customer's, in order."""
        weeks: dict[str, list[traces.Week]] = defaultdict(list)
        for moment in self.moments:
            if moment.week is not None:
                weeks[moment.customer_id].append(moment.week)
        return weeks

    @cached_property
    def truth(self) -> dict[str, list[Case]]:
        """Cases and decoys by customer."""
        cases: dict[str, list[Case]] = defaultdict(list)
        for case in self.told.cases:
            cases[case.customer_id].append(case)
        return cases


def watch(settings: WorldSettings) -> Lives:
    """Makes a world, lets traces run over it, and keeps every moment."""
    moments: list[Moment] = []
    opened: set[str] = set()

    def learn(config: Any, state: Any, recent: Any, customer: Customer) -> tuple[Look, ...]:
        looks = traces.learn(config, state, recent, customer)
        for look in looks:
            week = msgspec.structs.replace(look.week, evidence=dict(look.week.evidence))
            arrival_us = max(customer.arrival_us, recent.time_us)
            moments.append(
                Moment(
                    arrival_us,
                    customer.customer_id,
                    customer.newest_us,
                    recent.time_us,
                    recent.transaction_id,
                    recent.digest,
                    customer.matured,
                    week,
                )
            )
        return ()

    watcher = SimpleNamespace(**{**vars(traces), "learn": learn})
    loaded = load_settings(environment={})
    step = CustomerStep(loaded.detectors, "bench", (watcher,))
    shard, decoder, events = Shard(0, step, make_policy(loaded, step, 1), MemoryStore()), Decoder(), 0
    with TemporaryDirectory(prefix="segone-intents-") as name:
        folder = Path(name)
        world = World(settings, folder)
        world.live()
        write_truth(folder, settings, {kind: world.truth(kind) for kind in TRUTHS})
        for message in messages(world.lines()):
            event = decoder.decode(Record(message.topic, 0, events, message.arrival_us, message.key, message.value))
            if isinstance(event, Rejection) or not event.customer_id:
                continue
            events += 1
            shard.apply([event], 0)
            if is_telling(event, opened):
                moments.append(Moment(event.arrival_us, event.customer_id, event.time_us, event=event))
        assert not step.detector_errors, step.detector_errors
        return Lives(moments, read_truth(folder / "truth"), events)


def is_telling(event: Event, opened: set[str]) -> bool:
    """Whether it may tell of an outcome or of consent; of an account only the first time."""
    if isinstance(event, Account):
        if event.account_id in opened or event.opened_us is None:
            return False
        opened.add(event.account_id)
        return True
    return isinstance(event, Consent) or event.TOPIC in OUTCOME_TOPICS


class Player:
    """Lets the moments of a world pass through the customer step: a stand-in for traces answers with the weeks that were kept."""

    detector: Any = SimpleNamespace(
        NAME=traces.NAME,
        VERSION=traces.VERSION,
        SIGNAL=None,
        Config=traces.Config,
        State=None,
        learn=lambda config, state, moment, customer: (Look(msgspec.structs.replace(moment.week), moment.time_us),),
    )

    def __init__(self, step: CustomerStep) -> None:
        self.step = step
        self.customers: dict[str, Customer] = {}

    def pass_by(self, moment: Moment) -> Iterator[Emission]:
        customer = self.customers.get(moment.customer_id)
        if customer is None:
            customer = self.customers[moment.customer_id] = Customer(moment.customer_id, 0)
        customer.newest_us = max(customer.newest_us, moment.newest_us)
        out: list[Emission] = []
        if isinstance(moment.event, Consent):
            purpose = moment.event.purpose
            customer.consents[purpose] = decided(customer.consents.get(purpose), moment.event)
        if moment.event is not None:
            self.step.react(customer, moment.event, out)
        else:
            customer.matured = moment.matured
            self.step.learn(customer, moment, out)  # type: ignore[arg-type]
        yield from out


def clean_world(seed: int, customers: int, days: int) -> WorldSettings:
    """Without dirt, which costs time and changes nothing that is learned here."""
    return WorldSettings(customers, days, seed, dirt=CLEAN)


def world_of(settings: WorldSettings, cache: Path | None) -> Lives:
    """A world's lives, from the folder `cache` if they are kept there (made by the code of that day: empty it after a change)."""
    path = None
    if cache is not None:
        dirty = "" if settings.dirt == CLEAN else "-dirty"
        path = cache / f"{settings.seed}-{settings.customers}-{settings.days}{dirty}.pickle"
        if path.is_file():
            return pickle.loads(path.read_bytes())  # type: ignore[no-any-return]
    lives = watch(settings)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pickle.dumps(lives))
    return lives
