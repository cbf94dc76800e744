"""Each limit of docs/limits.md is passed once, and answered as the page says."""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import struct_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from parley.agent.v1 import agent_service_pb2 as agent
from parley.agent.v1 import agent_service_pb2_grpc as agent_grpc
from parley.common.v1 import chat_pb2, error_reason_pb2
from parley.llm.v1 import conversation_service_pb2 as conversation_pb
from parley.llm.v1 import llm_service_pb2 as llm_pb
from parley.stt.v1 import stt_service_pb2 as stt_pb
from parley.stt.v1 import stt_service_pb2_grpc as stt_grpc
from parley.tts.v1 import tts_service_pb2 as tts_pb
from parley.tts.v1 import tts_service_pb2_grpc as tts_grpc

from tests.support.llm_client import LlmClient, user
from tests.support.pictures import picture
from tests.support.servers import ROOT, RunningServer
from tests.support.stack import Conversation, conversation, fake_stack
from tests.support.stt_client import config, opening
from tools.limit_tables import GRPC, LIMITS

SLOW_MS = 3_600_000
FLAGS = {
    "orchestrator": ("--max_sessions=1", "--session_idle_timeout_s=0"),
    "stt": (
        *("--stt_max_streams=1", "--stt_max_transcriptions=1", "--stt_max_waiting=0", f"--fake_stt_delay_ms={SLOW_MS}"),
    ),
    "llm": (
        *("--llm_max_input_chars=40000", "--llm_is_vlm", "--fake_calls_tools"),
        *("--max_conversations=4", "--max_conversation_bytes=4096", f"--fake_first_token_ms={SLOW_MS}"),
        *("--image_max_per_request=1", "--image_max_bytes=100000", "--image_max_pixels=100"),
    ),
    "tts": (
        *("--max_message_bytes=65536", "--max_metadata_bytes=8192", "--tts_max_characters=100"),
        *("--tts_max_running=1", "--tts_max_waiting=0", f"--fake_tts_delay_ms={SLOW_MS}"),
    ),
}
_TOKENS, _SESSIONS = "tests/security/test_tokens.py", "tests/integration/orchestrator/test_limits.py"
_EVENTS = "tests/unit/orchestrator/realtime/test_event_json.py"
ELSEWHERE = {
    "max_load": ("tests/integration/common/test_overload.py", "max_load"),
    "token_max_sessions": (_TOKENS, '"sessions": 1'),
    "token_requests_per_minute": (_TOKENS, '"requests_per_minute": 6'),
    "token_audio_seconds_per_day": (_TOKENS, '"audio_seconds_per_day": 1'),
    "session_idle_timeout_s": (_SESSIONS, "--session_idle_timeout_s"),
    "session_max_s": (_SESSIONS, "--session_max_s"),
    "client_read_timeout_s": (_SESSIONS, "--client_read_timeout_s"),
    "orchestrator.servicer:FIRST_EVENT_S": ("tests/unit/orchestrator/test_servicer.py", "FIRST_EVENT_S + 1"),
    "orchestrator.realtime.event_json:MAX_VALUES": (_EVENTS, "MAX_VALUES"),
    "orchestrator.realtime.event_json:MAX_LEVELS": (_EVENTS, "MAX_LEVELS"),
    "stt_idle_timeout_s": ("tests/integration/stt/test_fake_server.py", "--stt_idle_timeout_s"),
    "llm_max_waiting": ("tests/unit/llm/test_turns.py", "max_waiting"),
}
"""Those that have tests of their own, of sessions and of time."""


@dataclass(frozen=True)
class Stack:
    """The programs, with small limits, and a channel to each."""

    servers: dict[str, RunningServer]
    channels: dict[str, grpc.aio.Channel]

    @property
    def llm(self) -> LlmClient:
        return LlmClient(self.channels["llm"])

    @property
    def tts(self) -> Any:
        return tts_grpc.TextToSpeechServiceStub(self.channels["tts"])

    @property
    def stt(self) -> Any:
        return stt_grpc.SpeechToTextServiceStub(self.channels["stt"])

    @property
    def agent(self) -> Any:
        return agent_grpc.VoiceAgentServiceStub(self.channels["orchestrator"])

    def session(self, **config: Any) -> contextlib.AbstractAsyncContextManager[Conversation]:
        return conversation(self.servers["orchestrator"].address, **config)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Stack]:
    async with contextlib.AsyncExitStack() as opened:
        servers = await opened.enter_async_context(fake_stack(**FLAGS))
        options = (("grpc.max_send_message_length", -1),)
        channels = {
            name: await opened.enter_async_context(grpc.aio.insecure_channel(server.address, options=options))
            for name, server in servers.items()
        }
        yield Stack(servers, channels)


Hit = Callable[[Stack], Awaitable[Any]]
"""Raises, or returns the reason of an event."""


async def message(stack: Stack) -> None:
    await stack.tts.Synthesize(tts_pb.SynthesizeRequest(text="a" * 70_000)).read()


async def metadata(stack: Stack) -> None:
    await stack.tts.ListVoices(tts_pb.ListVoicesRequest(), metadata=(("x-long", "a" * 9_000),))


async def sessions(stack: Stack) -> None:
    async with stack.session(), stack.session():
        pass


async def instructions(stack: Stack) -> None:
    async with stack.session(instructions="a" * 32_001):
        pass


async def session_tools(stack: Stack) -> None:
    async with stack.session(tools=tool_set(*(f"tool_{number}" for number in range(129))).tools):
        pass


async def session_tools_bytes(stack: Stack) -> None:
    async with stack.session(tools=tool_set("long", schema=f'{{"a": "{"a" * 300_000}"}}').tools):
        pass


async def history(stack: Stack) -> None:
    await stack.agent.Respond(agent.RespondRequest(text="a", history=[user("a")] * 1001)).read()


async def queued_turns(stack: Stack) -> str:
    async with stack.session() as talk:
        for _ in range(6):
            await talk.send(response_create=agent.ResponseCreate())
        return await reason_of_event(talk)


async def items(stack: Stack) -> str:
    async with stack.session() as talk:
        for _ in range(200):  # more than the language model takes in meanwhile
            await talk.send(conversation_item_create=agent.ConversationItemCreate(item=user("a" * 30)))
        return await reason_of_event(talk)


async def recording(stack: Stack) -> None:
    await stack.stt.Transcribe(stt_pb.TranscribeRequest(config=config(), audio=bytes(61 * 32_000))).read()


async def streams(stack: Stack) -> None:
    first = stack.stt.StreamingTranscribe()
    await first.write(opening(manual_end=True))
    await first.write(stt_pb.StreamingTranscribeRequest(force_end_of_utterance=stt_pb.ForceEndOfUtterance()))
    await first.read()
    with cancelled(first):
        await stack.stt.StreamingTranscribe(iter([opening()])).read()


async def recordings(stack: Stack) -> None:
    request = stt_pb.TranscribeRequest(config=config(), audio=loud(1))
    calls = [stack.stt.Transcribe(request) for _ in range(2)]
    with cancelled(*calls):
        await first_to_fail(calls)


async def characters(stack: Stack) -> None:
    await stack.llm.generate("a" * 40_001)


async def messages(stack: Stack) -> None:
    await stack.llm.generate(messages=[user("a")] * 1001)


async def parts(stack: Stack) -> None:
    content = [chat_pb2.ContentPart(text="a")] * 10_001
    await stack.llm.generate(messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)])


async def options(stack: Stack) -> None:
    given = struct_pb2.Struct()
    given.update({"stop_text": "a" * 65_536})
    await stack.llm.generate("a", backend_options=given)


async def tools(stack: Stack) -> None:
    await stack.llm.generate("a", tools=tool_set(*(f"tool_{number}" for number in range(129))))


async def depth(stack: Stack) -> None:
    await stack.llm.generate("a", tools=tool_set("deep", schema='{"a":' * 65 + "1" + "}" * 65))


async def stops(stack: Stack) -> None:
    await stack.llm.generate("a", sampling=chat_pb2.SamplingOptions(stop=["a"] * 17))


async def images(stack: Stack) -> None:
    await stack.llm.generate(messages=[pictures(b"a", b"b")])


async def image_bytes(stack: Stack) -> None:
    await stack.llm.generate(messages=[pictures(bytes(100_001))])


async def image_pixels(stack: Stack) -> None:
    await stack.llm.generate(messages=[pictures(picture(size=(20, 20)))])


async def conversations(stack: Stack) -> None:
    async with contextlib.AsyncExitStack() as made:
        for _ in range(5):
            request = conversation_pb.DeleteConversationRequest(conversation_id=await stack.llm.create())
            made.push_async_callback(stack.llm.conversations.DeleteConversation, request)


async def conversation_bytes(stack: Stack) -> None:
    await stack.llm.create(messages=[user("a" * 5_000)])


async def text(stack: Stack) -> None:
    await stack.tts.Synthesize(tts_pb.SynthesizeRequest(text="a" * 101)).read()


async def texts(stack: Stack) -> None:
    calls = [stack.tts.Synthesize(tts_pb.SynthesizeRequest(text="a")) for _ in range(2)]
    with cancelled(*calls):
        await first_to_fail(calls)


HITS: dict[str, Hit] = {
    "max_message_bytes": message,
    "max_metadata_bytes": metadata,
    "orchestrator.convert:MAX_INSTRUCTIONS_CHARACTERS": instructions,
    "orchestrator.convert:MAX_TOOLS": session_tools,
    "orchestrator.convert:MAX_TOOLS_BYTES": session_tools_bytes,
    "orchestrator.convert:MAX_HISTORY": history,
    "orchestrator.session:MAX_QUEUED_TURNS": queued_turns,
    "orchestrator.live:MAX_ITEMS_WAITING": items,
    "services.stt.domain:MAX_RECORDING_S": recording,
    "stt_max_streams": streams,
    "stt_max_waiting": recordings,
    "llm_max_input_chars": characters,
    "services.llm.checks:MAX_MESSAGES": messages,
    "services.llm.checks:MAX_PARTS": parts,
    "services.llm.checks:MAX_TOOLS": tools,
    "services.llm.checks:MAX_OPTIONS_BYTES": options,
    "services.llm.checks:MAX_JSON_DEPTH": depth,
    "services.llm.checks:MAX_STOPS": stops,
    "image_max_per_request": images,
    "image_max_bytes": image_bytes,
    "image_max_pixels": image_pixels,
    "max_conversations": conversations,
    "max_conversation_bytes": conversation_bytes,
    "tts_max_characters": text,
    "tts_max_waiting": texts,
    "max_sessions": sessions,  # the last of its server's: its places come free when that hears of it
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", HITS)
async def test_a_limit_is_answered_as_the_page_says(name: str, stack: Stack) -> None:
    limit = next(limit for limit in LIMITS if limit.name == name)
    status, reason = await passed(HITS[name], stack)
    assert status in (limit.status, "an event")
    assert reason == ("" if limit.reason == GRPC else limit.reason)


def test_each_limit_of_the_page_is_passed_by_a_test() -> None:
    names = [limit.name for limit in LIMITS]
    assert len(names) == len(set(names))
    assert set(names) == HITS.keys() | ELSEWHERE.keys()
    for file, text in ELSEWHERE.values():
        assert text in (ROOT / file).read_text("utf-8")


def test_the_page_is_what_the_code_says() -> None:
    command = (sys.executable, "tools/limit_tables.py", "--check")
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")


async def passed(hit: Hit, stack: Stack) -> tuple[str, str]:
    """With what a limit is answered: a status, or an event; and the reason."""
    try:
        return "an event", await hit(stack)
    except grpc.aio.AioRpcError as error:
        return error.code().name, reason_of(error)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
    info = error_details_pb2.ErrorInfo()
    return info.reason if status is not None and any(detail.Unpack(info) for detail in status.details) else ""


async def reason_of_event(talk: Conversation) -> str:
    reason = error_reason_pb2.ErrorReason.Name((await talk.until("error")).reason)
    return reason.removeprefix("ERROR_REASON_")


@contextlib.contextmanager
def cancelled(*calls: Any) -> Any:
    """Calls that are ended with the block."""
    try:
        yield
    finally:
        for call in calls:
            call.cancel()


async def first_to_fail(calls: list[Any]) -> None:
    """Raise what the first of the calls fails with that ends; the others hold the places."""
    ends = {asyncio.ensure_future(call.code()): call for call in calls}
    done, running = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in running:
        end.cancel()
    await ends[done.pop()].read()


def loud(seconds: float) -> bytes:
    return b"\x00\x40\x00\xc0" * round(8_000 * seconds)


def tool_set(*names: str, schema: str = "{}") -> llm_pb.ToolSet:
    return llm_pb.ToolSet(tools=[chat_pb2.Tool(name=name, parameters_json_schema=schema) for name in names])


def pictures(*data: bytes) -> chat_pb2.Message:
    parts = [chat_pb2.ContentPart(image=chat_pb2.Image(data=one)) for one in data]
    return chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[*parts, chat_pb2.ContentPart(text="Look.")])
