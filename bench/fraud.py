"""How well `anomaly.transaction` finds card fraud, beside what a bank would build otherwise, on one file in one run.

python bench/fraud.py FILE --mapping MAPPING [--from DAY --to DAY] [--scenario COLUMN] [--parts …] [--baselines …] [--costs] [--json FILE]

Replays the file, up to the end of the test period, through the production code (one pass, labels when they became known), then measures
its scores and those of the baselines in the test period: area under the ROC curve, average precision, card precision@100 and recall
at 1 % false positives, by scenario. With --parts the model learns again without each of these parts; --costs times them. Protocol, test
periods and baselines are in bench/fraud.toml; docs/bench-fraud.md explains and has figures. The batch models need
`pip install -e .[bench]`.
"""

# ruff: noqa: E402  (what follows is found from the checkout)

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path

import msgspec
import orjson
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT), str(ROOT / "bench")]

from fraud_baselines import BASELINES, BATCH, BaselineConfig, Task, with_hour_and_group
from fraud_costs import Cost, measure_costs
from fraud_engine import Replayed, ReplayError, join, replay
from fraud_measures import Measures, Protocol, Tested, days_of_test, measure
from fraud_parts import PARTS, record, replayed
from fraud_payments import Payments, read_payments
from fraud_windows import hand_made_windows
from tables import wide

from state.settings import ConfigError
from state.settings_reading import read_toml
from state.windows import DAY_US

ENGINE = "segone"


class FileConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table [files.MAPPING] of bench/fraud.toml: the test period from `from` up to, not including, `to`."""

    from_: str = msgspec.field(name="from")
    to: str
    scenario: str | None = None
    leave_out_known_cards: bool = False


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """bench/fraud.toml."""

    protocol: Protocol
    files: dict[str, FileConfig]
    baselines: BaselineConfig
    costs: dict[str, tuple[str, ...]]


class Line(msgspec.Struct, frozen=True):
    """One line of the result. Times are of one payment: of the engine everything together, of baselines without their windows."""

    name: str
    measures: Measures
    score_us: float | None = None
    learn_us: float | None = None
    note: str = ""


class Result(msgspec.Struct, frozen=True):
    """What --json writes."""

    lines: list[Line]
    costs: list[Cost]


def parse_arguments(config: Config, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="FILE", help="the history, as for `segone replay`")
    parser.add_argument("--mapping", type=Path, required=True, metavar="MAPPING", help="with labels (docs/mappings.md)")
    parser.add_argument("--from", dest="from_", metavar="DAY", help="first day of the test period")
    parser.add_argument("--to", metavar="DAY", help="the day after its last")
    parser.add_argument("--scenario", metavar="COLUMN", help="recall is also told by the values of this column")
    parser.add_argument(
        "--leave-out-known-cards", action=argparse.BooleanOptionalAction, help="the handbook's way of testing"
    )
    parser.add_argument(
        "--parts",
        default="",
        metavar="NAMES",
        help=f"score without each of them, too: all, or some of {','.join(PARTS)}",
    )
    parser.add_argument(
        "--baselines",
        default="all",
        metavar="NAMES",
        help=f"all, none, or some of {', '.join(BASELINES)}, separated by semicolons",
    )
    parser.add_argument(
        "--scores",
        type=Path,
        metavar="FILE",
        help="scores.parquet of a `segone replay --scores`: measured, not replayed",
    )
    parser.add_argument("--costs", action="store_true", help="also time the parts, on the first days of the file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the result there")
    return parser.parse_args(arguments)


def chosen(flag: str, text: str, known: list[str], separator: str) -> list[str]:
    """The names in `text`; `all` for all, nothing or `none` for none. Raises ConfigError for an unknown name."""
    if text == "all":
        return known
    names = [name.strip() for name in text.split(separator) if name.strip() not in ("", "none")]
    for name in names:
        if name not in known:
            raise ConfigError(f"{flag} {name}: not known; known are {f'{separator} '.join(known)}")
    return names


def need_libraries(baselines: list[str]) -> None:
    """Raises ConfigError where the library of a batch model is missing: before the replay, not after it."""
    for name in baselines:
        if name in BATCH and find_spec(BATCH[name]) is None:
            raise ConfigError(
                f"--baselines {name}: {BATCH[name]} is not installed; pip install -e .[bench], or name other baselines"
            )


def period(args: argparse.Namespace, config: Config) -> FileConfig:
    """Flags before the table that has the mapping's name. Raises ConfigError when neither gives a test period."""
    known = config.files.get(args.mapping.stem)
    if known is None and not (args.from_ and args.to):
        raise ConfigError(
            f"{args.mapping.stem}: no test period is known for this mapping; give --from and --to, "
            f"or add [files.{args.mapping.stem}] to bench/fraud.toml"
        )
    known = known or FileConfig(args.from_, args.to)
    flags = {"from_": args.from_, "to": args.to, "scenario": args.scenario}
    flags["leave_out_known_cards"] = args.leave_out_known_cards
    return msgspec.structs.replace(known, **{name: value for name, value in flags.items() if value is not None})


def day_us(flag: str, text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000_000
    except ValueError as error:
        raise ConfigError(f"{flag} {text}: is not a day; write 2025-01-31") from error


def show(console: Console, lines: list[Line], config: Config, data: Path) -> None:
    """The table of figures, then recall by scenario."""
    figures = Table(title=data.name, title_justify="left")
    share = f"{100 * config.protocol.false_positives_share:g} %"
    top = f"card precision@{config.protocol.cards_top}"
    for heading in ("", "AUC", "average precision", top, f"recall at {share}", "µs", "µs learning", ""):
        figures.add_column(heading, justify="right" if heading else "left")
    for line in lines:
        m = line.measures
        numbers = [f"{number:.3f}" for number in (m.auc, m.average_precision, m.card_precision, m.recall)]
        times = ["" if each_us is None else f"{each_us:.1f}" for each_us in (line.score_us, line.learn_us)]
        figures.add_row(line.name, *numbers, *times, line.note)
    console.print(figures)
    scenarios = list(lines[0].measures.recall_by_scenario) if lines else []
    if scenarios:
        recalls = Table(title=f"recall at {share} false positives by scenario", title_justify="left")
        for heading in ("", *scenarios):
            recalls.add_column(heading, justify="right" if heading else "left")
        for line in lines:
            recalls.add_row(line.name, *(f"{line.measures.recall_by_scenario[name]:.3f}" for name in scenarios))
        console.print(recalls)


def show_costs(console: Console, costs: list[Cost]) -> None:
    made = Table(title="processor time for a record", title_justify="left")
    for heading in ("part", "µs", "calls"):
        made.add_column(heading, justify="left" if heading == "part" else "right")
    for cost in costs:
        made.add_row(cost.part, f"{cost.each_us:.1f}", f"{cost.calls:,}")
    console.print(made)


def run(args: argparse.Namespace, config: Config) -> Result:
    """Everything that was asked for, the engine first."""
    parts = chosen("--parts", args.parts, list(PARTS), ",")
    baselines = chosen("--baselines", args.baselines, list(BASELINES), ";")
    need_libraries(baselines)
    file = period(args, config)
    from_us, to_us = day_us("--from", file.from_), day_us("--to", file.to)
    progress = Console(stderr=True)
    progress.print(f"reading {args.data}")
    payments = read_payments(args.data, args.mapping, file.scenario)
    test = days_of_test(payments, config.protocol, from_us, to_us, file.leave_out_known_cards)
    frauds = int(payments.fraud[test.rows].sum())
    progress.print(f"{len(payments):,} payments; test {file.from_} to {file.to}: {len(test.rows):,}, {frauds:,} frauds")

    lines = []
    if args.scores:
        lines.append(engine_line(ENGINE, join(args.scores, payments, to_us), payments, test, config))
    elif not parts:
        progress.print(f"replaying: {ENGINE}")
        lines.append(engine_line(ENGINE, replay(args.data, args.mapping, payments, to_us), payments, test, config))
    if parts:
        lines += take_apart(args, parts, payments, test, config, progress)
    lines += compare(payments, test, config, baselines, progress)
    costs: list[Cost] = []
    if args.costs:
        progress.print("timing the parts")
        until_us = int(payments.time_us.min()) + config.protocol.costs_days * DAY_US
        costs = measure_costs(args.data, args.mapping, config.costs, until_us)
    return Result(lines, costs)


def engine_line(name: str, replayed: Replayed, payments: Payments, test: Tested, config: Config) -> Line:
    notes = [] if replayed.models is None else [f"{replayed.models} model versions"]
    if replayed.unscored:
        notes.append(f"{replayed.unscored:,} payments without a score")
    measures = measure(payments, test, config.protocol, replayed.scores)
    return Line(name, measures, replayed.each_us, note=", ".join(notes))


def take_apart(
    args: argparse.Namespace, parts: list[str], payments: Payments, test: Tested, config: Config, progress: Console
) -> list[Line]:
    """The engine's line, unless its scores were given, and one without each part. They have no times: the replay does less than usual."""
    to_us = int(payments.time_us[test.rows].max()) + 1
    progress.print(f"replaying: {ENGINE}, recorded")
    recording = record(args.data, args.mapping, to_us)
    lines = []
    for part in [*([] if args.scores else [None]), *parts]:
        name = f"{ENGINE} without {part}" if part else ENGINE
        lines.append(engine_line(name, replayed(recording, payments, to_us, part), payments, test, config))
    return lines


def compare(payments: Payments, test: Tested, config: Config, names: list[str], progress: Console) -> list[Line]:
    """The baselines' lines."""
    if not names:
        return []
    windows = hand_made_windows(payments, config.protocol.label_delay_days)
    delay_us = config.protocol.label_delay_days * DAY_US
    task = Task(payments, windows, with_hour_and_group(payments, windows), test, delay_us, config.baselines)
    lines = []
    for name in names:
        progress.print(f"baseline: {name}")
        scored = BASELINES[name](task)
        measures = measure(payments, test, config.protocol, scored.scores)
        lines.append(Line(name, measures, scored.score_us, scored.learn_us, scored.note))
    return lines


def main(arguments: list[str] | None = None) -> int:
    try:
        config = msgspec.convert(read_toml(ROOT / "bench" / "fraud.toml"), Config)
        args = parse_arguments(config, arguments)
        result = run(args, config)
    except (ConfigError, msgspec.ValidationError) as error:
        print(f"bench/fraud.py: {error}", file=sys.stderr)
        return 2
    except ReplayError as error:
        print(f"bench/fraud.py: {error}", file=sys.stderr)
        return 1
    show(wide(), result.lines, config, args.data)
    if result.costs:
        show_costs(wide(), result.costs)
    if args.json:
        args.json.write_bytes(orjson.dumps(msgspec.to_builtins(result), option=orjson.OPT_INDENT_2) + b"\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
