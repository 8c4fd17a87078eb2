"""The rules of deploy/prometheus: valid, each alert fired by its cause in promtool's own tests, each with a runbook entry."""

from __future__ import annotations

import re
import subprocess

import yaml
from prometheus_server import RULES, alerts, program

TESTS = ("tests.yaml", "tests_of_hours.yaml")
RUNBOOK = RULES.parent.parent / "docs" / "operating.md"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program("promtool"), *arguments], cwd=RULES, capture_output=True, text=True, check=False)


def test_rules_and_configuration_are_valid() -> None:
    for arguments in (("check", "rules", "recording.yaml", "alerts.yaml"), ("check", "config", "prometheus.yaml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_is_fired_by_its_cause_and_a_healthy_fleet_fires_none() -> None:
    done = promtool("test", "rules", *TESTS)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_alert_is_without_a_test_that_fires_it() -> None:
    tests = [test for name in TESTS for test in yaml.safe_load((RULES / name).read_text())["tests"]]
    fired = set()
    for test in tests:
        for expression in test.get("promql_expr_test", []):
            for sample in expression["exp_samples"] or []:
                fired |= set(re.findall(r'alertname="(\w+)"', sample["labels"]))
    assert fired == alerts().keys()


def test_every_alert_has_a_severity_a_summary_and_a_runbook_entry_that_exists() -> None:
    headings = set(re.findall(r"^### (\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"]["summary"] and rule["annotations"]["description"]
        assert rule["annotations"]["runbook_url"] == f"docs/operating.md#{name.lower()}"
    assert {heading for heading in headings if heading.startswith("Segone")} == alerts().keys()
