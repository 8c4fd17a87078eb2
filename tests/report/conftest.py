"""A demo run that all tests of pages share, and the browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import chromium
from demo_run import Demo, make_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    return make_demo(tmp_path_factory.mktemp("demo"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """For one module: as long as it is open, an event loop runs in this thread, which other tests could not bear."""
    with chromium() as one:
        yield one
