"""What every test shares."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

SAMPLES = Path(__file__).resolve().parent.parent / "samples"

# Time is the machine's; in CI the examples are the same each time, on a developer's machine always new ones.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


# A shell that starts the tests in the background has them ignore SIGINT, and so would every program that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of recorded speech."""
    return SAMPLES
