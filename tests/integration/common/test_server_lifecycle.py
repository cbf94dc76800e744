"""The life of a server as a real process: loading, serving, draining, stopped."""

import asyncio
import contextlib
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.common.errors import ModelLoadingError, UnavailableError
from services.common.status import from_rpc_error

PROGRAM = Path(__file__).parents[2] / "support" / "scripted_server.py"
SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE = "parley.tts.v1.TextToSpeechService"


@dataclass
class Server:
    """The process, a channel to it, and the log lines read so far."""

    process: asyncio.subprocess.Process
    channel: grpc.aio.Channel = field(init=False)
    lines: list[dict[str, object]] = field(default_factory=list)

    async def until(self, message: str) -> dict[str, object]:
        """Read the log up to a line with this message."""
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.lines.append(json.loads(line) if line.startswith(b"{") else {"message": line.decode()})
            if self.lines[-1]["message"] == message:
                return self.lines[-1]
        raise AssertionError(f"{message!r} never came: {self.lines}")

    def say(self, word: str) -> None:
        """Let it take its next step."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n".encode())

    async def health(self, service: str = "") -> int:
        """What it says of itself."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status

    async def ended(self) -> tuple[int, str]:
        """Wait for its end: exit code and standard output."""
        assert self.process.stdout is not None
        output = await self.process.stdout.read()
        return await self.process.wait(), output.decode()

    @property
    def speaker(self) -> pb_grpc.TextToSpeechServiceStub:
        return pb_grpc.TextToSpeechServiceStub(self.channel)


@contextlib.asynccontextmanager
async def started(*flags: str) -> AsyncIterator[Server]:
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), asyncio.subprocess.PIPE)
    process = await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), *flags, **pipes)
    try:
        yield Server(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@contextlib.asynccontextmanager
async def listening(*flags: str) -> AsyncIterator[Server]:
    async with started("--port", "0", *flags) as server:
        port = (await server.until("listening"))["port"]
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as server.channel:
            yield server


@contextlib.asynccontextmanager
async def serving(*flags: str) -> AsyncIterator[Server]:
    async with listening(*flags) as server:
        server.say("loaded")
        await server.until("serving")
        yield server


async def test_while_it_loads_it_is_not_serving_and_refuses_calls_with_the_reason() -> None:
    async with listening() as server:
        assert await server.health() == await server.health(SERVICE) == NOT_SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.speaker.ListVoices(pb.ListVoicesRequest())
        assert type(from_rpc_error(caught.value)) is ModelLoadingError

        server.say("loaded")
        await server.until("serving")
        assert await server.health() == await server.health(SERVICE) == SERVING
        await server.speaker.ListVoices(pb.ListVoicesRequest())


async def test_a_watcher_sees_loading_serving_and_draining() -> None:
    async with listening() as server:
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        assert (await watch.read()).status == NOT_SERVING
        server.say("loaded")
        assert (await watch.read()).status == SERVING
        server.process.send_signal(signal.SIGTERM)
        assert (await watch.read()).status == NOT_SERVING


async def test_a_model_that_does_not_load_ends_it_with_one_line_and_exit_code_1() -> None:
    async with listening() as server:
        server.say("broken")
        code, _ = await server.ended()
        assert code == 1
        with pytest.raises(AssertionError):
            await server.until("never")
        assert server.lines[-1] == {"message": "parley-scripted: the model is broken; install another\n"}
        assert not any("Traceback" in str(line) for line in server.lines)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_loads_ends_it_cleanly(signal_number: int) -> None:
    async with listening() as server:
        server.process.send_signal(signal_number)
        assert await server.ended() == (0, "closed\n")


async def test_a_running_stream_is_finished_before_it_goes_and_no_new_call_is_let_in() -> None:
    async with serving() as server:
        call = server.speaker.Synthesize(pb.SynthesizeRequest(text="hello"))
        assert (await call.read()).started.voice == "scripted"
        server.process.send_signal(signal.SIGTERM)
        await server.until("draining")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await pb_grpc.TextToSpeechServiceStub(server.channel).ListVoices(pb.ListVoicesRequest())
        assert isinstance(from_rpc_error(caught.value), UnavailableError)

        server.say("spoken")
        assert (await call.read()).completed.character_count == 5
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        assert await server.ended() == (0, "closed\n")


async def test_a_stream_that_outlasts_the_grace_is_cut_off() -> None:
    async with serving("--drain_grace_s", "0.1") as server:
        call = server.speaker.Synthesize(pb.SynthesizeRequest(text="hello"))
        await call.read()
        server.process.send_signal(signal.SIGTERM)
        assert await call.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert await server.ended() == (0, "closed\n")


async def test_a_connection_is_renewed_at_its_age_and_the_call_that_runs_on_it_goes_on() -> None:
    async with serving("--max_connection_age_s=0.5") as server:
        call = server.speaker.Synthesize(pb.SynthesizeRequest())
        await call.read()
        await server.channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        await server.speaker.ListVoices(pb.ListVoicesRequest())
        server.say("spoken")
        assert await call.read() is not grpc.aio.EOF
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK


async def test_a_watcher_of_health_does_not_hold_up_the_end() -> None:
    async with serving("--drain_grace_s", "3600") as server:
        watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        server.process.send_signal(signal.SIGTERM)
        assert await server.ended() == (0, "closed\n")


async def test_a_taken_port_ends_it_with_one_line_that_names_the_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for flags in (("--port", port), ("--port", "0", "--metrics_port", port)):
            async with started(*flags) as server:
                assert server.process.stderr is not None
                last = (await server.process.stderr.read()).decode().splitlines()[-1]
                assert await server.process.wait() == 1
                assert f"127.0.0.1:{port}; is the port taken? Choose another {flags[-2]}" in last


async def test_reflection_names_the_services() -> None:
    async with listening() as server:
        address = f"127.0.0.1:{server.lines[-1]['port']}"

        def services() -> set[str]:
            with grpc.insecure_channel(address) as channel:
                return set(ProtoReflectionDescriptorDatabase(channel).get_services())

        assert await asyncio.to_thread(services) == {
            SERVICE,
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


async def test_metrics_are_served_on_the_port_that_is_logged() -> None:
    async with serving("--metrics_port", "0") as server:
        await server.speaker.ListVoices(pb.ListVoicesRequest())
        port = int(str(server.lines[0]["metrics_port"]))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        assert 'parley_rpc_server_duration_seconds_count{code="OK",method="/parley.tts.v1' in text


async def test_a_message_over_the_limit_is_refused_and_the_server_goes_on() -> None:
    async with serving("--max_message_bytes", "65536") as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.speaker.Synthesize(pb.SynthesizeRequest(text="a" * 70_000)).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in str(caught.value.details())
        await server.speaker.ListVoices(pb.ListVoicesRequest())
