"""A store of many customers, made by the production worker over production shards: each begins life with a simulated profile."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import orjson

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from operators.customer_step import CustomerStep, make_policy  # noqa: E402
from operators.decode import Decoder, Rejection  # noqa: E402
from simulation.settings import CLEAN, WorldSettings  # noqa: E402
from simulation.world import stream  # noqa: E402
from state.digest import shard_of  # noqa: E402
from state.frozen import freeze  # noqa: E402
from state.memory_store import MemoryStore  # noqa: E402
from state.records import Record  # noqa: E402
from state.settings_reading import load_settings  # noqa: E402
from state.shard import Shard  # noqa: E402

TEMPLATES = 200
DAYS = 90
START = date(2024, 1, 1)
CHUNK = 2048

_PURCHASE: dict[str, Any] = {"currency": "EUR", "direction": "debit", "country": "DE", "card_id": "k-0123456789abcdef"}
TRANSACTIONS: list[dict[str, Any]] = [
    {**_PURCHASE, "amount": "23.40", "channel": "card_present", "merchant_id": "m-groceries", "mcc": "5411"},
    {**_PURCHASE, "amount": "8.90", "channel": "card_present", "merchant_id": "m-bakery", "mcc": "5462"},
    {**_PURCHASE, "amount": "54.00", "channel": "card_present", "merchant_id": "m-fuel", "mcc": "5541"},
    {**_PURCHASE, "amount": "17.99", "channel": "ecommerce", "merchant_id": "m-shop", "mcc": "5942"},
    {**_PURCHASE, "amount": "12.50", "channel": "card_present", "merchant_id": "m-lunch", "mcc": "5812"},
]


def customer_name(number: int) -> str:
    return f"c-{number:010d}"


def templates(
    seed_: int, start: date = START, customers: int = TEMPLATES
) -> tuple[list[tuple[bytes, int | None, int | None]], int]:
    """Frozen profiles as `Store.put` takes them, of lives that began on `start`, and the newest time in any of them."""
    settings = load_settings(environment={})
    step = CustomerStep(settings.detectors, settings.digest())
    shard = Shard(0, step, make_policy(settings, step, 1), MemoryStore())
    decoder, ids, newest_us = Decoder(), dict[str, None](), 0
    for number, message in enumerate(stream(WorldSettings(customers, DAYS, seed_, start=start, dirt=CLEAN))):
        event = decoder.decode(Record(message.topic, 0, number, message.arrival_us, message.key, message.value))
        if not isinstance(event, Rejection) and event.customer_id:
            shard.apply([event], 0)
            ids[event.customer_id] = None
            newest_us = max(newest_us, event.arrival_us, event.time_us)
    profiles = [
        (freeze(c, step.freeze_states(c)), shard._agenda.wake_us(c), None if c.rates_heard is None else c.partition)
        for c in map(shard.customer, ids)
    ]
    return profiles, newest_us


def seed(folder: Path, customers: int, seed_: int, partitions: int) -> int:
    """Makes `folder`/state if it isn't there; returns when the customers' next events may begin (microseconds UTC)."""
    note = folder / "seeded.json"
    if note.exists():
        return int(orjson.loads(note.read_bytes())["begin_us"])
    shutil.rmtree(folder, ignore_errors=True)
    topic = folder / "in" / "in.transactions"
    topic.mkdir(parents=True)
    for partition in range(partitions):
        (topic / f"{partition}.jsonl").touch()
    began_s = time.monotonic()
    print(f"seeding {customers:,} customers in {folder} …", file=sys.stderr)
    arguments = ["--input", str(folder / "in"), "--output", str(folder / "out"), "--state", str(folder / "state")]
    command = [*seeded(customers, seed_), "run", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    begin_us = int(ended.stdout.split()[0])
    note_begin(folder, begin_us)
    print(f"seeded in {time.monotonic() - began_s:.0f} s", file=sys.stderr)
    return begin_us


def seeded(customers: int, seed_: int, start: date = START) -> list[str]:
    """A command that runs `segone` over shards in which customers are in place."""
    return [sys.executable, __file__, str(customers), str(seed_), start.isoformat()]


def note_begin(folder: Path, begin_us: int) -> None:
    """Keeps when the customers' next events may begin."""
    (folder / "seeded.json").write_bytes(orjson.dumps({"begin_us": begin_us}))


def main(customers: int, seed_: int, start: date, command: list[str]) -> int:
    """A worker whose shards find their customers in place when they open."""
    from dataflows import cli

    profiles, newest_us = templates(seed_, start, min(TEMPLATES, customers))
    shards = load_settings(environment={}).shard.count
    names: list[list[int]] = [[] for _ in range(shards)]
    for number in range(customers):
        names[shard_of(customer_name(number), shards)].append(number)
    restore = Shard.restore

    def restore_filled(shard: Shard, token: bytes | None) -> None:
        restore(shard, token)
        for first in range(0, len(names[shard.number]), CHUNK):
            for number in names[shard.number][first : first + CHUNK]:
                shard._store.put(customer_name(number), *profiles[number % len(profiles)])
            shard.counters.customers += len(names[shard.number][first : first + CHUNK])
            # Were this process to die before the engine has committed, the whole folder is made anew.
            shard.checkpoint()
            shard.proven()
            shard._store.write_behind(CHUNK)

    Shard.restore = restore_filled  # type: ignore[method-assign]
    print(newest_us + 1, flush=True)
    return cli.main(command)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), date.fromisoformat(sys.argv[3]), sys.argv[4:]))
