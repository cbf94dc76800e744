"""A client of the LLM service that knows the contract alone."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2 as conversation_pb2
from parley.llm.v1 import conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc


class LlmClient:
    """Both services of one server."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.models = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        self.conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def generate(self, text: str = "", **fields: Any) -> list[llm_service_pb2.GenerateResponse]:
        """All events of a turn."""
        messages = [user(text)] if text else fields.pop("messages", [])
        call = self.models.Generate(llm_service_pb2.GenerateRequest(messages=messages, **fields))
        return [response async for response in call]

    async def create(self, **fields: Any) -> str:
        """The id of a new conversation."""
        created = await self.conversations.CreateConversation(conversation_pb2.CreateConversationRequest(**fields))
        return created.conversation.id

    async def get(self, ident: str) -> conversation_pb2.Conversation:
        """A conversation."""
        request = conversation_pb2.GetConversationRequest(conversation_id=ident)
        return (await self.conversations.GetConversation(request)).conversation

    async def texts(self, ident: str) -> list[str]:
        """The texts of its messages."""
        return [part.text for message in (await self.get(ident)).messages for part in message.content]

    async def append(self, ident: str, *messages: chat_pb2.Message) -> None:
        """Add messages."""
        request = conversation_pb2.AppendMessagesRequest(conversation_id=ident, messages=messages)
        await self.conversations.AppendMessages(request)

    async def commit(self, ident: str, response_id: str, heard_text: str | None = None) -> None:
        """Settle a held response."""
        request = conversation_pb2.CommitResponseRequest(
            conversation_id=ident, response_id=response_id, heard_text=heard_text
        )
        await self.conversations.CommitResponse(request)


def user(text: str) -> chat_pb2.Message:
    """A user's message."""
    return chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=text)])


def named(text: str, item_id: str = "") -> chat_pb2.Message:
    """A user's message as an item of a session's."""
    return chat_pb2.Message(role=chat_pb2.ROLE_USER, content=user(text).content, item_id=item_id or f"i_{text}")


def text_of(responses: list[llm_service_pb2.GenerateResponse]) -> str:
    """The answer."""
    return "".join(response.text_delta.text for response in responses)


@contextlib.asynccontextmanager
async def client_of(address: str) -> AsyncIterator[LlmClient]:
    """A client of the server at an address."""
    async with grpc.aio.insecure_channel(address, options=(("grpc.max_send_message_length", -1),)) as channel:
        yield LlmClient(channel)
