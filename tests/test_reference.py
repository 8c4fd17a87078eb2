"""The references in docs/ are those that the code makes, and leave nothing out."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from dataflows.commands.reference import DOCS, HIDDEN_SECRETS, LISTED, configuration, signals, write
from operators.catalogue import CATALOGUE
from state.settings import Settings


@pytest.mark.parametrize("name", ["configuration.md", "signals.md"])
def test_what_is_in_docs_is_what_the_code_makes(name: str, tmp_path: Path) -> None:
    write(tmp_path)
    assert (tmp_path / name).read_text() == (DOCS / name).read_text(), "run `make docs`"


def test_every_setting_is_there_with_its_default() -> None:
    text = configuration()
    for section in msgspec.structs.fields(Settings):
        if isinstance(section.default, msgspec.Struct):
            _, _, rest = text.partition(f"\n## [{section.name}]\n")
            table = rest.partition("\n## ")[0]
            keys = set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE))
            known = {field.name for field in msgspec.structs.fields(type(section.default))}
            assert keys == known - set(HIDDEN_SECRETS.get(section.name, ())), section.name


def test_every_detector_is_there_with_its_card_and_its_numbers() -> None:
    text = signals()
    assert {each.NAME for each in CATALOGUE} <= {each.NAME for each in LISTED}
    for detector in LISTED:
        assert f"| `{detector.NAME}@{detector.VERSION}` |" in text
        assert f"\n## {detector.NAME}\n" in text
    assert text.count("```") % 2 == 0
