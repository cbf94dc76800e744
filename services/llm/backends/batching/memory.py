"""What the process holds of memory that is free. Pure."""

import ctypes
import os
import sys

_M_ARENA_MAX = -8
"""glibc's malloc.h."""
_HEAPS = 2
"""With one, the threads of a step's parts wait for each other: the first token after 2,000 took a fifth longer."""


def share_heaps() -> None:
    """Let all threads take memory from two heaps; before there are others. Who sets MALLOC_ARENA_MAX knows better.

    glibc gives up to eight heaps a core to threads, and what is free in one serves no other: the thread that loads a
    model leaves tens of megabytes so.
    """
    if "MALLOC_ARENA_MAX" not in os.environ and (option := _of_the_c_library("mallopt")):
        option(_M_ARENA_MAX, _HEAPS)


def give_back_memory() -> None:
    """Give back free pages wherever they lie; by itself glibc keeps those below what is in use. Takes milliseconds."""
    if trim := _of_the_c_library("malloc_trim"):
        trim(0)


def _of_the_c_library(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
