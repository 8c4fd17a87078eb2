"""A real Chromium for tests of pages: the system's own, headless. Every request that a page makes is noted."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ARTIFACTS = ROOT / "artifacts"
"""Screenshots of the last test run; not committed."""
CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)
REQUIRED = os.environ.get("SEGONE_REQUIRE_CHROMIUM") == "1"
# The sandbox needs a user who is not root; the pages opened here are our own.
ARGUMENTS = ["--no-sandbox"] if os.geteuid() == 0 else []


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser. Skips the test where there is none, fails it where SEGONE_REQUIRE_CHROMIUM=1."""
    if CHROMIUM is None:
        reason = "no Chromium on the PATH (Debian: apt-get install chromium)"
        if REQUIRED:
            pytest.fail(f"{reason}, and SEGONE_REQUIRE_CHROMIUM=1", pytrace=False)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


class Visit:
    """A page that was opened, and what it did: requests, errors, dialogs, breaches of its own policy."""

    def __init__(self, browser: Any, width: int = 1300, height: int = 900, scheme: str = "light") -> None:
        self.context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.faults: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        self.page.on("dialog", self._dismiss)

    def _dismiss(self, dialog: Any) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def open(self, url: str) -> Visit:
        self.page.goto(url)
        self.page.wait_for_selector(
            "html[data-ready]"
        )  # by the page's policy nothing may be evaluated in it from a text
        return self

    def keep_screenshot(self, name: str) -> None:
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=str(ARTIFACTS / name))

    def close(self) -> None:
        self.context.close()


def barriers(page: Any) -> list[str]:
    """What axe-core finds against WCAG 2.2 A and AA and its own best practices: rule and place."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {node['target']} {node.get('failureSummary', '')}" for each in found for node in each["nodes"]
    ]
