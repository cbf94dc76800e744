"""Models that come in packages: joined, checked and converted once, into a cache folder, atomically.

Several processes may start at once: one builds, the others wait.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from services.common.errors import StartupError

_CHUNK_BYTES = 1 << 20


def build_once(root: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name` below `root`; where it is missing, `build(empty_folder)` fills it first.

    The folder appears whole or not at all. Put a version or a hash into the name: what exists is never built again.

    Raises:
        StartupError: where nothing can be written below `root`.
        whatever `build` raises; nothing is left behind then.
    """
    target = root / name
    if target.is_dir():
        return target
    with _locked(target) as folder:
        if target.is_dir():
            return target
        build(folder)
        folder.rename(target)
    return target


@contextlib.contextmanager
def _locked(target: Path) -> Iterator[Path]:
    """Hold the target's lock; yields an empty folder beside it, which is removed if it is still there at the end."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = (target.parent / f".{target.name}.lock").open("w")
    except OSError as error:
        raise StartupError(f"cannot write to {target.parent}: {error.strerror}; choose another --cache_dir") from None
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = target.parent / f".{target.name}.part"
        shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed: the lock was its, too
        folder.mkdir()
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def package_dir(package: str) -> Path:
    """The folder of an installed data package, without importing it.

    Raises:
        StartupError: where the package is not installed.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise StartupError(
            f"the model package {package.replace('_', '-')} is not installed; see requirements/models.txt"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def join(parts: Iterable[Path], target: Path, sha256: str) -> None:
    """Concatenate files into one and check its hash.

    Raises:
        StartupError: where the hash differs from `sha256` (hexadecimal).
    """
    digest = hashlib.sha256()
    with target.open("wb") as joined:
        for part in parts:
            with part.open("rb") as source:
                while chunk := source.read(_CHUNK_BYTES):
                    digest.update(chunk)
                    joined.write(chunk)
    if digest.hexdigest() != sha256:
        raise StartupError(
            f"the model package for {target.parent.name} is damaged: its hash is wrong; install it again"
        )
