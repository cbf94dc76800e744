"""Free memory goes back to the system."""

import os
import platform
import subprocess
import sys

import psutil
import pytest

from services.llm.backends.batching.memory import give_back_memory

PIECE = 100_000
HEAPS = """
import ctypes, threading
from services.llm.backends.batching.memory import share_heaps
share_heaps()
all_there = threading.Barrier(4)
threads = [threading.Thread(target=lambda: (bytearray(5000), all_there.wait())) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
library = ctypes.CDLL(None)
library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
library.fflush(None)
"""

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps free memory")


@pytest.mark.parametrize(("asked", "shared"), [({}, True), ({"MALLOC_ARENA_MAX": "8"}, False)])
def test_threads_share_heaps_unless_asked_otherwise(asked: dict[str, str], shared: bool) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | asked
    told = subprocess.run([sys.executable, "-c", HEAPS], env=environment, capture_output=True, text=True, check=True)
    assert (told.stdout.count("<heap ") == 2) is shared


def test_free_memory_between_pieces_in_use_goes_back() -> None:
    process = psutil.Process()
    pieces = [b"x" * PIECE for _ in range(1000)]
    kept = pieces[::10]
    pieces.clear()
    before = process.memory_info().rss
    give_back_memory()
    assert process.memory_info().rss < before - 700 * PIECE
    assert all(piece == b"x" * PIECE for piece in kept)
