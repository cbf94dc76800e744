"""The rolling window: which turns of a history are kept. Pure."""

from collections.abc import Iterable, Sequence

from services.llm.domain import ImagePart, Message, Role

Turn = tuple[Message, ...]
"""A user message and what follows it, up to the next one."""


def pending_tool_calls(messages: Sequence[Message]) -> tuple[str, ...]:
    """Ids of the tool calls whose output is not there yet."""
    answered = {message.tool_call_id for message in messages if message.role is Role.TOOL}
    return tuple(call.id for message in messages for call in message.tool_calls if call.id not in answered)


def trim(messages: tuple[Message, ...], size: int, max_bytes: int | None = None) -> tuple[Message, ...]:
    """The history with at most `size` user turns: the oldest ones go whole, a tool call always with its output.

    A turn begins at a user message and lasts until the next one. Kept beyond `size` are system messages at the head,
    turns whose tool calls wait for an output, and a last turn that has no answer yet.

    Args:
        messages: a history, oldest message first.
        size: user turns.
        max_bytes: what the messages may hold in all (see `size_bytes`); the last turn is kept even so.
    """
    excess = sum(message.role is Role.USER for message in messages) - size
    total = 0 if max_bytes is None else size_bytes(messages)
    if excess <= 0 and (max_bytes is None or total <= max_bytes):
        return messages
    head, turns = split(messages)
    leaving: set[int] = set()
    for index, turn in enumerate(turns):
        too_large = max_bytes is not None and total > max_bytes and index < len(turns) - 1
        if (excess > 0 or too_large) and can_leave(turns, index):
            excess -= is_user_turn(turn)
            total -= size_bytes(turn) if max_bytes is not None else 0
            leaving.add(index)
    return head + without(turns, leaving)


def shorten(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The history without the older half of the turns that can leave; all of it where none can."""
    head, turns = split(messages)
    over = [index for index in range(len(turns)) if can_leave(turns, index)]
    return head + without(turns, over[: (len(over) + 1) // 2]) if over else messages


def without(turns: Sequence[Turn], leaving: Iterable[int]) -> tuple[Message, ...]:
    """The messages of the turns but for those with these numbers, nor the late outputs of tool calls made in them."""
    gone = set(leaving)
    remaining = [message for index, turn in enumerate(turns) if index not in gone for message in turn]
    calls = {call.id for message in remaining for call in message.tool_calls}
    return tuple(m for m in remaining if m.role is not Role.TOOL or m.tool_call_id in calls)


def can_leave(turns: Sequence[Turn], index: int) -> bool:
    """Whether a turn is over: none of its tool calls waits for an output, and the last one has its answer."""
    turn = turns[index]
    calls = {call.id for message in turn for call in message.tool_calls}
    if calls:
        outputs = {message.tool_call_id for later in turns[index:] for message in later if message.role is Role.TOOL}
        if not calls <= outputs:
            return False
    return index < len(turns) - 1 or (turn[-1].role is Role.ASSISTANT and not turn[-1].tool_calls)


def split(messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], list[Turn]]:
    """The system messages at the head, and the turns after them; the first may begin without a user message."""
    start = next((i for i, message in enumerate(messages) if message.role is not Role.SYSTEM), len(messages))
    turns: list[list[Message]] = []
    for message in messages[start:]:
        if message.role is Role.USER or not turns:
            turns.append([])
        turns[-1].append(message)
    return messages[:start], [tuple(turn) for turn in turns]


def is_user_turn(turn: Turn) -> bool:
    """Whether a turn counts: what comes before the first user message does not."""
    return turn[0].role is Role.USER


def size_bytes(messages: Iterable[Message]) -> int:
    """Bytes of text (in UTF-8), arguments of tool calls and pictures."""
    total = 0
    for message in messages:
        for part in message.content:
            total += len(part.data) + len(part.url) if isinstance(part, ImagePart) else _utf8_length(part.text)
        for call in message.tool_calls:
            total += _utf8_length(call.arguments_json)
    return total


def _utf8_length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
