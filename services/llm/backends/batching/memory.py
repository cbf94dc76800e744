"""What the process holds of memory that is free. Pure."""

import ctypes
import os
import sys

_M_ARENA_MAX = -8
"""glibc's malloc.h."""


def share_one_heap() -> None:
    """Let all threads take memory from one heap; before there are others. Who sets MALLOC_ARENA_MAX knows better.

    glibc gives up to eight heaps a core to threads, and what is free in one serves no other: the thread that loads a
    model leaves tens of megabytes so.
    """
    if "MALLOC_ARENA_MAX" not in os.environ and (option := _of_the_c_library("mallopt")):
        option(_M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Give back free pages wherever they lie; by itself glibc keeps those below what is in use. Takes milliseconds."""
    if trim := _of_the_c_library("malloc_trim"):
        trim(0)


def _of_the_c_library(name: str) -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
