"""Files of a model run nothing: no pickle in its weights, and no Python beside them unless a flag says so."""

import json
import os
import pickle
from pathlib import Path

import pytest

from services.common.errors import StartupError
from services.common.model_thread import Stop
from services.llm.backends.transformers import TransformersBackend
from services.llm.settings import LlmSettings
from services.llm.weights import EMBEDDED, locate
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.models


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model's folder."""
    embedded = locate(EMBEDDED, "float32", LlmSettings().cache_dir, Stop())
    return save_tiny_model(embedded, tmp_path_factory.mktemp("tiny"))


class Exploit:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._target),)


async def load(folder: Path, **flags: bool) -> None:
    settings = LlmSettings(llm_backend="transformers", model_name=str(folder), llm_device="cpu", **flags)  # type: ignore[arg-type]
    backend = TransformersBackend(settings)
    try:
        await backend.load()
    finally:
        await backend.aclose()


def copied(model: Path, folder: Path, *, without: str = "") -> Path:
    folder.mkdir()
    for file in model.iterdir():
        if file.is_file() and file.name != without:
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


async def test_weights_that_are_a_pickle_run_nothing(model: Path, tmp_path: Path) -> None:
    folder, ran = copied(model, tmp_path / "pickled", without="model.safetensors"), tmp_path / "ran"
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Exploit(ran)))
    with pytest.raises(StartupError, match="cannot load the model"):
        await load(folder)
    assert not ran.exists()


async def test_python_beside_a_model_runs_only_where_a_flag_says_so(model: Path, tmp_path: Path) -> None:
    folder, ran = copied(model, tmp_path / "with-code"), tmp_path / "ran"
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own-kind", "auto_map": names}))
    (folder / "own.py").write_text(f"import os\nos.mkdir({str(ran)!r})\nraise RuntimeError('ran')\n")
    with pytest.raises(StartupError, match="cannot load the model"):
        await load(folder)
    assert not ran.exists()
    with pytest.raises(StartupError):
        await load(folder, llm_trust_remote_code=True)
    assert ran.exists(), "the trap works"
