"""Answer and thought are told apart, in any chunking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.speech.thinking import CLOSINGS, OPENINGS, Kind, ThinkingFilter


def sort(*chunks: str) -> list[tuple[Kind, str]]:
    """The parts, neighbours of one kind joined."""
    thinking = ThinkingFilter()
    joined: list[tuple[Kind, str]] = []
    for part in [part for chunk in chunks for part in thinking.feed(chunk)] + thinking.finish():
        if joined and joined[-1][0] is part.kind:
            joined[-1] = (part.kind, joined[-1][1] + part.text)
        else:
            joined.append((part.kind, part.text))
    return joined


def test_edge_16_tags_split_over_tokens_are_found() -> None:
    parts = sort("<th", "ink>Let ", "me see.</", "thi", "nk>", "Four.")
    assert parts == [(Kind.THOUGHT, "Let me see."), (Kind.ANSWER, "Four.")]


def test_edge_16_what_is_never_closed_is_thought_to_its_end() -> None:
    assert sort("<think>Let me", " see. It is") == [(Kind.THOUGHT, "Let me see. It is")]


def test_edge_16_closed_but_never_opened_says_that_all_before_was_thought() -> None:
    parts = sort("Let me see.</think>Four.")
    assert parts == [(Kind.ANSWER, "Let me see."), (Kind.ALL_WAS_THOUGHT, ""), (Kind.ANSWER, "Four.")]


def test_edge_16_an_empty_thought_is_none() -> None:
    assert sort("<think>", "</think>", "Four.") == [(Kind.ANSWER, "Four.")]


def test_a_second_thought_and_a_second_closing_tag() -> None:
    parts = sort("<think>a</think>b<thinking>c</thinking>d</think>e")
    assert parts == [(Kind.THOUGHT, "a"), (Kind.ANSWER, "b"), (Kind.THOUGHT, "c"), (Kind.ANSWER, "de")]


@pytest.mark.parametrize(("opening", "closing"), list(zip(OPENINGS, CLOSINGS, strict=True)))
def test_every_family_has_its_tags(opening: str, closing: str) -> None:
    text = f"{opening}Hm.{closing}Four."
    assert sort(text) == sort(*text) == [(Kind.THOUGHT, "Hm."), (Kind.ANSWER, "Four.")]


@pytest.mark.parametrize("text", ["a < b", "a <", "<thin", "x<thinker>y", "</thinks>", "1 <think 2"])
def test_what_only_looks_like_a_tag_is_text(text: str) -> None:
    assert sort(*text) == [(Kind.ANSWER, text)]


def test_text_that_is_no_tag_is_not_held_back() -> None:
    thinking = ThinkingFilter()
    assert [part.text for part in thinking.feed("5 < 6")] == ["5 < 6"]
    assert [part.text for part in thinking.feed(" <t")] == [" "]
    assert [part.text for part in thinking.feed("able>")] == ["<table>"]


@given(
    st.lists(
        st.sampled_from(
            ["<think>", "</think>", "<", "think", ">", "a", " b", "</", "<thinking>", "[THINK]", "[/THINK]", "["]
        ),
        max_size=12,
    )
)
def test_the_chunking_does_not_matter(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert sort(text) == sort(*text) == sort(*pieces)
