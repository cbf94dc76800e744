"""The Dockerfile and the compose file, as they are written: what can be checked without an engine."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.common.flag_names import FLAG_NAMES, FLAG_PREFIXES
from services.common.settings import ENV_PREFIX
from tests.support.compose import DEPLOY, Compose, needs_compose

HADOLINT = Path(sys.executable).with_name("hadolint")
PROFILES = {
    "gpu": {"llm-gpu"},
    "vllm": {"llm-vllm", "vllm"},
    "llama-cpp": {"llm-llama-cpp", "llama-cpp"},
    "api": {"llm-api"},
    "redis": {"redis"},
    "monitoring": {"prometheus", "grafana"},
    "gateway": {"gateway"},
}
EMBEDDED = {"orchestrator", "stt", "tts", "llm-cpu", "models"}


@pytest.mark.skipif(not HADOLINT.exists(), reason="hadolint is missing: make install-deploy")
def test_the_dockerfile_has_no_findings() -> None:
    done = subprocess.run((HADOLINT, DEPLOY / "docker" / "Dockerfile"), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="the program shellcheck is not installed")
@pytest.mark.parametrize("script", ["install", "remove-installers", "unpack-models"])
def test_the_scripts_of_the_images_have_no_findings(script: str) -> None:
    done = subprocess.run(("shellcheck", DEPLOY / "docker" / script), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@needs_compose
@pytest.mark.parametrize("profile", ["", *PROFILES])
def test_each_profile_adds_its_services_and_all_are_confined(profile: str) -> None:
    services = Compose(None).config(*filter(None, [profile]))["services"]
    assert services.keys() == EMBEDDED | PROFILES.get(profile, set())
    for name, service in services.items():
        if name != "vllm":  # an image that needs to write
            assert service["read_only"], name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name
        unknown = [flag for flag in service.get("environment", {}) if not _is_known(flag)]
        assert not unknown, name
    published = {name for name, service in services.items() if "ports" in service}
    assert published == {"orchestrator"} | (published & {"grafana", "gateway"})


@needs_compose
def test_a_server_has_longer_to_stop_than_it_takes_to_drain() -> None:
    services: dict[str, Any] = Compose(None).config("*")["services"]
    servers = [service for service in services.values() if "PARLEY_DRAIN_WAIT_S" in service.get("environment", {})]
    assert len(servers) == 8
    for server in servers:
        drain_s = sum(float(server["environment"][f"PARLEY_DRAIN_{name}_S"]) for name in ("WAIT", "GRACE"))
        assert drain_s + 5 <= float(server["stop_grace_period"].removesuffix("s"))


@needs_compose
def test_with_tls_no_server_is_insecure_and_all_have_their_certificates() -> None:
    services: dict[str, Any] = Compose(None, DEPLOY / "compose.tls.yaml", TLS="/certificates").config("*")["services"]
    servers = {
        name: service for name, service in services.items() if "PARLEY_INSECURE" in service.get("environment", {})
    }
    assert len(servers) == 8
    for name, server in servers.items():
        environment = server["environment"]
        assert environment["PARLEY_INSECURE"] == "false"
        assert not [flag for flag in environment if not _is_known(flag)]
        assert ("PARLEY_TLS_CLIENT_CA" in environment) is (name != "orchestrator")
        assert ("PARLEY_TLS_CA" in environment) is (name == "orchestrator")
        mounted = {volume["target"]: volume["source"] for volume in server["volumes"]}
        assert mounted["/etc/parley/tls"] == "/certificates"
        assert {str(Path(environment[f"PARLEY_TLS_{file}"]).parent) for file in ("CERT", "KEY")} == {"/etc/parley/tls"}


@needs_compose
def test_with_tokens_the_orchestrator_alone_has_them() -> None:
    services = Compose(None, DEPLOY / "compose.tokens.yaml", TOKENS="/tokens").config("*")["services"]
    asking = {name: service for name, service in services.items() if "/tokens" in str(service)}
    assert asking.keys() == {"orchestrator"}
    file = Path(asking["orchestrator"]["environment"]["PARLEY_AUTH_TOKEN_FILE"])
    mounted = {volume["target"]: volume["source"] for volume in asking["orchestrator"]["volumes"]}
    assert mounted == {str(file.parent): "/tokens"}


def _is_known(variable: str) -> bool:
    name = variable.removeprefix(ENV_PREFIX).lower()
    return (
        not variable.startswith(ENV_PREFIX) or name == "config" or name in FLAG_NAMES or name.startswith(FLAG_PREFIXES)
    )
