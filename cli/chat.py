"""`parley chat`: text with the language model, by the LLM service alone."""

import asyncio
import contextlib
import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2 as conversation_pb
from parley.llm.v1 import conversation_service_pb2_grpc as conversation_grpc
from parley.llm.v1 import llm_service_pb2 as pb
from parley.llm.v1 import llm_service_pb2_grpc as pb_grpc
from rich.console import Console
from rich.text import Text

from cli.connection import open_channel
from cli.errors import CliError
from cli.programs import LLM
from cli.render import milliseconds, printable
from cli.rpc import explain
from services.common.wire import seconds

_NOTES = {
    chat_pb2.FINISH_REASON_LENGTH: "cut at the longest answer allowed",
    chat_pb2.FINISH_REASON_CONTENT_FILTER: "withheld by the provider's content filter",
    chat_pb2.FINISH_REASON_TOOL_CALLS: "asks for a tool, which this client has none of",
}


@dataclass(frozen=True)
class ChatOptions:
    """What the user asked for; empty text means the server's default."""

    target: str
    instructions: str = ""
    conversation_id: str = ""


def run(message: str, options: ChatOptions, *, console: Console, ask: Callable[[str], str] = input) -> None:
    """Answer one message, or with an empty one talk until the end of the input.

    Between two answers the line editor has the terminal, hence a loop that is run turn by turn.

    Raises:
        CliError: where the service fails.
        KeyboardInterrupt: at Ctrl-C; while an answer is being written it ends that answer alone.
    """
    with asyncio.Runner() as runner:
        chat = runner.run(_open(options, keep=not message))
        try:
            if message:
                runner.run(chat.answer(message, console))
                return
            _edit_lines()
            console.print("Ctrl-D ends, Ctrl-C stops an answer.", style="dim")
            while (line := _line(ask)) is not None:
                with contextlib.suppress(KeyboardInterrupt):
                    if line.strip():
                        runner.run(chat.answer(line, console))
        finally:
            runner.run(chat.aclose())


def _edit_lines() -> None:
    """Arrow keys and a history for `input`, where the system has them."""
    with contextlib.suppress(ImportError):
        importlib.import_module("readline")


def _line(ask: Callable[[str], str]) -> str | None:
    try:
        return ask("> ")
    except EOFError:
        return None


class Chat:
    """An open channel and a conversation kept by the service, or without an id none."""

    def __init__(self, channel: grpc.aio.Channel, options: ChatOptions, conversation_id: str) -> None:
        self._channel = channel
        self._options = options
        self._conversation_id = conversation_id
        self._stub = pb_grpc.LanguageModelServiceStub(channel)

    async def answer(self, message: str, console: Console) -> None:
        """Print the answer as it is written, and how fast that was.

        Raises:
            CliError: where the service fails.
        """
        request = pb.GenerateRequest(
            conversation_id=self._conversation_id,
            messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=message)])],
        )
        if self._options.instructions:
            request.instructions = self._options.instructions
        begun, first_s, completed, connected = time.monotonic(), None, None, False
        call: Any = self._stub.Generate(request)
        try:
            async for response in call:
                connected = True
                if response.HasField("text_delta"):
                    first_s = first_s or time.monotonic() - begun
                    console.print(Text(printable(response.text_delta.text)), end="", soft_wrap=True)
                elif response.HasField("completed"):
                    completed = response.completed
        except grpc.aio.AioRpcError as error:
            raise explain(error, LLM, self._options.target, connected=connected) from None
        finally:
            call.cancel()
            if first_s is not None:
                console.print()
        if completed is None:
            raise CliError(f"{LLM.title} ended the answer too early")
        console.print(Text(_summary(completed, first_s), style="dim"))

    async def aclose(self) -> None:
        """Let go of the channel."""
        await self._channel.close()


async def _open(options: ChatOptions, *, keep: bool) -> Chat:
    """Connect; with `keep` the service remembers what was said."""
    channel = open_channel(options.target)
    if options.conversation_id or not keep:
        return Chat(channel, options, options.conversation_id)
    stub = conversation_grpc.ConversationServiceStub(channel)
    try:
        created = await stub.CreateConversation(conversation_pb.CreateConversationRequest())
    except grpc.aio.AioRpcError as error:
        await channel.close()
        raise explain(error, LLM, options.target) from None
    return Chat(channel, options, created.conversation.id)


def _summary(completed: pb.GenerationCompleted, first_s: float | None) -> str:
    """How fast it was: the first token as it came here, the rate as the service measured it."""
    parts = [f"first token {milliseconds(first_s)}"]
    tokens = completed.usage.output_tokens
    writing_s = seconds(completed.timings.total) - seconds(completed.timings.time_to_first_token)
    if tokens > 1 and writing_s > 0:
        parts.append(f"{tokens} tokens, {(tokens - 1) / writing_s:.0f} tokens/s")
    if completed.finish_reason in _NOTES:
        parts.append(_NOTES[completed.finish_reason])
    return " · ".join(parts)
