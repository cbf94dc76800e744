"""Where a model's files are found, and what is said where they are not."""

import json
import sys
from pathlib import Path

import huggingface_hub
import pytest

from services.common.cores import usable_cores
from services.common.errors import StartupError
from services.common.model_thread import Stop
from services.llm import weights
from services.llm.processor import prefers_bfloat16


def folder_with(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("{}")
    return folder


def test_a_folder_with_a_model_is_taken(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "mine", "config.json")
    assert weights.locate(str(folder), "float32", tmp_path, Stop()) == folder


@pytest.mark.parametrize("reference", ["/no/such/folder", "./nothing", "a/b/c", "what is this?", "package:nothing"])
def test_what_does_not_exist_is_said_in_one_line(reference: str, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="--model_name") as caught:
        weights.locate(reference, "float32", tmp_path, Stop())
    assert "\n" not in str(caught.value)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="holds no model"):
        weights.locate(str(tmp_path), "float32", tmp_path, Stop())


def test_a_hub_that_is_not_reachable_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def unreachable(*args: object, **options: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", _not_cached)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(StartupError, match=r"not reachable; .*package:smollm2-135m-instruct"):
        weights.locate("org/model", "float32", tmp_path, Stop())


def test_a_hub_model_that_is_whole_in_the_cache_needs_no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "snapshot", "config.json", "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: str(folder))
    assert weights.locate("org/model", "float32", tmp_path, Stop()) == folder


def test_a_snapshot_with_a_shard_missing_is_not_whole(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, "config.json", "model-1.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}})
    )
    assert not weights._is_whole(folder)
    folder_with(folder, "model-2.safetensors")
    assert weights._is_whole(folder)


@pytest.mark.parametrize(
    ("cpuinfo", "preferred"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 amx_tile\n", True),
        ("Features\t: fp asimd bf16 i8mm\n", True),
        ("flags\t\t: fpu sse avx2\nbugs: avx512_bf16\n", False),
        ("", False),
    ],
)
def test_bfloat16_is_preferred_where_the_processor_has_it(cpuinfo: str, preferred: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert prefers_bfloat16(tmp_path / "cpuinfo") is preferred
    assert not prefers_bfloat16(tmp_path / "missing")
    assert usable_cores() >= 1


def test_a_stop_ends_a_command_that_runs() -> None:
    stop = Stop()
    stop.set()
    code, _ = weights._run((sys.executable, "-c", "import threading; threading.Event().wait()"), stop)
    assert code != 0


def test_a_command_that_fails_says_why() -> None:
    assert weights._run((sys.executable, "-c", "raise SystemExit('no room')"), Stop()) == (1, "no room\n")


def _not_cached(*args: object, **options: object) -> str:
    raise huggingface_hub.errors.LocalEntryNotFoundError("not in the cache")
