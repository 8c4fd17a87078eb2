"""For all tests: the packages under test before the test folders that share their names, and reproducible examples."""

import gc
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# pytest puts tests/ first in the path, where tests/state and tests/simulation would be taken for the packages state and simulation.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

settings.register_profile(
    "segone",
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("segone")


def pytest_sessionfinish() -> None:
    """A worker that ran in this process has frozen all that was there at its end; DuckDB would take that for leaks."""
    gc.unfreeze()
