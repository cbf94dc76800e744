"""The history of a conversation as its session keeps it, and what of it a language model service lacks."""

from collections.abc import Sequence

from parley.common.v1 import chat_pb2

KEPT_MESSAGES = 200


class KeptHistory:
    """The last `KEPT_MESSAGES` messages of a conversation."""

    def __init__(self) -> None:
        self._messages: list[chat_pb2.Message] = []
        self._left_out = 0

    @property
    def messages(self) -> tuple[chat_pb2.Message, ...]:
        """What is kept."""
        return tuple(self._messages)

    @property
    def total(self) -> int:
        """Messages of the whole history, those that are no longer kept included."""
        return self._left_out + len(self._messages)

    def since(self, total: int) -> tuple[chat_pb2.Message, ...]:
        """What came after so many messages, as far as it is kept."""
        return tuple(self._messages[max(0, total - self._left_out) :])

    def add(self, messages: Sequence[chat_pb2.Message]) -> None:
        """Messages at the end; the oldest turns leave."""
        self._messages += messages
        over = max(0, len(self._messages) - KEPT_MESSAGES)
        while over and over < len(self._messages) and self._messages[over].role != chat_pb2.ROLE_USER:
            over += 1  # a tool call and its output go together
        del self._messages[:over]
        self._left_out += over

    def delete(self, item_id: str) -> list[int]:
        """Delete an item, as the services do; returns the places in the whole history, from 0, that are empty now."""
        left = without(self._messages, item_id)
        self._messages = [message for message in left if message is not None]
        return [self._left_out + at for at, message in enumerate(left) if message is None]


def without(messages: Sequence[chat_pb2.Message], item_id: str) -> list[chat_pb2.Message | None]:
    """What is left of each message once an item is deleted, as the services do it; None where nothing is."""
    calls = {item_id}
    for message in messages:
        if message.item_id == item_id and message.tool_call_id:
            calls.add(message.tool_call_id)
        elif message.item_id == item_id and not message.content:
            calls.update(call.id for call in message.tool_calls)
    return [_without(message, item_id, calls) for message in messages]


def _without(message: chat_pb2.Message, item_id: str, calls: set[str]) -> chat_pb2.Message | None:
    if message.tool_call_id in calls:
        return None
    named = message.item_id == item_id
    left = [call for call in message.tool_calls if call.id not in calls]
    if not named and len(left) == len(message.tool_calls):
        return message
    content = [] if named else message.content
    if not content and not left:
        return None
    item_id = "" if named else message.item_id
    return chat_pb2.Message(id=message.id, role=message.role, content=content, tool_calls=left, item_id=item_id)


def lacking(theirs: Sequence[chat_pb2.Message], ours: Sequence[chat_pb2.Message]) -> tuple[chat_pb2.Message, ...]:
    """The end of our history that theirs does not have.

    They meet at the last user message that both have: an answer is kept there with its markup and here as it was heard.
    What follows it there up to the next user message is its answer; what comes after that, another session has added.
    """
    answered = 0
    for message in reversed(theirs):
        if message.role != chat_pb2.ROLE_USER:
            answered += 1
            continue
        met = next((at for at in reversed(range(len(ours))) if _same(message, ours[at])), None)
        if met is not None:
            return tuple(ours[met + 1 + answered :])
        answered = 0
    return tuple(ours)


def _same(one: chat_pb2.Message, other: chat_pb2.Message) -> bool:
    """Whether it is one message, by what its sender calls it, since people say the same again; by its words where one
    of the two has no name. The `id` that each service gives its own copy says nothing.
    """
    if one.item_id and other.item_id:
        return one.item_id == other.item_id
    return one.role == other.role and one.content == other.content
