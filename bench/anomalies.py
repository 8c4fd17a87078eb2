"""How well anomalies are found on planted worlds that nobody tuned on: a row for each target and seed.

python bench/anomalies.py --seeds 601 602 603 [--customers N] [--days D] [--config FILE] [--json FILE]

Each world, with its dirt, is replayed through the production code, with all that is learned across customers, and held against its truth by
the scorecard (docs/scorecard.md), over the second half of the period. Detectors that neither speak here nor add to `anomaly.transaction`
are switched off; that changes no score.
"""

# ruff: noqa: E402  (what follows is found from the checkout)

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]

from tables import wide

from dataflows.commands.replay import Replay
from dataflows.history.ordered import open_history
from operators.anomaly import category_surge, geo, transaction, velocity
from operators.catalogue import CATALOGUE
from operators.knowledge.features import OWN
from simulation.log import write_events, write_truth
from simulation.scorecard import score
from simulation.scorecard_card import Figures, Scorecard, SignalScore
from simulation.scorecard_run import read_run
from simulation.scorecard_truth import read_truth
from simulation.settings import DIFFICULTIES, WorldSettings
from simulation.world import TRUTHS, World
from state.settings import Settings
from state.settings_reading import load_settings

NEEDED = frozenset((*OWN, category_surge.NAME))


class Row(msgspec.Struct, frozen=True):
    """One target in one world. Undefined figures are None."""

    target: str
    cases: int
    precision: float | None
    recall: float | None
    false_alarms_per_year: float | None
    """Of the whole signal type, or of what says this value; for each customer."""
    delay_days: float | None


def replayed(settings: WorldSettings, config: Path | None) -> Scorecard:
    """What the scorecard says of one world."""
    with TemporaryDirectory(prefix="segone-anomalies-") as name:
        folder = Path(name)
        world = World(settings, folder)
        world.live()
        write_events(folder, world.lines(), settings.partitions)
        write_truth(folder, settings, {kind: world.truth(kind) for kind in TRUTHS})
        (folder / "run").mkdir()
        replay = Replay(_settings(config), folder / "run")
        try:
            with open_history(folder / "events", None, None, None) as history:
                replay.run(history, threading.Event(), mapped=False)
        finally:
            replay.close()
        return score(read_run(folder / "run"), read_truth(folder / "truth"), 0)


def _settings(config: Path | None) -> Settings:
    off = {detector.NAME: {"enabled": False} for detector in CATALOGUE if detector.NAME not in NEEDED}
    return load_settings(config, {}, {"detectors": off})


def rows(card: Scorecard) -> Iterator[Row]:
    by_type = {signal.type: signal for signal in card.signals}
    fused, surge, burst, place = (by_type.get(one.SIGNAL) for one in (transaction, category_surge, velocity, geo))
    if fused is not None:
        yield _of_kind("takeover", fused)
        yield _of_kind("compromised_merchant", fused)
    if surge is not None:
        yield _of_figures("category surge", surge.second_half)
    if burst is not None:
        yield _of_kind("takeover", burst, "velocity burst")
    if place is not None:
        for kind in ("impossible", "trip", "relocation"):
            if kind in place.by_value:
                yield _of_figures(f"geo: {kind}", place.by_value[kind])


def _of_kind(kind: str, signal: SignalScore, target: str | None = None) -> Row:
    """Recall of one kind of case; precision and false alarms are of the signal, which can't say what kind it means."""
    whole = _of_figures(target or kind, signal.second_half)
    found = next((one for one in signal.kinds if one.kind == kind), None)
    cases = found.cases if found else 0
    return msgspec.structs.replace(whole, cases=cases, recall=found.hits / cases if found and cases else None)


def _of_figures(target: str, figures: Figures) -> Row:
    rates = figures.rates
    shown = (rates.precision.value, rates.recall.value, rates.false_alarms_per_year.value) if rates else (None,) * 3
    return Row(target, figures.cases, *shown, figures.days.p50)


def show(seed: int, found: list[Row]) -> None:
    table = Table(title=f"seed {seed}", title_justify="left")
    for heading in ("", "cases", "P", "R", "FP/cy", "delay, days"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in found:
        numbers = (row.precision, row.recall, row.false_alarms_per_year)
        delay = "–" if row.delay_days is None else f"{row.delay_days:.1f}"
        table.add_row(row.target, str(row.cases), *("–" if n is None else f"{n:.3f}" for n in numbers), delay)
    wide().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures anomalies on planted worlds.")
    parser.add_argument("--seeds", type=int, nargs="+", required=True)
    parser.add_argument("--customers", type=int, default=400)
    parser.add_argument("--days", type=int, default=540)
    parser.add_argument("--difficulty", choices=tuple(DIFFICULTIES), default="default")
    parser.add_argument("--config", type=Path, help="settings in TOML, over config/default.toml")
    parser.add_argument("--json", type=Path, help="also write all rows there, by seed")
    args = parser.parse_args()
    results = {}
    for seed in args.seeds:
        card = replayed(WorldSettings(args.customers, args.days, seed, args.difficulty), args.config)
        results[str(seed)] = found = list(rows(card))
        show(seed, found)
    if args.json is not None:
        args.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")


if __name__ == "__main__":
    main()
