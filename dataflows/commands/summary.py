"""What a run found, in a few lines: counts, signals by type, a few of them in full, and where the rest is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dataflows.commands.run_folder import read_topic
from dataflows.commands.terminal import harmless
from operators.encode import SIGNAL_TOPICS

EXAMPLES = 3


class Findings:
    """Counts of what a run folder holds: signals by (type, state), and the strongest OPEN of each type."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.states: Counter[tuple[str, str]] = Counter()
        self.strongest: dict[str, dict[str, Any]] = {}
        for topic in SIGNAL_TOPICS:
            for line in read_topic(folder, topic):
                signal = orjson.loads(line.value)
                self.states[signal["type"], signal["state"]] += 1
                best = self.strongest.get(signal["type"])
                if signal["state"] == "OPEN" and (best is None or signal["score"] > best["score"]):
                    self.strongest[signal["type"]] = signal

    @property
    def types(self) -> list[str]:
        return sorted({type_ for type_, _ in self.states})


def sentence(signal: dict[str, Any]) -> str:
    """One signal in one line, by its strongest reason."""
    text = signal["reasons"][0]["text"] if signal["reasons"] else "no reason given"
    return f"{signal['type']} {signal['score']:.3f} for {signal['customer_id']}: {text}"


def print_summary(
    console: Console,
    folder: Path,
    totals: dict[str, int] | None,
    elapsed_s: float,
    repairs: Mapping[str, int],
    *,
    examples: bool = True,
) -> None:
    """Prints the accounting, what was mended, the table of signals, a few examples and the next commands."""
    found = Findings(folder)
    if totals is not None:
        rate = f" · {totals['read'] / elapsed_s:,.0f} records/s" if elapsed_s else ""
        console.print(accounting(totals) + rate, highlight=False)
    mended = ", ".join(f"{name} {count:,}" for name, count in repairs.items() if count)
    if mended:
        console.print(f"mended: {mended} (docs/dead-letters.md)", markup=False, highlight=False, soft_wrap=True)
    if found.states:
        table = Table("signal", "OPEN", "UPDATE", "CLOSE", "RETRACT")
        for type_ in found.types:
            table.add_row(
                escape(type_), *(f"{found.states[type_, state]:,}" for state in ("OPEN", "UPDATE", "CLOSE", "RETRACT"))
            )
        console.print(table)
        for signal in list(found.strongest.values())[: EXAMPLES if examples else 0]:
            console.print(f"  • {harmless(sentence(signal))}", markup=False, highlight=False, soft_wrap=True)
            console.print(f"    segone explain {folder} {signal['id']}", markup=False, highlight=False, soft_wrap=True)
    else:
        console.print("no signals")
    console.print(f"output: {folder}", markup=False, highlight=False, soft_wrap=True)


def accounting(totals: dict[str, int]) -> str:
    """Law 11 in one line: every record read ended as exactly one of four."""
    return (
        f"read {totals['read']:,} = applied {totals['applied']:,} + duplicate {totals['duplicate']:,} + late {totals['late']:,} "
        f"+ dead letters {totals['dead_letter']:,}"
        + (f" + in flight {totals['in_flight']:,}" if totals["in_flight"] else "")
    )


def write_report(folder: Path, target: Path) -> None:
    """The same as Markdown, with the strongest signal of each type and its reasons."""
    found = Findings(folder)
    lines = [
        f"# What was found in {folder.name}",
        "",
        "| signal | OPEN | UPDATE | CLOSE | RETRACT |",
        "|---|---|---|---|---|",
    ]
    for type_ in found.types:
        counts = " | ".join(str(found.states[type_, state]) for state in ("OPEN", "UPDATE", "CLOSE", "RETRACT"))
        lines.append(f"| {type_} | {counts} |")
    for type_, signal in sorted(found.strongest.items()):
        lines += [
            "",
            f"## {type_}: the strongest",
            "",
            f"`{signal['id']}`, score {signal['score']:.4f}, {signal['event_time']}",
            "",
        ]
        lines += [
            f"- {reason['code']}: {_plain(reason['text'])} (contribution {reason['contribution']})"
            for reason in signal["reasons"]
        ]
    target.write_text("\n".join(lines) + "\n", "utf-8")


def _plain(text: str) -> str:
    """Text of others, kept from being read as Markdown or HTML."""
    return "".join("\\" + character if character in "\\`*_[]<>|#" else character for character in text)
