"""Ids of tool calls: unique in the conversation, and yet the provider's own."""

from services.llm.backends.api.tool_ids import ToolIds, as_given
from services.llm.domain import Message, Role, TextPart, ToolCall


def called(*idents: str) -> Message:
    return Message(Role.ASSISTANT, tool_calls=tuple(ToolCall(ident, "f", "{}") for ident in idents))


def answered(ident: str) -> Message:
    return Message(Role.TOOL, (TextPart("x"),), tool_call_id=ident)


def test_edge_10_new_ids_stay_and_taken_ones_are_marked() -> None:
    ids = ToolIds((called("a", "a~2"),))
    assert [ids.unique("b"), ids.unique("a"), ids.unique("a"), ids.unique("b")] == ["b", "a~3", "a~4", "b~2"]


def test_edge_10_missing_ids_are_made() -> None:
    ids = ToolIds(())
    made = {ids.unique("") for _ in range(100)}
    assert len(made) == 100
    assert all(len(ident) == 9 and ident.isalnum() for ident in made)


def test_the_provider_sees_its_own_ids() -> None:
    seen = list(as_given((called("a"), answered("a"), called("a~2", "b"), answered("b"), answered("a~2"))))
    assert [call.id for message in seen for call in message.tool_calls] == ["a", "a", "b"]
    assert [message.tool_call_id for message in seen if message.role is Role.TOOL] == ["a", "b", "a"]


def test_calls_of_one_answer_that_had_the_same_id_stay_apart() -> None:
    seen = list(as_given((called("a", "a~2"), answered("a~2"), answered("a"))))
    assert [call.id for message in seen for call in message.tool_calls] == ["a", "a~2"]
    assert [message.tool_call_id for message in seen if message.role is Role.TOOL] == ["a~2", "a"]
