"""Model versions on the shelves seen from outside, and the pins that keep one of them in force whatever is learned.

    <state>/knowledge/pins.json     {"transaction": {"champion": "transaction@2018-08-01T00:00:00Z.69a8c1f7"}}

A pin takes effect when the next bucket begins; on a live stream within about a second. A pinned version stays on the shelf.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec

from dataflows.knowledge.shelf import base_path, increment_path, listing, read_versions, shelf_folder
from operators.knowledge.buckets import Versions
from operators.knowledge.facts import MODEL_PREFIX, model_key
from operators.knowledge.versions import ModelVersion
from state.store_error import StoreError, unopened, unwritten

Pins = dict[str, dict[str, str]]
"""Version by model and role."""


def pins_path(state_dir: Path) -> Path:
    return state_dir / "knowledge" / "pins.json"


def read_pins(state_dir: Path) -> Pins:
    """Empty if nothing is pinned. Raises StoreError for a damaged file."""
    path = pins_path(state_dir)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pins)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise unopened(path, error) from error
    except ValueError as error:  # msgspec's errors are ValueErrors; of bytes that are no UTF-8 it lets Python's own out
        raise StoreError(f"{path}: is damaged ({error}). Remove it, and pin again what is to be pinned") from error


def write_pins(state_dir: Path, pins: Pins) -> None:
    """Replaces the file atomically."""
    path = pins_path(state_dir)
    draft = path.with_suffix(".new")
    try:
        draft.write_bytes(msgspec.json.encode(pins))
        draft.replace(path)
    except OSError as error:
        raise unwritten(path, error) from error


def model_versions(state_dir: Path, name: str) -> list[ModelVersion]:
    """All versions of a model that are still kept, oldest first."""
    return [version for version in _versions_of(state_dir, model_key(name)) if version.name == name]


def _versions_of(state_dir: Path, key: str) -> list[ModelVersion]:
    """All versions on a shelf, oldest first."""
    folder = shelf_folder(state_dir, key)
    found = listing(folder)
    paths = [base_path(folder, bucket) for bucket in found.bases[-1:]]
    paths += [
        increment_path(folder, bucket) for bucket in found.increments if not found.bases or bucket > found.bases[-1]
    ]
    return [cast(ModelVersion, version) for path in paths for version in read_versions(key, path)]


def models_in(state_dir: Path) -> list[str]:
    """The models that versions are kept of in a state folder."""
    keys = [folder.parent.name for folder in (state_dir / "knowledge").glob(f"{MODEL_PREFIX}*/shelf")]
    return sorted({version.name for key in keys for version in _versions_of(state_dir, key)})


def those_kept(versions: Versions, kept: int, pins: Pins) -> Versions:
    """Of each model, the newest `kept` of each role and what is pinned."""
    models = cast(list[ModelVersion], list(versions))
    pinned = {version for roles in pins.values() for version in roles.values()}
    lines: dict[tuple[str, str], list[str]] = {}
    for version in models:
        lines.setdefault((version.name, version.role), []).append(version.version)
    newest = {version for line in lines.values() for version in line[-kept:]}
    return [version for version in models if version.version in newest | pinned]
