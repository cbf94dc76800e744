"""A context in the forms that chat templates can take: whose turn it is, where outputs stand. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from services.llm.domain import Message, Role, ToolCall
from services.llm.tools.calls import outputs_after_calls

UNSAID = "…"
"""What the model said where the user spoke before it could say anything."""


@dataclass(frozen=True)
class Entry:
    """One message for a template; `name` is the tool's whose output it is."""

    role: Role
    text: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    name: str = ""


def entries(messages: Sequence[Message]) -> list[Entry]:
    """Messages as entries, the outputs of tools right after the calls."""
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [
        Entry(message.role, message.text, message.tool_calls, message.tool_call_id, names.get(message.tool_call_id, ""))
        for message in outputs_after_calls(messages)
    ]


def one_call_each(history: Sequence[Entry]) -> list[Entry]:
    """Each call in a message of its own, its output after it."""
    outputs = {entry.call_id: entry for entry in history if entry.role is Role.TOOL}
    split: list[Entry] = []
    for entry in history:
        if entry.role is Role.TOOL:
            continue
        if not entry.calls:
            split.append(entry)
        for index, call in enumerate(entry.calls):
            split.append(replace(entry, text="" if index else entry.text, calls=(call,)))
            split += [outputs[call.id]] if call.id in outputs else []
    return split


def text_apart(history: Sequence[Entry]) -> list[Entry]:
    """The text before a call as a message of its own."""
    return [
        part
        for entry in history
        for part in ((replace(entry, calls=()), replace(entry, text="")) if entry.calls and entry.text else (entry,))
    ]


def outputs_as_user(history: Sequence[Entry]) -> list[Entry]:
    """Outputs of tools as messages of the user, for a template that knows no role for them."""
    return [
        Entry(Role.USER, f"Output of {entry.name}: {entry.text}") if entry.role is Role.TOOL else entry
        for entry in history
    ]


def calls_as_text(history: Sequence[Entry]) -> list[Entry]:
    """Calls and their outputs as messages of the user, for a template that knows no tools.

    The calls go there as well: in the model's own messages it would go on to write them so.
    """
    arguments = {call.id: call.arguments_json for entry in history for call in entry.calls}
    told: list[Entry] = []
    for entry in history:
        if entry.role is Role.TOOL:
            text = f"Output of {entry.name}({arguments[entry.call_id]}): {entry.text}"
            told.append(Entry(Role.USER, text))
        elif entry.text or not entry.calls:
            told.append(replace(entry, calls=()))
    return told


def system_in_user(history: Sequence[Entry]) -> list[Entry]:
    """System texts at the head of the next user message; without one they become one."""
    moved: list[Entry] = []
    waiting: list[str] = []
    for entry in history:
        if entry.role is Role.SYSTEM:
            waiting.append(entry.text)
            continue
        if entry.role is Role.USER and waiting:
            entry = replace(entry, text="\n\n".join((*waiting, entry.text)))
            waiting = []
        moved.append(entry)
    return [*moved, Entry(Role.USER, "\n\n".join(waiting))] if waiting else moved


def alternating(history: Sequence[Entry]) -> list[Entry]:
    """Neighbours of one role as one message, outputs of tools apart; an output that nobody answered gets an answer."""
    joined: list[Entry] = []
    for entry in history:
        last = joined[-1] if joined else None
        if last is not None and last.role is entry.role is not Role.TOOL and not last.calls and not entry.calls:
            joined[-1] = replace(entry, text=f"{last.text}\n\n{entry.text}")
            continue
        if last is not None and last.role is Role.TOOL and entry.role is Role.USER:
            joined.append(Entry(Role.ASSISTANT, UNSAID))
        joined.append(entry)
    return joined
