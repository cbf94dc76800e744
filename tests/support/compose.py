"""deploy/compose.yaml under test: its images, built once, and stacks of its services."""

import asyncio
import importlib.resources
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.docker_engine import Engine, run
from tests.support.redis_server import free_port
from tests.support.servers import ROOT

DEPLOY = ROOT / "deploy"
TESTS = ROOT / "tests" / "deploy"
BASE = "python:3.11-slim-bookworm"
TAG = "test"
WHEELS = f"parley-wheels:{TAG}"
REDIS, PROMETHEUS, ENVOY = (f"parley-{name}:{TAG}" for name in ("redis", "prometheus", "envoy"))
_INSTALL = f"FROM {BASE}\nRUN apt-get update && apt-get install --yes --no-install-recommends"
_OTHERS = {
    REDIS: f"{_INSTALL} redis-server && install -d -o 999 -g 999 /data\nWORKDIR /data\n",
    PROMETHEUS: f"{_INSTALL} prometheus && install -d -o 65534 -g 65534 /prometheus\n"
    'USER 65534:65534\nENTRYPOINT ["prometheus"]\n',
}
"""In place of the official images, as those are: their user, their folder of data."""
_COMPOSE = Path(sys.executable).with_name("docker-compose")
_METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9464/metrics').read().decode())"
needs_compose = pytest.mark.skipif(not _COMPOSE.exists(), reason="docker-compose is missing: make install-deploy")


class Compose:
    """One project of the compose file, with an own port and own settings.

    Args:
        engine: where it runs; None for what needs no engine.
        files: more compose files, over deploy/compose.yaml.
        settings: variables of the compose file.
    """

    def __init__(self, engine: Engine | None, *files: Path, **settings: str) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.name = f"parley-test-{self.port}"
        self._files = [word for file in (DEPLOY / "compose.yaml", *files) for word in ("--file", str(file))]
        self._environment: Mapping[str, str] = {
            **(os.environ if engine is None else engine.environment),
            "TAG": TAG,
            "REDIS_IMAGE": REDIS,
            "PROMETHEUS_IMAGE": PROMETHEUS,
            "ENVOY_IMAGE": ENVOY,
            "PUBLISH": self.address,
            "HEALTH_INTERVAL": "2s",
            **settings,
        }

    def __call__(self, *words: str, timeout_s: float = 300) -> str:
        """Run `docker compose WORDS`."""
        whole = (*self._files, "--project-name", self.name, "--env-file", os.devnull, *words)
        return run(str(_COMPOSE), *whole, environment=self._environment, timeout_s=timeout_s)

    async def do(self, *words: str) -> str:
        """The same, beside what else the test does."""
        return await asyncio.to_thread(self, *words)

    async def up(self, *words: str) -> None:
        """Start, and wait until all that stay are healthy.

        Raises:
            RuntimeError: where one is not, with the end of what all have logged.
        """
        try:
            await self.do("up", "--detach", "--no-build", "--wait", "--wait-timeout", "240", *words)
        except RuntimeError as error:
            raise RuntimeError(f"{error}\n{await self.do('logs', '--tail', '5')}") from None

    async def containers(self, *services: str) -> list[dict[str, Any]]:
        """Those of some services, of all if none is named: ID, Service, State, ExitCode, …"""
        lines = (await self.do("ps", "--all", "--format", "json", *services)).splitlines()
        return sorted((json.loads(line) for line in lines), key=lambda container: str(container["Name"]))

    def config(self, *profiles: str) -> dict[str, Any]:
        """The compose file as it is understood, with these profiles."""
        chosen = [word for profile in profiles for word in ("--profile", profile)]
        read: dict[str, Any] = json.loads(self(*chosen, "config", "--format", "json"))
        return read


async def calls_served(engine: Engine, container: str) -> float:
    """How many calls a server in a container has served, health and reflection apart."""
    page = await asyncio.to_thread(engine.docker, "exec", container, "python", "-c", _METRICS)
    counts = [line for line in page.splitlines() if line.startswith("parley_rpc_server_duration_seconds_count")]
    return sum(float(line.rpartition(" ")[2]) for line in counts)


def build_images(engine: Engine, *targets: str) -> dict[str, str]:
    """Build what the compose file builds; returns the image's name for each target. Skips where the base is missing."""
    _make_base(engine)
    _make_wheels(engine)
    services = Compose(engine).config("*")["services"].values()
    images = {service["build"]["target"]: str(service["image"]) for service in services if "build" in service}
    for target in targets:
        options = ("--file", str(DEPLOY / "docker" / "Dockerfile"), "--target", target, "--tag", images[target])
        engine.docker("build", "--quiet", *options, *_index_options(), "--build-arg", f"WHEELS={WHEELS}", str(ROOT))
    for image, dockerfile in _OTHERS.items():
        engine.docker("build", "--quiet", "--tag", image, "-", stdin=dockerfile)
    build = ("build", "--quiet", "--file", "-", "--tag", ENVOY, str(importlib.resources.files("envoy._bin")))
    engine.docker(*build, stdin=f"FROM {BASE}\nCOPY envoy /usr/local/bin/\n")
    return {target: images[target] for target in targets}


def _make_base(engine: Engine) -> None:
    """The official image; where no registry can be reached, one that is built from Debian's packages."""
    if engine.docker("images", "--quiet", BASE):
        return
    try:
        engine.docker("pull", "--quiet", BASE, timeout_s=300)
    except (RuntimeError, subprocess.TimeoutExpired):
        if os.geteuid() != 0 or shutil.which("mmdebstrap") is None:
            pytest.skip(f"{BASE} cannot be pulled, nor made here: that takes the program mmdebstrap, and root")
        run(str(TESTS / "base-image"), BASE, environment=engine.environment)


def _make_wheels(engine: Engine) -> None:
    """The CPU build of torch, which the package index lacks, from wherever this machine's pip finds it."""
    if engine.docker("images", "--quiet", WHEELS):
        return
    with tempfile.TemporaryDirectory() as folder:
        options = ("--quiet", "--no-deps", "--require-hashes", "--dest", folder)
        try:
            pip("download", *options, "--requirement", str(ROOT / "requirements" / "torch.txt"))
        except RuntimeError:
            pytest.skip("no CPU build of torch is found by pip: set PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS")
        engine.docker("build", "--quiet", "--file", "-", "--tag", WHEELS, folder, stdin="FROM scratch\nCOPY *.whl /\n")


def _index_options() -> list[str]:
    """The package index and the certificates that this machine's pip uses, for the builds."""
    names = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX")
    options = [word for name in names if name in os.environ for word in ("--build-arg", name)]
    bundle = os.environ.get("PIP_CERT")
    return [*options, "--secret", f"id=ca_bundle,src={bundle}"] if bundle else options


def pip(*words: str) -> str:
    """Run this environment's pip."""
    return run(sys.executable, "-m", "pip", "--disable-pip-version-check", *words, environment=os.environ)
