"""Language models on the wire: the gRPC servicers, which only translate."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc

from services.common import logs
from services.common.errors import InvalidArgumentError
from services.llm import checks, convert
from services.llm.backends.base import Backend
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.ids import new_id
from services.llm.domain import Message, Role
from services.llm.images.images import Images, has_images
from services.llm.turns import Turns


class LanguageModelServicer(llm_service_pb2_grpc.LanguageModelServiceServicer):
    """Generation. `turns` is there once the model is loaded; calls before are refused by the server's gate."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.turns: Turns | None = None

    async def Generate(
        self, request: llm_service_pb2.GenerateRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[llm_service_pb2.GenerateResponse]:
        """One turn, event by event."""
        assert self.turns is not None, "the gate lets calls in once the model is loaded"
        with logs.ids(conversation_id=request.conversation_id):
            asked = convert.turn_request(request)
            async with contextlib.aclosing(self.turns.run(asked)) as events:
                async for event in events:
                    yield convert.event_message(event, asked.language_code)

    async def Prefill(
        self, request: llm_service_pb2.PrefillRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> llm_service_pb2.PrefillResponse:
        """Make the context of the next turn ready."""
        assert self.turns is not None, "the gate lets calls in once the model is loaded"
        tokens = await self.turns.prefill(
            request.conversation_id,
            convert.messages(request.messages),
            request.instructions if request.HasField("instructions") else None,
            convert.tool_set(request.tools) if request.HasField("tools") else None,
        )
        return llm_service_pb2.PrefillResponse(prefilled_tokens=tokens)

    async def ListModels(
        self, request: llm_service_pb2.ListModelsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> llm_service_pb2.ListModelsResponse:
        """The one model of this process."""
        return llm_service_pb2.ListModelsResponse(models=[convert.model_message(self._backend.capabilities)])


class ConversationServicer(conversation_service_pb2_grpc.ConversationServiceServicer):
    """Histories. `max_input_chars` bounds the text of one request."""

    def __init__(self, backend: Backend, conversations: Conversations, max_input_chars: int, images: Images) -> None:
        self._backend = backend
        self._conversations = conversations
        self._max_input_chars = max_input_chars
        self._images = images

    async def CreateConversation(
        self,
        request: conversation_service_pb2.CreateConversationRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> conversation_service_pb2.CreateConversationResponse:
        """Start a history."""
        checks.check_id(request.conversation_id)
        config = convert.conversation_config(request.config)
        messages = convert.messages(request.messages)
        checks.check_messages(messages, self._backend.capabilities)
        checks.check_length((), config.instructions, self._max_input_chars, "config.instructions")
        checks.check_length(messages, None, self._max_input_chars)
        checks.check_tools(config.tools or (), self._backend.capabilities, self._max_input_chars, "config.tools.tools")
        messages = await self._with_images(messages)
        conversation = await self._conversations.create(config, messages, request.conversation_id)
        return conversation_service_pb2.CreateConversationResponse(
            conversation=convert.conversation_message(conversation, self._conversations.ttl_s)
        )

    async def GetConversation(
        self, request: conversation_service_pb2.GetConversationRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> conversation_service_pb2.GetConversationResponse:
        """Read a history back."""
        conversation = await self._conversations.get(request.conversation_id)
        return conversation_service_pb2.GetConversationResponse(
            conversation=convert.conversation_message(conversation, self._conversations.ttl_s)
        )

    async def AppendMessages(
        self, request: conversation_service_pb2.AppendMessagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> conversation_service_pb2.AppendMessagesResponse:
        """Add messages without generating."""
        messages = convert.messages(request.messages)
        if not messages:
            raise InvalidArgumentError("is required", field="messages")
        checks.check_messages(messages, self._backend.capabilities)
        checks.check_length(messages, None, self._max_input_chars)
        messages = await self._with_images(messages)
        stored = await self._conversations.append(request.conversation_id, messages)
        return conversation_service_pb2.AppendMessagesResponse(
            messages=[convert.message_message(message) for message in stored]
        )

    async def DeleteMessages(
        self, request: conversation_service_pb2.DeleteMessagesRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> conversation_service_pb2.DeleteMessagesResponse:
        """Take messages out of a history."""
        checks.check_item_ids(request.item_ids)
        await self._conversations.delete_messages(request.conversation_id, tuple(request.item_ids))
        return conversation_service_pb2.DeleteMessagesResponse()

    async def CommitResponse(
        self, request: conversation_service_pb2.CommitResponseRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> conversation_service_pb2.CommitResponseResponse:
        """Settle a held response with what was heard."""
        heard_text = request.heard_text if request.HasField("heard_text") else None
        await self._conversations.commit_response(request.conversation_id, request.response_id, heard_text)
        return conversation_service_pb2.CommitResponseResponse()

    async def DiscardResponse(
        self, request: conversation_service_pb2.DiscardResponseRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> conversation_service_pb2.DiscardResponseResponse:
        """Drop a held response."""
        await self._conversations.discard_response(request.conversation_id, request.response_id)
        return conversation_service_pb2.DiscardResponseResponse()

    async def DeleteConversation(
        self,
        request: conversation_service_pb2.DeleteConversationRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> conversation_service_pb2.DeleteConversationResponse:
        """Forget a history."""
        await self._conversations.delete(request.conversation_id)
        return conversation_service_pb2.DeleteConversationResponse()

    async def _with_images(self, messages: tuple[Message, ...]) -> tuple[Message, ...]:
        """The messages, whose images have been loaded under their ids: who sends one that cannot be had learns it now,
        and the turn that follows finds it ready. What was answered before is history, of which nothing is refused:
        it may come from another server, long after.
        """
        if not has_images(messages):
            return messages
        messages = tuple(replace(message, id=new_id("msg")) for message in messages)
        answered = max((index for index, message in enumerate(messages) if message.role is Role.ASSISTANT), default=-1)
        await self._images.load(messages, new=len(messages) - answered - 1, sent=len(messages))
        return messages
