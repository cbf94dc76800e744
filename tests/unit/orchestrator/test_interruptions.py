"""Which words take the turn from the agent."""

import pytest

from orchestrator.interruptions import Echo, interrupts, normalized

BACKCHANNELS = [
    ("Mm-hm.", "en"),
    ("Mhm", "de"),
    ("Yeah, okay.", "en-US"),
    ("Uh-huh, I see.", "en"),
    ("Hm.", "xx"),
    ("Ja, genau.", "de"),
    ("Ah, d'accord.", "fr"),
    ("Sí, claro.", "es"),
    ("はい、そうですね。", "ja"),
    ("嗯，好的。", "zh"),
    ("जी हाँ", "hi"),
    ("okay", ""),
    ("", "en"),
    (" … ", "en"),
]
INTERRUPTIONS = [
    ("Stop.", "en"),
    ("No.", "en"),
    ("no", ""),
    ("Wait", "en"),
    ("Yeah, but what about Rome?", "en"),
    ("okay stop", "en"),
    ("Nein.", "de"),
    ("Ja, aber", "de"),
    ("I see a dog", "en"),
    ("待って", "ja"),
    ("はい、でも", "ja"),
]


@pytest.mark.parametrize(("text", "language"), BACKCHANNELS)
def test_who_only_says_that_they_listen_does_not_interrupt(text: str, language: str) -> None:
    assert not interrupts(text, language)


@pytest.mark.parametrize(("text", "language"), INTERRUPTIONS)
def test_who_says_something_interrupts(text: str, language: str) -> None:
    assert interrupts(text, language)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What time is it", "What time is it?"),
        ("well-known  fact", "Well known fact."),
        ("I don't know", "I don’t know!"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_transcripts_of_the_same_words_are_the_same(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)


def test_other_words_are_not_the_same() -> None:
    assert normalized("What time is it") != normalized("What time is it in Rome")


def test_edge_32_the_agents_own_words_are_known_again_for_a_while() -> None:
    echo = Echo()
    assert not echo.is_of("The museum opens at nine", 0.0)
    echo.spoken("The museum opens at nine, and closes at five.", 10.0)
    assert echo.is_of("museum opens at nine and closes", 10.5)
    assert echo.is_of("the museum opens at nine in closes", 12.0)  # one word heard wrong
    assert not echo.is_of("when does it close", 10.5)
    assert not echo.is_of("The museum opens at nine", 20.0)
