"""An upgrade as docs/rescale-upgrade.md describes it, with processes of two releases: one has a detector more than this one, the other a
later version of that detector's state (docs/adding-a-detector.md). And what a release says that can't read what is there."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest
from said import Item, Said, differences, in_files, with_newest_profiles
from scrape import wait_until
from walkthrough import with_detector, with_state_changed
from worker_process import PATIENCE_S, SMALL_STEPS, WorkerProcess, append, worker_on

from simulation.settings import WorldSettings
from simulation.world import stream

pytestmark = pytest.mark.xdist_group("upgrade")  # one world for all

RECORDS, SEED = 800, 11
TOPIC = "in.transactions"
NEW_SIGNAL = "alert.largest_payment"
SETTINGS = f"""\
{SMALL_STEPS}[knowledge]
enabled = false
[detectors.largest_payment]
threshold = 0.02
matured_min = 5
ratio_min = 1.0
"""


class World(NamedTuple):
    """Two releases, a bank, settings, and what the old release says of the bank undisturbed."""

    old: Path
    new: Path
    events: Path
    half: Path
    """The earlier half of the events."""
    config: Path
    stopped: Path
    """What the old release left when it had dealt with that half."""
    reference: Said


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    old = with_detector(folder / "old")
    new = with_state_changed(old, folder / "new")
    events, half, config = folder / "events", folder / "half", folder / "settings.toml"
    config.write_text(SETTINGS)
    # One topic: of several that grow, the order in which they are read would depend on the moment.
    bought = (each for each in stream(WorldSettings(customers=8, days=90, seed=SEED)) if each.topic == TOPIC)
    for number, message in enumerate(islice(bought, RECORDS)):
        for path in (events, half) if number < RECORDS // 2 else (events,):
            append(path, message)
    first = worker_of(old, folder / "stopped", half, config)
    assert first.run() == 0, first.told()
    undisturbed = worker_of(old, folder, events, config)
    assert undisturbed.run() == 0, undisturbed.told()
    reference = in_files(folder / "out")
    assert NEW_SIGNAL in types_in(reference)
    return World(old, new, events, half, config, folder / "stopped" / "out", reference)


def worker_of(release: Path, folder: Path, events: Path, config: Path, *arguments: str) -> WorkerProcess:
    return worker_on(folder, config, events, *arguments, project=release)


def types_in(said: Said) -> Counter[str]:
    return Counter(
        orjson.loads(item.body)["type"]
        for place, items in said.items()
        if place.topic.startswith("signals.")
        for item in items
    )


def but_for_versions(said: Said) -> Said:
    """What both releases must agree on: the detector's version is news."""

    def unversioned(item: Item) -> Item:
        return Item(item.id, item.body.replace(b'"largest_payment@2"', b'"largest_payment@1"'))

    return {place: [unversioned(item) for item in items] for place, items in said.items()}


def versions_in(said: Said) -> set[str]:
    bodies = [orjson.loads(item.body) for items in said.values() for item in items if NEW_SIGNAL.encode() in item.body]
    return {body["detector"] for body in bodies}


def scored(folder: Path) -> int:
    return sum(len(path.read_bytes().splitlines()) for path in (folder / "out").glob("scores/*.jsonl"))


class Feed(threading.Thread):
    """Appends the bank's records to an input folder, a little at a time, as producers would; the later half when `go_on` is set."""

    def __init__(self, events: Path, to: Path) -> None:
        super().__init__(daemon=True)
        self._lines = {
            path.relative_to(events): path.read_bytes().splitlines(True) for path in events.glob("*/*.jsonl")
        }
        self._to = to
        self.go_on = threading.Event()
        for path in self._lines:
            (to / path.parent).mkdir(parents=True, exist_ok=True)
            (to / path).touch()

    def run(self) -> None:
        steps = 40
        for step in range(steps):
            if step == steps // 2:
                self.go_on.wait(PATIENCE_S)
            for path, lines in self._lines.items():
                with (self._to / path).open("ab") as file:
                    file.writelines(lines[len(lines) * step // steps : len(lines) * (step + 1) // steps])
            time.sleep(0.1)


def test_a_rolling_upgrade_of_a_running_cluster_loses_and_repeats_nothing(world: World, tmp_path: Path) -> None:
    inputs = tmp_path / "in"
    feed = Feed(world.events, inputs)
    workers = [worker_of(each, tmp_path, inputs, world.config, "--follow") for each in (world.old, world.new)]
    try:
        old, new = workers
        old.start(2)
        feed.start()
        wait_until(lambda: scored(tmp_path) > RECORDS // 8, old.told())
        assert old.stop() == 0, old.told()
        before = scored(tmp_path)
        feed.go_on.set()
        new.start(2)
        feed.join()
        wait_until(lambda: scored(tmp_path) > before + RECORDS // 8, new.told())
        assert new.stop() == 0, new.told()
    finally:
        for worker in workers:
            worker.end()
    rest = worker_of(world.new, tmp_path, inputs, world.config)
    assert rest.run() == 0, rest.told()
    said = in_files(tmp_path / "out")
    assert versions_in(said) == {"largest_payment@1", "largest_payment@2"}, "both releases spoke"
    signals = {place for place in world.reference if place.topic.startswith(("signals.", "scores"))}
    assert differences(
        {place: world.reference[place] for place in signals},
        {
            place: items
            for place, items in but_for_versions(said).items()
            if place.topic.startswith(("signals.", "scores"))
        },
    ).none
    note = json.loads((tmp_path / "out" / ".segone" / "segone.json").read_bytes())
    assert note["detectors"]["largest_payment"] == [1, 2]


@pytest.fixture
def half_way(world: World, tmp_path: Path) -> Path:
    """The old release has dealt with half of the bank, and was stopped."""
    shutil.copytree(world.stopped, tmp_path / "out")
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files but LMDB's lock tables and the engine's own, which an open alone may touch."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files if "lock" not in path.name}


def test_a_release_without_a_way_from_the_older_state_refuses_it_and_touches_nothing(
    world: World, half_way: Path
) -> None:
    stuck = with_state_changed(world.old, half_way / "stuck", with_upgrade=False)
    before = contents(half_way / "out")
    worker = worker_of(stuck, half_way, world.events, world.config)
    assert worker.run() == 2
    assert "state of detector largest_payment was written by its version 1, this release has version 2" in worker.told()
    assert contents(half_way / "out") == before
    again = worker_of(world.old, half_way, world.events, world.config)
    assert again.run() == 0, again.told()
    said = in_files(half_way / "out")
    assert differences(with_newest_profiles(world.reference), with_newest_profiles(said)).first == []


def test_the_way_back_is_the_copy_that_was_made_before(world: World, half_way: Path) -> None:
    shutil.copytree(half_way / "out", half_way / "copy")
    newer = worker_of(world.new, half_way, world.events, world.config)
    assert newer.run() == 0, newer.told()
    back = worker_of(world.old, half_way, world.events, world.config)
    assert back.run() == 2
    assert "written by its version 2, this release has version 1" in back.told()
    shutil.rmtree(half_way / "out")
    shutil.copytree(half_way / "copy", half_way / "out")
    assert back.run() == 0, back.told()
    said = in_files(half_way / "out")
    assert differences(with_newest_profiles(world.reference), with_newest_profiles(said)).first == []


def test_a_state_that_is_no_longer_read_is_left_behind_and_the_input_replayed(world: World, half_way: Path) -> None:
    note = half_way / "out" / ".segone" / "segone.json"
    note.write_bytes(orjson.dumps({**orjson.loads(note.read_bytes()), "profiles": [1]}))
    refused = worker_of(world.old, half_way, world.events, world.config)
    assert refused.run() == 2
    assert "replay the input into an empty state folder" in refused.told()
    said_before = in_files(half_way / "out")
    anew = half_way / "anew"
    replayed = worker_of(world.old, anew, world.events, world.config)
    assert replayed.run() == 0, replayed.told()
    said = in_files(anew / "out")
    assert differences(world.reference, said).first == []
    for place, items in said_before.items():
        if place.topic.startswith("signals."):
            assert {item.id for item in items} <= {item.id for item in said[place]}, "readers know these ids already"
