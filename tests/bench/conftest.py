"""The bench is no package: its modules are found beside its scripts. Without its own libraries its tests are left out."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / "bench"))

for library in ("sklearn", "xgboost"):
    pytest.importorskip(library, reason="needs pip install -e .[bench]")
