"""What docs/adding-a-detector.md says, done as a reader does it: its code blocks put into a copy of the project."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import NamedTuple

from worker_process import ROOT

PAGE = ROOT / "docs" / "adding-a-detector.md"
COPIED = ("config", "dataflows", "operators", "simulation", "state", "tests/cases", "tests/laws", "pyproject.toml")
DETECTOR = "operators/alerts/largest_payment.py"


class Block(NamedTuple):
    """A code block of the page; `place` is the file named last before it."""

    place: str
    language: str
    text: str


def blocks(page: str) -> list[Block]:
    found = re.finditer(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [Block(_place_before(page[: each.start()]), each[1], each[2]) for each in found]


def _place_before(text: str) -> str:
    named = [name for name in re.findall(r"`([\w/]+\.(?:py|toml))`", text) if "/" in name]
    return named[-1] if named else ""


FIRST, LATER = (blocks(part) for part in re.split(r"^## Later", PAGE.read_text("utf-8"), flags=re.MULTILINE))


def with_detector(folder: Path) -> Path:
    """A copy of the project in `folder`, with everything in place that the page puts there before it speaks of later."""
    for name in (*COPIED, *(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/*.py"))):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    for block in FIRST:
        if block.language in ("python", "diff", "toml"):
            _put(folder, block)
    return folder


def _put(project: Path, block: Block) -> None:
    """Does with a block what a reader does: a diff is looked for, a table appended to what is there, a new file written."""
    path = project / block.place
    text = path.read_text("utf-8") if path.exists() else ""
    if block.language == "diff":
        before = "".join(line[1:] for line in block.text.splitlines(keepends=True) if line[0] != "+")
        after = "".join(line[1:] for line in block.text.splitlines(keepends=True) if line[0] != "-")
        assert text.count(before) == 1, f"{block.place} has no such place, or several:\n{before}"
        text = text.replace(before, after)
    else:
        text += "\n" * bool(text) + block.text
    path.write_text(text, "utf-8")


def with_state_changed(project: Path, folder: Path, *, with_upgrade: bool = True) -> Path:
    """A copy of `project` in `folder`, with the detector's state as the page changes it later."""
    shutil.copytree(project, folder, ignore=shutil.ignore_patterns("__pycache__", "tests", "out"))
    (block,) = LATER
    assert block.place == DETECTOR
    version, _, rest = block.text.partition("\n\n\n")
    if not with_upgrade:
        rest = rest.partition("def upgrade")[0]
    path = folder / block.place
    text = path.read_text("utf-8").replace("VERSION = 1\n", version + "\n")
    text = re.sub(r"^class State.*?\n\n\n", lambda _: rest.rstrip() + "\n\n\n", text, flags=re.MULTILINE | re.DOTALL)
    path.write_text(text, "utf-8")
    return folder
