"""Free memory goes back to the system."""

import platform

import psutil
import pytest

from services.llm.backends.batching.memory import give_back_memory

PIECE = 100_000


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps free memory")
def test_free_memory_between_pieces_in_use_goes_back() -> None:
    process = psutil.Process()
    pieces = [b"x" * PIECE for _ in range(1000)]
    kept = pieces[::10]
    pieces.clear()
    before = process.memory_info().rss
    give_back_memory()
    assert process.memory_info().rss < before - 700 * PIECE
    assert all(piece == b"x" * PIECE for piece in kept)
