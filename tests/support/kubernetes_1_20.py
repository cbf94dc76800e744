"""A real Kubernetes 1.20 of one node as processes on this machine: etcd, control plane, kubelet, a small DNS.

The programs are built by tests/deploy/build-kubernetes, etcd and dnsmasq are Debian's; containers run in Docker.
"""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.redis_server import free_port
from tests.support.servers import ROOT

if TYPE_CHECKING:
    from tests.support.docker_engine import Engine

BUILT = ROOT / "build" / "kubernetes-1.20"
NODE = "node"
TOKEN = "test"
NAMESPACE = "parley"
_WAIT_S = 60.0
_ETCD = shutil.which("etcd")
_KUBECTL = Path(sys.executable).with_name("kubectl")
needs_kubernetes = pytest.mark.skipif(
    not (BUILT / "kubelet").exists() or _ETCD is None or not _KUBECTL.exists(),
    reason="Kubernetes 1.20 is not built: make test-old-cluster",
)
_KUBECONFIG = """apiVersion: v1
kind: Config
clusters: [{{name: test, cluster: {{server: "https://127.0.0.1:{port}", insecure-skip-tls-verify: true}}}}]
users: [{{name: test, user: {{token: {token}}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test}}}}]
current-context: test
"""
_KUBELET = """apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: {port}
readOnlyPort: 0
healthzPort: 0
authentication: {{anonymous: {{enabled: true}}, webhook: {{enabled: false}}}}
authorization: {{mode: AlwaysAllow}}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
evictionHard: {{}}
imageGCHighThresholdPercent: 100
makeIPTablesUtilChains: false
clusterDNS: [{dns}]
clusterDomain: cluster.local
"""
_ADDRESSES = (
    "{{range .items}}{{$name := .metadata.name}}{{range .subsets}}{{range .addresses}}"
    "{{.ip}} {{$name}}.parley.svc.cluster.local\n{{end}}{{end}}{{end}}"
)


class Cluster:
    """A running control plane; `folder` holds its data and logs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.kubeconfig = folder / "kubeconfig"
        self._stack = contextlib.ExitStack()

    def kubectl(self, *words: str, stdin: str | None = None, check: bool = True) -> str:
        """Run kubectl; returns what it printed, with `check=False` also what it complained of."""
        command = (str(_KUBECTL), "--kubeconfig", str(self.kubeconfig), *words)
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(words)}: {done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def start(self) -> None:
        """etcd and the API server, until it is ready."""
        etcd, peers, port = free_port(), free_port(), free_port()
        key = self.folder / "key"
        subprocess.run(("openssl", "genrsa", "-out", str(key), "2048"), check=True, capture_output=True)
        (self.folder / "tokens").write_text(f"{TOKEN},admin,admin,system:masters\n", "utf-8")
        self.kubeconfig.write_text(_KUBECONFIG.format(port=port, token=TOKEN), "utf-8")
        client, peer = f"http://127.0.0.1:{etcd}", f"http://127.0.0.1:{peers}"
        self.run(
            str(_ETCD),
            *(f"--data-dir={self.folder}/etcd", f"--listen-client-urls={client}", f"--advertise-client-urls={client}"),
            *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}"),
            f"--initial-cluster=default={peer}",
        )
        self.run(
            str(BUILT / "kube-apiserver"),
            *(f"--etcd-servers={client}", "--bind-address=127.0.0.1", f"--secure-port={port}"),
            *(f"--cert-dir={self.folder}/certificates", "--service-cluster-ip-range=10.96.0.0/16"),
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={key}"),
            *(f"--service-account-signing-key-file={key}", f"--token-auth-file={self.folder}/tokens"),
            "--authorization-mode=RBAC",
        )
        until(lambda: "ok" in self.kubectl("get", "--raw", "/readyz", check=False), "the API server is ready")

    def add_node(self, engine: "Engine") -> None:
        """Controllers, scheduler, and this machine as the node, its containers in the engine."""
        self.run(
            str(BUILT / "kube-controller-manager"),
            *(f"--kubeconfig={self.kubeconfig}", f"--service-account-private-key-file={self.folder}/key"),
            *("--leader-elect=false", "--port=0", f"--secure-port={free_port()}", "--bind-address=127.0.0.1"),
            f"--cert-dir={self.folder}/certificates",
        )
        self.run(
            str(BUILT / "kube-scheduler"),
            *(f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--port=0", f"--secure-port={free_port()}"),
            *("--bind-address=127.0.0.1", f"--cert-dir={self.folder}/certificates"),
        )
        dns = _bridge_address()
        pause = f"parley-pause:{NODE}"
        archive = subprocess.run(("tar", "-C", str(BUILT), "-c", "pause"), check=True, capture_output=True).stdout
        subprocess.run(
            ("docker", "import", "--change", 'ENTRYPOINT ["/pause"]', "-", pause),
            input=archive,
            env=engine.environment,
            check=True,
            capture_output=True,
        )
        (self.folder / "kubelet.yaml").write_text(_KUBELET.format(port=free_port(), dns=dns), "utf-8")
        self._stack.callback(_remove_pods, engine, self.folder)  # after the kubelet's end: it would start them again
        host = engine.environment.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        self.run(
            str(BUILT / "kubelet"),
            *(f"--config={self.folder}/kubelet.yaml", f"--kubeconfig={self.kubeconfig}", f"--hostname-override={NODE}"),
            *("--container-runtime=docker", f"--docker-endpoint={host}", "--network-plugin="),
            *(f"--root-dir={self.folder}/kubelet", f"--cert-dir={self.folder}/certificates"),
            f"--pod-infra-container-image={pause}",
        )
        self._serve_names(dns)
        ready = ("get", "node", NODE, "-o", 'jsonpath={.status.conditions[?(@.type=="Ready")].status}')
        until(lambda: "True" in self.kubectl(*ready, check=False), "the node is ready")

    def run(self, program: str, *flags: str) -> "subprocess.Popen[bytes]":
        """Start a process that ends with the cluster; its log is in the folder."""
        log = self._stack.enter_context((self.folder / f"{Path(program).name}.log").open("wb"))
        process = subprocess.Popen((program, *flags), stdout=log, stderr=log, start_new_session=True)
        self._stack.callback(_end, process)
        return process

    def close(self) -> None:
        """End all of them, the last first."""
        self._stack.close()

    def _serve_names(self, address: str) -> None:
        """dnsmasq with the addresses behind the services of the namespace, looked at every second."""
        hosts = self.folder / "hosts"
        hosts.touch()
        names = self.run(
            str(shutil.which("dnsmasq")),
            *("--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--pid-file="),
            *(f"--addn-hosts={hosts}", f"--listen-address={address}", "--bind-interfaces", "--local-ttl=1"),
        )
        endpoints = ("-n", NAMESPACE, "get", "endpoints", "-o", f"go-template={_ADDRESSES}")
        over = threading.Event()

        def follow() -> None:
            while not over.wait(1.0):
                found = self.kubectl(*endpoints, check=False)
                if found != hosts.read_text("utf-8"):
                    hosts.write_text(found, "utf-8")
                    names.send_signal(signal.SIGHUP)

        thread = threading.Thread(target=follow)
        thread.start()
        self._stack.callback(thread.join)
        self._stack.callback(over.set)


def until(condition: Callable[[], bool], what: str, timeout_s: float = _WAIT_S) -> None:
    """Ask again and again.

    Raises:
        TimeoutError: where it does not become so.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout_s:g} s: {what}")
        time.sleep(0.2)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    """A control plane while the block runs, in a folder of its own: a kubelet makes its folder a mount."""
    folder = Path(tempfile.mkdtemp(prefix="parley-kubernetes-"))
    running = Cluster(folder)
    try:
        running.start()
        yield running
    finally:
        running.close()
        shutil.rmtree(folder)


def _bridge_address() -> str:
    """The containers' gateway, asked of the kernel: an engine tells it only where it made the bridge itself."""
    shown = subprocess.run(("ip", "-json", "-4", "address", "show", "docker0"), check=True, capture_output=True).stdout
    return str(json.loads(shown)[0]["addr_info"][0]["local"])


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(20)
    finally:
        process.kill()
        process.wait()


def _remove_pods(engine: "Engine", folder: Path) -> None:
    """What a kubelet leaves when it ends: containers, and their volumes in memory."""
    found = engine.docker("ps", "--all", "--quiet", "--filter", f"label=io.kubernetes.pod.namespace={NAMESPACE}")
    if found:
        engine.docker("rm", "--force", *found.split())
    for line in reversed(Path("/proc/mounts").read_text("utf-8").splitlines()):
        if (place := line.split()[1]).startswith(f"{folder}/"):
            subprocess.run(("umount", "--lazy", place), check=False)
