"""A second processor thread for what is long enough to be shared. Imports torch."""

import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

import torch

_Part = TypeVar("_Part")
_Result = TypeVar("_Result")
_Asked = queue.SimpleQueue[Callable[[], Any] | None]
_Done = queue.SimpleQueue[tuple[Any, BaseException | None]]


class Helper:
    """Does one of two parts while the caller does the other; its thread ends with it.

    To call it takes some 0.1 ms, once for many operations: torch's own threads would meet in each of them.
    """

    def __init__(self) -> None:
        self._asked: _Asked = queue.SimpleQueue()
        self._done: _Done = queue.SimpleQueue()
        thread = threading.Thread(target=_serve, args=(self._asked, self._done), name="llm-helper", daemon=True)
        thread.start()
        weakref.finalize(self, _end, self._asked, thread)

    def both(self, work: Callable[[_Part], _Result], mine: _Part, other: _Part) -> tuple[_Result, _Result]:
        """What `work` gives for each part; an error of either is raised when both are over."""
        self._asked.put(lambda: work(other))
        try:
            result = work(mine)
        finally:
            theirs, error = self._done.get()
        if error is not None:
            raise error
        return result, theirs


def _serve(asked: _Asked, done: _Done) -> None:
    torch.set_num_threads(1)
    with torch.inference_mode():
        while (work := asked.get()) is not None:
            try:
                done.put((work(), None))
            except BaseException as error:  # noqa: BLE001  the caller's
                done.put((None, error))


def _end(asked: _Asked, thread: threading.Thread) -> None:
    """Also when the program ends: a thread that is stopped inside of torch takes the process down."""
    asked.put(None)
    if thread is not threading.current_thread():
        thread.join()
