"""The threads of torch that compute parts of a step (`torch.jit.fork`). Imports torch."""

import functools
import threading
import warnings

import torch

_ALL_THERE = threading.Barrier(torch.get_num_interop_threads())


@functools.cache
def one_core_each() -> None:
    """Let none of them call others for an operation; once in a process.

    A new thread takes what `torch.set_num_threads` was last told by any thread, and keeps it: two where a step's last
    layer is computed by two. Its parts would take twice as long.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(_tell)(torch.get_num_interop_threads())


def _tell(threads: int) -> None:
    told = [torch.jit.fork(_be_told, index) for index in range(threads)]  # type: ignore[no-untyped-call]
    for one in told:
        torch.jit.wait(one)  # type: ignore[no-untyped-call]


def _be_told(index: int) -> int:
    one: int = _one_core(index)
    return one


@torch.jit.ignore  # type: ignore[untyped-decorator]
def _one_core(index: int) -> int:
    torch.set_num_threads(1)
    _ALL_THERE.wait()  # so that every thread runs this once
    return index
