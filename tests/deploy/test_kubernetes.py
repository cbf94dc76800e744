"""deploy/kubernetes: every overlay against Kubernetes' own schemas, and what schemas cannot know."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.settings import OrchestratorSettings
from services.common.settings import ServerSettings, load
from services.llm.settings import LlmSettings
from services.stt.settings import SttSettings
from services.tts.settings import TtsSettings
from tests.support.servers import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KUBECTL = shutil.which("kubectl", path=str(Path(sys.executable).parent))
kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="not installed: make install-deploy")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed: make install-deploy")

OVERLAYS = ("cpu", "gpu", "external-llm", "old-cluster")
EVERYTHING = "cpu with every component"
SETTINGS: dict[str, type[ServerSettings]] = {
    "orchestrator": OrchestratorSettings,
    "stt": SttSettings,
    "llm": LlmSettings,
    "tts": TtsSettings,
}
SERVERS = SETTINGS.keys()
REPLACED = {"PodDisruptionBudget", "HorizontalPodAutoscaler"}
OLD_VERSIONS = ("policy/v1beta1", "autoscaling/v2beta2")
MARGIN_S = 10
NO_SCHEMA = {"ServiceMonitor"}
WORKLOADS = {"Deployment", "StatefulSet"}
METRICS = set(re.findall(r"^\| `([a-z0-9_]+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE))
Manifest = dict[str, Any]


def build(folder: Path) -> list[Manifest]:
    assert KUBECTL is not None
    done = subprocess.run((KUBECTL, "kustomize", str(folder)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture(scope="module", params=[*OVERLAYS, EVERYTHING])
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """What an overlay makes."""
    if request.param != EVERYTHING:
        return build(FOLDER / "overlays" / request.param)
    folder = tmp_path_factory.mktemp("everything")
    write_kustomization(folder, "cpu", "gateway", "monitoring")
    return build(folder)


def write_kustomization(folder: Path, overlay: str, *components: str, **more: object) -> None:
    """An overlay with more components, as a user would write it."""
    paths = {
        "resources": [FOLDER / "overlays" / overlay],
        "components": [FOLDER / "components" / component for component in components],
    }
    lists = {kind: [os.path.relpath(path, folder.resolve()) for path in found] for kind, found in paths.items()}
    content = {"kind": "Kustomization", **lists, **more}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content), "utf-8")


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {found["metadata"]["name"]: found for found in manifests if found["kind"] in kinds}


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for name, workload in of_kind(manifests, *WORKLOADS).items():
        yield name, workload["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def labels_of_pods(manifests: list[Manifest]) -> list[dict[str, str]]:
    return [found["spec"]["template"]["metadata"]["labels"] for found in of_kind(manifests, *WORKLOADS).values()]


def matches(selector: Manifest, labels: dict[str, str]) -> bool:
    """A label selector, with the operator that is used here."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    return wanted and all(
        labels.get(term["key"]) in term["values"]
        for term in selector.get("matchExpressions", ())
        if term["operator"] == "In"
    )


def test_with_tls_nothing_is_insecure_and_probes_ask_where_there_is_none(tmp_path: Path) -> None:
    write_kustomization(tmp_path, "cpu", "tls")
    found = {name: pod for name, pod in pods(build(tmp_path)) if name in SERVERS}
    assert found.keys() == SERVERS
    for name, pod in found.items():
        server = next(container for container in pod["containers"] if container["name"] == "server")
        environment = {variable["name"]: variable.get("value") for variable in server["env"]}
        assert environment["PARLEY_INSECURE"] == "false"
        assert ("PARLEY_TLS_CLIENT_CA" in environment) is (name != "orchestrator")
        probes = {server[f"{kind}Probe"]["grpc"]["port"] for kind in ("startup", "readiness", "liveness")}
        assert probes == {int(environment["PARLEY_HEALTH_PORT"])}
        folders = {mount["mountPath"]: mount["name"] for mount in server["volumeMounts"]}
        assert Path(environment["PARLEY_TLS_CERT"]).parent == Path("/etc/parley/tls")
        assert {volume["name"] for volume in pod["volumes"]} >= {folders["/etc/parley/tls"]}


def test_the_newest_schemas_know_every_field(manifests: list[Manifest]) -> None:
    """Of the overlay for old clusters, whatever is not of an old version."""
    for manifest in manifests:
        if not manifest["apiVersion"].endswith(OLD_VERSIONS) and manifest["kind"] not in NO_SCHEMA:
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


def test_the_old_overlay_has_nothing_that_kubernetes_1_20_lacks() -> None:
    manifests = build(FOLDER / "overlays" / "old-cluster")
    versions = {(found["kind"], found["apiVersion"]) for found in manifests}
    assert {
        kind: version for kind, version in versions if kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler")
    } == {
        "PodDisruptionBudget": "policy/v1beta1",
        "HorizontalPodAutoscaler": "autoscaling/v2beta2",
    }
    assert "grpc:" not in yaml.safe_dump([probe for _, pod in pods(manifests) for probe in probes(pod)])


def probes(pod: Manifest) -> list[Manifest]:
    kinds = ("startupProbe", "readinessProbe", "livenessProbe")
    return [container[kind] for container in pod["containers"] for kind in kinds if kind in container]


def test_every_pod_is_within_the_restricted_profile(manifests: list[Manifest]) -> None:
    """Pod Security Standards; beyond them, nothing is written but to volumes, and no token is there to be stolen."""
    for name, pod in pods(manifests):
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["automountServiceAccountToken"] is False, name
        assert not any("hostPath" in volume for volume in pod["volumes"]), name
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, (name, container["name"])


def test_every_container_asks_for_what_it_needs(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        for container in containers(pod):
            asked, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert asked.keys() >= {"cpu", "memory"}, name
            assert "memory" in limits, name
            assert "cpu" not in limits, name


def test_probes_and_services_name_ports_that_exist(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        for container in pod["containers"]:
            ports = {port for given in container["ports"] for port in (given["name"], given["containerPort"])}
            asked = [kind for kind in ("readinessProbe", "livenessProbe") if kind in container]
            assert len(asked) == 2, name
            for probe in probes({"containers": [container]}):
                for way in ("grpc", "tcpSocket", "httpGet"):
                    assert way not in probe or probe[way]["port"] in ports, (name, probe)
    named = {
        name: {port["name"] for container in pod["containers"] for port in container["ports"]}
        for name, pod in pods(manifests)
    }
    for name, service in of_kind(manifests, "Service").items():
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named[name], name


def test_selectors_match_pods(manifests: list[Manifest]) -> None:
    everyone = labels_of_pods(manifests)
    for workload in of_kind(manifests, *WORKLOADS).values():
        own = workload["spec"]["template"]["metadata"]["labels"]
        assert matches(workload["spec"]["selector"], own)
        for spread in workload["spec"]["template"]["spec"].get("topologySpreadConstraints", ()):
            assert matches(spread["labelSelector"], own)
    for kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        for name, found in of_kind(manifests, kind).items():
            selector = found["spec"]["podSelector" if kind == "NetworkPolicy" else "selector"]
            as_labels = {"matchLabels": selector} if kind == "Service" else selector
            assert any(matches(as_labels, labels) for labels in everyone) or not selector, (kind, name)


def test_the_services_that_are_called_are_headless_and_can_be_found(manifests: list[Manifest]) -> None:
    services = of_kind(manifests, "Service")
    for name in SERVERS:
        assert services[name]["spec"]["clusterIP"] == "None", name
    orchestrator = dict(pods(manifests))["orchestrator"]["containers"][0]
    targets = {given["name"]: given["value"] for given in orchestrator["env"] if given["name"].endswith("_TARGET")}
    assert len(targets) == 3
    for target in targets.values():
        name, _, port = target.removeprefix("dns:///").partition(":")
        assert int(port) in {given["port"] for given in services[name]["spec"]["ports"]}


def test_a_pod_has_time_to_drain(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        if name not in SERVERS:
            continue
        env = {given["name"]: given.get("value", "") for given in pod["containers"][0]["env"]}
        drain_s = float(env["PARLEY_DRAIN_WAIT_S"]) + float(env["PARLEY_DRAIN_GRACE_S"])
        assert pod["terminationGracePeriodSeconds"] >= drain_s + MARGIN_S, name
    for name, pod in pods(manifests):
        for container in pod["containers"]:
            if "lifecycle" in container:
                hook_s = float(container["lifecycle"]["preStop"]["exec"]["command"][-1])
                assert pod["terminationGracePeriodSeconds"] >= hook_s + MARGIN_S, name


def test_every_server_takes_its_environment(manifests: list[Manifest], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, pod in pods(manifests):
        if name not in SERVERS:
            continue
        assert pod["enableServiceLinks"] is False, f"{name}: PARLEY_…_PORT of a Service would be an unknown flag"
        with monkeypatch.context() as environment:
            for given in pod["containers"][0]["env"]:
                value = re.sub(r"\$\(([A-Z_]+)\)", lambda used: os.environ[used[1]], given.get("value", "secret"))
                environment.setenv(given["name"], value)
            load(SETTINGS[name], name, [])


def test_everything_is_in_the_namespace(manifests: list[Manifest]) -> None:
    for manifest in manifests:
        assert manifest["kind"] == "Namespace" or manifest["metadata"].get("namespace") == "parley", manifest[
            "metadata"
        ]


def test_secrets_are_named_and_never_held(manifests: list[Manifest]) -> None:
    assert not of_kind(manifests, "Secret")
    for name, pod in pods(manifests):
        for container in containers(pod):
            for given in container.get("env", ()):
                secret = re.search("PASSWORD|API_KEY|AUTH", given["name"])
                assert not secret or "secretKeyRef" in given["valueFrom"], (name, given)


def test_autoscalers_read_metrics_that_exist_and_that_the_adapter_serves(manifests: list[Manifest]) -> None:
    values = yaml.safe_load((FOLDER / "components/autoscaling/prometheus-adapter.values.yaml").read_text("utf-8"))
    served = re.compile(re.findall(r'__name__=~"([^"]+)"', values["rules"]["custom"][0]["seriesQuery"])[0])
    deployments = of_kind(manifests, "Deployment")
    scalers = of_kind(manifests, "HorizontalPodAutoscaler")
    assert scalers.keys() == SERVERS
    for name, scaler in scalers.items():
        deployment = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in deployment["spec"], f"{name}: applying again would undo the autoscaler's work"
        names = [term["pods"]["metric"]["name"] for term in scaler["spec"]["metrics"] if term["type"] == "Pods"]
        assert names, name
        for metric in names:
            assert metric in METRICS
            assert served.match(metric)
            assert metric.startswith(f"parley_{name}_") or (name, metric) == ("orchestrator", "parley_sessions_active")


def test_what_is_scraped_has_such_a_port(manifests: list[Manifest]) -> None:
    for name, monitor in of_kind(manifests, "ServiceMonitor").items():
        found = [
            service["spec"]["ports"]
            for service in of_kind(manifests, "Service").values()
            if matches(monitor["spec"]["selector"], service["metadata"]["labels"])
        ]
        assert len(found) == len(SERVERS), name
        for ports in found:
            assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} <= {port["name"] for port in ports}
