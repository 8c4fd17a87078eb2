"""`segone simulate`: the synthetic bank, written to the embedded log or sent straight to Kafka at a chosen rate."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from confluent_kafka import KafkaException, Producer

from dataflows.kafka.client import plain_producer, required_partitions
from simulation import command
from simulation.runs import Message
from simulation.world import stream
from state.digest import partition_of
from state.events import TOPICS
from state.settings import ConfigError
from state.settings_reading import load_settings

PROGRESS_S = 5.0
DELIVERY_TIMEOUT_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    command.add_arguments(parser)
    parser.add_argument(
        "--kafka", action="store_true", help="send the events to Kafka ([kafka] of --config) instead of OUT/events"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML, for --kafka")
    parser.add_argument("--rate", metavar="N/s", help="with --kafka: at most so many records a second, e.g. 5000/s")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="with --kafka: stamp records with the present time, as if they happened now",
    )
    for action in parser._actions:
        if action.dest == "out":
            action.required = False


def run(args: argparse.Namespace) -> int:
    if not args.kafka:
        if args.out is None:
            raise ConfigError("--out DIR: is needed, unless the events go to Kafka (--kafka)")
        if args.rate or args.follow:
            raise ConfigError("--rate and --follow go with --kafka")
        return command.run(args)
    if args.out is not None:
        raise ConfigError("--out and --kafka: choose one; the truth is written by --out")
    rate = parse_rate(args.rate) if args.rate else None
    kafka = load_settings(args.config).kafka
    prefix = kafka.topic_prefix
    counts = required_partitions(kafka, [prefix + topic for topic in TOPICS])
    producer = plain_producer(kafka)
    messages = (message._replace(topic=prefix + message.topic) for message in stream(command.world_settings(args)))
    sent = send(producer, counts, messages, rate, follow=args.follow)
    print(f"sent {sent:,} records to {kafka.bootstrap_servers}", file=sys.stderr)
    return 0


def parse_rate(text: str) -> float:
    """Records per second out of "5000/s" or "5000".

    >>> parse_rate("5000/s")
    5000.0
    """
    try:
        rate = float(text.removesuffix("/s"))
    except ValueError:
        rate = 0.0
    if rate <= 0:
        raise ConfigError(f"--rate {text}: is not a rate; write e.g. 5000/s")
    return rate


def send(
    producer: Producer, counts: dict[str, int], messages: Iterator[Message], rate: float | None, *, follow: bool
) -> int:
    """Sends everything and waits for every delivery. Raises ConfigError if Kafka refuses or does not answer."""
    failures: list[str] = []

    def delivered(error: object, _message: object) -> None:
        if error is not None:
            failures.append(str(error))

    started = told = time.monotonic()
    sent = 0
    for message in messages:
        timestamp_ms = int(time.time() * 1000) if follow else message.arrival_us // 1000
        partition = partition_of(message.key, counts[message.topic])
        while True:
            try:
                producer.produce(
                    message.topic, message.value, message.key, partition, on_delivery=delivered, timestamp=timestamp_ms
                )
                break
            except BufferError:
                producer.poll(0.1)
            except KafkaException as error:
                raise ConfigError(f"{message.topic}: Kafka refuses the records: {error}") from error
        sent += 1
        if sent % 100 == 0:
            producer.poll(0)
            now = time.monotonic()
            if rate and sent / rate > now - started:
                time.sleep(sent / rate - (now - started))
            if now - told > PROGRESS_S:
                told = now
                print(
                    f"[{now - started:5.0f} s] sent {sent:,} records · {sent / (now - started):,.0f}/s", file=sys.stderr
                )
        if failures:
            break
    left = producer.flush(DELIVERY_TIMEOUT_S)
    if failures or left:
        raise ConfigError(
            f"kafka: {left + len(failures):,} records were not delivered ({failures[0] if failures else 'no answer'}); check the broker"
        )
    return sent
