"""deploy/kubernetes on a real Kubernetes 1.20, the oldest that it is for: `make test-old-cluster`."""

import asyncio
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc

from tests.support.kubernetes_1_20 import NAMESPACE, Cluster, cluster, needs_kubernetes, until
from tests.support.kustomize import FOLDER, build, write_kustomization

compose = pytest.importorskip("tests.support.compose", reason="the images' tests are not there")
pytestmark = needs_kubernetes
VOLUME = """apiVersion: v1
kind: PersistentVolume
metadata: {{name: redis}}
spec:
  capacity: {{storage: 4Gi}}
  accessModes: [ReadWriteOnce]
  hostPath: {{path: "{folder}"}}
"""


@pytest.fixture(scope="module")
def old() -> Iterator[Cluster]:
    with cluster() as running:
        yield running


def test_it_is_that_old(old: Cluster) -> None:
    assert '"gitVersion": "v1.20.' in old.kubectl("get", "--raw", "/version")


@pytest.mark.parametrize("overlay", ["cpu", "gpu", "external-llm"])
def test_an_overlay_is_accepted_with_the_component_for_old_clusters(old: Cluster, overlay: str, tmp_path: Path) -> None:
    write_kustomization(tmp_path, overlay, "gateway", "old-cluster")
    manifests = build(tmp_path)
    done = old.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(manifests))
    print(f"{overlay}: {len(manifests)} manifests accepted")
    assert len(done.splitlines()) == len(manifests)


def test_without_the_component_it_is_not(old: Cluster) -> None:
    said = old.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(build(FOLDER / "overlays" / "cpu")), check=False)
    assert 'unknown field "grpc" in io.k8s.api.core.v1.Probe' in said


def test_what_was_stored_is_what_was_meant(old: Cluster) -> None:
    """An old API server drops fields that it does not know without a word: of the pods nothing may be missing."""
    for manifest in build(FOLDER / "overlays" / "old-cluster"):
        if manifest["kind"] in ("Deployment", "StatefulSet"):
            old.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(manifest))
            name = f"{manifest['kind']}/{manifest['metadata']['name']}"
            stored = yaml.safe_load(old.kubectl("-n", NAMESPACE, "get", name, "-o", "yaml"))
            lost = missing(manifest["spec"], stored["spec"])
            assert not lost, f"{name}: {lost}"


@pytest.mark.timeout(1800)  # the images may have to be built first, and five workloads start one after another
def test_its_pods_become_ready_and_answer(old: Cluster, engine: Any, images: dict[str, str], tmp_path: Path) -> None:
    """With fewer CPUs than the manifests ask for, and one replica of each, so that one small machine has room."""
    old.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")
    old.add_node(engine)
    until(lambda: f"/{NAMESPACE}" not in old.kubectl("get", "namespaces", "-o", "name"), "the namespace is gone")
    few = [{"op": "replace", "path": "/spec/template/spec/containers/0/resources/requests/cpu", "value": "50m"}]
    one = [{"op": "replace", "path": "/spec/minReplicas", "value": 1}]
    tags = [{"name": f"parley-{target}", "newTag": image.partition(":")[2]} for target, image in images.items()]
    redis, _, redis_tag = compose.REDIS.partition(":")
    write_kustomization(
        tmp_path,
        "old-cluster",
        patches=[
            {"target": {"kind": "Deployment"}, "patch": yaml.safe_dump(few)},
            {"target": {"kind": "HorizontalPodAutoscaler"}, "patch": yaml.safe_dump(one)},
        ],
        images=[*tags, {"name": "redis", "newName": redis, "newTag": redis_tag}],
    )
    (tmp_path / "redis").mkdir(mode=0o777)
    (tmp_path / "redis").chmod(0o777)
    old.kubectl("apply", "-f", "-", stdin=VOLUME.format(folder=tmp_path / "redis"))
    old.kubectl("create", "namespace", NAMESPACE)
    secret = ("create", "secret", "generic", "parley-redis", "--from-literal=password=abc123")
    old.kubectl("-n", NAMESPACE, *secret)
    begun = time.monotonic()
    old.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(build(tmp_path)))
    for name in ("statefulset/redis", "deployment/llm", "deployment/stt", "deployment/tts", "deployment/orchestrator"):
        try:
            until(functools.partial(ready, old, name), f"{name} is ready", 300)
        except TimeoutError:
            pytest.fail(f"{name} is not ready:\n{old.kubectl('-n', NAMESPACE, 'describe', 'pods')}")
    print(f"all pods ready after {time.monotonic() - begun:.0f} s")
    pod = ("get", "pod", "-l", "app.kubernetes.io/name=orchestrator", "-o", "jsonpath={.items[0].status.podIP}")
    asyncio.run(answered(f"{old.kubectl('-n', NAMESPACE, *pod)}:50050"))


def ready(old: Cluster, name: str) -> bool:
    return old.kubectl("-n", NAMESPACE, "get", name, "-o", "jsonpath={.status.readyReplicas}") == "1"


async def answered(address: str) -> None:
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel)
        events = [event async for event in stub.Respond(pb.RespondRequest(text="What is the moon?"), timeout=120)]
    print(f"answered {events[-1].response_done.transcript!r}")
    assert events[-1].response_done.status == pb.RESPONSE_STATUS_COMPLETED
    assert any(event.WhichOneof("event") == "response_output_audio_delta" for event in events)


def missing(asked: object, stored: object, path: str = "") -> list[str]:
    """The paths of what was asked for and is not stored."""
    if isinstance(asked, dict):
        if not isinstance(stored, dict):
            return [path]
        return [lost for key, value in asked.items() for lost in missing(value, stored.get(key), f"{path}.{key}")]
    if isinstance(asked, list):
        if not isinstance(stored, list) or len(stored) != len(asked):
            return [path]
        return [lost for at, value in enumerate(asked) for lost in missing(value, stored[at], f"{path}[{at}]")]
    return [] if stored is not None else [path]
