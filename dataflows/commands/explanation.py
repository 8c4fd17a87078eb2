"""An explanation on the terminal: everything a signal says, with the numbers as they were written, none rounded."""

from __future__ import annotations

from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from dataflows.commands.past import Past, describe
from dataflows.commands.signal_reader import SUM_ERROR_MAX, Found, ReadSignal
from dataflows.commands.terminal import plain, shortened
from state.categories import GROUPS, group_of
from state.money import format_minor
from state.times import parse_rfc3339, rfc3339

BAR_CHARACTERS = 20
PLACE_CHARACTERS_MAX = 40
_LEVEL_STYLE = {"HIGH": "bold red", "MEDIUM": "yellow", "LOW": "dim"}


def print_overview(screen: Console, customer: str, found: list[Found]) -> None:
    """All that was said about a customer, a line each, in the order of event time."""
    screen.print(plain(f"signals about customer {customer}: {len(found):,}", "bold"))
    table = _table("time", "signal", "state", "score", "severity", "id")
    for one in found:
        signal = one.signal
        severity = plain(signal.severity, _LEVEL_STYLE.get(signal.severity, ""))
        table.add_row(
            plain(signal.event_time),
            plain(signal.type),
            plain(signal.state),
            plain(_number(signal.score)),
            severity,
            plain(signal.id),
        )
    screen.print(table)


def print_episode(screen: Console, episode: list[Found], past: Past | None) -> None:
    """One episode: its revisions, then each explained. A retraction is told first: it changes what the rest is worth."""
    first = episode[0].signal
    screen.print()
    screen.rule(plain(f"{first.type} about {first.customer_id}", "bold"), align="left")
    screen.print(plain(f"episode {first.episode}: " + ", then ".join(_revision(one.signal) for one in episode)))
    if any(one.signal.state == "RETRACT" for one in episode):
        screen.print(plain("It was RETRACTED: what it rested on was taken back.", "bold red"))
    for one in episode:
        _print_signal(screen, one, past)


def sentence(signal: ReadSignal) -> str:
    """What was said, in one sentence."""
    return (
        f"{signal.state} {signal.type} at {signal.event_time} about customer {signal.customer_id}: {because(signal)}."
    )


def because(signal: ReadSignal) -> str:
    """The reasons as text, those with the largest contributions first."""
    strongest = sorted(signal.reasons, key=lambda reason: -abs(reason.contribution or 0.0))
    return "; ".join(reason.text for reason in strongest if reason.text) or "no reason was written"


def _revision(signal: ReadSignal) -> str:
    return f"revision {signal.revision} {signal.state} at {signal.event_time}"


def _print_signal(screen: Console, one: Found, past: Past | None) -> None:
    signal = one.signal
    screen.print()
    screen.print(plain(sentence(signal), "bold"))
    screen.print(plain(f"id          {signal.id}"))
    calibrated = "calibrated: a probability" if signal.calibrated else "not calibrated: an order, no probability"
    screen.print(plain(f"score       {_number(signal.score)} (link {signal.score_link}; {calibrated})"))
    screen.print(plain(f"severity    {signal.severity}, confidence {signal.confidence}{_sensitive(signal)}"))
    _print_reasons(screen, signal)
    _print_sum(screen, signal)
    for name in ("details", "evidence", "counterfactual", "forecast", "inputs"):
        _print_part(screen, name, getattr(signal, name))
        if name == "evidence" and past is not None:
            _print_past(screen, signal, past)
    screen.print(
        plain(f"said by     detector {signal.detector}, model {signal.model or 'none'}, config {signal.config}")
    )
    screen.print(plain(f"trigger     {_json(signal.trigger)}"))
    if signal.valid_until is not None:
        screen.print(plain(f"valid until {signal.valid_until}"))
    screen.print(plain(f"position    {one.topic} partition {one.line.partition} offset {one.line.offset}"))


def _sensitive(signal: ReadSignal) -> str:
    return ", SENSITIVE" if signal.sensitive else ""


def _print_reasons(screen: Console, signal: ReadSignal) -> None:
    largest = max((abs(reason.contribution or 0.0) for reason in signal.reasons), default=0.0)
    largest = max(largest, abs(signal.score_base or 0.0))
    table = _table("reason", "feature", "value", "customer's own baseline", "contribution", "")
    if signal.score_base is not None:
        table.add_row(plain("base"), "", "", "", plain(_number(signal.score_base)), _bar(signal.score_base, largest))
    for reason in signal.reasons:
        weight = reason.contribution
        table.add_row(
            plain(reason.code),
            plain(reason.feature),
            plain(_json(reason.value)),
            plain(_json(reason.baseline)),
            plain("none (rule or timer)" if weight is None else _number(weight)),
            _bar(weight or 0.0, largest),
        )
    screen.print(table)


def _print_sum(screen: Console, signal: ReadSignal) -> None:
    """Says whether the parts make the score: a reader must not have to trust us."""
    adds_up, rebuilt = signal.adds_up(), signal.rebuilt_score()
    if adds_up is None:
        screen.print(plain("sum         none: a rule or a timer said it, there is no sum to check", "dim"))
    elif rebuilt is None:
        screen.print(plain("sum         WRONG: a base or contribution is missing", "bold red"))
    else:
        verdict, relation = ("adds up", "the score") if adds_up else ("WRONG", "not the score")
        inverse = "sigmoid" if signal.score_link == "logit" else "identity"
        text = f"{inverse}(base + Σ contributions) is {_number(rebuilt)}, {relation} to within {SUM_ERROR_MAX:g}"
        screen.print(plain(f"sum         {verdict}: {text}", "green" if adds_up else "bold red"))


def _print_part(screen: Console, name: str, part: dict[str, Any] | None) -> None:
    if not part:
        return
    if name != "evidence":
        screen.print(plain(f"{name:<11} {_json(part)}"))
        return
    ids = part.get("transaction_ids") or []
    screen.print(plain(f"evidence    transactions {', '.join(map(str, ids)) or 'none'}"))
    for window in part.get("windows") or []:
        if isinstance(window, dict):
            screen.print(
                plain(f"            window {window.get('name')}: from {window.get('from')} to {window.get('to')}")
            )


def _print_past(screen: Console, signal: ReadSignal, past: Past) -> None:
    """The transactions of the evidence, and what the customer usually spends: what a reader would look up next."""
    named = [past.by_id[id_] for id_ in signal.evidence.get("transaction_ids") or [] if id_ in past.by_id]
    if named:
        table = _table("evidence", "time", "amount", "", "category", "to or from", "channel", "status")
        for each in sorted(named, key=lambda each: each.time_us):
            sign = "+" if each.direction == "credit" else "-"
            table.add_row(
                plain(each.transaction_id),
                plain(rfc3339(each.time_us)[:19]),
                plain(sign + format_minor(each.amount_minor, each.currency)),
                plain(each.currency),
                plain(GROUPS[group_of(each.mcc, each.channel)]),
                plain(
                    shortened(each.merchant_name or each.counterparty or each.merchant_id or "", PLACE_CHARACTERS_MAX)
                ),
                plain(each.channel),
                plain(each.status),
            )
        screen.print(table)
    spending = past.spending(parse_rfc3339(signal.event_time))
    if spending is not None:
        screen.print(plain(f"history     {describe(spending)}"))


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names:
        table.add_column(
            name, justify="right" if name in ("score", "contribution", "amount") else "left", overflow="fold"
        )
    return table


def _bar(part: float, largest: float) -> Any:
    """A bar whose length is the part's share of the largest; red raises the score, green lowers it."""
    length = round(BAR_CHARACTERS * abs(part) / largest) if largest else 0
    return plain(("+" if part > 0 else "-") * length, "red" if part > 0 else "green")


def _number(value: float) -> str:
    """The shortest text that reads back as the same number: what stands in the signal."""
    return repr(value)


def _json(value: Any) -> str:
    return "none" if value is None else value if isinstance(value, str) else orjson.dumps(value).decode()
