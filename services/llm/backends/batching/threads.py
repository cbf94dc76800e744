"""The threads of torch: those that meet within an operation, and those that compute parts of a step. Imports torch."""

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from services.llm.backends.batching.compiled import compiled, unoptimized


@contextmanager
def meeting(count: int) -> Iterator[None]:
    """So many threads meet within each operation of this thread."""
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)


def come_by() -> None:
    """Let each thread for parts (`torch.jit.fork`) come by, when it has done what it has to do.

    From then on it calls no others for an operation. A new thread takes what `torch.set_num_threads` was last told by
    any thread, and keeps it: two where a step's last layer is computed by two. Its parts would take twice as long.

    And it keeps to its own of the processors. On a virtual machine that does not tell what caches they share, Linux
    wakes a thread on the processor of the one that calls it: after each pause, a user's turn, two parts took turns on
    one processor for 50 ms, until they were told apart.
    """
    _all_there()  # before they ask for it at the same time: a cache could give each its own
    with unoptimized():
        _compiled()(torch.get_num_interop_threads())


@functools.cache
def one_core_each() -> None:
    """Have come by once in a process; before the first step that goes in parts."""
    come_by()


@functools.cache
def _compiled() -> Any:
    return compiled(_call)


def _call(threads: int) -> None:
    called = [torch.jit.fork(_comes, index) for index in range(threads)]  # type: ignore[no-untyped-call]
    for one in called:
        torch.jit.wait(one)  # type: ignore[no-untyped-call]


def _comes(index: int) -> int:
    one: int = _one_core(index)
    return one


@torch.jit.ignore  # type: ignore[untyped-decorator]
def _one_core(index: int) -> int:
    torch.set_num_threads(1)
    _keep_to_its_own(index)
    _all_there().wait()  # so that every thread runs this once
    return index


@functools.cache
def _all_there() -> threading.Barrier:
    return threading.Barrier(torch.get_num_interop_threads())


def _keep_to_its_own(index: int) -> None:
    """This thread leaves every processor but each so-many-th of the process to the other threads for parts."""
    if hasattr(os, "sched_setaffinity"):
        processors = sorted(os.sched_getaffinity(os.getpid()))
        if own := processors[index :: torch.get_num_interop_threads()]:
            os.sched_setaffinity(0, own)
