"""Writes a world as an embedded log, `events/<topic>/<partition>.jsonl`, with its truth beside it."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from zlib import crc32

import orjson

from simulation.almanac import Almanac
from simulation.life import TOPICS
from simulation.runs import KEY_AT, TOPIC_AT, ZERO
from simulation.settings import VERSION, WorldSettings
from state.settings import ConfigError

REPORT_EVERY = 20_000
PARTS = ("events", "truth")


def check_free(out: Path) -> None:
    """Raises ConfigError if `out` holds folders of these names that aren't an earlier world."""
    for name in PARTS:
        folder = out / name
        if folder.exists() and not (out / "truth" / "world.json").is_file():
            raise ConfigError(
                f"--out: {folder} exists and no earlier world is in {out}; choose another folder or empty this one"
            )


def publish(made: Path, out: Path) -> None:
    """Moves a finished world from `made` to `out`, in place of an earlier one; both on the same file system."""
    for name in PARTS:
        if (out / name).exists():
            shutil.rmtree(out / name)
        (made / name).rename(out / name)


def write_events(
    out: Path, lines: Iterable[bytes], partitions: int, report: Callable[[int], None] = lambda records: None
) -> Counter[str]:
    """Writes every record, given as a line of a run, to its topic and partition: crc32(key) mod partitions.

    Every topic gets all its partitions, if need be empty ones. Returns how many records each topic has; `report` hears how
    many came since it heard last.
    """
    written, reported = [0] * len(TOPICS), 0
    with ExitStack() as stack:
        files: list[list[Callable[[bytes], int]]] = [[] for _ in TOPICS]
        for index, topic in enumerate(TOPICS):
            (out / "events" / topic).mkdir(parents=True, exist_ok=True)
            for partition in range(partitions):
                path = out / "events" / topic / f"{partition}.jsonl"
                files[index].append(stack.enter_context(path.open("wb", buffering=1 << 16)).write)
        for line in lines:
            tab = line.index(b"\t")
            index = line[TOPIC_AT] - ZERO
            files[index][crc32(line[KEY_AT:tab]) % partitions](line[tab + 1 :])
            written[index] += 1
            if written[0] % REPORT_EVERY == 0 and index == 0:
                report(sum(written) - reported)
                reported = sum(written)
    report(sum(written) - reported)
    return Counter(dict(zip(TOPICS, written, strict=True)))


def write_truth(out: Path, settings: WorldSettings, files: Mapping[str, Iterable[bytes]]) -> None:
    """Writes truth.jsonl and the files beside it, given by name, and world.json."""
    (out / "truth").mkdir(parents=True)
    for name, lines in files.items():
        with (out / "truth" / f"{name}.jsonl").open("wb") as file:
            file.writelines(lines)
    almanac = Almanac(settings.start, settings.days)
    world = {
        "seed": settings.seed,
        "customers": settings.customers,
        "days": settings.days,
        "start": almanac.text(almanac.time_us(0)),
        "end": almanac.text(almanac.time_us(settings.days)),
        "difficulty": settings.difficulty,
        "partitions": settings.partitions,
        "dirt": settings.dirt,
        "version": VERSION,
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    (out / "truth" / "world.json").write_bytes(orjson.dumps(world, option=options))
