"""What the model gets to see."""

import pytest

from services.llm.context import compose, with_request
from services.llm.domain import ImagePart, Message, Role, TextPart
from services.llm.languages import is_language_tag, language_name, reply_request
from services.stt.languages import tag_of

USER = Message(Role.USER, (TextPart("Hello"),))
SYSTEM = Message(Role.SYSTEM, (TextPart("Be brief"),))


def test_instructions_come_first() -> None:
    assert compose((USER,), "Be kind", "default") == (Message(Role.SYSTEM, (TextPart("Be kind"),)), USER)


def test_absent_instructions_are_the_default_ones_and_empty_ones_are_none() -> None:
    assert compose((USER,), None, "default")[0].text == "default"
    assert compose((USER,), "", "default") == (USER,)
    assert compose((USER,), None, "") == (USER,)


def test_default_instructions_step_back_for_a_system_message() -> None:
    assert compose((SYSTEM, USER), None, "default") == (SYSTEM, USER)
    assert [message.text for message in compose((SYSTEM, USER), "Mine", "default")] == ["Mine", "Be brief", "Hello"]


def test_a_summary_ends_the_system_message_at_the_head_or_becomes_it() -> None:
    told = compose((USER,), "Be kind", "default", "They met.")
    assert [message.role for message in told] == [Role.SYSTEM, Role.USER]
    assert told[0].text.startswith("Be kind\n\nWhat was said earlier")
    assert told[0].text.endswith("\nThey met.")
    assert compose((SYSTEM, USER), None, "default", "They met.")[0].text.startswith("Be brief\n\nWhat")
    bare = compose((USER,), "", "default", "They met.")
    assert bare[0].text.startswith("What was said")
    assert bare[1:] == (USER,)


def test_the_language_request_follows_the_last_user_message_and_changes_no_other() -> None:
    assistant = Message(Role.ASSISTANT, (TextPart("Hi"),))
    extended = with_request((USER, assistant, USER), "In French.")
    assert extended[:2] == (USER, assistant)
    assert extended[2].text == "Hello In French."
    assert USER.text == "Hello"


def test_the_language_request_of_a_picture_is_a_text_beside_it() -> None:
    picture = Message(Role.USER, (ImagePart(url="https://a/b.png"),))
    assert with_request((picture,), "In French.")[0].content == (*picture.content, TextPart("In French."))
    assert with_request((SYSTEM,), "In French.") == (SYSTEM,)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("fr", "French"),
        ("pt-BR", "Portuguese"),
        ("zh-Hant-TW", "Chinese"),
        ("zh-yue-HK", "Cantonese"),
        ("yue", "Cantonese"),
        ("es-419", "Spanish"),
        ("ga-IE", "Irish"),
        ("nb", "Norwegian"),
        ("jw", "Javanese"),
    ],
)
def test_languages_are_known_by_their_tags(tag: str, name: str) -> None:
    assert is_language_tag(tag)
    assert language_name(tag) == name
    assert reply_request(tag) == f"Please reply to my message in {name}."


def test_every_language_that_whisper_reports_is_known_and_has_a_name_of_its_own() -> None:
    codes = pytest.importorskip("faster_whisper.tokenizer")._LANGUAGE_CODES
    assert len(codes) >= 100
    tags = [tag_of(code) for code in codes]  # what the STT service reports for them
    assert all(is_language_tag(tag) for tag in tags)
    assert len({language_name(tag) for tag in tags} - {None}) == len(codes)


def test_an_unknown_language_asks_for_nothing() -> None:
    assert reply_request("auto") is None
    assert reply_request("tlh") is None
    assert not is_language_tag("french please")
