"""What each part of anomaly.transaction costs: its functions are timed while a history is replayed in this process."""

from __future__ import annotations

import importlib
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from time import thread_time_ns
from typing import Any
from unittest.mock import patch

import msgspec

from dataflows.commands.replay import Replay
from dataflows.history.ordered import open_history
from state.settings_reading import load_settings


class Cost(msgspec.Struct, frozen=True):
    """`each_us`: processor time for each record of the history, whether the part looked at it or not."""

    part: str
    calls: int
    each_us: float


class Stopwatch:
    """Adds up what functions take, less what measuring takes. A timed function within another of the same part counts once."""

    def __init__(self, overhead_ns: float) -> None:
        self.calls = 0
        self.spent_ns = 0.0
        self._overhead_ns = overhead_ns
        self._running = False

    def timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def measured(*arguments: Any, **named: Any) -> Any:
            if self._running:
                return function(*arguments, **named)
            self._running = True
            start_ns = thread_time_ns()
            try:
                return function(*arguments, **named)
            finally:
                self.spent_ns += thread_time_ns() - start_ns - self._overhead_ns
                self.calls += 1
                self._running = False

        return measured


def measure_costs(data: Path, mapping: Path, parts: Mapping[str, Sequence[str]], to_us: int | None) -> list[Cost]:
    """Replays what arrived before `to_us`. `parts` names functions as module:function or module:Class.method."""
    overhead_ns = _overhead_ns()
    watches = {part: Stopwatch(overhead_ns) for part in parts}
    with ExitStack() as patches, tempfile.TemporaryDirectory(prefix="segone-fraud-") as name:
        for part, functions in parts.items():
            for function in functions:
                patches.enter_context(_patched(function, watches[part]))
        replay = Replay(load_settings(), Path(name))
        try:
            with open_history(data, mapping, None, to_us) as history:
                started_ns = thread_time_ns()
                replay.run(history, threading.Event(), mapped=True)
                whole_ns = thread_time_ns() - started_ns
        finally:
            replay.close()
    records = max(1, replay.read)
    costs = [Cost(part, watch.calls, watch.spent_ns / 1e3 / records) for part, watch in watches.items()]
    return [*costs, Cost("everything", records, whole_ns / 1e3 / records)]


@contextmanager
def _patched(place: str, watch: Stopwatch) -> Iterator[None]:
    """Puts the stopwatch around one function. A name that is not there is a mistake in bench/fraud.toml: AttributeError, ImportError."""
    module, _, name = place.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, attribute = name.split(".")
    for class_ in classes:
        owner = getattr(owner, class_)
    with patch.object(owner, attribute, watch.timed(getattr(owner, attribute))):
        yield


def _overhead_ns() -> float:
    """What a pair of looks at the watch takes by itself: the median."""
    rounds = []
    for _ in range(2_000):
        start_ns = thread_time_ns()
        rounds.append(thread_time_ns() - start_ns)
    return sorted(rounds)[len(rounds) // 2]
