"""A history's tokens are those that were read and generated, not those that its text would be cut into."""

import re

from services.llm.backends.batching.prompt_tokens import PromptTokens

WORDS = {
    "<end>": 1,
    "any": 2,
    "thing": 3,
    "anything": 4,
    " ": 5,
    "user\n": 6,
    "and": 7,
    "another": 8,
    "A": 9,
    "word": 10,
}


def cut(text: str) -> list[int]:
    """The longest word each time; what is none of them is a token by its first letter."""
    pieces = re.findall("|".join(sorted(map(re.escape, WORDS), key=len, reverse=True)) + "|.", text, re.DOTALL)
    return [WORDS.get(piece, 100 + ord(piece[0])) for piece in pieces]


def test_what_was_generated_keeps_its_tokens() -> None:
    prompts = PromptTokens(cut, ["<end>"])
    assert cut("anything") == [4]
    prompts.remember("anything", [2, 3])
    assert prompts.tokens("anything<end> and") == [2, 3, 1, 5, 7]


def test_the_longest_text_that_is_known_counts() -> None:
    prompts = PromptTokens(cut, ["<end>"])
    prompts.remember("any", [2])
    prompts.remember("any<end>anything", [2, 1, 2, 3])
    assert prompts.tokens("any<end>anything<end>") == [2, 1, 2, 3, 1]


def test_what_was_said_longest_ago_is_forgotten_where_tokens_are_many() -> None:
    prompts = PromptTokens(cut, ["<end>"], most=5)
    for answer in ("anything", "another"):
        prompts.remember(answer, [1, 2])
    prompts.remember("another", [7, 8, 9])
    assert (prompts.tokens("anything"), prompts.tokens("another")) == ([1, 2], [7, 8, 9])
    prompts.remember("word", [4])
    assert (prompts.tokens("anything"), prompts.tokens("another")) == (cut("anything"), [7, 8, 9])


def test_text_is_not_taken_apart_within_a_word() -> None:
    prompts = PromptTokens(cut, ["<end>"])
    prompts.remember("any", [2])
    assert prompts.tokens("anything") == [4]


def test_another_answer_than_what_was_generated_is_cut_anew() -> None:
    prompts = PromptTokens(cut, ["<end>"])
    prompts.remember("anything", [2, 3])
    assert prompts.tokens("any<end>") == [2, 1]


def test_a_tokenizer_that_looks_across_its_control_tokens_is_left_alone() -> None:
    def looks_back(text: str) -> list[int]:
        return [*cut(text), len(text)]

    prompts = PromptTokens(looks_back, ["<end>"])
    prompts.remember("anything", [2, 3])
    assert prompts.tokens("anything<end>") == looks_back("anything<end>")
