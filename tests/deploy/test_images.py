"""What is in the images, and how they run: small, without rights, and ended by SIGTERM."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import Authority
from tests.support.compose import BASE
from tests.support.docker_engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]  # the images are built within the first test

LARGEST_MB = {"orchestrator": 80, "llm-api": 150, "stt": 600, "tts": 600}
"""Above the base image, without weights."""
SERVERS = ("orchestrator", "stt", "tts", "llm", "llm-api")
CONFINED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--tmpfs=/tmp", "--network=none")
LOOK_AROUND = """
import importlib.util, json, os, shutil
places = ("/", "/app", "/opt/venv", os.environ["PARLEY_CACHE_DIR"])
print(json.dumps({
    "user": os.getuid(),
    "tools": [name for name in ("pip", "pip3", "gcc", "cc", "make") if shutil.which(name)],
    "installers": [name for name in ("pip", "setuptools", "ensurepip") if importlib.util.find_spec(name)],
    "writable": [place for place in places if os.access(place, os.W_OK)],
}))
"""


def inspect(engine: Engine, image: str) -> dict[str, Any]:
    """What the engine knows of an image."""
    known: dict[str, Any] = json.loads(engine.docker("image", "inspect", image))[0]
    return known


@pytest.mark.parametrize(("target", "most_mb"), LARGEST_MB.items())
def test_an_image_is_small(engine: Engine, images: dict[str, str], target: str, most_mb: int) -> None:
    added_mb = (inspect(engine, images[target])["Size"] - inspect(engine, BASE)["Size"]) / 1e6
    print(f"{target}: {added_mb:.0f} MB above the base image")
    assert added_mb <= most_mb


@pytest.mark.parametrize("target", SERVERS)
def test_a_server_has_no_rights_and_no_tools_in_its_image(engine: Engine, images: dict[str, str], target: str) -> None:
    run = ("run", "--rm", *CONFINED, "--entrypoint", "python", images[target], "-c", LOOK_AROUND)
    seen = json.loads(engine.docker(*run))
    assert seen["user"] == 10001
    assert not seen["tools"]
    assert not seen["installers"]
    assert set(seen["writable"]) <= {"/var/cache/parley"}  # a volume


@pytest.mark.parametrize("target", SERVERS)
def test_a_server_is_told_to_stop_itself_and_knows_how_to_be_probed(
    engine: Engine, images: dict[str, str], target: str
) -> None:
    config = inspect(engine, images[target])["Config"]
    assert config["Entrypoint"][:2] == ["python", "-m"]
    assert config["Healthcheck"]["Test"] == ["CMD", "python", "-m", "services.common.health_probe"]
    assert not config.get("StopSignal") or config["StopSignal"] == "SIGTERM"


@pytest.mark.parametrize("target", SERVERS)
def test_models_are_cached_on_a_volume_and_nothing_tells_how_the_image_was_built(
    engine: Engine, images: dict[str, str], target: str
) -> None:
    volumes = inspect(engine, images[target])["Config"]["Volumes"] or {}
    assert ("/var/cache/parley" in volumes) is (target in ("stt", "llm", "llm-api"))
    layers = engine.docker("history", "--no-trunc", images[target])
    assert "COPY /opt/venv" in layers
    assert not [word for word in ("PIP_", "ca_bundle", "wheels") if word in layers]


def test_the_probe_follows_the_servers_health_and_sigterm_ends_it_at_once(
    engine: Engine, images: dict[str, str]
) -> None:
    container = engine.docker(
        "run", "--detach", *CONFINED, "--health-interval=1s", images["tts"], "--tts=fake", "--insecure"
    ).strip()
    try:
        _until_healthy(engine, container)
        probe = ("exec", container, "python", "-m", "services.common.health_probe")
        engine.docker(*probe)
        with pytest.raises(RuntimeError, match=r"127\.0\.0\.1:1: UNAVAILABLE"):
            engine.docker(*probe, "127.0.0.1:1")
        engine.docker("stop", "--time=60", container)
        ended = json.loads(engine.docker("inspect", "--format", "{{json .State}}", container))
        assert (ended["ExitCode"], ended["OOMKilled"]) == (0, False)
    finally:
        engine.docker("rm", "--force", "--volumes", container)


def test_the_probe_of_a_server_with_mutual_tls_shows_the_servers_own_certificate(
    engine: Engine, images: dict[str, str], tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    own = authority.certify("parley")
    files = {"CERT": own.cert, "KEY": own.key, "CLIENT_CA": authority.cert}
    settings = [word for name, file in files.items() for word in ("--env", f"PARLEY_TLS_{name}=/tls/{file.name}")]
    settings += ["--volume", f"{own.cert.parent}:/tls:ro"]
    run = ("run", "--detach", *CONFINED, "--health-interval=1s", *settings, images["tts"], "--tts=fake")
    container = engine.docker(*run).strip()
    try:
        _until_healthy(engine, container)
    finally:
        engine.docker("rm", "--force", "--volumes", container)


def _until_healthy(engine: Engine, container: str) -> None:
    state = ("inspect", "--format", "{{.State.Running}} {{.State.Health.Status}}", container)
    while (now := engine.docker(*state).strip()) != "true healthy":
        assert now == "true starting", engine.docker("logs", container)
        time.sleep(0.1)
