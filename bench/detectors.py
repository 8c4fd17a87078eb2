"""What each detector costs: microseconds a transaction for each of its hooks, and how often it finds something.

python bench/detectors.py [--customers N] [--days D] [--seed S]

The customers are those of `segone simulate`, without dirt. The shard's other work (windows, habits, signals) is not in the figures.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from operators.catalogue import CATALOGUE  # noqa: E402
from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder  # noqa: E402
from operators.detector import HOOKS, Detector  # noqa: E402
from simulation.settings import CLEAN, WorldSettings  # noqa: E402
from simulation.world import stream  # noqa: E402
from state.events import Transaction  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.records import Record  # noqa: E402
from state.settings_reading import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402


class Stopwatch:
    """Wraps a detector's functions; adds up what they take, less what measuring takes, and what they find."""

    def __init__(self, detector: Detector, overhead_ns: float) -> None:
        self.spent_ns = dict.fromkeys(HOOKS, 0.0)
        self.found = 0
        self._overhead_ns = overhead_ns
        hooks = {hook: self._timed(hook, getattr(detector, hook)) for hook in HOOKS if hasattr(detector, hook)}
        self.detector: Any = SimpleNamespace(**{**vars(detector), **hooks})

    def _timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start_ns = perf_counter_ns()
            result = function(*arguments)
            if isinstance(result, Iterator):
                result = tuple(result)  # what it has to say is found only when somebody asks
            self.spent_ns[part] += perf_counter_ns() - start_ns - self._overhead_ns
            self.found += bool(result) if part != "step" else result is not None
            return result

        return timed


def overhead_ns() -> float:
    """What a pair of looks at the watch takes by itself."""
    rounds = []
    for _ in range(10_000):
        start_ns = perf_counter_ns()
        rounds.append(perf_counter_ns() - start_ns)
    return sorted(rounds)[len(rounds) // 2]


def transactions(settings: WorldSettings) -> list[Transaction]:
    """The decoded transactions of a world, in order of arrival."""
    decoder = Decoder()
    events: list[Transaction] = []
    for message in stream(settings):
        if message.topic == Transaction.TOPIC:
            record = Record(message.topic, 0, len(events), message.arrival_us, message.key, message.value)
            event = decoder.decode(record)
            assert isinstance(event, Transaction), event
            events.append(event)
    return events


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what each detector costs.")
    parser.add_argument("--customers", type=int, default=100)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    watched, found = costs(args.customers, args.days, args.seed)
    print(f"{watched:,} transactions of {args.customers} customers in {args.days} days; microseconds a transaction")
    print(f"{'detector':<18}" + "".join(f"{hook:>12}" for hook in HOOKS) + f"{'in 1,000':>12}")
    for name, spent in found.items():
        print(f"{name:<18}" + "".join(f"{us:>12.2f}" for us in spent.values()))


def costs(customers: int, days: int, seed: int) -> tuple[int, dict[str, dict[str, float]]]:
    """How many transactions were watched; by detector, what each hook took in microseconds a transaction, and how often it had
    something to say in 1,000 (`found`)."""
    events = transactions(WorldSettings(customers, days, seed, dirt=CLEAN))
    settings = load_settings(environment={})
    watch_ns = overhead_ns()
    watches = {detector.NAME: Stopwatch(detector, watch_ns) for detector in CATALOGUE}
    step = CustomerStep(settings.detectors, settings.digest(), tuple(w.detector for w in watches.values()))
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    for first in range(0, len(events), 500):
        shard.apply(events[first : first + 500], 0)
    return len(events), {
        name: {hook: ns / 1000 / len(events) for hook, ns in watch.spent_ns.items()}
        | {"found": 1000 * watch.found / len(events)}
        for name, watch in watches.items()
    }


if __name__ == "__main__":
    main()
