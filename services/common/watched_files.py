"""Values that are made from files, and made again when the files have changed: certificates, tokens, keys."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from services.common.errors import first_line

log = logging.getLogger(__name__)
T = TypeVar("T")


class WatchedFiles(Generic[T]):
    """A value of some files; `get` looks each time whether they are the same, which takes microseconds.

    Where files have changed and are not good (half written, or a certificate without its key yet), the value stays as
    it was, a line of the log says why, and `get` tries again once they change. For use from any thread.

    Args:
        paths: the files.
        make: the value; called with what is in the files, in the same order.

    Raises:
        OSError, ValueError: where the files are not good at the beginning.
    """

    def __init__(self, paths: Sequence[Path], make: Callable[..., T]) -> None:
        self._paths, self._make = tuple(paths), make
        self._lock = threading.Lock()
        self._seen = self._signature()
        self._value = self._read()

    def get(self) -> T:
        """The value of the files as they are now."""
        with self._lock:
            seen = self._signature()
            if seen != self._seen:
                self._seen = seen
                try:
                    self._value = self._read()
                    log.info("files read again", extra={"files": [path.name for path in self._paths]})
                except (OSError, ValueError) as error:
                    log.error("files changed and cannot be used", extra={"error": first_line(error)})
            return self._value

    def _read(self) -> T:
        return self._make(*(path.read_bytes() for path in self._paths))

    def _signature(self) -> tuple[tuple[int, int, int] | None, ...]:
        """Changes with any write and any replacement, also of the folder that a link leads to, as Kubernetes does."""
        return tuple(map(_signature, self._paths))


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
