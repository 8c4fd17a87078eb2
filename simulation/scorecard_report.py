"""A scorecard as tables on a terminal, as Markdown and as JSON. One list of sections feeds the first two."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import msgspec
import orjson
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from simulation.scorecard_card import Figures, Scorecard, SignalScore
from state.printable import harmless

UNDEFINED = "–"


class Section(NamedTuple):
    """A table: the first column is text, the others figures."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[str, ...]]


def as_json(card: Scorecard) -> bytes:
    return orjson.dumps(msgspec.to_builtins(card), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def print_tables(card: Scorecard, console: Console) -> None:
    console.print(f"[bold]Scorecard[/bold]  {escape(_heading(card))}")
    for section in sections(card):
        table = Table(
            title=section.title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=0, show_edge=False
        )
        table.add_column(section.columns[0], overflow="fold")
        for column in section.columns[1:]:
            table.add_column(column, justify="right")
        for row in section.rows:
            table.add_row(*(escape(harmless(cell)) for cell in row))
        console.print()
        console.print(table)
    for note in _notes(card):
        console.print(f"[dim]note:[/dim] {escape(harmless(note))}")


def as_markdown(card: Scorecard) -> str:
    parts = ["# Scorecard", _heading(card)]
    for section in sections(card):
        lines = [_markdown_row(section.columns), "|---|" + "---:|" * (len(section.columns) - 1)]
        lines += [_markdown_row(row) for row in section.rows]
        parts += [f"## {section.title}", "\n".join(lines)]
    notes = _notes(card)
    if notes:
        parts.append("\n".join(f"- {harmless(note)}" for note in notes))
    return "\n\n".join(parts) + "\n"


def _markdown_row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(harmless(cell).replace("|", "\\|") for cell in cells) + " |"


def sections(card: Scorecard) -> list[Section]:
    """The tables in the order of importance; those without rows are left out. Each fits 80 columns."""
    rates = ("cases", "alarms", "P", "R", "F1", "FP/cy")
    found = [
        Section(
            "Second half of the period",
            ("signal", *rates, "days", "ECE"),
            [_main_row(signal) for signal in card.signals],
        ),
        Section(
            "95 % intervals of these, and p10 to p90 of lead or delay",
            ("signal", "P", "R", "F1", "FP/cy", "days"),
            [row for row in map(_interval_row, card.signals) if any(cell != UNDEFINED for cell in row[1:])],
        ),
        Section(
            "Against chance (alarms strewn at random)",
            ("signal", "P", "P by chance", "times chance"),
            list(_chance_rows(card)),
        ),
        Section(
            "First 60 days of a customer (whole period)",
            ("signal", *rates, "days"),
            [
                (signal.type, *_rate_cells(signal.cold_start), _days(signal, signal.cold_start))
                for signal in card.signals
                if signal.cold_start is not None
            ],
        ),
        Section("By kind of case", ("signal: kind", "cases", "hits", "R"), list(_kind_rows(card))),
        Section("By what the signal says", ("signal: value", *rates), list(_value_rows(card))),
        Section(
            "Right details, of the cases hit",
            ("signal", "compared", "right", "dates", "error, days"),
            list(_stated_rows(card)),
        ),
        Section(
            "Reliability of calibrated scores",
            ("signal: score", "alarms", "mean score", "share true"),
            list(_reliability_rows(card)),
        ),
        Section(
            "Decoys that raised an alarm",
            ("signal: decoy for, variant", "decoys", "alarmed", "share"),
            list(_decoy_rows(card)),
        ),
    ]
    return [section for section in found if section.rows]


def _main_row(signal: SignalScore) -> tuple[str, ...]:
    error = signal.calibration.expected_error if signal.calibration else None
    return (
        _name(signal),
        *_rate_cells(signal.second_half),
        _days(signal, signal.second_half),
        _number(error),
    )


def _name(signal: SignalScore) -> str:
    return signal.type if signal.role == "signal" else f"{signal.type} ({signal.role})"


def _rate_cells(figures: Figures) -> tuple[str, ...]:
    rates = figures.rates
    if rates is None:
        return UNDEFINED, str(figures.alarms), UNDEFINED, UNDEFINED, UNDEFINED, UNDEFINED
    told = (rates.precision, rates.recall, rates.f1, rates.false_alarms_per_year)
    return str(figures.cases), str(figures.alarms), *(_number(rate.value) for rate in told)


def _interval_row(signal: SignalScore) -> tuple[str, ...]:
    rates, days = signal.second_half.rates, signal.second_half.days
    if rates is None:
        return (_name(signal), *[UNDEFINED] * 5)
    return (
        _name(signal),
        *(_range(rate.low, rate.high, 2) for rate in (rates.precision, rates.recall, rates.f1)),
        _range(rates.false_alarms_per_year.low, rates.false_alarms_per_year.high, 3),
        _range(days.p10, days.p90, 1),
    )


def _chance_rows(card: Scorecard) -> Iterator[tuple[str, ...]]:
    for signal in card.signals:
        rates, by_chance = signal.second_half.rates, signal.precision_by_chance
        if rates is not None and by_chance:
            precision = rates.precision.value
            times = None if precision is None else precision / by_chance
            yield _name(signal), _number(precision), _number(by_chance, 5), _number(times, 1)


def _kind_rows(card: Scorecard) -> Iterator[tuple[str, ...]]:
    for signal in card.signals:
        planted = [kind for kind in signal.kinds if kind.cases]
        for kind in planted if len(planted) > 1 else ():
            yield f"{signal.type}: {kind.kind}", str(kind.cases), str(kind.hits), _number(kind.hits / kind.cases)


def _value_rows(card: Scorecard) -> Iterator[tuple[str, ...]]:
    for signal in card.signals:
        for value, figures in signal.by_value.items():
            yield f"{signal.type}: {value}", *_rate_cells(figures)
        if signal.macro_f1 is not None:
            yield f"{signal.type}: macro F1", "", "", "", "", _number(signal.macro_f1), ""


def _stated_rows(card: Scorecard) -> Iterator[tuple[str, ...]]:
    for signal in card.signals:
        stated = signal.stated
        if stated is not None:
            right = _number(stated.right / stated.compared) if stated.compared else UNDEFINED
            yield signal.type, str(stated.compared), right, str(stated.dates), _number(stated.date_error_days, 1)


def _reliability_rows(card: Scorecard) -> Iterator[tuple[str, ...]]:
    for signal in card.signals:
        for line in signal.calibration.bins if signal.calibration else ():
            span = f"{signal.type}: {line.low:.1f} to {line.high:.1f}"
            yield span, str(line.alarms), _number(line.score_mean), _number(line.true_share)


def _decoy_rows(card: Scorecard) -> Iterator[tuple[str, ...]]:
    for signal in card.signals:
        for decoy in signal.decoys:
            name = f"{signal.type}: {decoy.meant_for}, {decoy.variant or UNDEFINED}"
            yield name, str(decoy.decoys), str(decoy.alarmed), _number(decoy.alarmed / decoy.decoys)


def _heading(card: Scorecard) -> str:
    return (
        f"{card.customers} customers, {card.customer_years:.1f} customer-years, {card.counted_from[:10]} to "
        f"{card.period_end[:10]} (second half of the period from {card.period_start[:10]}); "
        f"{card.resamples} bootstrap resamples of customers"
    )


def _notes(card: Scorecard) -> list[str]:
    ignored = ", ".join(f"{kind} ({cases})" for kind, cases in card.ignored_kinds.items())
    return [*card.notes, *([f"kinds of truth that no signal answers, ignored: {ignored}"] if ignored else [])]


def _days(signal: SignalScore, figures: Figures) -> str:
    return UNDEFINED if figures.days.p50 is None else f"{signal.measure} {figures.days.p50:.1f}"


def _range(low: float | None, high: float | None, digits: int) -> str:
    """
    >>> _range(0.2, 0.30, 2)
    '0.20–0.30'
    """
    return UNDEFINED if low is None or high is None else f"{low:.{digits}f}–{high:.{digits}f}"


def _number(value: float | None, digits: int = 3) -> str:
    """
    >>> _number(None), _number(0.25)
    ('–', '0.250')
    """
    return UNDEFINED if value is None else f"{value:.{digits}f}"
