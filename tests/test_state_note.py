"""What a state folder says of itself, and what a worker refuses before it touches anything."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import orjson
import pytest
from bytewax.recovery import init_db_dir

from dataflows import state_note
from dataflows.knowledge.machines import MACHINE_VERSIONS
from dataflows.shard_names import COUNTED, SPREAD
from dataflows.state_note import naming_of, note_versions, prepare_state
from operators.catalogue import CATALOGUE
from state import frozen
from state.settings import ConfigError
from state.settings_reading import load_settings
from state.store import shard_folder

SETTINGS = load_settings(environment={})
WITH_A_WAY = next(d for d in CATALOGUE if d.State is not None and hasattr(d, "upgrade"))
WITHOUT = next(d for d in CATALOGUE if d.State is not None and not hasattr(d, "upgrade"))


@pytest.fixture
def note(tmp_path: Path) -> Path:
    assert prepare_state(tmp_path, SETTINGS)
    return tmp_path / "segone.json"


def say(note: Path, **changes: Any) -> bytes:
    """The note as another release would have left it."""
    note.write_bytes(orjson.dumps(orjson.loads(note.read_bytes()) | changes))
    return note.read_bytes()


def test_shards_whose_note_is_gone_are_refused_each_time(note: Path) -> None:
    shard_folder(note.parent, 3).mkdir(parents=True)
    note.unlink()
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"segone.json: is gone, and .*shards holds profiles"):
            prepare_state(note.parent, SETTINGS)


def test_what_was_learned_is_refused_if_its_note_is_gone(note: Path) -> None:
    shard_folder(note.parent / "knowledge" / "merchants-0", 0).mkdir(parents=True)
    (note.parent / "knowledge" / "segone.json").unlink()
    with pytest.raises(ConfigError, match=r"knowledge/segone.json: is gone"):
        prepare_state(note.parent, SETTINGS)


def test_a_state_keeps_its_own_recovery_partitions(note: Path) -> None:
    more = msgspec.structs.replace(SETTINGS, state=msgspec.structs.replace(SETTINGS.state, recovery_partitions=4))
    assert not prepare_state(note.parent, more)


def test_a_state_keeps_the_names_of_its_shards(note: Path) -> None:
    assert naming_of(note.parent) == SPREAD
    told = orjson.loads(note.read_bytes())
    note.write_bytes(orjson.dumps({key: value for key, value in told.items() if key != "shard_naming"}))
    assert not prepare_state(note.parent, SETTINGS)
    assert naming_of(note.parent) == COUNTED, "made before names were chosen"


def test_a_new_state_notes_what_this_release_writes(note: Path) -> None:
    told = orjson.loads(note.read_bytes())
    assert told["profiles"] == [frozen.VERSION]
    assert told["detectors"][WITH_A_WAY.NAME] == [WITH_A_WAY.VERSION]
    assert told["detectors"][WITHOUT.NAME] == [WITHOUT.VERSION]


@pytest.mark.parametrize("difference", [-1, 1], ids=["older", "newer"])
def test_a_detectors_state_that_can_not_be_read_is_refused_by_name_and_nothing_is_changed(
    note: Path, difference: int
) -> None:
    version = WITHOUT.VERSION + difference
    before = say(note, detectors={WITHOUT.NAME: [version]})
    files = sorted(note.parent.rglob("*"))
    with pytest.raises(ConfigError, match=f"detector {WITHOUT.NAME} was written by its version {version}.*Upgrade"):
        prepare_state(note.parent, SETTINGS)
    assert (note.read_bytes(), sorted(note.parent.rglob("*"))) == (before, files)


@pytest.mark.parametrize("machine", sorted(MACHINE_VERSIONS))
@pytest.mark.parametrize("difference", [-1, 1], ids=["older", "newer"])
def test_what_was_learned_across_customers_is_refused_by_name_if_it_can_not_be_read(
    note: Path, machine: str, difference: int
) -> None:
    assert orjson.loads(note.read_bytes())["machines"] == {name: [ours] for name, ours in MACHINE_VERSIONS.items()}
    version = MACHINE_VERSIONS[machine] + difference
    before = say(note, machines={machine: [version]})
    with pytest.raises(ConfigError, match=f"state of the {machine} was written by its version {version}.*Upgrade"):
        prepare_state(note.parent, SETTINGS)
    assert note.read_bytes() == before
    off = load_settings(environment={}, flags={"knowledge": {"enabled": False}})
    assert not prepare_state(note.parent, off), "who learns nothing across customers does not read it"


def test_of_processes_that_start_at_once_one_makes_the_folder_and_the_others_find_it_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []

    def slowly(folder: Path, partitions: int) -> None:
        made.append(folder)
        time.sleep(0.2)
        init_db_dir(folder, partitions)

    monkeypatch.setattr(state_note, "init_db_dir", slowly)
    with ThreadPoolExecutor(8) as starters:
        fresh = list(starters.map(lambda _: prepare_state(tmp_path / "state", SETTINGS), range(8)))
    assert (sorted(fresh), len(made)) == ([False] * 7 + [True], 1)


def test_a_profile_format_that_is_no_longer_read_is_refused_with_the_way_out(note: Path) -> None:
    say(note, profiles=[1])
    with pytest.raises(
        ConfigError, match=r"format 1, which this release no longer reads .* replay the input into an empty"
    ):
        prepare_state(note.parent, SETTINGS)


def test_an_older_state_that_can_be_upgraded_is_taken_and_both_versions_are_noted_once_it_is_written(
    note: Path,
) -> None:
    older = WITH_A_WAY.VERSION - 1
    before = say(note, detectors={WITH_A_WAY.NAME: [older]})
    assert not prepare_state(note.parent, SETTINGS)
    assert note.read_bytes() == before, "looking is not owning"
    note_versions(note.parent, SETTINGS)
    assert orjson.loads(note.read_bytes())["detectors"][WITH_A_WAY.NAME] == [older, WITH_A_WAY.VERSION]
    assert not prepare_state(note.parent, SETTINGS)


def test_the_state_of_a_release_that_noted_no_versions_is_taken(note: Path) -> None:
    told = orjson.loads(note.read_bytes())
    del told["profiles"], told["detectors"]
    note.write_bytes(orjson.dumps(told))
    assert not prepare_state(note.parent, SETTINGS)
    note_versions(note.parent, SETTINGS)
    assert orjson.loads(note.read_bytes())["profiles"] == [frozen.VERSION]


def test_the_state_of_a_detector_that_is_switched_off_or_gone_stands_in_nobodys_way(note: Path) -> None:
    say(note, detectors={"gone": [7], WITHOUT.NAME: [WITHOUT.VERSION + 1]})
    off = load_settings(environment={}, flags={"detectors": {WITHOUT.NAME: {"enabled": False}}})
    assert not prepare_state(note.parent, off)
