"""The bench is no package: its modules are found beside its scripts. Only its batch models need libraries of their own."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))

from fraud_baselines import BATCH  # noqa: E402  (found beside the scripts)


@pytest.fixture
def batch_models() -> None:
    """Skips the test where the extra `bench` is not installed, or fails it if SEGONE_REQUIRE_BENCH=1."""
    missing = [library for library in BATCH.values() if find_spec(library) is None]
    if missing:
        reason = f"no {' and no '.join(missing)} here: pip install -e .[bench]"
        if os.environ.get("SEGONE_REQUIRE_BENCH") == "1":
            pytest.fail(f"{reason}, and SEGONE_REQUIRE_BENCH=1", pytrace=False)
        pytest.skip(reason)
