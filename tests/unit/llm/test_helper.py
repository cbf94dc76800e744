"""A second thread that does a part."""

import gc
import threading

import pytest

from services.llm.backends.batching.helper import Helper


def fail_for(name: str) -> str:
    if name == "bad":
        raise ValueError("bad")
    return name.upper()


def test_each_does_a_part_at_the_same_time() -> None:
    together = threading.Barrier(2, timeout=10)

    def meet(name: str) -> tuple[str, int]:
        together.wait()
        return name, threading.get_ident()

    (mine, here), (other, there) = Helper().both(meet, "mine", "other")
    assert (mine, other) == ("mine", "other")
    assert here == threading.get_ident() != there


@pytest.mark.parametrize("parts", [("bad", "good"), ("good", "bad"), ("bad", "bad")])
def test_an_error_of_either_is_raised_and_the_next_parts_are_done(parts: tuple[str, str]) -> None:
    helper = Helper()
    with pytest.raises(ValueError, match="bad"):
        helper.both(fail_for, *parts)
    assert helper.both(fail_for, "a", "b") == ("A", "B")


def test_its_thread_ends_with_it() -> None:
    helper = Helper()
    _, thread = helper.both(lambda _: threading.current_thread(), None, None)
    del helper
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()
