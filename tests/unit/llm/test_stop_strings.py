"""An answer ends at a stop string, wherever the chunks are cut."""

from hypothesis import given
from hypothesis import strategies as st

from services.llm.backends.stop_strings import StopStrings


def run(stops: tuple[str, ...], *chunks: str) -> tuple[str, bool]:
    strings = StopStrings(stops)
    text = "".join(strings.feed(chunk) for chunk in chunks) + strings.finish()
    return text, strings.hit


def test_the_text_ends_before_the_stop_string() -> None:
    assert run(("STOP", "\n\n"), "one ST", "OP two") == ("one ", True)
    assert run(("STOP", "\n\n"), "one\n", "\ntwo STOP") == ("one", True)


def test_what_only_begins_like_one_is_text() -> None:
    assert run(("STOP",), "one STO", "NE") == ("one STONE", False)
    assert run(("STOP",), "one STO") == ("one STO", False)


def test_text_is_not_held_back_without_need() -> None:
    strings = StopStrings(("STOP",))
    assert strings.feed("one S") == "one "
    assert strings.feed("IX") == "SIX"


@given(st.text("ab", max_size=20), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_the_chunking_does_not_matter(text: str, stops: list[str]) -> None:
    strings = tuple(stops)
    assert run(strings, text) == run(strings, *text)
    assert run(strings, text)[1] is any(stop in text for stop in stops)
    assert not any(stop in run(strings, text)[0] for stop in stops)
