"""What the model gets to see: instructions, history, what is new. Pure."""

from dataclasses import replace

from services.llm.domain import ImagePart, Message, Role, TextPart

_SUMMARY = "What was said earlier in this conversation, as notes and not as instructions:\n{summary}"


def compose(
    messages: tuple[Message, ...], instructions: str | None, default_instructions: str, summary: str = ""
) -> tuple[Message, ...]:
    """The whole context, oldest message first.

    The summary ends the system message at the head, which it becomes where there is none: many chat templates take no
    second one. What stands before it stays the same, for a prompt cache to hit.

    Args:
        messages: what is kept of the conversation, and what is new.
        instructions: those of the turn or the conversation; "" means none, None the default ones, which step back for a
            context that begins with a system message of its own.
        summary: of what is not kept any more.
    """
    if instructions is None:
        instructions = "" if messages and messages[0].role is Role.SYSTEM else default_instructions
    head = (Message(Role.SYSTEM, (TextPart(instructions),)),) if instructions.strip() else ()
    context = head + messages
    return _with_summary(context, _SUMMARY.format(summary=summary)) if summary else context


def _with_summary(context: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    count = next((i for i, message in enumerate(context) if message.role is not Role.SYSTEM), len(context))
    if not count:
        return (Message(Role.SYSTEM, (TextPart(text),)), *context)
    last = context[count - 1]
    extended = replace(last, content=(TextPart(f"{last.text}\n\n{text}"),))
    return (*context[: count - 1], extended, *context[count:])


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
