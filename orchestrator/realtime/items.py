"""Items of a conversation as the protocol has them, and as messages of a history."""

import base64
import binascii
from collections import OrderedDict
from typing import Annotated, Any, Literal

from parley.common.v1 import chat_pb2
from pydantic import Field

from orchestrator.realtime.models import BadEventError, Many, Model
from services.common.errors import NotFoundError

KEPT_ITEMS = 1000
"""Items that a session remembers for `conversation.item.retrieve`. The history is elsewhere."""
KEPT_CHARACTERS = 16 << 20
"""Of the text, pictures and audio that a client puts into them: two of the largest events."""
Id = Annotated[str, Field(min_length=1, max_length=128)]


class InputText(Model):
    """Words of the user's or the application's."""

    type: Literal["input_text"]
    text: str


class InputImage(Model):
    """A picture: a data URL, or an https URL where the server follows them."""

    type: Literal["input_image"]
    image_url: str
    detail: Literal["auto", "low", "high"] | None = None


class InputAudio(Model):
    """Speech in an item; see `message`."""

    type: Literal["input_audio"]
    audio: str | None = None
    transcript: str | None = None


class OutputText(Model):
    """Words of the assistant's."""

    type: Literal["output_text"]
    text: str


class OutputAudio(Model):
    """Speech of the assistant's, by its transcript."""

    type: Literal["output_audio"]
    transcript: str
    audio: str | None = None


class _Item(Model):
    id: Id | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


UserPart = Annotated[InputText | InputImage | InputAudio, Field(discriminator="type")]
AssistantPart = Annotated[OutputText | OutputAudio, Field(discriminator="type")]


class UserItem(_Item):
    """A message of the user's."""

    type: Literal["message"]
    role: Literal["user"]
    content: Many[UserPart] = Field(min_length=1)


class SystemItem(_Item):
    """A message of the application's."""

    type: Literal["message"]
    role: Literal["system"]
    content: Many[InputText] = Field(min_length=1)


class AssistantItem(_Item):
    """A message of the assistant's."""

    type: Literal["message"]
    role: Literal["assistant"]
    content: Many[AssistantPart] = Field(min_length=1)


class FunctionCallItem(_Item):
    """A call of a function."""

    type: Literal["function_call"]
    call_id: Id
    name: str
    arguments: str


class FunctionCallOutputItem(_Item):
    """What a function returned."""

    type: Literal["function_call_output"]
    call_id: Id
    output: str


MessageItem = Annotated[UserItem | SystemItem | AssistantItem, Field(discriminator="role")]
Item = Annotated[MessageItem | FunctionCallItem | FunctionCallOutputItem, Field(discriminator="type")]


def message(item: Item, item_id: str) -> chat_pb2.Message:
    """The message that enters the history under this name.

    Raises:
        BadEventError: naming the field.
    """
    if isinstance(item, FunctionCallOutputItem):
        output = chat_pb2.ContentPart(text=item.output)
        return chat_pb2.Message(role=chat_pb2.ROLE_TOOL, content=[output], tool_call_id=item.call_id, item_id=item_id)
    if isinstance(item, FunctionCallItem):
        call = chat_pb2.ToolCall(id=item.call_id, name=item.name, arguments_json=item.arguments)
        return chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, tool_calls=[call], item_id=item_id)
    roles = {"user": chat_pb2.ROLE_USER, "system": chat_pb2.ROLE_SYSTEM, "assistant": chat_pb2.ROLE_ASSISTANT}
    content = [_part(part, number) for number, part in enumerate(item.content)]
    return chat_pb2.Message(role=roles[item.role], content=content, item_id=item_id)


def _part(part: InputText | InputImage | InputAudio | OutputText | OutputAudio, number: int) -> chat_pb2.ContentPart:
    field = f"item.content[{number}]"
    match part:
        case InputText() | OutputText():
            return chat_pb2.ContentPart(text=part.text)
        case InputImage():
            return chat_pb2.ContentPart(image=_image(part.image_url, f"{field}.image_url"))
        case OutputAudio():
            return chat_pb2.ContentPart(text=part.transcript)
        case InputAudio():
            if not part.transcript:
                raise BadEventError(
                    "audio in an item is not transcribed: send it in input_audio_buffer.append, or its transcript",
                    field=field,
                )
            return chat_pb2.ContentPart(text=part.transcript)


def _image(url: str, field: str) -> chat_pb2.Image:
    if not url.startswith("data:"):
        return chat_pb2.Image(url=url)
    head, _, data = url.partition(",")
    if not head.endswith(";base64"):
        raise BadEventError("a data URL must be base64", field=field)
    return chat_pb2.Image(data=from_base64(data, field))


def from_base64(text: str, field: str) -> bytes:
    """The bytes.

    Raises:
        BadEventError: naming the field.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadEventError("is not base64", field=field) from None


class Items:
    """The items of a session in their order, as the client knows them; the oldest are forgotten."""

    def __init__(self) -> None:
        self._items: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._pieces: dict[str, str] = {}
        self._characters: dict[str, int] = {}

    @property
    def last_id(self) -> str | None:
        """The id of the item that was added last."""
        return next(reversed(self._items), None)

    def add(self, item: dict[str, Any], piece_of: str = "") -> str | None:
        """Add an item at the end, perhaps a further piece of another one; returns the id of the one before it."""
        previous = self.last_id
        if piece_of:
            self._pieces[item["id"]] = piece_of
        self._items[item["id"]] = item
        self._characters[item["id"]] = _characters(item)
        while len(self._items) > KEPT_ITEMS or sum(self._characters.values()) > KEPT_CHARACTERS:
            self._forget(next(iter(self._items)))
        return previous

    def name(self, item_id: str) -> str:
        """What the session calls an item: a function's call and its output are one to it, by the id of the call, and so
        are the pieces of a response's speech.
        """
        item = self._items.get(item_id, {})
        return str(item.get("call_id") or self._pieces.get(item_id, item_id))

    def take(self, name: str) -> list[str]:
        """Forget the items that the session calls so; returns their ids."""
        taken = [item_id for item_id in self._items if self.name(item_id) == name]
        for item_id in taken:
            self._forget(item_id)
        return taken

    def _forget(self, item_id: str) -> None:
        del self._items[item_id], self._characters[item_id]
        self._pieces.pop(item_id, None)

    def get(self, item_id: str) -> dict[str, Any] | None:
        """The item with this id; None where it is not known."""
        return self._items.get(item_id)

    def known(self, item_id: str) -> dict[str, Any]:
        """The item with this id.

        Raises:
            NotFoundError: where there is none.
        """
        item = self._items.get(item_id)
        if item is None:
            raise NotFoundError("no such item", field="item_id")
        return item


def _characters(item: dict[str, Any]) -> int:
    values = [*item.values(), *(value for part in item.get("content", ()) for value in part.values())]
    return sum(len(value) for value in values if isinstance(value, str))


def item_json(kind: str, item_id: str, status: str, **fields: Any) -> dict[str, Any]:
    """An item as the client is told."""
    return {"id": item_id, "object": "realtime.item", "type": kind, "status": status, **fields}
