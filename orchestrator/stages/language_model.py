"""The client of the language model service and its conversations."""

import copy
from collections.abc import AsyncGenerator
from dataclasses import dataclass

import grpc
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc

from orchestrator.domain import SessionConfig
from orchestrator.messages import user_message
from orchestrator.stages.calls import Timeouts, check_name, explained, responses
from services.common.channel import id_metadata
from services.common.errors import ModelNotFoundError

NAME = "language model"
_CUT_SHORT = (chat_pb2.FINISH_REASON_LENGTH, chat_pb2.FINISH_REASON_CONTENT_FILTER)


@dataclass(frozen=True)
class Prompt:
    """What is asked: new messages of a conversation, or (without one) the whole context. `item_id` is of the answer."""

    messages: tuple[chat_pb2.Message, ...]
    conversation_id: str = ""
    language_code: str = ""
    item_id: str = ""


@dataclass(frozen=True)
class History:
    """The messages of a conversation, oldest first, and its function calls that have no output."""

    messages: tuple[chat_pb2.Message, ...]
    pending_calls: frozenset[str] = frozenset()


@dataclass(frozen=True)
class GenerationStarted:
    """The service took the turn; its id settles the history later."""

    response_id: str


@dataclass(frozen=True)
class SpeechSegment:
    """Text to be spoken next."""

    text: str
    language_code: str


@dataclass(frozen=True)
class GenerationCompleted:
    """The answer is whole, or `cut_short` by a limit or a filter."""

    cut_short: bool
    usage: chat_pb2.Usage | None


@dataclass(frozen=True)
class ToolCallFailed:
    """The model called a tool in a way that cannot be carried out; calls beside it are not affected."""

    name: str
    error: str


GenerationEvent = GenerationStarted | str | SpeechSegment | chat_pb2.ToolCall | ToolCallFailed | GenerationCompleted
"""A str is a text delta."""


class LanguageModel:
    """Generation, and the histories that the service keeps."""

    def __init__(self, channel: grpc.aio.Channel, timeouts: Timeouts) -> None:
        self._stub = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        self._conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        self._timeouts = timeouts
        self._owner = ""

    def of(self, owner: str) -> "LanguageModel":
        """The same for the conversations of one owner alone: at the service their names begin so."""
        if not owner:
            return self
        owned = copy.copy(self)
        owned._owner = owner
        return owned

    def _name(self, conversation_id: str) -> str:
        return conversation_id and self._owner + conversation_id

    async def generate(self, config: SessionConfig, prompt: Prompt) -> AsyncGenerator[GenerationEvent, None]:
        """One model turn. A turn of a conversation is held: `commit_response` settles it."""
        held = llm_service_pb2.COMMIT_POLICY_HELD
        request = llm_service_pb2.GenerateRequest(
            conversation_id=self._name(prompt.conversation_id),
            messages=prompt.messages,
            instructions=config.instructions,
            model=config.llm_model,
            sampling=config.sampling,
            tools=llm_service_pb2.ToolSet(tools=config.tools) if config.tools else None,
            tool_choice=config.tool_choice,
            language_code=prompt.language_code,
            commit_policy=held if prompt.conversation_id else llm_service_pb2.COMMIT_POLICY_UNSPECIFIED,
            enable_speech_segments=not config.text_only,
            answer_item_id=prompt.item_id,
        )
        call = self._stub.Generate(request, timeout=self._timeouts.work_s, metadata=id_metadata())
        async for response in responses(call, NAME):
            kind = response.WhichOneof("event")
            if kind == "text_delta":
                yield response.text_delta.text
            elif kind == "speech_segment":
                yield SpeechSegment(response.speech_segment.text, response.speech_segment.language_code)
            elif kind == "started":
                yield GenerationStarted(response.started.response_id)
            elif kind == "tool_call":
                yield response.tool_call
            elif kind == "tool_call_error":
                yield ToolCallFailed(response.tool_call_error.name, response.tool_call_error.error)
            elif kind == "completed":
                usage = response.completed.usage if response.completed.HasField("usage") else None
                yield GenerationCompleted(response.completed.finish_reason in _CUT_SHORT, usage)

    async def create_conversation(self, conversation_id: str, messages: tuple[chat_pb2.Message, ...] = ()) -> None:
        """Start a history, or go on here with one.

        Raises:
            InvalidArgumentError: the id is taken.
        """
        request = conversation_service_pb2.CreateConversationRequest(
            conversation_id=self._name(conversation_id), messages=messages
        )
        with explained(NAME):
            await self._conversations.CreateConversation(request, timeout=self._timeouts.call_s, metadata=id_metadata())

    async def history(self, conversation_id: str) -> History:
        """What the service keeps. Raises ConversationNotFoundError where there is no such conversation."""
        request = conversation_service_pb2.GetConversationRequest(conversation_id=self._name(conversation_id))
        with explained(NAME):
            response = await self._conversations.GetConversation(
                request, timeout=self._timeouts.call_s, metadata=id_metadata()
            )
        conversation = response.conversation
        return History(tuple(conversation.messages), frozenset(conversation.pending_tool_call_ids))

    async def append_messages(self, conversation_id: str, messages: tuple[chat_pb2.Message, ...]) -> None:
        """Add messages to the history without generating."""
        request = conversation_service_pb2.AppendMessagesRequest(
            conversation_id=self._name(conversation_id), messages=messages
        )
        with explained(NAME):
            await self._conversations.AppendMessages(request, timeout=self._timeouts.call_s, metadata=id_metadata())

    async def delete_item(self, conversation_id: str, item_id: str) -> None:
        """Take an item out of the history: the words of a message, or a function call and its output.

        Raises:
            NotFoundError: there is no such item.
        """
        request = conversation_service_pb2.DeleteMessagesRequest(
            conversation_id=self._name(conversation_id), item_ids=[item_id]
        )
        with explained(NAME):
            await self._conversations.DeleteMessages(request, timeout=self._timeouts.call_s, metadata=id_metadata())

    async def commit_response(self, conversation_id: str, response_id: str, heard_text: str | None) -> None:
        """Settle a held response: what the user heard of it, or None for all of it."""
        request = conversation_service_pb2.CommitResponseRequest(
            conversation_id=self._name(conversation_id), response_id=response_id, heard_text=heard_text
        )
        with explained(NAME):
            await self._conversations.CommitResponse(request, timeout=self._timeouts.call_s, metadata=id_metadata())

    async def discard_response(self, conversation_id: str, response_id: str) -> None:
        """Settle a held response that nobody heard: it, and the turn that asked for it, leave no trace."""
        request = conversation_service_pb2.DiscardResponseRequest(
            conversation_id=self._name(conversation_id), response_id=response_id
        )
        with explained(NAME):
            await self._conversations.DiscardResponse(request, timeout=self._timeouts.call_s, metadata=id_metadata())

    async def prefill(self, config: SessionConfig, conversation_id: str, words: str) -> int:
        """Make the model ready for the next turn of a conversation, which perhaps begins with these words; returns the
        tokens that it needs not read then.
        """
        request = llm_service_pb2.PrefillRequest(
            conversation_id=self._name(conversation_id),
            messages=[user_message(words)] if words else [],
            instructions=config.instructions,
            tools=llm_service_pb2.ToolSet(tools=config.tools) if config.tools else None,
        )
        with explained(NAME):
            response = await self._stub.Prefill(request, timeout=self._timeouts.work_s, metadata=id_metadata())
        return response.prefilled_tokens

    async def check_model(self, name: str) -> None:
        """Raise ModelNotFoundError for a name that the service does not have; empty is its default."""
        if name:
            with explained(NAME):
                listed = await self._stub.ListModels(
                    llm_service_pb2.ListModelsRequest(), timeout=self._timeouts.call_s, metadata=id_metadata()
                )
            check_name(name, (model.name for model in listed.models), "session.llm_model", ModelNotFoundError)
