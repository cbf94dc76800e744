"""One Docker engine, and the images, for all tests of the deployment."""

from collections.abc import Iterator

import pytest

from tests.support.compose import build_images
from tests.support.docker_engine import Engine, docker_engine


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker engine, or a skip with the reason."""
    with docker_engine() as running:
        yield running


@pytest.fixture(scope="session")
def images(engine: Engine) -> dict[str, str]:
    """The image of each target of the Dockerfile that is tested here: all but the one for GPUs."""
    return build_images(engine, "orchestrator", "stt", "tts", "llm", "llm-api", "models", "llama-cpp")
