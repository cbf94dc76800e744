"""What the model gets to see: instructions, history, what is new. Pure."""

from dataclasses import replace

from services.llm.domain import ImagePart, Message, Role, TextPart


def compose(messages: tuple[Message, ...], instructions: str | None, default_instructions: str) -> tuple[Message, ...]:
    """The whole context, oldest message first.

    Args:
        messages: what is kept of the conversation, and what is new.
        instructions: those of the turn or the conversation; "" means none, None the default ones, which step back for a
            context that begins with a system message of its own.
    """
    if instructions is None:
        instructions = "" if messages and messages[0].role is Role.SYSTEM else default_instructions
    head = (Message(Role.SYSTEM, (TextPart(instructions),)),) if instructions.strip() else ()
    return head + messages


def with_request(messages: tuple[Message, ...], request: str) -> tuple[Message, ...]:
    """The messages with a sentence added to the last user message; the history never sees it."""
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        if message.role is Role.USER:
            extended = replace(message, content=_extended(message.content, request))
            return (*messages[:index], extended, *messages[index + 1 :])
    return messages


def _extended(content: tuple[TextPart | ImagePart, ...], request: str) -> tuple[TextPart | ImagePart, ...]:
    if content and isinstance(content[-1], TextPart):
        return (*content[:-1], TextPart(f"{content[-1].text} {request}"))
    return (*content, TextPart(request))
