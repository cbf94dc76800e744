"""What of a conversation is to be summarized, and what becomes of the rest."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.llm.conversation.compaction import Plan, plan
from services.llm.conversation.conversation import MAX_UNSUMMARIZED, Conversation, ConversationConfig
from services.llm.conversation.window import pending_tool_calls
from services.llm.domain import ImagePart, Message, Role, TextPart, ToolCall


def user(text: str) -> Message:
    return Message(Role.USER, (TextPart(text),), id=f"u_{text}")


def assistant(text: str = "", *calls: str) -> Message:
    content = (TextPart(text),) if text else ()
    tool_calls = tuple(ToolCall(call, "tool", "{}") for call in calls)
    return Message(Role.ASSISTANT, content, tool_calls, id=f"a_{text}{''.join(calls)}")


def tool(call: str) -> Message:
    return Message(Role.TOOL, (TextPart("42"),), tool_call_id=call, id=f"t_{call}")


def turns(*texts: str) -> tuple[Message, ...]:
    return tuple(message for text in texts for message in (user(text), assistant(f"re {text}")))


def conversation(*messages: Message, chat_size: int = 4, compact: bool = True) -> Conversation:
    return Conversation("c", ConversationConfig(), chat_size, compact=compact).append(messages)


def texts(messages: tuple[Message, ...]) -> list[str]:
    return [message.text for message in messages if message.role is Role.USER]


def planned(known: Conversation) -> Plan:
    found = plan(known)
    assert found is not None
    return found


def summarized(known: Conversation, summary: str) -> Conversation:
    found = planned(known)
    return known.summarize(found.known_summary, found.covered, summary)


def test_nothing_is_summarized_while_the_window_has_room() -> None:
    assert plan(conversation(*turns("a", "b", "c"))) is None


def test_a_full_window_gives_its_older_half_and_keeps_the_newer_one_verbatim() -> None:
    known = conversation(*turns("a", "b", "c", "d"))
    assert planned(known).messages == turns("a", "b")
    after = summarized(known, "a and b")
    assert (after.messages, after.summary) == (turns("c", "d"), "a and b")
    assert plan(after) is None


def test_without_compaction_and_in_a_window_of_none_nothing_is_summarized() -> None:
    assert plan(conversation(*turns("a", "b", "c", "d"), compact=False)) is None
    assert plan(conversation(*turns("a", "b", "c", "d"), chat_size=0)) is None
    assert conversation(*turns("a", "b"), chat_size=1, compact=False).unsummarized == ()


@pytest.mark.parametrize(("size", "kept"), [(1, 1), (2, 2), (3, 2), (4, 2), (30, 15)])
def test_edge_24_small_windows_keep_what_they_can(size: int, kept: int) -> None:
    known = conversation(*turns(*map(str, range(size + 1))), chat_size=size)
    assert len(texts(known.messages)) == size
    after = summarized(known, "s")
    assert texts(after.messages) == [str(number) for number in range(size + 1 - kept, size + 1)]
    assert after.unsummarized == ()


def test_a_later_summary_continues_the_earlier_one() -> None:
    known = summarized(conversation(*turns("a", "b", "c", "d")), "first").append(turns("e", "f"))
    assert planned(known).known_summary == "first"
    assert planned(known).messages == turns("c", "d")


def test_what_was_pushed_out_meanwhile_is_covered_by_the_next_attempt() -> None:
    known = conversation(*turns("a", "b", "c", "d")).append(turns("e"))
    assert texts(known.messages) == ["b", "c", "d", "e"]
    assert texts(known.unsummarized) == ["a"]
    assert texts(planned(known).messages) == ["a", "b", "c"]
    assert texts(summarized(known, "s").messages) == ["d", "e"]


def test_edge_27_messages_that_arrive_meanwhile_stay() -> None:
    known = conversation(*turns("a", "b", "c", "d"))
    found = planned(known)
    after = known.append(turns("e", "f", "g")).summarize(found.known_summary, found.covered, "s")
    assert texts(after.unsummarized + after.messages) == ["c", "d", "e", "f", "g"]
    assert after.summary == "s"


def test_edge_27_of_two_summaries_at_once_the_later_one_is_dropped() -> None:
    known = conversation(*turns("a", "b", "c", "d"))
    found = planned(known)
    first = known.summarize(found.known_summary, found.covered, "first")
    assert first.summarize(found.known_summary, found.covered, "second") is first


def test_a_tool_call_that_waits_for_its_output_is_not_summarized() -> None:
    waiting = (user("weather"), assistant("", "c1"))
    known = conversation(*waiting, *turns("a", "b", "c"))
    assert planned(known).messages == turns("a", "b")
    after = summarized(known, "s")
    assert after.pending_tool_call_ids == ("c1",)
    assert after.append((tool("c1"),)).pending_tool_call_ids == ()


def test_edge_13_a_late_output_leaves_with_its_call() -> None:
    known = conversation(user("a"), assistant("", "c1"), user("b"), tool("c1"), assistant("x"), *turns("c", "d", "e"))
    after = summarized(known, "s")
    assert texts(after.messages) == ["d", "e"]
    assert all(message.role is not Role.TOOL for message in after.messages)


def test_what_waits_for_a_summary_is_bounded_and_has_no_pictures() -> None:
    picture = Message(Role.USER, (ImagePart(b"\x89PNG"), TextPart("look")), id="p")
    known = conversation(picture, assistant("nice"), *turns("a"), chat_size=1)
    assert known.unsummarized[0].text == "[picture]\nlook"
    known = known.append(turns(*map(str, range(MAX_UNSUMMARIZED))))
    assert len(known.unsummarized) == MAX_UNSUMMARIZED


def test_system_messages_at_the_head_stay() -> None:
    rules = Message(Role.SYSTEM, (TextPart("rules"),), id="s")
    assert summarized(conversation(rules, *turns("a", "b", "c", "d")), "s").messages == (rules, *turns("c", "d"))


_KINDS = st.lists(st.sampled_from(["plain", "tool", "late", "pending"]), min_size=1, max_size=14)


@given(_KINDS, st.integers(1, 8), st.data())
def test_no_turn_is_lost_doubled_or_torn_from_its_tool_outputs(
    kinds: list[str], size: int, data: st.DataObject
) -> None:
    """Every turn is in the window, waits for a summary, or was covered by one; its messages are together."""
    known = Conversation("c", ConversationConfig(), size, compact=True)
    covered: list[str] = []
    late: list[Message] = []
    for number, kind in enumerate(kinds):
        call, text = f"c{number}", str(number)
        arriving = [user(text), *late]
        late = [tool(call)] if kind == "late" else []
        if kind == "plain":
            arriving.append(assistant(f"re {text}"))
        elif kind == "tool":
            arriving += [assistant("", call), tool(call), assistant(f"re {text}")]
        else:
            arriving.append(assistant("", call))
        known = known.append(tuple(arriving))
        found = plan(known)
        if found is not None and data.draw(st.booleans()):
            covered += texts(found.messages)
            known = known.summarize(found.known_summary, found.covered, f"{found.known_summary}+")
        calls = {c.id for message in known.messages for c in message.tool_calls}
        outputs = {message.tool_call_id for message in known.messages if message.role is Role.TOOL}
        assert outputs <= calls
        protected = len(pending_tool_calls(known.messages))
        assert len(texts(known.messages)) <= max(size, 1) + protected
        everywhere = covered + texts(known.unsummarized) + texts(known.messages)
        assert sorted(everywhere, key=int) == [str(n) for n in range(number + 1)]


def test_a_large_conversation_lets_its_oldest_turns_go() -> None:
    known = replace(conversation(chat_size=10), max_bytes=20)
    known = known.append(turns("aaaa", "bbbb"))
    assert texts(known.messages) == ["bbbb"]
    assert texts(known.unsummarized) == ["aaaa"]
