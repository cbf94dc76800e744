"""Models that come in packages: joined, checked and converted once, into a cache folder, atomically.

Several processes may start at once: one builds, the others wait.
"""

import fcntl
import hashlib
import importlib.util
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from services.common.errors import StartupError

_CHUNK_BYTES = 1 << 20


def build_once(root: Path, name: str, build: Callable[[Path], None]) -> Path:
    """The folder `name` below `root`; where it is missing, `build(empty_folder)` fills it first.

    The folder appears whole or not at all. Put a version or a hash into the name: what exists is never built again.

    Raises:
        whatever `build` raises; nothing is left behind then.
    """
    target = root / name
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / f".{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return target
        folder = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        try:
            build(folder)
            folder.rename(target)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return target


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
