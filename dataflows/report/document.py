"""The document behind a report: which customers it tells of, and all that the page draws, as one JSON object."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from dataflows.commands.run_folder import read_topic
from dataflows.commands.signal_reader import ReadSignal, read_signals
from dataflows.report.events import EventSource, read_events
from dataflows.report.fleet import Fleet
from dataflows.report.pseudonyms import Pseudonyms
from dataflows.report.rehearsal import Rehearsal
from dataflows.report.story import names_of, story
from operators.decode import DecodeLimits
from operators.encode import SIGNAL_TOPICS
from simulation.scorecard import score
from simulation.scorecard_report import sections
from simulation.scorecard_run import read_run
from simulation.scorecard_truth import read_truth
from state.categories import GROUPS
from state.settings import ConfigError, Settings

Json = dict[str, Any]

SCORECARD_RESAMPLES = 200
"""Of the bootstrap: enough for two digits of an interval, in seconds."""


class Selection(NamedTuple):
    """Whose stories are told: one customer's, or those of the `worst` customers by their strongest signal (of one type)."""

    customer: str | None = None
    type: str | None = None
    worst: int = 5


class Nobody(Exception):
    """Nothing was found about whom the selection names; the message says it."""


class _Score(msgspec.Struct, gc=False):
    transaction_id: str
    customer_id: str
    event_time: str
    score: float


class _Error(msgspec.Struct, gc=False):
    detector: str


def report_document(
    run: Path,
    source: EventSource | None,
    selection: Selection,
    settings: Settings,
    truth: Path | None,
    pseudonyms: Pseudonyms,
) -> Json:
    """Everything on the page. `source` None: the run's events are not to be found.

    Raises ConfigError for what is wrong with paths and files, Nobody for a selection that nothing is known about.
    """
    fleet, chosen = survey(run, selection)
    events = read_events(source, chosen, decode_limits(settings)) if source is not None else None
    if selection.customer is not None and not _known(run, selection.customer, events):
        raise Nobody(f"{run}: nothing is known about the customer there; check the id, and that this is the right run")
    scores = _scores(run, fleet, chosen)
    rehearsal = Rehearsal(settings)
    rehearsal.run(events or {})
    signals = signals_of(run, chosen)
    profiles = profiles_of(run, chosen)
    names = {
        customer: names_of(customer, own, rehearsal.recurring.get(customer, []))
        for customer, own in (events or {}).items()
    }
    stories = [
        story(
            customer,
            events[customer] if events is not None else None,
            signals[customer],
            scores[customer],
            rehearsal.bands.get(customer, []),
            rehearsal.recurring.get(customer, []),
            profiles.get(customer),
            pseudonyms,
        )
        for customer in chosen
    ]
    return {
        "format": 1,
        "live": False,
        "revealed": pseudonyms.revealing,
        "run": run.resolve().name,
        "groups": GROUPS,
        "notes": _notes(signals, settings, source),
        "fleet": fleet.document(pseudonyms, names),
        "costs": [cost._asdict() for cost in rehearsal.costs()],
        "scorecard": scorecard(run, truth) if truth is not None else None,
        "stories": stories,
        "selected": pseudonyms.customer(selection.customer) if selection.customer is not None else None,
    }


def decode_limits(settings: Settings) -> DecodeLimits:
    return DecodeLimits(ahead_s_max=int(settings.shard.future_tolerance_s))


def survey(run: Path, selection: Selection) -> tuple[Fleet, list[str]]:
    """One pass over all signals: the fleet's counts, and the customers that the selection means, strongest first."""
    fleet = Fleet()
    strongest: dict[str, dict[str, tuple[float, str]]] = {}
    for topic in SIGNAL_TOPICS:
        for signal, _, _ in read_signals(run, topic):
            fleet.add(signal)
            of_type = strongest.setdefault(signal.type, {})
            best = of_type.get(signal.customer_id)
            if signal.state == "OPEN" and (best is None or signal.score > best[0]):
                of_type[signal.customer_id] = (signal.score, signal.id)
            elif signal.state == "RETRACT" and best is not None and best[1] == signal.retracts:
                del of_type[signal.customer_id]
    for line in read_topic(run, "detector_errors"):
        fleet.add_error(msgspec.json.decode(line.value, type=_Error).detector)
    if selection.customer is not None:
        return fleet, [selection.customer]
    if selection.type is not None:
        if selection.type not in strongest:
            known = ", ".join(sorted(strongest)) or "none"
            raise Nobody(f"--type {selection.type}: no such signal in {run}; there are {known}")
        strongest = {selection.type: strongest[selection.type]}
    return fleet, list(dict.fromkeys(_in_turn(strongest)))[: selection.worst]


def _in_turn(strongest: dict[str, dict[str, tuple[float, str]]]) -> Iterator[str]:
    """The strongest customer of each type, then the second of each: a page that shows all that there is to see."""
    ranked = [
        sorted(of_type, key=lambda customer, of_type=of_type: (-of_type[customer][0], of_type[customer][1]))  # type: ignore[misc]
        for _, of_type in sorted(strongest.items())
    ]
    for rank in range(max(map(len, ranked), default=0)):
        yield from (customers[rank] for customers in ranked if rank < len(customers))


def signals_of(run: Path, customers: Collection[str]) -> dict[str, list[ReadSignal]]:
    """All signals about each of the customers, in order of event time."""
    found: dict[str, list[ReadSignal]] = {customer: [] for customer in customers}
    for topic in SIGNAL_TOPICS:
        for signal, _, _ in read_signals(run, topic):
            if signal.customer_id in found:
                found[signal.customer_id].append(signal)
    for signals in found.values():
        signals.sort(key=lambda signal: (signal.event_time, signal.thread, signal.revision))
    return found


def profiles_of(run: Path, customers: Collection[str]) -> dict[str, Json]:
    """The newest profile of each customer, where the run publishes profiles."""
    found: dict[str, Json] = {}
    for line in read_topic(run, "profiles"):
        profile = orjson.loads(line.value)
        if isinstance(profile, dict) and profile.get("customer_id") in customers:
            found.pop(profile["customer_id"], None)
            if not profile.get("deleted"):
                found[profile["customer_id"]] = profile
    return found


def scorecard(run: Path, truth: Path) -> Json:
    """The tables of `segone score`, as they stand on the terminal."""
    card = score(read_run(run), read_truth(truth), SCORECARD_RESAMPLES)
    return {
        "counted_from": card.counted_from,
        "period_end": card.period_end,
        "customers": card.customers,
        "sections": [section._asdict() for section in sections(card)],
    }


def _known(run: Path, customer: str, events: dict[str, list[Any]] | None) -> bool:
    return bool(events and events[customer]) or bool(signals_of(run, [customer])[customer])


def _scores(run: Path, fleet: Fleet, customers: Collection[str]) -> dict[str, dict[str, float]]:
    """Adds all scores to the fleet; returns those of the chosen customers by transaction id."""
    found: dict[str, dict[str, float]] = {customer: {} for customer in customers}
    decode = msgspec.json.Decoder(_Score).decode
    for line in read_topic(run, "scores"):
        try:
            each = decode(line.value)
        except ValueError as error:  # msgspec's errors are ValueErrors, too
            raise ConfigError(f"{line.place}: not a score ({error}); RUN must be an output folder of segone") from error
        fleet.add_score(each.customer_id, each.event_time, each.score)
        if each.customer_id in found:
            found[each.customer_id][each.transaction_id] = each.score
    return found


def _notes(signals: dict[str, list[ReadSignal]], settings: Settings, source: EventSource | None) -> list[str]:
    notes = []
    configs = {signal.config for of_customer in signals.values() for signal in of_customer}
    if source is not None and configs - {settings.digest()}:
        notes.append(
            "Some signals were said with other settings than the present ones, by which the usual band is drawn; "
            "--config FILE names the settings of the run."
        )
    return notes
