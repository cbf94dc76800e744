"""deploy/kubernetes: every overlay against Kubernetes' own schemas, and what schemas cannot know."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from orchestrator.settings import OrchestratorSettings
from services.common.settings import ServerSettings, load
from services.llm.settings import LlmSettings
from services.stt.settings import SttSettings
from services.tts.settings import TtsSettings
from tests.support.kustomize import FOLDER, KUBECTL, Manifest, build, write_kustomization
from tests.support.network_policies import Peer, matches, reaches
from tests.support.servers import ROOT

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
MEASURED_MB = {
    name: figure["resident_mb"]
    for name, figure in json.loads((ROOT / "benchmarks/results/memory.json").read_text("utf-8"))["figures"].items()
}
"""Memory of each server with the embedded models after a conversation (`python -m benchmarks.memory`)."""
METRICS = set(re.findall(r"^\| `([a-z0-9_]+)`", (ROOT / "docs" / "metrics.md").read_text("utf-8"), re.MULTILINE))


@pytest.fixture(scope="module", params=[*OVERLAYS, EVERYTHING])
def manifests(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Manifest]:
    """What an overlay makes."""
    if request.param != EVERYTHING:
        return build(FOLDER / "overlays" / request.param)
    folder = tmp_path_factory.mktemp("everything")
    write_kustomization(folder, "cpu", "gateway", "monitoring", "tokens")
    return build(folder)


def of_kind(manifests: list[Manifest], *kinds: str) -> dict[str, Manifest]:
    return {found["metadata"]["name"]: found for found in manifests if found["kind"] in kinds}


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    for name, workload in of_kind(manifests, *WORKLOADS).items():
        yield name, workload["spec"]["template"]["spec"]


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def labels_of_pods(manifests: list[Manifest]) -> list[dict[str, str]]:
    return [found["spec"]["template"]["metadata"]["labels"] for found in of_kind(manifests, *WORKLOADS).values()]


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


def test_with_tokens_the_orchestrator_alone_has_them(tmp_path: Path) -> None:
    write_kustomization(tmp_path, "cpu", "tokens")
    asking = {name: pod for name, pod in pods(build(tmp_path)) if "parley-tokens" in str(pod)}
    assert asking.keys() == {"orchestrator"}
    server = asking["orchestrator"]["containers"][0]
    file = next(given["value"] for given in server["env"] if given["name"] == "PARLEY_AUTH_TOKEN_FILE")
    assert {"name": "tokens", "mountPath": str(Path(file).parent), "readOnly": True} in server["volumeMounts"]


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


def test_servers_with_the_embedded_models_ask_for_the_memory_that_was_measured_and_may_take_twice_that() -> None:
    for name, pod in pods(build(FOLDER / "overlays" / "cpu")):
        if name in SERVERS:
            resources = pod["containers"][0]["resources"]
            assert megabytes(resources["requests"]["memory"]) >= MEASURED_MB[name], name
            assert megabytes(resources["limits"]["memory"]) >= 2 * MEASURED_MB[name], name


def megabytes(quantity: str) -> float:
    return int(quantity[:-2]) * {"Mi": 2**20, "Gi": 2**30}[quantity[-2:]] / 1e6


def test_a_gpu_is_asked_for_by_the_language_model_alone() -> None:
    everyone = dict(pods(build(FOLDER / "overlays" / "gpu")))
    limits = {name: pod["containers"][0]["resources"]["limits"] for name, pod in everyone.items()}
    assert {name for name, limit in limits.items() if "nvidia.com/gpu" in limit} == {"llm"}
    server = everyone["llm"]["containers"][0]
    assert server["image"] == "parley-llm-gpu"
    assert {"name": "PARLEY_LLM_DEVICE", "value": "cuda"} in server["env"]
    assert [toleration["key"] for toleration in everyone["llm"]["tolerations"]] == ["nvidia.com/gpu"]


def test_images_that_were_put_on_a_node_are_not_looked_for_elsewhere(manifests: list[Manifest]) -> None:
    """An image without a tag is fetched at each start unless that is said: a site without a network has no registry."""
    for name, pod in pods(manifests):
        for container in containers(pod):
            assert ":" in container["image"] or container["imagePullPolicy"] == "IfNotPresent", (
                name,
                container["name"],
            )


def test_what_is_carried_to_a_site_without_a_network_is_all_that_its_pods_run(tmp_path: Path) -> None:
    write_kustomization(tmp_path, "cpu", "gateway")
    page = (ROOT / "docs" / "operations.md").read_text("utf-8")
    (carried,) = re.findall(r"^docker save (.*) \| gzip", page, re.MULTILINE)
    assert set(carried.split()) == {
        container["image"] for _, pod in pods(build(tmp_path)) for container in containers(pod)
    }


def test_a_server_has_all_probes_spreads_over_zones_and_nodes_and_goes_one_at_a_time(manifests: list[Manifest]) -> None:
    found = dict(pods(manifests))
    budgets = of_kind(manifests, "PodDisruptionBudget")
    for name in SERVERS:
        assert len(probes(found[name])) == 3, name
        assert [spread["topologyKey"] for spread in found[name]["topologySpreadConstraints"]] == [
            "topology.kubernetes.io/zone",
            "kubernetes.io/hostname",
        ]
        assert budgets[name]["spec"]["maxUnavailable"] == 1


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


def test_pods_reach_whom_they_call_and_nobody_else(manifests: list[Manifest]) -> None:
    """By the NetworkPolicies, as no network here enforces them."""
    policies = list(of_kind(manifests, "NetworkPolicy").values())
    ports = {
        name: {port["name"] for container in pod["containers"] for port in container["ports"]}
        for name, pod in pods(manifests)
    }
    inside = {labels["app.kubernetes.io/name"]: Peer(labels) for labels in labels_of_pods(manifests)}
    peers = inside | {
        "client": Peer({}, {"parley/client": "true"}),
        "prometheus": Peer({}, {"kubernetes.io/metadata.name": "monitoring"}),
        "stranger": Peer({}, {"kubernetes.io/metadata.name": "default"}),
    }
    open_to = {
        (source, target, port)
        for source, caller in peers.items()
        for target, called in inside.items()
        for port in ports[target]
        if source != target and reaches(policies, caller, called, port)
    }
    expected = {("client", "orchestrator", "grpc"), ("llm", "redis", "redis")}
    expected |= {("orchestrator", stage, "grpc") for stage in SERVERS - {"orchestrator"}}
    expected |= {("prometheus", name, "metrics") for name in SERVERS}
    if "gateway" in inside:
        expected |= {("gateway", "orchestrator", "grpc"), ("prometheus", "gateway", "probes")}
        expected |= {(anybody, "gateway", "clients") for anybody in ("client", "prometheus", "stranger")}
    assert open_to == expected


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
                secret = re.search("(PASSWORD|API_KEY|AUTH|TOKEN)$", given["name"])
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
