"""A wheel holds all that the commands read and names all that they import: what is installed outside of a checkout works like one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("config", "state", "operators", "dataflows", "simulation")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel of this checkout installs, built in a copy: setuptools leaves its own folders beside the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.decode()
    for name in filter(None, tracked.split("\0")):
        if name.startswith(tuple(f"{each}/" for each in FOLDERS)) or "/" not in name:
            target = folder / "sources" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*build, "--no-build-isolation", "-w", folder, folder / "sources"], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


def test_what_the_packages_import_is_what_the_project_depends_on() -> None:
    imported: set[str] = set()
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
                imported |= {name.partition(".")[0] for name in names}
    providers = packages_distributions()
    needed = {
        providers[name][0].lower().replace("_", "-") for name in imported - sys.stdlib_module_names - set(FOLDERS)
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert needed == {re.split(r"[<>=]", each)[0] for each in project["dependencies"]}


def test_a_wheel_holds_every_file_of_its_folders(installed: Path) -> None:
    def files(root: Path) -> set[str]:
        every = (path for folder in FOLDERS for path in (root / folder).rglob("*") if path.is_file())
        return {str(path.relative_to(root)) for path in every if path.suffix != ".pyc"}

    assert files(installed) == files(installed.parent / "sources")


def test_what_a_wheel_installs_simulates_runs_and_scores(installed: Path, tmp_path: Path) -> None:
    def segone(*arguments: str) -> str:
        start = (
            f"import sys; sys.path.insert(0, {str(installed)!r}); import dataflows; from dataflows.cli import main; "
            f"assert dataflows.__file__.startswith({str(installed)!r}); sys.exit(main())"
        )
        command = [sys.executable, "-I", "-c", start, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        return done.stdout

    segone("simulate", "--customers", "5", "--days", "60", "--seed", "1", "--out", "bank")
    segone("run", "--input", "bank/events", "--output", "run")
    segone("score", "run", "--truth", "bank/truth")
    segone("report", "run", "--out", "report.html")
    segone("check", "--input", "bank/events", "--output", "run")
    assert (tmp_path / "report.html").stat().st_size > 10_000
