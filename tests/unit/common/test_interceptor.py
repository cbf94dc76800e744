"""What the interceptor does to calls, over real gRPC within one process."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from parley.stt.v1 import stt_service_pb2 as stt
from parley.stt.v1 import stt_service_pb2_grpc as stt_grpc
from parley.tts.v1 import tts_service_pb2 as tts
from parley.tts.v1 import tts_service_pb2_grpc as tts_grpc
from prometheus_client import CollectorRegistry

from services.common import logs
from services.common.channel import id_metadata, open_channel
from services.common.errors import (
    InvalidArgumentError,
    ModelLoadingError,
    OverloadedError,
    ServerDrainingError,
    VoiceNotFoundError,
)
from services.common.interceptor import Gate, ServerInterceptor
from services.common.metrics import ClientMetrics, ServerMetrics
from services.common.status import INTERNAL_MESSAGE, from_rpc_error

LIST = "/parley.tts.v1.TextToSpeechService/ListVoices"
SPEAK = "/parley.tts.v1.TextToSpeechService/Synthesize"
LISTEN = "/parley.stt.v1.SpeechToTextService/StreamingTranscribe"


@dataclass
class Script:
    """What the handlers do, and what they noticed."""

    error: Exception | None = None
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    ids: dict[str, str] = field(default_factory=dict)


class Speaker(tts_grpc.TextToSpeechServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def ListVoices(self, request: tts.ListVoicesRequest, context: Any) -> tts.ListVoicesResponse:
        self.script.ids = logs.current_ids()
        if self.script.error:
            raise self.script.error
        return tts.ListVoicesResponse()

    async def Synthesize(self, request: tts.SynthesizeRequest, context: Any) -> AsyncIterator[tts.SynthesizeResponse]:
        try:
            yield tts.SynthesizeResponse(started=tts.SynthesisStarted(voice="v"))
            if self.script.error:
                raise self.script.error
            self.script.reached.set()
            await self.script.hold.wait()
            yield tts.SynthesizeResponse(completed=tts.SynthesisCompleted())
        finally:
            self.script.left.set()


class Listener(stt_grpc.SpeechToTextServiceServicer):
    def __init__(self, script: Script) -> None:
        self.script = script

    async def StreamingTranscribe(
        self, requests: AsyncIterator[stt.StreamingTranscribeRequest], context: Any
    ) -> AsyncIterator[stt.StreamingTranscribeResponse]:
        try:
            async for request in requests:
                self.script.reached.set()
                yield stt.StreamingTranscribeResponse(transcript=stt.Transcript(text=str(len(request.audio))))
        finally:
            self.script.left.set()


@dataclass
class Served:
    script: Script
    gate: Gate
    registry: CollectorRegistry
    channel: grpc.aio.Channel

    @property
    def speaker(self) -> tts_grpc.TextToSpeechServiceStub:
        return tts_grpc.TextToSpeechServiceStub(self.channel)

    async def calls(self, method: str, code: str) -> float:
        """How many calls ended so; a client may hear of an end before the server has counted it."""
        await self.gate.wait_empty()
        labels = {"method": method, "code": code}
        return self.registry.get_sample_value("parley_rpc_server_duration_seconds_count", labels) or 0

    def calls_made(self, method: str, code: str) -> float:
        """How many calls the client has seen end so."""
        labels = {"method": method, "code": code}
        return self.registry.get_sample_value("parley_rpc_client_duration_seconds_count", labels) or 0


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    script, gate, registry = Script(), Gate(), CollectorRegistry()
    gate.open()
    server = grpc.aio.server(interceptors=(ServerInterceptor(gate, ServerMetrics("t", registry)),))
    tts_grpc.add_TextToSpeechServiceServicer_to_server(Speaker(script), server)
    stt_grpc.add_SpeechToTextServiceServicer_to_server(Listener(script), server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with open_channel(f"127.0.0.1:{port}", ClientMetrics(registry)) as channel:
        yield Served(script, gate, registry, channel)
    await server.stop(0)


async def outcome(call: Any) -> grpc.aio.AioRpcError:
    """The error that a call ends with."""

    async def finish() -> None:
        if hasattr(call, "__aiter__"):
            _ = [response async for response in call]
        else:
            await call

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await finish()
    return caught.value


async def test_a_call_is_answered_and_counted(served: Served) -> None:
    await served.speaker.ListVoices(tts.ListVoicesRequest())
    assert await served.calls(LIST, "OK") == 1
    assert served.calls_made(LIST, "OK") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VoiceNotFoundError("no such voice", field="voice"), "NOT_FOUND"),
        (OverloadedError("too many"), "RESOURCE_EXHAUSTED"),
    ],
)
async def test_parleys_exceptions_become_their_statuses_in_every_kind_of_call(
    served: Served, error: Exception, code: str
) -> None:
    served.script.error = error
    for method, call in (
        (LIST, served.speaker.ListVoices(tts.ListVoicesRequest())),
        (SPEAK, served.speaker.Synthesize(tts.SynthesizeRequest())),
    ):
        back = from_rpc_error(await outcome(call))
        assert type(back) is type(error)
        assert str(back) == str(error)
        assert await served.calls(method, code) == 1
        assert served.calls_made(method, code) == 1


async def test_anything_else_says_nothing_of_itself_to_the_client_and_all_to_the_log(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.script.error = ValueError("secret of /var/lib/model")
    for call in (
        served.speaker.ListVoices(tts.ListVoicesRequest()),
        served.speaker.Synthesize(tts.SynthesizeRequest()),
    ):
        error = await outcome(call)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert error.details() == INTERNAL_MESSAGE
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == [
        "secret of /var/lib/model",
        "secret of /var/lib/model",
    ]
    assert await served.calls(LIST, "INTERNAL") == await served.calls(SPEAK, "INTERNAL") == 1


async def test_after_a_failure_the_next_call_works(served: Served) -> None:
    served.script.error = ValueError("once")
    await outcome(served.speaker.ListVoices(tts.ListVoicesRequest()))
    served.script.error = None
    await served.speaker.ListVoices(tts.ListVoicesRequest())


async def test_bytes_that_are_no_message_are_an_invalid_argument(served: Served) -> None:
    garbage = b"\xff\xff\xff\xff"
    for call in (
        served.channel.unary_unary(LIST)(garbage),
        served.channel.unary_stream(SPEAK)(garbage),
        served.channel.stream_stream(LISTEN)(iter([garbage])),
    ):
        error = await outcome(call)
        assert type(from_rpc_error(error)) is InvalidArgumentError
        assert error.details() == "the bytes are no message of this method"
    await served.speaker.ListVoices(tts.ListVoicesRequest())


@pytest.mark.parametrize(
    ("shut", "kind"),
    [(lambda gate: gate.drain(), ServerDrainingError), (lambda gate: gate.__init__(), ModelLoadingError)],
)
async def test_a_shut_gate_refuses_calls_with_its_reason_but_not_health(
    served: Served, shut: Callable[[Gate], None], kind: type[Exception]
) -> None:
    shut(served.gate)
    for call in (
        served.speaker.ListVoices(tts.ListVoicesRequest()),
        served.speaker.Synthesize(tts.SynthesizeRequest()),
    ):
        back = from_rpc_error(await outcome(call))
        assert type(back) is kind
        assert back.retry_after_s == 1.0
    await health_pb2_grpc.HealthStub(served.channel).Check(health_pb2.HealthCheckRequest())


async def test_a_cancelled_stream_ends_its_handler_and_is_counted_as_cancelled(served: Served) -> None:
    call = served.speaker.Synthesize(tts.SynthesizeRequest())
    await call.read()
    await served.script.reached.wait()
    call.cancel()
    await served.script.left.wait()
    assert await served.calls(SPEAK, "CANCELLED") == 1
    assert served.calls_made(SPEAK, "CANCELLED") == 1


async def test_a_cancelled_two_way_stream_ends_its_handler(served: Served) -> None:
    call = stt_grpc.SpeechToTextServiceStub(served.channel).StreamingTranscribe()
    await call.write(stt.StreamingTranscribeRequest(audio=b"\x00\x00"))
    await served.script.reached.wait()
    call.cancel()
    await served.script.left.wait()
    assert served.calls_made(LISTEN, "CANCELLED") == 1
    # A handler that is reading sees the end of its client's stream or the cancellation, whichever grpc.aio has first.
    assert await served.calls(LISTEN, "CANCELLED") + await served.calls(LISTEN, "OK") == 1


async def test_the_gate_knows_when_the_last_call_has_left(served: Served) -> None:
    call = served.speaker.Synthesize(tts.SynthesizeRequest())
    await call.read()
    await served.script.reached.wait()
    empty = asyncio.create_task(served.gate.wait_empty())
    await asyncio.sleep(0)
    assert not empty.done()
    served.script.hold.set()
    await call.read()
    await empty


async def test_ids_travel_from_client_to_handler(served: Served) -> None:
    with logs.ids(session_id="s1", response_id="r1"):
        await served.speaker.ListVoices(tts.ListVoicesRequest(), metadata=id_metadata())
    assert served.script.ids == {"session_id": "s1", "response_id": "r1"}
    await served.speaker.ListVoices(tts.ListVoicesRequest())
    assert served.script.ids == {}


async def test_a_refusal_is_logged_with_its_reason_and_the_clients_ids(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.script.error = VoiceNotFoundError("no such voice", field="voice")
    with caplog.at_level(logging.INFO):
        await outcome(served.speaker.ListVoices(tts.ListVoicesRequest()))
    (record,) = [record for record in caplog.records if record.message == "call refused"]
    assert (record.method, record.code, record.reason) == (LIST, "NOT_FOUND", "VOICE_NOT_FOUND")  # type: ignore[attr-defined]
    assert record.error == "voice: no such voice"  # type: ignore[attr-defined]


async def test_an_unknown_method_is_left_to_grpc(served: Served) -> None:
    error = await outcome(served.channel.unary_unary("/parley.tts.v1.TextToSpeechService/Sing")(b""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_dead_server_is_reported_without_its_address() -> None:
    async with open_channel("127.0.0.1:1") as channel:
        speaker = tts_grpc.TextToSpeechServiceStub(channel)
        back = from_rpc_error(await outcome(speaker.ListVoices(tts.ListVoicesRequest())))
    assert str(back) == "is not reachable"
