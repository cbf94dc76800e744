"""A real Prometheus on a free loopback port, with the rules of deploy/prometheus; what those and the dashboard ask."""

import asyncio
import contextlib
import json
import math
import shutil
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.redis_server import free_port
from tests.support.servers import ROOT, RunningServer

FOLDER = ROOT / "deploy" / "prometheus"
RULE_FILES = ("recording.rules.yaml", "alerts.rules.yaml")
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "parley.json"
START_TIMEOUT_S = 30.0
needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="the program prometheus is not installed"
)


def rules() -> list[dict[str, Any]]:
    """All rules of deploy/prometheus: those with a `record` and those with an `alert`."""
    groups = [group for name in RULE_FILES for group in yaml.safe_load((FOLDER / name).read_text("utf-8"))["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_queries() -> list[str]:
    """What the panels of the Grafana dashboard show."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


class Prometheus:
    """One that runs."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def query(self, expression: str) -> list[float]:
        """The values of an expression now, those that are numbers; none where there is no data.

        Raises:
            AssertionError: where Prometheus does not understand it.
        """
        found = await self.get("query", query=expression)
        samples = [found["result"]] if found["resultType"] == "scalar" else [row["value"] for row in found["result"]]
        return [float(value) for _, value in samples if not math.isnan(float(value))]

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of one request to its HTTP API."""
        url = f"http://{self._address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"

        def get() -> Any:
            try:
                with urllib.request.urlopen(url, timeout=10) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:  # its body says what is wrong with the query
                return json.load(error)

        answer = await asyncio.to_thread(get)
        assert answer["status"] == "success", f"{parameters}: {answer['error']}"
        return answer["data"]

    async def ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError):
            await asyncio.to_thread(
                lambda: urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=10).close()
            )
            return True
        return False


@contextlib.asynccontextmanager
async def prometheus(servers: Iterable[RunningServer]) -> AsyncIterator[Prometheus]:
    """One that scrapes these servers, and computes the rules, every second: else as deploy/prometheus has it."""
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / name) for name in config["rule_files"]]
    (job,) = config["scrape_configs"]
    config["scrape_configs"] = [
        {
            "job_name": job["job_name"],
            "static_configs": [{"targets": [f"127.0.0.1:{server.metrics_port}" for server in servers]}],
        }
    ]
    address = f"127.0.0.1:{free_port()}"
    with tempfile.TemporaryDirectory() as folder:
        config_file = Path(folder) / "prometheus.yaml"
        config_file.write_text(yaml.safe_dump(config))
        process = await asyncio.create_subprocess_exec(
            *("prometheus", f"--config.file={config_file}", f"--storage.tsdb.path={folder}/data"),
            f"--web.listen-address={address}",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            running = Prometheus(address)
            async with asyncio.timeout(START_TIMEOUT_S):
                while not await running.ready():
                    assert process.returncode is None, "prometheus has ended"
                    await asyncio.sleep(0.05)
            yield running
        finally:
            process.terminate()
            await process.wait()
