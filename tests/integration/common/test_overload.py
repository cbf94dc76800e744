"""More than a server has time for: those inside are answered, the others are refused and told when to come back."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2
from parley.llm.v1 import llm_service_pb2, llm_service_pb2_grpc
from parley.stt.v1 import stt_service_pb2, stt_service_pb2_grpc
from parley.tts.v1 import tts_service_pb2, tts_service_pb2_grpc

from services.common.errors import OverloadedError
from services.common.load import LEAST, LONGEST_S
from services.common.sent_status import SentStatus
from services.common.status import from_rpc_error
from tests.support.servers import RunningServer
from tests.support.stack import SPEECH, conversation, fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")

BUSY = ("--max_load=0.001", "--metrics_port=0")
"""Nothing takes so little of a processor: the least that is ever let in is let in."""
CALLERS = 20
Servers = dict[str, RunningServer]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Servers]:
    """The four programs, each with little time."""
    async with fake_stack(
        orchestrator=BUSY,
        stt=BUSY,
        llm=(*BUSY, "--fake_first_token_ms=500"),
        tts=(*BUSY, "--fake_tts_delay_ms=500"),
    ) as servers:
        yield servers


async def generate(channel: grpc.aio.Channel, answered: asyncio.Event) -> None:
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="Well?")])
    call: Any = llm_service_pb2_grpc.LanguageModelServiceStub(channel).Generate(
        llm_service_pb2.GenerateRequest(messages=[message])
    )
    events = [event.WhichOneof("event") async for event in call]
    assert events[-1] == "completed"


async def synthesize(channel: grpc.aio.Channel, answered: asyncio.Event) -> None:
    call: Any = tts_service_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(
        tts_service_pb2.SynthesizeRequest(text="Hello.")
    )
    events = [event.WhichOneof("event") async for event in call]
    assert events[-1] == "completed"


async def transcribe(channel: grpc.aio.Channel, answered: asyncio.Event) -> None:
    request = stt_service_pb2.StreamingTranscribeRequest
    config = stt_service_pb2.StreamingConfig(
        config=stt_service_pb2.TranscriptionConfig(audio_format=SPEECH), manual_end=True
    )

    async def requests() -> AsyncIterator[stt_service_pb2.StreamingTranscribeRequest]:
        yield request(config=config)
        yield request(audio=bytes(3200))
        yield request(force_end_of_utterance=stt_service_pb2.ForceEndOfUtterance())
        await answered.wait()

    call: Any = stt_service_pb2_grpc.SpeechToTextServiceStub(channel).StreamingTranscribe(requests())
    status = SentStatus(call)
    try:
        finals = [True async for event in call if event.transcript.is_final]
    except grpc.aio.AioRpcError as error:
        raise status.of(error) from None
    assert finals == [True]


WORK: dict[str, Callable[[grpc.aio.Channel, asyncio.Event], Awaitable[None]]] = {
    "llm": generate,
    "tts": synthesize,
    "stt": transcribe,
}


async def outcome(work: Awaitable[None]) -> OverloadedError | None:
    """None where it was done, else why not."""
    try:
        await work
    except grpc.aio.AioRpcError as error:
        refusal = from_rpc_error(error)
        assert type(refusal) is OverloadedError, refusal
        return refusal
    return None


@pytest.mark.parametrize("name", WORK)
async def test_a_service_answers_those_inside_and_refuses_the_others_with_a_time(stack: Servers, name: str) -> None:
    answered = asyncio.Event()
    async with grpc.aio.insecure_channel(stack[name].address) as channel:
        calls = [asyncio.create_task(outcome(WORK[name](channel, answered))) for _ in range(CALLERS)]
        while sum(call.done() for call in calls) < CALLERS - LEAST:
            await asyncio.wait([call for call in calls if not call.done()], return_when=asyncio.FIRST_COMPLETED)
        answered.set()
        refusals = [refusal for refusal in await asyncio.gather(*calls) if refusal is not None]
        assert 0 < len(refusals) <= CALLERS - LEAST
        told = [refusal.retry_after_s or 0 for refusal in refusals]
        assert all(1.0 <= seconds <= 2 * LONGEST_S for seconds in told), told
        assert len(set(told)) > 1, "they do not come back together"
        assert await outcome(WORK[name](channel, answered)) is None, "there is room as soon as those inside have left"
    page = await stack[name].metrics_page()
    assert "parley_work_limit 2.0" in page
    assert "parley_work_inside 0.0" in page


async def test_sessions_inside_go_on_while_others_are_refused_and_there_is_room_when_they_end(stack: Servers) -> None:
    address = stack["orchestrator"].address

    async def knock() -> None:
        async with conversation(address):
            pass

    async with conversation(address) as first, conversation(address) as second:
        refusals = await asyncio.gather(*(outcome(knock()) for _ in range(CALLERS)))
        for client in (first, second):
            await client.write_text("Hello")
            await client.until("response_done")
            assert client.audio()
        assert {type(refusal) for refusal in refusals} == {OverloadedError}
    while (refusal := await outcome(knock())) is not None:
        assert refusal.reason == "OVERLOADED"


async def test_a_session_inside_waits_for_a_service_that_has_no_room() -> None:
    async with fake_stack(orchestrator=("--max_load=1",), llm=("--fake_first_token_ms=300", *BUSY)) as servers:
        address = servers["orchestrator"].address
        async with conversation(address) as first, conversation(address) as second, conversation(address) as third:
            inside = (first, second, third)
            await asyncio.gather(*(client.write_text("Hello") for client in inside))
            done = await asyncio.gather(*(client.until("response_done") for client in inside))
            assert [response.status for response in done] == [pb.RESPONSE_STATUS_COMPLETED] * 3
            assert not any("error" in client.kinds() for client in inside), "it was asked again, and had room"
