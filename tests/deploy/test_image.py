"""Dockerfile and compose file, as far as they can be judged without a Docker engine: parsed, held against schema, code and each other."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import re
import shlex
import socket
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from dockerfile_parse import DockerfileParser

from dataflows.cli import COMMANDS
from state.settings_reading import load_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
PROBE = DEPLOY / "probe.py"
EXACT = re.compile(r"^[a-z./-]+:v?\d+\.\d+\.\d+(-[a-z]+)*$|@sha256:[0-9a-f]{64}$")
"""A tag that nobody moves, or a digest."""
SCHEMA = json.loads(Path(__file__).with_name("compose-spec.json").read_bytes())
"""The schema of the Compose Specification, from github.com/compose-spec/compose-go v2.9.0 (Apache-2.0)."""

Steps = list[tuple[str, str]]


@pytest.fixture(scope="module")
def steps() -> Steps:
    parsed = DockerfileParser(path=str(DEPLOY / "Dockerfile")).structure
    return [(step["instruction"], step["value"]) for step in parsed if step["instruction"] != "COMMENT"]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def of(steps: Steps, instruction: str) -> list[str]:
    return [value for each, value in steps if each == instruction]


def final(steps: Steps) -> Steps:
    """The stage that is shipped."""
    last = max(number for number, (instruction, _) in enumerate(steps) if instruction == "FROM")
    return steps[last:]


def locked(path: Path) -> dict[str, frozenset[str]]:
    """Of a lock file, the hashes by requirement: name==version."""
    blocks = re.split(r"^(?=[a-z])", path.read_text(), flags=re.MULTILINE)
    return {b.split()[0]: frozenset(re.findall(r"sha256:[0-9a-f]{64}", b)) for b in blocks if "==" in b}


def test_the_image_is_pinned_and_runs_as_an_ordinary_user(steps: Steps) -> None:
    assert [value.split()[0] for value in of(steps, "FROM")] == ["${PYTHON_IMAGE}"] * 2
    (base,) = of(steps, "ARG")
    assert EXACT.search(base.removeprefix("PYTHON_IMAGE=")), base
    assert of(final(steps), "USER") == ["10001:10001"]
    assert not of(steps, "ADD")
    assert all("--require-hashes" in run or "--no-deps" in run for run in of(steps, "RUN") if "pip install" in run)
    assert not any(word in value.lower() for value in of(steps, "ENV") for word in ("password", "secret", "token"))


def test_all_that_is_copied_exists_and_is_sent_to_the_builder(steps: Steps) -> None:
    sent = set((DEPLOY / "Dockerfile.dockerignore").read_text().split())
    sources = [source for copy in of(steps, "COPY") if "--from" not in copy for source in copy.split()[:-1]]
    assert len(sources) >= 8
    for source in sources:
        assert (ROOT / source).exists(), source
        assert f"!{source}" in sent, f"{source} is kept from the builder"
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {package.rstrip("*") for package in packages} <= set(sources)


def test_the_image_can_be_read_by_its_user_whoever_built_it(steps: Steps) -> None:
    run = next(run for run in of(steps, "RUN") if "-e /opt/segone" in run)
    assert run.startswith("chmod -R u=rwX,go=rX /opt/segone"), "of a checkout with umask 077 files belong to root alone"


def test_what_the_image_starts_is_there(steps: Steps) -> None:
    (check,) = of(final(steps), "HEALTHCHECK")
    asked = json.loads(check.partition("CMD ")[2])
    assert asked == ["python", "-I", "/opt/segone/probe.py", "/healthz"]
    assert "deploy/probe.py /opt/segone/probe.py" in of(steps, "COPY")
    assert of(final(steps), "ENTRYPOINT") == ['["segone"]']
    told = dict(pair.split("=", 1) for value in of(final(steps), "ENV") for pair in shlex.split(value))
    settings = load_settings(environment={name: told[name] for name in told if name.startswith("SEGONE__")})
    assert settings.metrics.host == "127.0.0.1", "open to others only by a decision"
    assert [str(settings.metrics.port)] == of(final(steps), "EXPOSE")
    assert settings.state.dir.startswith(of(final(steps), "WORKDIR")[0])


def test_the_image_holds_what_the_tests_ran_on_and_nothing_for_developers() -> None:
    shipped, tested = locked(DEPLOY / "requirements.lock"), locked(ROOT / "requirements.lock")
    assert shipped.items() <= tested.items(), "make lock writes both"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {requirement.partition("==")[0] for requirement in shipped}
    assert {re.split(r"[<>=]", each)[0] for each in project["dependencies"]} <= names
    assert not names & {"pytest", "mypy", "ruff", "hypothesis", "playwright"}


def test_the_compose_file_obeys_the_specification(compose: dict[str, Any]) -> None:
    jsonschema.Draft7Validator(SCHEMA).validate(compose)
    wrong = compose | {"services": {"worker": {"image": "segone", "replcias": 2}}}
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(wrong))


def test_services_are_pinned_hardened_and_on_loopback_only(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert EXACT.search(service["image"]), service["image"]
        assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"]), name
        assert service.get("read_only") or name == "kafka", (
            f"{name}: Kafka alone writes its configuration beside its code"
        )
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert (DEPLOY / source).exists() if source.startswith(".") else source in compose["volumes"], volume


def test_kafka_keeps_its_log_where_the_volume_is(compose: dict[str, Any]) -> None:
    kafka = compose["services"]["kafka"]
    (volume,) = kafka["volumes"]
    assert kafka["environment"]["KAFKA_LOG_DIRS"] == volume.partition(":")[2]


def test_the_worker_understands_its_services(compose: dict[str, Any]) -> None:
    for name in ("topics", "worker", "bank"):
        service = compose["services"][name]
        command, *rest = service["command"]
        understood = argparse.ArgumentParser()
        importlib.import_module(COMMANDS[command].module).add_arguments(understood)
        arguments = understood.parse_args(rest)
        told = {key: value for key, value in service["environment"].items() if key.startswith("SEGONE__")}
        assert load_settings(environment=told).kafka.bootstrap_servers == "kafka:9092"
        if name == "worker":
            assert str(arguments.processes) == service["environment"]["SEGONE_PROCESSES"]
    scraped = yaml.safe_load((DEPLOY / "compose" / "prometheus.yaml").read_text())
    (job,) = scraped["scrape_configs"]
    published = [port.rpartition(":")[2] for port in compose["services"]["worker"]["ports"]]
    assert job["static_configs"][0]["targets"] == [f"worker:{port}" for port in published]
    assert "segone" in job["job_name"], "the rules look for jobs with that word"
    mounted = {volume.split(":")[1] for volume in compose["services"]["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in scraped["rule_files"]} <= mounted


class Process(BaseHTTPRequestHandler):
    """Stands for one process of a worker: well at /healthz, and not ready."""

    def do_GET(self) -> None:
        well = self.path == "/healthz"
        self.send_response(200 if well else 503)
        self.end_headers()
        self.wfile.write(b"ok" if well else b"behind: 7 records")

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def process() -> Iterator[int]:
    """The port of one, beside which nobody listens."""
    while True:
        server = HTTPServer(("127.0.0.1", 0), Process)
        with contextlib.suppress(OSError, OverflowError), socket.socket() as silent:
            silent.bind(("127.0.0.1", server.server_port + 1))
            break
        server.server_close()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", server.server_port + 1))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()
        server.server_close()


def asked(path: str, port: int, processes: int) -> tuple[int, str]:
    variables = {"SEGONE__METRICS__PORT": str(port), "SEGONE_PROCESSES": str(processes)}
    command = [sys.executable, "-I", str(PROBE), path]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout.strip()


def test_the_probe_says_what_is_wrong_with_any_process() -> None:
    with process() as port:
        assert asked("/healthz", port, 1) == (0, "ok")
        assert asked("/readyz", port, 1) == (1, f"port {port}: behind: 7 records")
        code, said = asked("/healthz", port, 2)
        assert (code, said.startswith(f"port {port + 1}: no answer")) == (1, True)
