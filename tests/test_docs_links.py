"""Every link in README.md and docs/ leads somewhere, and from the index one gets to every page and every command."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dataflows.cli import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))


def prose(page: Path) -> str:
    """Without code blocks, in which brackets are no links."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


def links(page: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Of the headings, as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name}: {link}"
        assert not anchor or anchor in anchors(target), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_that_are_named_in_the_text_exist(page: Path) -> None:
    for name in re.findall(r"\bdocs/([\w-]+\.md)\b", page.read_text("utf-8")):
        assert (DOCS / name).exists(), f"{page.name}: docs/{name}"


def test_the_index_names_every_page_and_the_readme_leads_to_the_index() -> None:
    named = {link.partition("#")[0] for link in links(DOCS / "README.md")}
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= named
    assert "docs/README.md" in links(ROOT / "README.md")


def test_every_command_is_in_the_documentation_of_the_commands() -> None:
    text = (DOCS / "commands.md").read_text("utf-8")
    assert {name for name in COMMANDS if f"`segone {name}`" not in text} == set()


def test_every_picture_of_the_readme_is_small() -> None:
    pictures = [ROOT / link for link in links(ROOT / "README.md") if link.endswith((".png", ".jpg", ".svg"))]
    assert len(pictures) >= 2
    assert all(picture.stat().st_size < 200_000 for picture in pictures)
