"""The weeks that intents look at in simulated worlds, and what became of the customers: what priors are learned from and judged on."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder, Rejection  # noqa: E402
from operators.detector import DetectorConfig  # noqa: E402
from operators.intent import traces  # noqa: E402
from simulation.runs import messages  # noqa: E402
from simulation.scorecard_rules import Case  # noqa: E402
from simulation.scorecard_truth import parse_case  # noqa: E402
from simulation.settings import CLEAN, WorldSettings  # noqa: E402
from simulation.world import World  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.records import Record  # noqa: E402
from state.settings import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402


class Lives(NamedTuple):
    """One world: each customer's weeks in order, and the cases and decoys by customer. Times are microseconds."""

    weeks: dict[str, list[traces.Week]]
    truth: dict[str, list[Case]]
    start_us: int
    end_us: int


def watch(settings: WorldSettings) -> Lives:
    """Makes a world, lets traces run over it, and keeps every week."""
    weeks: dict[str, list[traces.Week]] = defaultdict(list)
    truth: dict[str, list[Case]] = defaultdict(list)

    def look(config: Any, state: Any, week: traces.Week, customer: Any) -> None:
        weeks[customer.customer_id].append(msgspec.structs.replace(week, models=None))

    watcher = SimpleNamespace(NAME="watcher", VERSION=1, SIGNAL=None, Config=DetectorConfig, State=None, look=look)
    loaded = load_settings(environment={})
    step = CustomerStep(loaded.detectors, "bench", (traces, watcher))
    shard, decoder = Shard(0, step, make_policy(loaded, step, 1), MemoryStore()), Decoder()
    with TemporaryDirectory(prefix="segone-intents-") as folder:
        world = World(settings, Path(folder))
        world.live()
        for line in world.truth():
            case = parse_case(line)
            truth[case.customer_id].append(case)
        for number, message in enumerate(messages(world.lines())):
            event = decoder.decode(Record(message.topic, 0, number, message.arrival_us, message.key, message.value))
            if not isinstance(event, Rejection) and event.customer_id:
                shard.apply([event], 0)
    assert not step.detector_errors, step.detector_errors
    start_us = (settings.start.toordinal() - 719_163) * traces.DAY_US
    return Lives(weeks, truth, start_us, start_us + settings.days * traces.DAY_US)


def clean_world(seed: int, customers: int, days: int) -> WorldSettings:
    """Without dirt, which costs time and changes nothing that is learned here."""
    return WorldSettings(customers, days, seed, dirt=CLEAN)
