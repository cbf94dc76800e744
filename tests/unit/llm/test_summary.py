"""The request for a summary, and how its answer is read."""

import pytest

from services.common.errors import UpstreamError
from services.llm.conversation.compaction import Plan
from services.llm.conversation.summary import MAX_TRANSCRIPT_CHARS, check_beginning, parse, request, transcript
from services.llm.domain import Message, Role, TextPart, ToolCall

SUMMARY = "Ada wants to fly to Oslo on May 3. She prefers mornings."


@pytest.mark.parametrize(
    "answer",
    [
        f"<summary>{SUMMARY}</summary>",
        f"\n<summary>\n{SUMMARY}\n</summary>\n",
        f"Sure, here it is:\n<summary>{SUMMARY}</summary>\nAnything else?",
        f"<Summary lang='en'>{SUMMARY}</ SUMMARY >",
        f"<summary>{SUMMARY}",
        f"{SUMMARY}</summary>",
        f"```xml\n<summary>{SUMMARY}</summary>\n```",
        f'{{"summary": "{SUMMARY}"}}',
        f'```json\n{{"summary": "{SUMMARY}"}}\n```',
        f"**Summary:** {SUMMARY}",
        f"## Summary: \n{SUMMARY}",
        f"New memory: {SUMMARY}",
    ],
)
def test_a_summary_is_found_in_what_models_make_of_the_format(answer: str) -> None:
    assert parse(answer) == SUMMARY


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "   \n",
        "<summary></summary>",
        "<summary> … </summary>",
        "I cannot do that.",
        SUMMARY,
        '{"summary": 3}',
        '{"summary": ',
        request(Plan("", (Message(Role.USER, (TextPart("hi"),)),), frozenset())).messages[0].text + " It repeats it.",
        "<summary>" + "and so on " * 60 + "</summary>",
        "<summary>" + "x" * 7000 + "</summary>",
    ],
)
def test_edge_27_nonsense_is_no_summary(answer: str) -> None:
    with pytest.raises(UpstreamError):
        parse(answer)


def test_an_answer_that_does_not_come_to_the_point_is_given_up() -> None:
    for beginning in ("User: hello. " * 30, "It is only much later that it says </summary>, " * 10):
        with pytest.raises(UpstreamError):
            check_beginning(beginning)
    for lead_in in ("Let me see. " * 10 + "<summary>", "**Summary:** ", '```json\n{"summary": "'):
        check_beginning(lead_in + "word " * 100)


def test_a_summary_cut_at_the_limit_of_tokens_ends_with_its_last_whole_sentence() -> None:
    assert parse(f"<summary>{SUMMARY} Her budget is 3", cut_short=True) == SUMMARY
    assert parse("<summary>エイダは飛行機に乗りたい。予算は三", cut_short=True) == "エイダは飛行機に乗りたい。"
    with pytest.raises(UpstreamError):
        parse("<summary>Ada wants to", cut_short=True)


def test_other_tags_in_a_summary_stay() -> None:
    assert parse("<summary>if a <b> c then</summary>") == "if a <b> c then"


def messages(count: int, length: int = 10) -> tuple[Message, ...]:
    return tuple(Message(Role.USER, (TextPart(f"{number} " + "x" * length),)) for number in range(count))


def test_the_transcript_tells_who_said_what_and_what_tools_did() -> None:
    call = Message(Role.ASSISTANT, (TextPart("Let me\nlook."),), (ToolCall("c", "weather", '{"city":"Oslo"}'),))
    output = Message(Role.TOOL, (TextPart("sunny"),), tool_call_id="c")
    told = transcript((*messages(1, 1), call, output))
    assert told.splitlines() == [
        "User: 0 x",
        "Assistant: Let me look.",
        'Assistant calls weather({"city":"Oslo"})',
        "Tool output: sunny",
    ]


def test_a_long_transcript_is_cut_message_by_message_and_of_too_many_the_newest_are_told() -> None:
    told = transcript((*messages(3), *messages(1, 100_000)))
    assert len(told) < MAX_TRANSCRIPT_CHARS * 1.1
    assert told.startswith("User: 0 xxxxxxxxxx\nUser: 1")
    many = transcript(messages(5000))
    assert many.splitlines()[-1].startswith("User: 4999")
    assert len(many) < MAX_TRANSCRIPT_CHARS * 1.1


def test_the_request_holds_the_summary_so_far_and_fits_a_small_model() -> None:
    asked = request(Plan("She is Ada.", messages(40, 500), frozenset()), context_tokens=2048)
    text = asked.messages[-1].text
    assert "Memory so far:\nShe is Ada.\n" in text
    tokens = asked.sampling.max_output_tokens
    assert tokens == 2048 // 3
    assert len(text) + len(asked.messages[0].text) < 2 * (2048 - tokens)
    assert "(empty)" in request(Plan("", messages(1), frozenset())).messages[-1].text
