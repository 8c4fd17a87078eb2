"""`segone.json` of a state folder: what is fixed when the folder is made, and which versions of profiles, detectors' states and of what is
learned across customers lie in it.

The versions are held against this release before anything is read or written: what can't be read is refused when a worker starts, not
in the middle, when part of the state is already written anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from bytewax.recovery import init_db_dir

from dataflows.knowledge.machines import MACHINE_VERSIONS, prepare_knowledge, require_readable
from dataflows.shard_names import COUNTED, SPREAD
from operators.customer_step import CustomerStep
from operators.profiles import publishing_of
from operators.pseudonym import pseudonyms_of
from state import frozen
from state.frozen import FrozenError
from state.settings import ConfigError, Settings

STATE_FORMAT = 1
NAMING = "shard_naming"
PROFILES, DETECTORS, MACHINES = "profiles", "detectors", "machines"


def prepare_state(state_dir: Path, settings: Settings) -> bool:
    """Makes the state folder, or checks that an existing one fits the settings and this release. True if it is new.

    Raises ConfigError if it does not. Of several processes that start at once, one makes the folder and the others find it made.
    """
    note = _note_of(state_dir)
    try:
        if not note.exists():
            state_dir.mkdir(parents=True, exist_ok=True)
            with _alone(state_dir):
                if not note.exists():
                    require_unused(state_dir)
                    _make(state_dir, settings)
                    return True
        _compare(note, settings)
        prepare_knowledge(state_dir, settings)
    except OSError as error:
        raise ConfigError(
            f"{state_dir}: the state folder can't be used ({error.strerror}); check [state] dir and permissions"
        ) from error
    except orjson.JSONDecodeError as error:
        raise ConfigError(
            f"{note}: is damaged; restore the state folder from a copy, or begin with a new one ([state] dir)"
        ) from error
    return False


def require_unused(state_dir: Path) -> None:
    """Shards are made after the note: where they are without it, nobody knows any more how many there are and who can read them.

    Raises ConfigError if a folder without a note has shards."""
    if any((state_dir / "shards").glob("*")):
        raise ConfigError(
            f"{_note_of(state_dir)}: is gone, and {state_dir / 'shards'} holds profiles; restore the state folder from a copy, or "
            "begin with a new one ([state] dir)"
        )


def _make(state_dir: Path, settings: Settings) -> None:
    if not (state_dir / "recovery").exists():
        # Made beside its place: one that is half made, because this process was killed, can't be finished.
        made = state_dir / "recovery.new"
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir()
        init_db_dir(made, settings.state.recovery_partitions)
        made.rename(state_dir / "recovery")
    _write(_note_of(state_dir), {**_fixed(settings), NAMING: SPREAD, **_with_ours({}, settings)})
    prepare_knowledge(state_dir, settings)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits for others who are making the folder; the lock goes with the process that holds it, however that ends."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def note_versions(state_dir: Path, settings: Settings) -> None:
    """Adds the versions that this release writes. Those before stay: profiles are written anew only when their customers are seen."""
    note = _note_of(state_dir)
    known = orjson.loads(note.read_bytes())
    told = {**known, **_with_ours(known, settings)}
    if told != known:
        _write(note, told)


def naming_of(state_dir: Path) -> int:
    """How the shards of a state are named in the engine (dataflows/shard_names.py). Fixed when the state is made."""
    note = _note_of(state_dir)
    return int(orjson.loads(note.read_bytes()).get(NAMING, COUNTED)) if note.exists() else SPREAD


def is_made(state_dir: Path) -> bool:
    """Whether the folder has been made, used or not."""
    return _note_of(state_dir).exists()


def _note_of(state_dir: Path) -> Path:
    return state_dir / "segone.json"


def _fixed(settings: Settings) -> dict[str, int | str]:
    fixed: dict[str, int | str] = {
        "format": STATE_FORMAT,
        "shards": settings.shard.count,
    }
    pseudonyms = pseudonyms_of(settings)
    if pseudonyms is not None:
        fixed["pseudonym_key"] = pseudonyms.fingerprint
    return fixed


def _with_ours(known: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """The versions of a note and those that this release writes."""
    detectors = {name: set(versions) for name, versions in known.get(DETECTORS, {}).items()}
    for name, version in _step(settings).state_versions.items():
        detectors.setdefault(name, set()).add(version)
    machines = {name: set(versions) for name, versions in known.get(MACHINES, {}).items()}
    for name, version in MACHINE_VERSIONS.items() if settings.knowledge.enabled else ():
        machines.setdefault(name, set()).add(version)
    return {
        PROFILES: sorted({*known.get(PROFILES, ()), frozen.VERSION}),
        DETECTORS: {name: sorted(versions) for name, versions in sorted(detectors.items())},
        MACHINES: {name: sorted(versions) for name, versions in sorted(machines.items())},
    }


def _compare(note: Path, settings: Settings) -> None:
    known = orjson.loads(note.read_bytes())
    for key, value in {"pseudonym_key": None, **_fixed(settings)}.items():
        if known.get(key) != value:
            raise ConfigError(
                f"{note}: {key} is {known.get(key)}, the settings say {value}; it is fixed when the state is made: "
                "set it back, or begin with a new state folder ([state] dir)"
            )
    step = _step(settings)
    try:
        # A folder of a release that noted none is found out profile by profile.
        for version in known.get(PROFILES, ()):
            frozen.require_readable(version)
        for name, versions in known.get(DETECTORS, {}).items():
            for version in versions:
                step.require_readable(name, version)
        for name, versions in known.get(MACHINES, {}).items() if settings.knowledge.enabled else ():
            for version in versions:
                require_readable(name, version)
    except FrozenError as error:
        raise ConfigError(f"{note.parent}: {error}. Nothing was changed; docs/rescale-upgrade.md: Upgrade") from error


def _step(settings: Settings) -> CustomerStep:
    return CustomerStep(settings.detectors, settings.digest(), publishing=publishing_of(settings))


def _write(note: Path, told: dict[str, Any]) -> None:
    # With the process's number: those of a cluster may write at the same time, and all write the same.
    draft = note.with_suffix(f".{os.getpid()}.new")
    draft.write_bytes(orjson.dumps(told))
    draft.replace(note)
