"""The chart, rendered by a real helm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "segone"
TOOLS = ROOT / ".cache" / "tools"
"""Where `make helm` builds it."""


def helm() -> str:
    """The path of helm. Skips the test where there is none, unless SEGONE_REQUIRE_HELM=1."""
    found = shutil.which("helm", path=f"{TOOLS}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        reason = "no helm here: `make helm` builds it (needs Go), or put one on the PATH"
        if os.environ.get("SEGONE_REQUIRE_HELM") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([helm(), *arguments], capture_output=True, text=True, check=False, timeout=120)


def render(values: Path | None = None, *settings: str, release: str = "bank") -> dict[tuple[str, str], dict[str, Any]]:
    """The documents of a release, by kind and name."""
    chosen = ["--values", str(values)] if values else []
    done = _template(release, "--namespace", "risk", *chosen, *(f"--set={each}" for each in settings))
    assert done.returncode == 0, done.stderr
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    found = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    assert len(found) == len(documents), "two documents of one kind and name"
    return found


def _template(release: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The version is said, since a helm built by `go install` takes itself to be at work on an old one."""
    return run("template", release, str(CHART), "--kube-version", "1.33.0", *arguments)


def refusal(*settings: str) -> str:
    """What helm says of values that the schema must refuse."""
    done = _template("bank", *(f"--set={each}" for each in settings))
    assert done.returncode != 0, f"{settings} were accepted"
    return re.sub(r"\s+", " ", done.stderr)
