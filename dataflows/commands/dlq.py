"""`segone dlq list | redrive`: the records that were refused, and sending them back after a fix.

RUN is the output folder of a run on files. With [log] kind = "kafka" (--config FILE) there is none: letters are read from the
topics `….dlq` and go back to the input topics. docs/commands.md says how a redrive behaves in a crash.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import orjson

from dataflows.commands.letter_list import as_json, print_letters
from dataflows.commands.letters import Letter, read_letters
from dataflows.commands.redrive import FileTarget, Tally, Target, redrive, refused_lines, send_lines
from dataflows.commands.redriven import Redriven
from dataflows.commands.run_folder import require_run
from dataflows.commands.terminal import harmless
from dataflows.history.mapping import nearest
from dataflows.kafka.client import BrokerUnavailable
from dataflows.kafka.letters import KafkaTarget, read_kafka_letters
from dataflows.kafka.topics import silence_client
from operators.dead_letter import TOPIC_SUFFIX
from operators.decode import CODES, DecodeLimits, Decoder
from state.events import TOPICS
from state.settings import ConfigError, Settings
from state.settings_reading import load_settings

LETTERS_SHOWN = 20
LINES_REPORTED_MAX = 50
WHOLE_ELSEWHERE = "it is whole in the input alone, at the topic, partition and offset that `segone dlq list` shows"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="{list,redrive}")
    shown = actions.add_parser("list", help="counts by topic and code, then the letters")
    again = actions.add_parser("redrive", help="decode each original again, and send back what is accepted now")
    for action in (shown, again):
        action.add_argument("run", metavar="RUN", type=Path, nargs="?", help="output folder of a run on files")
        action.add_argument("--config", type=Path, metavar="FILE", help='settings in TOML; for Kafka, kind = "kafka"')
        action.add_argument("--topic", metavar="T", help="only records of this input topic")
        action.add_argument("--code", metavar="C", help="only letters with this code, such as amount.format")
    shown.add_argument(
        "--limit", metavar="N", type=int, help=f"show N letters (default {LETTERS_SHOWN}; with --json all)"
    )
    shown.add_argument("--json", action="store_true", help="the letters alone, as JSON, one a line")
    again.add_argument(
        "--to", metavar="DIR", type=Path, help="the embedded log to append to: the input of your next run"
    )
    again.add_argument("--partitions", metavar="N", type=int, help="partitions of DIR, if it has none yet")
    again.add_argument("--dry-run", action="store_true", help="only say what would be sent")
    again.add_argument(
        "--all", action="store_true", help="also what an earlier redrive has sent, say if its DIR was lost"
    )
    again.add_argument(
        "--export", metavar="FILE", type=Path, help="write the originals to FILE, one a line, to be edited"
    )
    again.add_argument("--import", metavar="FILE", type=Path, dest="edited", help="send the lines of FILE as --topic T")


def run(args: argparse.Namespace) -> int:
    """0; 1 if lines of --import are still refused (then nothing was sent)."""
    settings = load_settings(args.config)
    topics = _topics(args.topic)
    if args.code is not None and args.code not in CODES:
        raise ConfigError(f"--code {args.code}: no such code; {nearest(args.code, CODES)}")
    on_kafka = settings.log.kind == "kafka"
    if on_kafka and args.run is not None:
        raise ConfigError(f'{args.run}: with [log] kind = "kafka" letters are read from topics; leave RUN out')
    if not on_kafka and args.run is None:
        raise ConfigError('RUN: name the output folder of a run (or, for Kafka, a --config with [log] kind = "kafka")')
    if on_kafka:
        silence_client()
    else:
        require_run(args.run)
    try:
        return _list(args, settings, topics) if args.action == "list" else _redrive(args, settings, topics)
    except BrokerUnavailable as error:
        raise ConfigError(f"[kafka] bootstrap_servers: {error}") from error


def _topics(asked: str | None) -> tuple[str, ...]:
    if asked is None:
        return TOPICS
    topic = asked.removesuffix(TOPIC_SUFFIX)
    if topic not in TOPICS:
        raise ConfigError(f"--topic {asked}: no such input topic; {nearest(topic, TOPICS)}")
    return (topic,)


def _letters(args: argparse.Namespace, settings: Settings, topics: tuple[str, ...]) -> Iterator[Letter]:
    if settings.log.kind == "kafka":
        return read_kafka_letters(settings.kafka, settings.kafka.topic_prefix, topics, args.code)
    return read_letters(args.run, topics, args.code)


def _notes(args: argparse.Namespace, settings: Settings) -> Redriven:
    """Beside the letters themselves; for Kafka in the state folder."""
    return Redriven(settings.state_folder / "redriven" if settings.log.kind == "kafka" else args.run)


# ---- list


def _list(args: argparse.Namespace, settings: Settings, topics: tuple[str, ...]) -> int:
    if args.limit is not None and args.limit < 0:
        raise ConfigError(f"--limit {args.limit}: give 0 or more")
    notes = _notes(args, settings)
    counts: Counter[tuple[str, str, bool]] = Counter()
    first: list[tuple[Letter, bool]] = []
    limit = args.limit if args.limit is not None or args.json else LETTERS_SHOWN
    for letter in _letters(args, settings, topics):
        sent = letter in notes
        if args.json and limit is not None and sum(counts.values()) >= limit:
            break
        counts[letter.topic, letter.code, sent] += 1
        if args.json:
            sys.stdout.buffer.write(orjson.dumps(as_json(letter, sent)) + b"\n")
        elif len(first) < (limit or 0):
            first.append((letter, sent))
    if not args.json:
        print_letters(counts, first)
    return 0


# ---- redrive


def _redrive(args: argparse.Namespace, settings: Settings, topics: tuple[str, ...]) -> int:
    if args.export is not None:
        return _export(args, settings, topics)
    decoder = Decoder(DecodeLimits(ahead_s_max=int(settings.shard.future_tolerance_s)))
    target = _target(args, settings, topics)
    if args.edited is not None:
        return _import(args, decoder, target)
    notes = _notes(args, settings)
    letters = _letters(args, settings, topics)
    if args.dry_run:
        tally = redrive(letters, decoder, target, notes, again=args.all, dry_run=True)
    else:
        with notes.held():
            tally = redrive(letters, decoder, target, notes, again=args.all, dry_run=False)
    _print_tally(tally, args.dry_run)
    return 0


def _target(args: argparse.Namespace, settings: Settings, topics: tuple[str, ...]) -> Target:
    if settings.log.kind == "kafka":
        if args.to is not None:
            raise ConfigError('--to: with [log] kind = "kafka" letters go back to the input topics; leave it out')
        return KafkaTarget(settings.kafka, settings.kafka.topic_prefix, topics)
    if args.to is None:
        raise ConfigError("--to: name the embedded log that the records go to (--to DIR)")
    return FileTarget(args.to, args.partitions)


def _export(args: argparse.Namespace, settings: Settings, topics: tuple[str, ...]) -> int:
    notes = _notes(args, settings)
    written = left_out = cut = empty = 0
    seen: set[str] = set()
    with args.export.open("wb") as file:
        for letter in _letters(args, settings, topics):
            if letter in notes and not args.all:
                continue
            seen.add(letter.topic)
            if len(seen) > 1:
                raise ConfigError(
                    f"--export: the letters are of several topics ({', '.join(sorted(seen))}); give --topic T"
                )
            if letter.original_bytes:
                cut += 1
                continue
            if not letter.original:
                empty += 1
                continue
            if b"\n" in letter.original:
                left_out += 1
                continue
            file.write(letter.original + b"\n")
            written += 1
    print(f"{written:,} originals written to {args.export}; edit them, then send them with --import {args.export}")
    if left_out:
        print(f"{left_out:,} have a line feed inside and were left out")
    if empty:
        print(f"{empty:,} have no value and were left out")
    if cut:
        print(f"{cut:,} hold only the beginning of their record and were left out; {WHOLE_ELSEWHERE}")
    return 0


def _import(args: argparse.Namespace, decoder: Decoder, target: Target) -> int:
    if args.topic is None:
        raise ConfigError("--import: say with --topic T what the lines are")
    topic = _topics(args.topic)[0]
    refused = 0
    for number, rejection in refused_lines(args.edited, topic, decoder, target):
        refused += 1
        if refused <= LINES_REPORTED_MAX:
            what = harmless(f"{rejection.code} at {rejection.path}: {rejection.message}")
            print(f"{args.edited}:{number}: {what}", file=sys.stderr)
    if refused:
        print(
            f"segone dlq: {args.edited}: {refused:,} lines are refused; nothing was sent, mend them and import again",
            file=sys.stderr,
        )
        return 1
    if args.dry_run:
        print("all lines would be accepted; nothing was sent (--dry-run)")
    else:
        print(f"{send_lines(args.edited, topic, decoder, target):,} lines sent to {topic}")
    return 0


def _print_tally(tally: Tally, dry_run: bool) -> None:
    print(f"{tally.sent:,} {'would be sent' if dry_run else 'sent'}")
    if tally.sent_before:
        print(f"{tally.sent_before:,} sent by an earlier redrive, not again (--all sends them, too)")
    if tally.unfit:
        print(f"{tally.unfit:,} would be accepted, but hold a line feed, which a line of a file cannot; they stay")
    for (topic, code), count in sorted(tally.refused.items()):
        print(f"{count:,} stay: {topic} {code}, {CODES[code]}")
    if tally.cut:
        print(f"{tally.cut:,} of those that stay hold only the beginning of their record; {WHOLE_ELSEWHERE}")
