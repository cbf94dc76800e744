"""A conversation and how it changes. Pure: a change returns a new conversation, or raises where it is not allowed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from services.common.errors import FailedPreconditionError, InvalidArgumentError, NotFoundError
from services.llm.conversation.heard import cut_to_heard, is_whole
from services.llm.conversation.window import pending_tool_calls, size_bytes, trim
from services.llm.domain import ImagePart, Message, Role, TextPart, Tool

MAX_HELD = 16
"""Held turns of one conversation; with more, the oldest is discarded."""
MAX_MESSAGES = 10_000
"""Messages of one conversation: the window bounds its user turns, not what an application adds to one of them."""
DEFAULT_MAX_BYTES = 8 << 20
MAX_UNSUMMARIZED = 200
"""Messages that may wait for a summary after they have left the window."""
_MAX_SETTLED = 64


@dataclass(frozen=True)
class ConversationConfig:
    """Fixed at creation; None means the server's default."""

    instructions: str | None = None
    tools: tuple[Tool, ...] | None = None
    chat_size: int | None = None
    compact_history: bool | None = None


class Outcome(Enum):
    """What became of a response."""

    COMMITTED = "committed"
    DISCARDED = "discarded"


@dataclass(frozen=True)
class HeldTurn:
    """A turn that is not in the history until it is committed.

    Attributes:
        after_id: the message that the turn followed, "" at the beginning: the turn goes there when it is committed.
        asked: what the user's side brought.
        answer: what was generated, as far as it went.
        expires_at: seconds on the store's clock.
        ended: whether nothing will be generated any more.
        item_id: of the answer.
    """

    response_id: str
    after_id: str
    asked: tuple[Message, ...]
    answer: tuple[Message, ...]
    expires_at: float
    ended: bool = True
    item_id: str = ""


@dataclass(frozen=True)
class Conversation:
    """A history and its state; a store counts `version` up with every change.

    Attributes:
        chat_size: user turns in the window.
        messages: the window.
        compact: whether what leaves the window is to be summarized.
        max_bytes: what the messages may hold in all; beyond it the oldest turns leave, too.
        summary: of all that has left the window and was summarized.
        unsummarized: what has left the window and waits for its summary; no model sees it meanwhile.
    """

    id: str
    config: ConversationConfig
    chat_size: int
    messages: tuple[Message, ...] = ()
    held: tuple[HeldTurn, ...] = ()
    settled: tuple[tuple[str, Outcome], ...] = ()
    created_at: float = 0.0
    """Seconds since the epoch, for a person to read."""
    version: int = 0
    compact: bool = False
    max_bytes: int = DEFAULT_MAX_BYTES
    summary: str = ""
    unsummarized: tuple[Message, ...] = ()

    @property
    def pending_tool_call_ids(self) -> tuple[str, ...]:
        """Calls whose output is not in the history yet."""
        return pending_tool_calls(self.messages)

    def held_turn(self, response_id: str) -> HeldTurn | None:
        """A turn that waits to be settled; None where there is no such turn."""
        return next((held for held in self.held if held.response_id == response_id), None)

    def outcome(self, response_id: str) -> Outcome | None:
        """What became of a response; None where it is not settled, or long forgotten."""
        return next((outcome for known, outcome in self.settled if known == response_id), None)

    def append(self, messages: tuple[Message, ...], field: str = "messages") -> "Conversation":
        """With more messages at its end.

        Raises:
            NotFoundError: for the output of an unknown tool call.
            InvalidArgumentError: for a second, different output of a call, or more than there may be.
        """
        new = new_messages(self.messages, messages, field)
        changed = self._with_messages(self.messages + new) if new else self
        if len(changed.messages) > MAX_MESSAGES:
            raise InvalidArgumentError(f"makes more than {MAX_MESSAGES} messages in the conversation", field=field)
        changed.check_size(field)
        return changed

    def check_size(self, field: str) -> None:
        """Check that no more is kept than may be, once all that can leave has left.

        Raises:
            InvalidArgumentError: naming the field that brought it.
        """
        if size_bytes(self.messages) > self.max_bytes:
            raise InvalidArgumentError(f"makes more than {self.max_bytes} bytes in the conversation", field=field)

    def complete(self, response_id: str, asked: tuple[Message, ...], answer: tuple[Message, ...]) -> "Conversation":
        """With a turn that went well. Twice is as once."""
        if self.outcome(response_id) is Outcome.COMMITTED:
            return self
        return self._with_messages(self.messages + asked + answer)._settle(response_id, Outcome.COMMITTED)

    def hold(self, turn: HeldTurn) -> "Conversation":
        """With a turn held, in place of what was held of it before; nothing changes once the turn is settled."""
        if self.outcome(turn.response_id) is not None:
            return self
        others = tuple(held for held in self.held if held.response_id != turn.response_id)
        return replace(self, held=(*others, turn)[-MAX_HELD:])

    def release(self, response_id: str) -> "Conversation":
        """Without a held turn, as if it had never been."""
        return replace(self, held=tuple(held for held in self.held if held.response_id != response_id))

    def expire(self, now: float) -> "Conversation":
        """Without the held turns whose time is over."""
        if all(held.expires_at > now for held in self.held):
            return self
        return replace(self, held=tuple(held for held in self.held if held.expires_at > now))

    def commit(self, response_id: str, heard_text: str | None) -> "Conversation":
        """With a held turn in the history, its answer cut to what was heard (None: all of it). Twice is as once.

        Raises:
            NotFoundError: no such response.
            FailedPreconditionError: it was discarded.
        """
        turn = self._held(response_id, Outcome.COMMITTED)
        if turn is None:
            return self
        answer = turn.answer if heard_text is None else _heard_answer(turn, heard_text)
        ids = [message.id for message in self.messages]
        at = ids.index(turn.after_id) + 1 if turn.after_id in ids else 0 if not turn.after_id else len(ids)
        messages = self.messages[:at] + turn.asked + answer + self.messages[at:]
        return self._with_messages(messages)._settle(response_id, Outcome.COMMITTED)

    def discard(self, response_id: str) -> "Conversation":
        """Without a held turn. Twice is as once.

        Raises:
            NotFoundError: no such response.
            FailedPreconditionError: it was committed.
        """
        turn = self._held(response_id, Outcome.DISCARDED)
        return self if turn is None else self._settle(response_id, Outcome.DISCARDED)

    def check_items(self, item_ids: Sequence[str]) -> None:
        """Check that there are items of these names (see `delete`).

        Raises:
            NotFoundError: naming the first that there is not.
        """
        messages = (*self.unsummarized, *self.messages)
        known = {message.item_id for message in messages if message.content or message.tool_calls}
        known.update(call.id for message in messages for call in message.tool_calls)
        for index, item_id in enumerate(item_ids):
            if item_id not in known:
                raise NotFoundError("no such item", field=f"item_ids[{index}]")

    def delete(self, item_ids: frozenset[str]) -> "Conversation":
        """Without the items of these names; those that are not known are gone already.

        A message loses its words, and stays as long as it has calls of tools: each of these is an item, which goes
        together with its output. A message of calls alone is the item of all of them.
        """
        every = (*self.unsummarized, *self.messages)
        calls = item_ids | {m.tool_call_id for m in every if m.role is Role.TOOL and m.item_id in item_ids}
        calls |= {c.id for m in every if m.item_id in item_ids and not m.content for c in m.tool_calls}
        messages = _deleted(self.messages, item_ids, calls)
        unsummarized = _deleted(self.unsummarized, item_ids, calls)
        if (messages, unsummarized) == (self.messages, self.unsummarized):
            return self
        stay = {message.id for message in messages}
        before, last = {"": ""}, ""
        for message in self.messages:  # a held turn follows what is left of what it followed
            before[message.id] = message.id if message.id in stay else last
            last = before[message.id]
        held = tuple(replace(turn, after_id=before.get(turn.after_id, turn.after_id)) for turn in self.held)
        return replace(self, messages=messages, unsummarized=unsummarized, held=held)

    def let_go(self, ids: frozenset[str]) -> "Conversation":
        """Without the messages that have these ids: they leave the window before it is full."""
        if not any(message.id in ids for message in self.messages):
            return self
        return self._keep(tuple(message for message in self.messages if message.id not in ids), self.messages)

    def summarize(self, known_summary: str, covered: frozenset[str], summary: str) -> "Conversation":
        """With a summary in place of the messages that it covers; all that came since stays as it is.

        Args:
            known_summary: the one that the new one continues; where another has taken its place meanwhile, nothing
                changes.
            covered: ids of messages; where none of them is known any more, nothing changes either.
            summary: the new one.
        """
        known = any(message.id in covered for message in (*self.messages, *self.unsummarized))
        if self.summary != known_summary or not known:
            return self
        left = tuple(message for message in self.messages if message.id not in covered)
        waiting = tuple(message for message in self.unsummarized if message.id not in covered)
        return replace(self, messages=left, unsummarized=waiting, summary=summary)

    def _held(self, response_id: str, wanted: Outcome) -> HeldTurn | None:
        """The held turn; None where it is settled as wanted already."""
        outcome = self.outcome(response_id)
        if outcome is wanted:
            return None
        if outcome is not None:
            raise FailedPreconditionError(f"the response was {outcome.value} already", field="response_id")
        turn = self.held_turn(response_id)
        if turn is None:
            raise NotFoundError("no such response is held", field="response_id")
        return turn

    def _settle(self, response_id: str, outcome: Outcome) -> "Conversation":
        settled = (*self.settled, (response_id, outcome))[-_MAX_SETTLED:]
        return replace(self.release(response_id), settled=settled)

    def _with_messages(self, messages: tuple[Message, ...]) -> "Conversation":
        """With these messages, as far as the window holds them."""
        return self._keep(trim(messages, self.chat_size, self.max_bytes), messages)

    def _keep(self, kept: tuple[Message, ...], messages: tuple[Message, ...]) -> "Conversation":
        """With what is kept of some messages; the others wait for a summary."""
        if not self.compact or kept is messages:
            return replace(self, messages=kept)
        stay = {id(message) for message in kept}
        left = tuple(_without_images(message) for message in messages if id(message) not in stay)
        return replace(self, messages=kept, unsummarized=(*self.unsummarized, *left)[-MAX_UNSUMMARIZED:])


def new_messages(history: tuple[Message, ...], added: tuple[Message, ...], field: str) -> tuple[Message, ...]:
    """What of `added` is new: a message that the history has under its id is not, nor is the output of a tool call
    that it has already, word for word.

    Raises:
        NotFoundError: for the output of an unknown tool call.
        InvalidArgumentError: for a second, different output of a call.
    """
    ids = {message.id for message in history}
    calls = {call.id for message in history for call in message.tool_calls}
    outputs = {message.tool_call_id: message.text for message in history if message.role is Role.TOOL}
    new: list[Message] = []
    for index, message in enumerate(added):
        if message.role is Role.TOOL:
            call_id, path = message.tool_call_id, f"{field}[{index}].tool_call_id"
            if call_id not in calls:
                raise NotFoundError("no such tool call", field=path)
            if outputs.setdefault(call_id, message.text) != message.text:
                raise InvalidArgumentError("this tool call has another output already", field=path)
            if any(known.tool_call_id == call_id for known in (*history, *new)):
                continue
        elif message.id and message.id in ids:
            continue
        calls.update(call.id for call in message.tool_calls)
        new.append(message)
    return tuple(new)


def _deleted(messages: tuple[Message, ...], item_ids: frozenset[str], calls: frozenset[str]) -> tuple[Message, ...]:
    left: list[Message] = []
    for message in messages:
        if message.role is Role.TOOL and message.tool_call_id in calls:
            continue
        if message.item_id in item_ids or any(call.id in calls for call in message.tool_calls):
            if message.item_id in item_ids:
                message = replace(message, content=(), item_id="")  # calls that stay are items of their own
            message = replace(message, tool_calls=tuple(call for call in message.tool_calls if call.id not in calls))
            if not message.content and not message.tool_calls:
                continue
        left.append(message)
    return tuple(left)


def _heard_answer(turn: HeldTurn, heard: str) -> tuple[Message, ...]:
    """The part of an answer that was heard; calls of tools stay only where all of it was.

    What was generated is not known where the server that did it has died: then it is what was heard.
    """
    answer = turn.answer
    text = "".join(message.text for message in answer)
    if is_whole(text, heard):
        return answer
    if not heard.strip():
        return ()
    if not answer:
        ident = f"msg_{turn.response_id.removeprefix('resp_')}"
        return (Message(Role.ASSISTANT, (TextPart(heard),), id=ident, item_id=turn.item_id),)
    content = (TextPart(cut_to_heard(text, heard)),)
    return (replace(answer[0], content=content, tool_calls=(), item_id=turn.item_id),)


def _without_images(message: Message) -> Message:
    """What a summary can be made of; pictures are large."""
    if not any(isinstance(part, ImagePart) for part in message.content):
        return message
    return replace(
        message, content=tuple(TextPart("[picture]") if isinstance(p, ImagePart) else p for p in message.content)
    )
