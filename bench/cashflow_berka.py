"""The cash-flow forecast on the accounts of a real bank, and what time since payday adds to it.

python bench/cashflow_berka.py FOLDER [--json FILE]        the Berka data set, mapped by config/mappings/berka.toml

Over the second half of the period, as bench/cashflow.py does in worlds: the share of balances within the 80 % band and the pinball loss
against "same as last month"; and of the forecasts that time since payday changes, how much smaller it makes their loss.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cashflow import AHEAD_DAYS, QUANTILES, ROOT, Balances, Forecasts, pinball, signals_of

from dataflows.history.ordered import open_history
from operators.decode import Decoder, Rejection

NEVER_DAYS = 1e12
"""A prior worth so many days is never overcome."""


class History:
    """The data set's events in order of arrival, and its balances."""

    def __init__(self, folder: Path) -> None:
        decoder = Decoder()
        with open_history(folder, ROOT / "config" / "mappings" / "berka.toml", None, None) as history:
            decoded = [decoder.decode(record) for batch in history.records() for record in batch]
        self.events = [event for event in decoded if not isinstance(event, Rejection)]
        self.half_us = (self.events[0].time_us + self.events[-1].time_us) // 2
        self.balances = Balances(self.events)


def run_berka(folder: Path) -> dict[str, Any]:
    """The forecast on a real bank's accounts: as it is, and where every day of the pay cycle is believed to be like every other."""
    history, found, rows = History(folder), {}, []
    for name, changed in (("as it is", {}), ("without time since payday", {"phase_prior": NEVER_DAYS})):
        forecasts = Forecasts(history)
        signals_of(history.events, forecasts, changed=changed)
        found[name] = forecasts.figures()
        rows.append(np.array(forecasts.rows))
    found["what time since payday changes"] = compared(*rows)
    return found


def compared(ours: Any, theirs: Any) -> dict[str, Any]:
    """The same forecasts made in two ways, where their medians differ by more than a hundredth: how many these are, and by how much the
    pinball loss of ours is smaller."""
    found = {}
    for days in AHEAD_DAYS:
        differ = (ours[:, 0] == days) & (np.abs(ours[:, 5] - theirs[:, 5]) > 1.0)
        losses = [
            [pinball(rows[differ, 1], rows[differ, 4 + i], q) for i, (q, _) in enumerate(QUANTILES)]
            for rows in (ours, theirs)
        ]
        found[f"{days} d"] = {
            "share": float(differ.sum() / (ours[:, 0] == days).sum()),
            "pinball_better": 1.0 - sum(losses[0]) / sum(losses[1]),
            "median_better": 1.0 - losses[0][1] / losses[1][1],
        }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the cash-flow forecast on the Berka data set.")
    parser.add_argument("folder", type=Path, help="where trans*.parquet is")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    args = parser.parse_args()
    figures = msgspec.json.format(msgspec.json.encode(run_berka(args.folder)))
    print(figures.decode())
    if args.json is not None:
        args.json.write_bytes(figures + b"\n")


if __name__ == "__main__":
    main()
