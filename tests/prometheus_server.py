"""A real Prometheus on this machine, from the PATH or out of Debian's package, which is unpacked in tests/prometheus."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

HERE = Path(__file__).parent / "prometheus"
UNPACKED = HERE / "unpacked"
RULES = HERE.parent.parent / "deploy" / "prometheus"
PATIENCE_S = 60.0


class NoPrometheus(Exception):
    """There is none to be had."""


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; skips the test where there is none and none is required."""
    try:
        return found(name)
    except NoPrometheus as reason:
        if os.environ.get("SEGONE_REQUIRE_PROMETHEUS") == "1":
            raise
        pytest.skip(f"no Prometheus to test against: {reason}")


def found(name: str) -> str:
    """Raises NoPrometheus."""
    installed = shutil.which(name)
    if installed is not None:
        return installed
    if not (UNPACKED / "usr/bin" / name).exists():
        _unpack()
    return str(UNPACKED / "usr/bin" / name)


def _unpack() -> None:
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NoPrometheus("install prometheus and promtool so that they are on the PATH")
    draft = UNPACKED.with_suffix(f".{os.getpid()}")
    draft.mkdir(parents=True, exist_ok=True)
    try:
        done = _download(draft)
        if done.returncode != 0 and os.geteuid() == 0:  # package lists may be missing, as in a fresh container
            subprocess.run(["apt-get", "update"], capture_output=True, check=False)
            done = _download(draft)
        packages = list(draft.glob("prometheus_*.deb"))
        if not packages:
            raise NoPrometheus(f"apt-get download prometheus: {done.stderr.strip()[-300:]}")
        subprocess.run(["dpkg-deb", "-x", str(packages[0]), str(draft)], check=True)
        packages[0].unlink()
        if not UNPACKED.exists():
            draft.rename(UNPACKED)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _download(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, text=True, check=False
    )


class Prometheus:
    """A server with the rules of deploy/prometheus that scrapes and evaluates every second."""

    def __init__(self, folder: Path, targets: list[int]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(RULES / "recording.yaml"), str(RULES / "alerts.yaml")],
            "scrape_configs": [
                {"job_name": "segone", "static_configs": [{"targets": [f"127.0.0.1:{t}" for t in targets]}]}
            ],
        }
        (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
        self.log = folder / "prometheus.log"
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program("prometheus"),
                    f"--config.file={folder / 'prometheus.yaml'}",
                    f"--storage.tsdb.path={folder / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
                cwd=folder,
            )

    def api(self, path: str, **query: str) -> Any:
        """The data of an answer. Raises AssertionError with Prometheus's own words for what it refuses."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:
                raise ConnectionError("Prometheus is still starting") from error
            raise AssertionError(f"{path} {query}: {error.read().decode()}") from error

    def values(self, expression: str, **query: str) -> list[tuple[dict[str, str], float]]:
        """What an expression gives now: labels and value of each series."""
        found = self.api("query", query=expression, **query)["result"]
        return [(series["metric"], float(series["value"][1])) for series in found]

    def await_values(self, expression: str, **query: str) -> list[tuple[dict[str, str], float]]:
        """The same, as soon as it gives anything."""
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            try:
                if found := self.values(expression, **query):
                    return found
            except (ConnectionError, urllib.error.URLError):
                pass  # still starting
            assert time.monotonic() < give_up_s, f"nothing came of {expression}:\n{self.log.read_text()[-1500:]}"
            time.sleep(0.2)

    def stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def alerts() -> dict[str, dict[str, Any]]:
    """The alerting rules by name."""
    groups = yaml.safe_load((RULES / "alerts.yaml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}
