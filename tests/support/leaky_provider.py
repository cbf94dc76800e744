"""An OpenAI-compatible provider on loopback that, when told to fail, repeats in its errors all that it was sent."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.route_server import route_server


@dataclass
class LeakyProvider:
    """Where it listens, and what it does; `status` 200 answers."""

    answer: str
    transcript: str
    base_url: str = ""
    status: int = 200
    stream: str = ""
    """What a stream holds in place of the answer."""
    keys: frozenset[str] = frozenset()
    """What it was shown as `authorization`."""


@contextlib.asynccontextmanager
async def leaky_provider(answer: str, transcript: str) -> AsyncIterator[LeakyProvider]:
    """The server on a free loopback port, in this event loop."""
    state = LeakyProvider(answer, transcript)

    async def refusal(request: Request) -> Response | None:
        authorization = request.headers.get("authorization", "")
        state.keys |= {authorization}
        if state.status == 200:
            return None
        sent = (await request.body()).decode(errors="replace")
        error = {
            "message": f"Incorrect API key {authorization.removeprefix('Bearer ')} in {authorization}",
            "sent": sent,
        }
        return JSONResponse({"error": error}, state.status, {"x-echo": authorization})

    async def completions(request: Request) -> Response:
        if (refused := await refusal(request)) is not None:
            return refused
        chunk = {"choices": [{"delta": {"content": state.answer}, "finish_reason": "stop"}]}
        text = state.stream or f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n"
        return Response(text, media_type="text/event-stream")

    async def transcriptions(request: Request) -> Response:
        return await refusal(request) or JSONResponse({"text": state.transcript})

    async def speech(request: Request) -> Response:
        return await refusal(request) or Response(bytes(6400), media_type="audio/pcm;rate=16000")

    routes = [
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/audio/transcriptions", transcriptions, methods=["POST"]),
        Route("/v1/audio/speech", speech, methods=["POST"]),
    ]
    async with route_server(routes) as address:
        state.base_url = f"{address}/v1"
        yield state
