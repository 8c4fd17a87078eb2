"""Writes docs/configuration.md and docs/signals.md from the code: `python -m dataflows.commands.reference` (make docs).

Settings come from the structs in state/settings.py, what they are for from the text under each field and the comment beside its default
in config/default.toml. Signals come from the detectors' cards, their numbers from config/detectors.toml.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from operators.anomaly import transaction
from operators.catalogue import CATALOGUE
from operators.detector import Detector
from state import settings
from state.settings import Settings
from state.settings_reading import CONFIG_DIR, load_settings

LISTED: tuple[Detector, ...] = (transaction, *CATALOGUE)
DOCS = CONFIG_DIR.parent / "docs"
NO_SECTIONS = ("detectors", "secrets")
HIDDEN_SECRETS = {"watch": ("token",), "privacy": ("pseudonym_key",)}
"""Settings that are better given by the file beside them; from the environment they may be given themselves."""

CONFIGURATION_HEAD = """\
# Configuration

*Made by `make docs` from state/settings.py and config/default.toml: change those.*

Each setting comes from config/default.toml, then from `--config FILE`, then from the environment, then from flags; each overrides only
what it names. `SEGONE__SECTION__KEY` is `[section] key`; `SEGONE__KAFKA__CLIENT__SASL_PASSWORD` is `[kafka.client] sasl.password`. What is
wrong is told with file and key, and ends a command with 2. `segone check` shows what counts.

The detectors' numbers are in [signals.md](signals.md), each beside its reason.
"""
SIGNALS_HEAD = """\
# Signals and detectors

*Made by `make docs` from the detectors' cards and config/detectors.toml: change those.*

A detector with a signal speaks for itself; one without adds its reasons to `anomaly.transaction`. The cards say what a detector looks at,
when it speaks, and what it can't see.
Every table can be overridden: `[detectors.geo] speed_kmh_max = 1000` in your own file, `enabled = false` turns a detector off.
"""


def configuration() -> str:
    """docs/configuration.md."""
    return CONFIGURATION_HEAD + "".join(
        _section(field) for field in msgspec.structs.fields(Settings) if field.name not in NO_SECTIONS
    )


def signals() -> str:
    """docs/signals.md."""
    rows = [f"| `{each.NAME}@{each.VERSION}` | {_signal(each)} | {_first_line(each)} |" for each in LISTED]
    table = "\n| detector | signal | question |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    numbers = dict(_tables((CONFIG_DIR / "detectors.toml").read_text("utf-8")))
    profile = "\n## profile\n\nWhat is believed of a customer before anything is known.\n" + _numbers(
        numbers.get("profile", "")
    )
    return SIGNALS_HEAD + table + profile + "".join(_card(each, numbers.get(each.NAME, "")) for each in LISTED)


def _section(field: msgspec.structs.FieldInfo) -> str:
    """A heading, what the section is, and a table of its settings."""
    type_ = field.type
    notes, comments = _notes(type_), _comments(field.name)
    defaults = msgspec.to_builtins(getattr(load_settings(environment={}), field.name))
    lines = [
        f"\n## [{field.name}]\n",
        inspect.getdoc(type_) or "",
        "",
        "| key | default | values | |",
        "|---|---|---|---|",
    ]
    for each in msgspec.structs.fields(type_):
        if each.name in HIDDEN_SECRETS.get(field.name, ()):
            continue
        note, comment = notes.get(each.name, ""), comments.get(each.name, "")
        note = f"{note} ({comment})" if note and comment else note or comment
        default = msgspec.json.encode(defaults[each.name]).decode()
        cells = (f"`{each.name}`", f"`{default}`", _values(each.type), _cell(note))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _values(type_: Any) -> str:
    """What a setting may be.

    >>> from state.settings import Count
    >>> _values(Count), _values(Literal["files", "kafka"]), _values(bool)
    ('1 to 1,000,000,000', '`files`, `kafka`', '`true`, `false`')
    """
    if get_origin(type_) is Literal:
        return ", ".join(f"`{each}`" for each in get_args(type_))
    if hasattr(type_, "__metadata__"):
        meta = type_.__metadata__[0]
        low = f"{meta.ge:,}" if meta.ge is not None else f"over {meta.gt:,}" if meta.gt is not None else ""
        high = f"{meta.le:,}" if meta.le is not None else f"under {meta.lt:,}" if meta.lt is not None else ""
        return f"{low} to {high}" if low and high else low or high
    if get_origin(type_) in (Union, UnionType):
        return " or ".join(_values(each) for each in get_args(type_))
    if get_origin(type_) is dict:
        return "a table"
    return {bool: "`true`, `false`", str: "text", int: "a number", float: "a number"}.get(type_, "")


def _notes(type_: type) -> dict[str, str]:
    """The texts under the fields of a struct, by field."""
    (made,) = [
        node
        for node in ast.parse(inspect.getsource(settings)).body
        if isinstance(node, ast.ClassDef) and node.name == type_.__name__
    ]
    found = {}
    for field, text in zip(made.body, made.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr):
            assert isinstance(text.value, ast.Constant), "under a field stands a text"
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


def _comments(section: str) -> dict[str, str]:
    """The comments beside the keys of a section of config/default.toml."""
    text = dict(_tables((CONFIG_DIR / "default.toml").read_text("utf-8"))).get(section, "")
    matches = (re.match(r"(\w+) = .*?\s# (.+)", line) for line in text.splitlines())
    return {match[1]: match[2] for match in matches if match}


def _tables(text: str) -> Iterator[tuple[str, str]]:
    """Of a TOML file, each table with those below it, word for word."""
    for part in re.split(r"^(?=\[\w+\])", text, flags=re.MULTILINE):
        if match := re.match(r"\[(\w+)\]", part):
            yield match[1], part.rstrip()


def _signal(detector: Detector) -> str:
    return f"`{detector.SIGNAL}`" if getattr(detector, "SIGNAL", "") else ""


def _first_line(detector: Detector) -> str:
    return _cell((detector.__doc__ or "").strip().partition("\n\n")[0])


def _card(detector: Detector, numbers: str) -> str:
    _, _, rest = (detector.__doc__ or "").strip().partition("\n\n")
    said = f"Says `{detector.SIGNAL}`." if getattr(detector, "SIGNAL", "") else "Adds to `anomaly.transaction`."
    return (
        f"\n## {detector.NAME}\n\n{_first_line(detector)} {said}\n\n```text\n{rest.rstrip()}\n```\n{_numbers(numbers)}"
    )


def _numbers(toml: str) -> str:
    return f"\n```toml\n{toml}\n```\n" if toml else ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def write(folder: Path) -> None:
    (folder / "configuration.md").write_text(configuration(), "utf-8")
    (folder / "signals.md").write_text(signals(), "utf-8")


if __name__ == "__main__":
    write(DOCS)
