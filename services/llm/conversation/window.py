"""The rolling window: which turns of a history are kept. Pure."""

from collections.abc import Sequence

from services.llm.domain import Message, Role


def pending_tool_calls(messages: Sequence[Message]) -> tuple[str, ...]:
    """Ids of the tool calls whose output is not there yet."""
    answered = {message.tool_call_id for message in messages if message.role is Role.TOOL}
    return tuple(call.id for message in messages for call in message.tool_calls if call.id not in answered)


def trim(messages: tuple[Message, ...], size: int) -> tuple[Message, ...]:
    """The history with at most `size` user turns: the oldest ones go whole, a tool call always with its output.

    A turn begins at a user message and lasts until the next one. Kept beyond `size` are system messages at the head,
    turns whose tool calls wait for an output, and a last turn that has no answer yet.
    """
    head, turns = split(messages)
    excess = sum(_is_user_turn(turn) for turn in turns) - size
    if excess <= 0:
        return messages
    pending = set(pending_tool_calls(messages))
    kept: list[tuple[Message, ...]] = []
    for index, turn in enumerate(turns):
        waits = any(call.id in pending for message in turn for call in message.tool_calls)
        unanswered = index == len(turns) - 1 and (turn[-1].role is not Role.ASSISTANT or bool(turn[-1].tool_calls))
        if excess > 0 and not waits and not unanswered:
            excess -= _is_user_turn(turn)
        else:
            kept.append(turn)
    remaining = [message for turn in kept for message in turn]
    calls = {call.id for message in remaining for call in message.tool_calls}
    return head + tuple(m for m in remaining if m.role is not Role.TOOL or m.tool_call_id in calls)


def split(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], list[tuple[Message, ...]]]:
    """The system messages at the head, and the turns after them; the first may begin without a user message."""
    start = next((i for i, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))
    turns: list[list[Message]] = []
    for message in messages[start:]:
        if message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return messages[:start], [tuple(turn) for turn in turns]


def _is_user_turn(turn: tuple[Message, ...]) -> bool:
    return turn[0].role is Role.USER
