"""The Helm chart: rendered by a real helm, valid by Kubernetes' own schemas, and saying what the worker needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from chart import CHART, ROOT, refusal, render, run

from state.settings_reading import load_settings

EVERYTHING = Path(__file__).with_name("everything.yaml")
VERSIONS = ("1.27", "1.33")
"""The oldest Kubernetes that Chart.yaml promises, and a present one."""
OF_OPERATOR = ("ServiceMonitor", "PrometheusRule")
"""Kinds of the Prometheus operator, of which Kubernetes' schemas know nothing."""

Documents = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module")
def usual() -> Documents:
    return render()


@pytest.fixture(scope="module")
def everything() -> Documents:
    return render(EVERYTHING)


def pod(documents: Documents) -> dict[str, Any]:
    return documents["StatefulSet", "bank-segone"]["spec"]["template"]["spec"]


def worker(documents: Documents) -> dict[str, Any]:
    (container,) = pod(documents)["containers"]
    return container


def environment(documents: Documents) -> dict[str, str]:
    return {each["name"]: each["value"] for each in worker(documents)["env"]}


def test_helm_finds_nothing_to_complain_about() -> None:
    done = run("lint", "--strict", str(CHART), "--values", str(EVERYTHING))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("values", [None, EVERYTHING], ids=["usual", "everything"])
def test_every_document_is_valid_by_the_schemas_of_kubernetes(values: Path | None, version: str) -> None:
    checked = [document for (kind, _), document in render(values).items() if kind not in OF_OPERATOR]
    for document in checked:
        kubernetes_validate.validate(document, version, strict=True)
    assert len(checked) >= 6


def test_the_schemas_do_refuse_a_wrong_document(usual: Documents) -> None:
    wrong = usual["StatefulSet", "bank-segone"] | {"spec": {"replicas": "one"}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_state_has_one_owner_at_a_time(usual: Documents) -> None:
    spec = usual["StatefulSet", "bank-segone"]["spec"]
    assert (spec["replicas"], spec["updateStrategy"]["type"]) == (1, "RollingUpdate")
    assert spec["podManagementPolicy"] == "Parallel", (
        "else a pod that never gets ready is never replaced by a mended one"
    )
    (claim,) = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert "replicas" in refusal("replicas=2")
    mounts = {mount["name"]: mount["mountPath"] for mount in worker(usual)["volumeMounts"]}
    assert environment(usual)["SEGONE__STATE__DIR"].startswith(mounts["state"])


def test_the_pod_has_no_more_rights_than_it_needs(everything: Documents) -> None:
    spec = pod(everything)
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*spec["containers"], *spec["initContainers"]]:
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["requests"] and container["resources"]["limits"]
        assert container["image"].count("@sha256:") == 1
    assert "Secret" not in {kind for kind, _ in everything}, "secrets are referred to, never held"


@pytest.mark.parametrize("values", [None, EVERYTHING], ids=["usual", "everything"])
def test_the_worker_accepts_the_configuration_that_the_chart_gives_it(values: Path | None, tmp_path: Path) -> None:
    documents = render(values)
    config = tmp_path / "segone.toml"
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    text = documents["ConfigMap", "bank-segone"]["data"]["segone.toml"]
    for volume in pod(documents)["volumes"]:
        for source in volume.get("projected", {}).get("sources", ()):
            for item in source["secret"]["items"]:
                (secrets / item["path"]).write_text("said by nobody")
    config.write_text(text.replace("/run/secrets/segone", str(secrets)))
    settings = load_settings(config, environment(documents))
    assert settings.log.kind == "kafka"
    assert settings.metrics.port == worker(documents)["ports"][0]["containerPort"]
    assert settings.metrics.host == "0.0.0.0"
    if values is not None:
        assert settings.kafka.client["sasl.password"] == "said by nobody"


@pytest.mark.parametrize("text", ["\n[log]\n", '  # mine\n[log]\nkind = "kafka"\n'])
def test_a_configuration_arrives_as_it_was_written(text: str, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"config": text}))
    assert render(values)["ConfigMap", "bank-segone"]["data"]["segone.toml"] == text


def test_every_process_has_a_port_a_probe_and_a_scrape(everything: Documents) -> None:
    container = worker(everything)
    assert container["args"][-2:] == ["--processes", "4"]
    assert environment(everything)["SEGONE_PROCESSES"] == "4"
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {f"metrics-{i}": 9500 + i for i in range(4)}
    served = everything["Service", "bank-segone"]["spec"]
    assert (served["clusterIP"], [port["targetPort"] for port in served["ports"]]) == ("None", list(ports))
    assert [each["port"] for each in everything["ServiceMonitor", "bank-segone"]["spec"]["endpoints"]] == list(ports)
    (ingress,) = everything["NetworkPolicy", "bank-segone"]["spec"]["ingress"]
    assert [(each["port"], each["endPort"]) for each in ingress["ports"]] == [(9500, 9503)]
    assert container["livenessProbe"]["exec"]["command"][-1] == "/healthz"
    assert container["readinessProbe"]["exec"]["command"][-1] == "/readyz"


def test_one_process_is_asked_by_the_kubelet(usual: Documents) -> None:
    container = worker(usual)
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert asked == {
        "startup": {"path": "/healthz", "port": "metrics-0"},
        "liveness": {"path": "/healthz", "port": "metrics-0"},
        "readiness": {"path": "/readyz", "port": "metrics-0"},
    }
    assert pod(usual)["terminationGracePeriodSeconds"] > load_settings(environment={}).kafka.broker_timeout_s


def test_selectors_find_the_pod(everything: Documents) -> None:
    labels = everything["StatefulSet", "bank-segone"]["spec"]["template"]["metadata"]["labels"]
    service = everything["Service", "bank-segone"]
    selectors = [
        everything["StatefulSet", "bank-segone"]["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        everything["PodDisruptionBudget", "bank-segone"]["spec"]["selector"]["matchLabels"],
        everything["NetworkPolicy", "bank-segone"]["spec"]["podSelector"]["matchLabels"],
    ]
    assert all(selector.items() <= labels.items() for selector in selectors)
    monitor = everything["ServiceMonitor", "bank-segone"]["spec"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert "jobLabel" not in monitor, "job is then the Service's name: one for each flow"


@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("007", "007-segone"),
        ("true", "true-segone"),
        ("segone", "segone"),
        ("r" * 53, "r" * 45 + "-segone"),
    ],
)
def test_any_name_of_a_release_makes_valid_documents_of_which_prometheus_finds_the_job(release: str, name: str) -> None:
    documents = render(release=release)
    for document in documents.values():
        kubernetes_validate.validate(document, VERSIONS[-1], strict=True)
        assert document["metadata"]["labels"]["app.kubernetes.io/instance"] == release
    assert ("Service", name) in documents, "its name is the job, in which the rules look for segone"


def test_rules_and_dashboards_arrive_word_for_word(everything: Documents) -> None:
    for name in ("alerts", "recording"):
        source = yaml.safe_load((ROOT / "deploy" / "prometheus" / f"{name}.yaml").read_text())
        assert everything["PrometheusRule", f"bank-segone-{name}"]["spec"] == source
    for name in ("fleet", "signals"):
        shown = everything["ConfigMap", f"bank-segone-dashboard-{name}"]["data"][f"segone-{name}.json"]
        assert yaml.safe_load(shown) == yaml.safe_load((ROOT / "deploy" / "grafana" / f"{name}.json").read_text())


def test_other_settings_mean_a_new_start(usual: Documents) -> None:
    def checksum(documents: Documents) -> str:
        template = documents["StatefulSet", "bank-segone"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    assert checksum(usual) != checksum(render(None, "config=[shard]\ncount = 8"))


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("procesess=2", "procesess"),
        ("processes=0", "processes"),
        ("image.tag=latest", "tag"),
        ("secretFiles[0].value=hunter2", "secretFiles"),
        ("persistence.size=lots", "size"),
        ("resources.limts.memory=1Gi", "limts"),
        ("resources.limits.memory=lots", "memory"),
        ("probes.liveness=null", "liveness"),
        ("podDisruptionBudget=null", "podDisruptionBudget"),
    ],
)
def test_wrong_values_are_refused_by_name(setting: str, named: str) -> None:
    assert named in refusal(setting)
