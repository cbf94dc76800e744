"""What the command line's tests share."""

from pathlib import Path

import pytest
import soundfile


@pytest.fixture(scope="session")
def question(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> Path:
    """A second and a half of real speech: enough for an endpointer, and soon over."""
    speech, rate = soundfile.read(samples / "austen_0880.wav", stop=24_000)
    path = tmp_path_factory.mktemp("question") / "question.wav"
    soundfile.write(path, speech, rate)
    return path
