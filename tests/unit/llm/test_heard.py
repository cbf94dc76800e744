"""Where in the generated text the user stopped hearing it."""

import pytest

from services.llm.conversation.heard import cut_to_heard, is_whole


@pytest.mark.parametrize(
    ("generated", "heard", "kept"),
    [
        ("**Hello** there. How are you?", "Hello there.", "**Hello** there."),
        ("First line.\n\n- one\n- two", "First line. one", "First line.\n\n- one"),
        ("Hi 👋 you. And more", "Hi you.", "Hi 👋 you."),
        ("Hello there", "", ""),
        ("Hello there", "Something else", "Something else"),
    ],
)
def test_the_history_keeps_the_generated_bytes_up_to_what_was_heard(generated: str, heard: str, kept: str) -> None:
    assert cut_to_heard(generated, heard) == kept


def test_all_is_heard_where_nothing_but_markup_follows() -> None:
    assert is_whole("So **it is.** 👋\n", "So it is.")
    assert not is_whole("So it is. Yes.", "So it is.")
    assert is_whole("", "")
    assert not is_whole("Hello", "")
