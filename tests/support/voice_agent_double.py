"""A VoiceAgentService that says what a test tells it to, in this process."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc

Script = Callable[[AsyncIterator[pb.ConverseRequest], Any], AsyncIterator[pb.ConverseResponse]]


class _Servicer(agent_service_pb2_grpc.VoiceAgentServiceServicer):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def Converse(self, request_iterator: Any, context: Any) -> AsyncIterator[pb.ConverseResponse]:
        async for response in self._script(request_iterator, context):
            yield response


@contextlib.asynccontextmanager
async def voice_agent(script: Script) -> AsyncIterator[str]:
    """Serve a script for `Converse` on a free port; yields the address."""
    server = grpc.aio.server()
    agent_service_pb2_grpc.add_VoiceAgentServiceServicer_to_server(_Servicer(script), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)
