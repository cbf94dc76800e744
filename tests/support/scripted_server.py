"""A server whose every step waits for a word on its standard input, so that tests see it between two steps.

`loaded` ends its loading, `broken` fails it, `spoken` ends the synthesis in progress.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.common.errors import StartupError
from services.common.server import Service, main
from services.common.settings import ServerSettings, load_or_exit


class ScriptedService(Service, pb_grpc.TextToSpeechServiceServicer):
    """Loads and speaks when it is told to."""

    name = "scripted"
    descriptors = (pb.DESCRIPTOR.services_by_name["TextToSpeechService"],)

    def __init__(self) -> None:
        self._words: asyncio.StreamReader

    async def load(self) -> None:
        """Wait for `loaded`."""
        self._words = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(self._words)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        if await self._words.readline() == b"broken\n":
            raise StartupError("the model is broken; install another")

    def register(self, server: grpc.aio.Server) -> None:
        """Serve itself."""
        pb_grpc.add_TextToSpeechServiceServicer_to_server(self, server)

    async def aclose(self) -> None:
        """Say so: tests look for it."""
        sys.stdout.write("closed\n")
        sys.stdout.flush()

    async def Synthesize(self, request: pb.SynthesizeRequest, context: Any) -> AsyncIterator[pb.SynthesizeResponse]:
        """Started, and completed after `spoken`."""
        yield pb.SynthesizeResponse(started=pb.SynthesisStarted(voice="scripted"))
        await self._words.readline()
        yield pb.SynthesizeResponse(completed=pb.SynthesisCompleted(character_count=len(request.text)))

    async def ListVoices(self, request: pb.ListVoicesRequest, context: Any) -> pb.ListVoicesResponse:
        """None."""
        return pb.ListVoicesResponse()


if __name__ == "__main__":
    main(ScriptedService(), load_or_exit(ServerSettings, "parley-scripted"))
