"""How a conversation changes, and what is refused."""

from dataclasses import replace

import pytest

from services.common.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from services.llm.conversation.conversation import MAX_HELD, MAX_MESSAGES, Conversation, ConversationConfig, HeldTurn
from services.llm.domain import Message, Role, TextPart, ToolCall


def user(text: str, ident: str = "") -> Message:
    return Message(Role.USER, (TextPart(text),), id=ident or f"m_{text}")


def assistant(text: str = "", *calls: str) -> Message:
    content = (TextPart(text),) if text else ()
    return Message(Role.ASSISTANT, content, tuple(ToolCall(call, "tool", "{}") for call in calls), id=f"m_{text}")


def tool(call: str, text: str = "42") -> Message:
    return Message(Role.TOOL, (TextPart(text),), tool_call_id=call, id=f"m_{call}")


def conversation(*messages: Message, chat_size: int = 30) -> Conversation:
    return Conversation("c", ConversationConfig(), chat_size, messages)


def held(
    response_id: str, asked: str = "q", answer: str = "**One.** Two.", after: str = "", until: float = 10.0
) -> HeldTurn:
    return HeldTurn(response_id, after, (user(asked),), (assistant(answer),) if answer else (), until)


def texts(known: Conversation) -> list[str]:
    return [message.text for message in known.messages]


def test_a_completed_turn_enters_the_history_and_the_window_moves() -> None:
    known = conversation(user("a"), assistant("x"), chat_size=1).complete("r", (user("b"),), (assistant("y"),))
    assert texts(known) == ["b", "y"]


def test_a_held_turn_is_not_in_the_history_until_it_is_committed() -> None:
    known = conversation().hold(held("r"))
    assert known.messages == ()
    assert texts(known.commit("r", None)) == ["q", "**One.** Two."]
    assert known.commit("r", None).held == ()


def test_edge_28_a_held_turn_enters_with_what_was_heard() -> None:
    known = conversation().hold(held("r"))
    assert texts(known.commit("r", "One.")) == ["q", "**One.**"]
    assert texts(known.commit("r", "One. Two.")) == ["q", "**One.** Two."]


def test_edge_28_an_answer_that_nobody_heard_is_not_kept_but_the_question_is() -> None:
    known = conversation().hold(held("r"))
    assert texts(known.commit("r", "")) == ["q"]
    assert texts(known.commit("r", "  ")) == ["q"]


def test_committing_twice_is_as_once() -> None:
    once = conversation().hold(held("r")).commit("r", "One.")
    assert once.commit("r", None) is once


def test_discarding_leaves_no_trace_and_twice_is_as_once() -> None:
    once = conversation(user("a")).hold(held("r")).discard("r")
    assert (texts(once), once.held) == (["a"], ())
    assert once.discard("r") is once


def test_what_is_settled_one_way_cannot_be_settled_the_other() -> None:
    known = conversation().hold(held("r")).hold(held("s"))
    with pytest.raises(FailedPreconditionError, match="discarded already"):
        known.discard("r").commit("r", None)
    with pytest.raises(FailedPreconditionError, match="committed already"):
        known.commit("s", None).discard("s")


def test_an_unknown_response_is_not_found() -> None:
    for settle in (lambda: conversation().commit("r", None), lambda: conversation().discard("r")):
        with pytest.raises(NotFoundError) as caught:
            settle()
        assert caught.value.field == "response_id"


def test_committing_a_turn_that_was_not_held_changes_nothing() -> None:
    known = conversation().complete("r", (user("q"),), (assistant("x"),))
    assert known.commit("r", "x") is known


def test_edge_28_a_held_turn_that_is_never_settled_expires() -> None:
    known = conversation().hold(held("r", until=10.0)).hold(held("s", until=20.0))
    assert [turn.response_id for turn in known.expire(10.0).held] == ["s"]
    assert known.expire(9.0) is known


def test_held_turns_are_bounded() -> None:
    known = conversation()
    for number in range(MAX_HELD + 1):
        known = known.hold(held(str(number)))
    assert [turn.response_id for turn in known.held] == [str(number) for number in range(1, MAX_HELD + 1)]


def test_a_turn_that_is_settled_while_it_runs_stays_settled() -> None:
    known = conversation().hold(held("r")).commit("r", "One.")
    assert known.hold(held("r", answer="One. Two. Three.")) is known


def test_a_turn_that_is_committed_late_goes_where_it_was_asked() -> None:
    known = conversation(user("a"), assistant("x")).hold(held("r", "b", "y", after="m_x"))
    known = known.complete("s", (user("c"),), (assistant("z"),))
    assert texts(known.commit("r", None)) == ["a", "x", "b", "y", "c", "z"]


def test_a_turn_committed_after_what_it_followed_was_evicted_is_kept() -> None:
    known = conversation(user("a"), assistant("x"), chat_size=1).hold(held("r", "b", "y", after="m_x"))
    known = known.complete("s", (user("c"),), (assistant("z"),))
    assert texts(known.commit("r", None)) == ["b", "y"]


def test_edge_13_the_output_of_an_unknown_call_is_not_found() -> None:
    with pytest.raises(NotFoundError) as caught:
        conversation(user("a")).append((user("b"), tool("c1")))
    assert caught.value.field == "messages[1].tool_call_id"


def test_edge_13_the_output_of_an_evicted_call_is_not_found() -> None:
    known = conversation(user("a"), assistant("", "c1"), tool("c1"), assistant("x"), chat_size=1)
    known = known.complete("r", (user("b"),), (assistant("y"),))
    with pytest.raises(NotFoundError):
        known.append((tool("c1"),))


def test_edge_13_an_output_that_comes_twice_counts_once_and_a_different_one_is_refused() -> None:
    known = conversation(user("a"), assistant("", "c1")).append((tool("c1"), tool("c1")))
    assert [message.role for message in known.messages].count(Role.TOOL) == 1
    assert known.append((tool("c1"),)).messages == known.messages
    with pytest.raises(InvalidArgumentError, match="another output"):
        known.append((tool("c1", "43"),))


def test_appending_what_is_there_already_changes_nothing() -> None:
    """A store may be asked again where a reply was lost."""
    known = conversation(user("a")).append((user("b"),))
    assert known.append((user("b"),)) is known
    done = known.complete("r", (user("c"),), (assistant("x"),))
    assert done.complete("r", (user("c"),), (assistant("x"),)) is done


def test_an_answer_that_nobody_knows_any_more_is_what_was_heard_of_it() -> None:
    known = conversation().hold(held("r", answer=""))
    assert texts(known.commit("r", "One.")) == ["q", "One."]
    assert known.commit("r", "One.").messages[-1].id
    assert texts(known.commit("r", None)) == ["q"]


def test_a_conversation_holds_so_many_bytes_and_the_oldest_turns_go() -> None:
    known = replace(conversation(user("aaaa"), assistant("bbbb")), max_bytes=16)
    assert texts(known.append((user("cccc"), assistant("dddd")))) == ["aaaa", "bbbb", "cccc", "dddd"]
    assert texts(known.append((user("ccccc"), assistant("dddd")))) == ["ccccc", "dddd"]
    with pytest.raises(InvalidArgumentError, match="more than 16 bytes") as caught:
        known.append((user("é" * 9),))
    assert caught.value.field == "messages"
    long = known.complete("r", (user("c"),), (assistant("d" * 20),))
    assert texts(long) == ["c", "d" * 20], "an answer is bounded by its tokens, and never lost"


def test_edge_14_a_tool_call_without_text_is_kept() -> None:
    known = conversation(user("a")).append((assistant("", "c1"),))
    assert known.pending_tool_call_ids == ("c1",)
    assert known.append((tool("c1"),)).pending_tool_call_ids == ()


def test_messages_of_one_turn_are_bounded_too() -> None:
    known = conversation(user("a"))
    with pytest.raises(InvalidArgumentError, match="more than") as caught:
        known.append((assistant("x"),) * MAX_MESSAGES)
    assert caught.value.field == "messages"


def test_a_cut_answer_loses_its_tool_calls_and_a_whole_one_keeps_them() -> None:
    turn = HeldTurn("r", "", (user("q"),), (assistant("Let me look.", "c1"),), 10.0)
    known = conversation().hold(turn)
    assert known.commit("r", "Let me").pending_tool_call_ids == ()
    assert known.commit("r", "Let me look.").pending_tool_call_ids == ("c1",)


def test_a_deleted_call_takes_its_output_along_and_the_words_beside_it_stay() -> None:
    asked, said = replace(user("a"), item_id="i1"), replace(assistant("x", "c1", "c2"), item_id="i2")
    known = conversation(asked, said, tool("c1", "1"), replace(tool("c2", "2"), item_id="i4"))
    assert texts(known.delete(frozenset({"c1"}))) == ["a", "x", "2"]
    assert texts(known.delete(frozenset({"i4"}))) == ["a", "x", "1"], "an output takes its call along"
    wordless = known.delete(frozenset({"i2"}))
    assert texts(wordless) == ["a", "", "1", "2"], "calls are items of their own"
    assert [call.id for call in wordless.messages[1].tool_calls] == ["c1", "c2"]
    assert wordless.delete(frozenset({"i2"})) is wordless, "twice is as once"
    assert texts(known.delete(frozenset({"i1", "i2", "c1", "c2"}))) == []


def test_a_message_of_calls_alone_is_deleted_with_all_of_them() -> None:
    known = conversation(user("a"), replace(assistant("", "c1"), item_id="i"), tool("c1"))
    assert texts(known.delete(frozenset({"i"}))) == ["a"]


def test_deleting_reaches_what_waits_for_a_summary_and_no_held_turn() -> None:
    old, new = replace(user("old"), item_id="i1"), replace(user("new"), item_id="i2")
    known = replace(conversation(user("a"), new), unsummarized=(old,), summary="They met.")
    known = known.hold(held("r", after="m_new")).append((user("b"),)).delete(frozenset({"i1", "i2"}))
    assert (texts(known), known.unsummarized, known.summary) == (["a", "b"], (), "They met.")
    assert texts(known.commit("r", None)) == ["a", "q", "**One.** Two.", "b"], "the turn stays where it was asked"


def test_only_what_is_there_can_be_deleted() -> None:
    known = conversation(replace(user("a"), item_id="i"))
    known.check_items(["i"])
    with pytest.raises(NotFoundError) as refused:
        known.check_items(["i", "other"])
    assert refused.value.field == "item_ids[1]"
    assert known.delete(frozenset({"other"})) is known
