"""`segone init`: makes what a run needs and is not there yet: topics (Kafka) or folders, and the state folder.

What is there stays as it is; a second run of the same command makes nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dataflows.commands.arguments import add_settings_arguments, settings_of
from dataflows.kafka.client import BrokerUnavailable, create_topics, partition_counts
from dataflows.kafka.topics import faults, plans, silence_client
from dataflows.state_note import prepare_state
from state.events import BROADCAST, TOPICS
from state.settings import ConfigError, Settings

add_arguments = add_settings_arguments


def run(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    if settings.log.kind == "kafka":
        _make_topics(settings)
    else:
        _make_folders(settings)
    state_dir = settings.state_folder
    made = prepare_state(state_dir, settings)
    _say(made, f"state folder {state_dir}")
    return 0


def _make_topics(settings: Settings) -> None:
    silence_client()
    client = settings.kafka
    wanted = plans(settings.kafka)
    try:
        made = set(create_topics(client, wanted))
        present = partition_counts(client)
    except BrokerUnavailable as error:
        raise ConfigError(f"[kafka] bootstrap_servers: {error}") from error
    for plan in wanted:
        compacted = ", compacted" if plan.config.get("cleanup.policy") == "compact" and plan.name in made else ""
        count = present.get(plan.name, plan.partitions)
        _say(plan.name in made, f"topic {plan.name} ({count} partitions{compacted})")
    wrong = faults(settings.kafka, present)
    if wrong:
        raise ConfigError("topics that were there do not fit: " + "; ".join(wrong))


def _make_folders(settings: Settings) -> None:
    if not settings.log.input or not settings.log.output:
        raise ConfigError(
            '[log] input and output: with kind = "files" both folders must be named (--input DIR --output DIR)'
        )
    folder, output = Path(settings.log.input), Path(settings.log.output)
    if any(folder.glob("in.*/*.jsonl")):
        _say(False, f"input folder {folder}")
    else:
        for topic in TOPICS:
            _make_empty_topic(folder / topic, 1 if topic in BROADCAST else settings.log.partitions)
        _say(True, f"input folder {folder} ({len(TOPICS)} topics, {settings.log.partitions} empty partitions each)")
    _say(_make_folder(output), f"output folder {output}")


def _make_empty_topic(folder: Path, partitions: int) -> None:
    """Empty partitions say how many there are: whoever writes events can find it out, and a run can start and wait."""
    _make_folder(folder)
    for partition in range(partitions):
        try:
            (folder / f"{partition}.jsonl").touch()
        except OSError as error:
            raise ConfigError(f"{folder}: cannot be written ({error.strerror}); check [log] and permissions") from error


def _make_folder(folder: Path) -> bool:
    new = not folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made ({error.strerror}); check [log] and permissions") from error
    return new


def _say(made: bool, what: str) -> None:
    print(f"{'made     ' if made else 'was there'}  {what}")
