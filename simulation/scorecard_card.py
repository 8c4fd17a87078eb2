"""The shape of a scorecard: what `segone score --json` writes, names and all. Undefined figures are null."""

from __future__ import annotations

from typing import Literal

import msgspec

from simulation.scorecard_figures import Calibration, Days, Rates


class Figures(msgspec.Struct, frozen=True):
    """One signal type over one span of the customers' time. Without rules for the type only `alarms` and
    `alarms_per_year` are known."""

    customers: int
    customer_years: float
    alarms: int
    alarms_per_year: float | None
    cases: int
    hits: int
    repeated: int
    late: int
    excused: int
    false_alarms: int | None
    rates: Rates | None
    days: Days


class KindRecall(msgspec.Struct, frozen=True):
    kind: str
    cases: int
    hits: int


class Stated(msgspec.Struct, frozen=True):
    """What the alarms' details said of the cases hit: `right` of `compared` values; error of a stated date in days
    (mean)."""

    compared: int
    right: int
    dates: int
    date_error_days: float | None


class Decoys(msgspec.Struct, frozen=True):
    """Decoys of one variant in the second half, and how many of them raised a false alarm."""

    meant_for: str
    variant: str
    decoys: int
    alarmed: int


class SignalScore(msgspec.Struct, frozen=True):
    """`precision_by_chance` is the share of the customers' time that lies in a hit window: what alarms strewn at random
    would earn."""

    type: str
    role: Literal["signal", "floor", "unmatched"]
    measure: Literal["lead", "delay"] | None
    second_half: Figures
    precision_by_chance: float | None
    cold_start: Figures | None
    calibration: Calibration | None
    kinds: tuple[KindRecall, ...]
    stated: Stated | None
    by_value: dict[str, Figures]
    macro_f1: float | None
    decoys: tuple[Decoys, ...]


class Scorecard(msgspec.Struct, frozen=True):
    period_start: str
    counted_from: str
    period_end: str
    customers: int
    customer_years: float
    resamples: int
    seed: int
    signals: tuple[SignalScore, ...]
    ignored_kinds: dict[str, int]
    notes: tuple[str, ...]
