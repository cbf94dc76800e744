"""What of a conversation is to be summarized, and when. Pure."""

from dataclasses import dataclass

from services.llm.conversation.conversation import Conversation
from services.llm.conversation.window import Turn, can_leave, is_user_turn, split, without
from services.llm.domain import Message

_VERBATIM_AT_LEAST = 2
"""Turns that are never summarized, where the window holds as many."""


@dataclass(frozen=True)
class Plan:
    """What one summary is to cover.

    Attributes:
        known_summary: the one so far, which the new one continues.
        messages: what it is to cover besides, oldest first.
        covered: ids of the messages that leave for it.
    """

    known_summary: str
    messages: tuple[Message, ...]
    covered: frozenset[str]


def plan(conversation: Conversation) -> Plan | None:
    """What is to be summarized now; None where nothing is.

    It is time once the window is full, so that the next turn need not push out what no summary has. Then the older half
    goes at once: the history changes its beginning, and a prompt cache loses it, once in half a window of turns instead
    of with every turn. The newer half stays verbatim; so does a turn that waits for the output of a tool. What was
    pushed out of the window meanwhile (the summary came late or failed) is covered, too.

    A window of no turns at all has no memory, and so no summary.
    """
    size = conversation.chat_size
    if not conversation.compact or not size:
        return None
    if len(conversation.messages) < size and not conversation.unsummarized:  # nearly always: not full, told cheaply
        return None
    _, turns = split(conversation.messages)
    keep = min(size, max(_VERBATIM_AT_LEAST, size // 2))
    users = sum(map(is_user_turn, turns))
    leaving = _oldest(turns, users - keep) if users >= size else []
    if not leaving and not conversation.unsummarized:
        return None
    staying = {id(message) for message in without(turns, leaving)}
    left = tuple(message for turn in turns for message in turn if id(message) not in staying)
    messages = conversation.unsummarized + left
    return Plan(conversation.summary, messages, frozenset(message.id for message in messages))


def _oldest(turns: list[Turn], number: int) -> list[int]:
    """Numbers of the oldest turns that can leave, `number` user turns in all."""
    leaving: list[int] = []
    for index in range(len(turns)):
        if number <= 0:
            break
        if can_leave(turns, index):
            number -= is_user_turn(turns[index])
            leaving.append(index)
    return leaving
