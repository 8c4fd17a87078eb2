"""`segone model list|show|pin|unpin|rollback|metrics DIR`: the models of a state folder, while its workers run or not.

A pinned version stays in force whatever is learned, until it is unpinned. Pins take effect when the next bucket begins ([knowledge]
bucket_s), on a live stream within about a second. What was scored before stays as it was: each score names its version.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import orjson
from rich.table import Table

from dataflows.commands.terminal import console
from dataflows.knowledge.pins import model_versions, models_in, read_pins, write_pins
from operators.knowledge.schemas import compiled
from operators.knowledge.versions import CHAMPION, SHADOW, ModelVersion, PayloadError, line_of
from operators.knowledge_records import model_record
from state.settings import ConfigError

FIGURES = ("auc", "average_precision", "log_loss", "calibration_error")
_ACTIONS = {
    "list": "the versions that are kept, oldest first, and which are in force",
    "show": "one version with all of its figures, as JSON",
    "pin": "keep a version in force",
    "unpin": "let the newest version be in force again",
    "rollback": "pin the version before the one in force",
    "metrics": "all figures of all versions, one JSON object a line",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="{" + ",".join(_ACTIONS) + "}")
    for name, text in _ACTIONS.items():
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument("directory", metavar="DIR", type=Path, help="the state folder (it contains knowledge/)")
        if name in ("show", "pin"):
            action.add_argument("version", metavar="VERSION", help="as `segone model list` and scores name it")
        else:
            action.add_argument("--model", default="transaction", metavar="NAME", help="the model (transaction)")
        if name in ("pin", "unpin", "rollback"):
            action.add_argument("--role", choices=(CHAMPION, SHADOW), default=CHAMPION, help="champion unless told")


def run(args: argparse.Namespace) -> int:
    directory: Path = args.directory
    if not models_in(directory):
        raise ConfigError(
            f"{directory}: holds no models (they would be in knowledge/model-…); give the [state] folder of a run with "
            "[knowledge] enabled = true"
        )
    name = line_of(args.version) if args.action in ("show", "pin") else args.model
    name = name.removesuffix(f"-{SHADOW}")
    versions = model_versions(directory, name)
    if not versions:
        raise ConfigError(
            f"{directory}: nothing has been learned of model {name!r} yet; known are {', '.join(models_in(directory))}"
        )
    if args.action == "list":
        _print_list(directory, name, versions)
    elif args.action == "metrics":
        for version in versions:
            print(orjson.dumps(_figures(version)).decode())
    elif args.action == "show":
        record = model_record(_find(versions, args.version))
        record["payload_bytes"] = len(record.pop("payload"))
        print(orjson.dumps(record, option=orjson.OPT_INDENT_2).decode())
    elif args.action == "unpin":
        _set_pin(directory, name, args.role, None)
    elif args.action == "pin":
        _set_pin(directory, name, args.role, _find(versions, args.version))
    else:
        _set_pin(directory, name, args.role, _before(versions, in_force(directory, name, versions, args.role)))
    return 0


def in_force(directory: Path, name: str, versions: list[ModelVersion], role: str) -> ModelVersion:
    """The pinned version, else the newest of the role. Raises ConfigError if there is none."""
    pinned = read_pins(directory).get(name, {}).get(role)
    found = [version for version in versions if version.version == pinned] or [v for v in versions if v.role == role]
    if not found:
        raise ConfigError(f"model {name}: no version was made as {role}; see `segone model list {directory}`")
    return found[-1]


def _before(versions: list[ModelVersion], now: ModelVersion) -> ModelVersion:
    older = [v for v in versions if v.role == now.role and v.effective_from_us < now.effective_from_us]
    if not older:
        raise ConfigError(f"{now.version}: no older version is kept ([knowledge] versions_kept)")
    return older[-1]


def _find(versions: list[ModelVersion], wanted: str) -> ModelVersion:
    for version in versions:
        if version.version == wanted:
            return version
    raise ConfigError(f"{wanted}: there is no such version; kept are {versions[0].version} to {versions[-1].version}")


def _set_pin(directory: Path, name: str, role: str, version: ModelVersion | None) -> None:
    pins = read_pins(directory)
    roles = pins.setdefault(name, {})
    if version is None:
        roles.pop(role, None)
        print(f"{name}: no {role} is pinned; the newest version is in force from the next bucket on")
    else:
        try:
            compiled(version)
        except PayloadError as error:
            raise ConfigError(f"{error}; pin another version") from error
        roles[role] = version.version
        print(f"{name}: {version.version} is pinned as {role}; in force from the next bucket on")
    write_pins(directory, {model: roles for model, roles in pins.items() if roles})


def _figures(version: ModelVersion) -> dict[str, object]:
    record = model_record(version)
    return {key: record[key] for key in ("version", "role", "effective_from", "metrics", "threshold", "calibrated")}


def _print_list(directory: Path, name: str, versions: list[ModelVersion]) -> None:
    pinned = {version: role for role, version in read_pins(directory).get(name, {}).items()}
    current = {role: in_force(directory, name, versions, role).version for role in {v.role for v in versions}}
    table = Table("version", "role", "in force", *FIGURES)
    for version in versions:
        state = "yes" if version.version in current.values() else ""
        state = f"pinned as {pinned[version.version]}" if version.version in pinned else state
        figures = [f"{version.metrics[f]:.4f}" if f in version.metrics else "" for f in FIGURES]
        table.add_row(version.version, version.role, state, *figures)
    console().print(table)
