"""Markdown goes, its text stays."""

import pytest

from services.llm.speech.speakable import Kind, Speakable


def speak(*chunks: str) -> str:
    """The speakable text, a paragraph a line; what must not be cut stands in ⟦⟧."""
    speakable = Speakable()
    pieces = [piece for chunk in chunks for piece in speakable.feed(chunk)] + speakable.finish()
    text = ""
    for piece in pieces:
        if piece.kind is Kind.BREAK:
            text = text.rstrip(" ⏎") + "⏎" if text.strip("⏎") else ""
        else:
            text += f"⟦{piece.text}⟧" if piece.kind is Kind.JOINED else piece.text
    return text.replace("⟧⟦", "").rstrip(" ⏎")


@pytest.mark.parametrize(
    ("markdown", "spoken"),
    [
        ("**Let me check.** Yes", "⟦Let me check.⟧ Yes"),
        ("*ita* lic", "⟦ita⟧ lic"),
        ("a _b_ c", "a ⟦b⟧ c"),
        ("***both*** and **one *two* one**", "⟦both⟧ and ⟦one two one⟧"),
        ("**a *b***", "⟦a b⟧"),
        ("~~gone~~ 3~4", "⟦gone⟧ 3~4"),
        ("这是**重点**内容", "这是⟦重点⟧内容"),
        ("**중요**합니다", "⟦중요⟧합니다"),
        (r"\*no\* C:\x", r"*no* C:\x"),
        ("use `a.b(c)` now", "use ⟦a.b(c)⟧ now"),
        ("``a`b`` c", "⟦a`b⟧ c"),
        ("[text. Here](http://x.y/a_(b)?c=1 'title') z", "⟦text. Here⟧ z"),
        ("![a cat](http://x/y.png) z", "⟦a cat⟧ z"),
        ("[1] and f[0](x y)", "[1] and f[0](x y)"),
        ("<https://a.b/c> z", "⟦https://a.b/c⟧ z"),
        ("a < b > c <", "a < b > c <"),
        ("one<br>two", "one two"),
        ("# Title #1\ntext", "Title #1⏎text"),
        ("> said\n> more\n\nend", "said more⏎end"),
        ("a\n---\nb", "a⏎b"),
        ("- one\n* two\n+ three", "one⏎two⏎three"),
        ("1. one\n2) two", "1. one⏎2) two"),
        ("| A | B |\n|---|:-:|\n| 1 | 2 |", "A B⏎1 2"),
        ("line\nnext", "line next"),
        ("para\r\n\r\nnext", "para⏎next"),
    ],
)
def test_markdown_goes_and_its_text_stays(markdown: str, spoken: str) -> None:
    assert speak(markdown) == speak(*markdown) == spoken


def test_edge_01_delimiters_split_across_deltas_are_one() -> None:
    assert speak("*ita", "lic*", " and *", "*bold*", "*.") == "⟦italic⟧ and ⟦bold⟧."


@pytest.mark.parametrize(
    "text",
    ["2*3 + 4*5", "5**2", "α*β*γ", "*args", "f(*args, **kwargs)", "snake_case", "#include", "file*.txt", "2 * 3"],
)
def test_edge_02_operators_and_names_stay(text: str) -> None:
    assert speak(text) == speak(*text) == text


def test_edge_02_operators_and_names_stay_in_one_sentence() -> None:
    text = "Use 2*3 + 4*5, 5**2, α*β*γ, *args, snake_case, #include and file*.txt here."
    assert speak(text) == speak(*text) == text


def test_edge_03_a_fence_and_its_language_go_and_the_code_stays_whole() -> None:
    text = "See:\n```python\nx = 1. y\n    *z*\n\n# no heading\n```\nDone."
    assert speak(text) == speak(*text) == "See:⏎⟦x = 1. y\n    *z*\n\n# no heading\n⟧⏎Done."


def test_edge_03_inline_code_of_three_ticks_is_no_fence() -> None:
    assert speak("An inline ```code``` here") == "An inline ⟦code⟧ here"
    assert speak("```code``` first") == "⟦code⟧ first"


def test_edge_03_an_unclosed_fence_lets_its_code_through_line_by_line() -> None:
    speakable = Speakable()
    assert not speakable.feed("```python\n")[1:]
    assert [piece.text for piece in speakable.feed("a = 1\nb")] == ["a = 1\n", "b"]


def test_an_unanswered_delimiter_holds_text_back_for_a_while_only() -> None:
    speakable = Speakable()
    text = "An *unanswered " + "word " * 100
    pieces = [piece for character in text for piece in speakable.feed(character)]
    assert len("".join(piece.text for piece in pieces)) > 250
    assert "*unanswered" in "".join(piece.text for piece in pieces)


def test_an_unanswered_delimiter_ends_with_its_paragraph() -> None:
    assert speak("a *b\n\nc* d") == "a *b⏎c* d"
