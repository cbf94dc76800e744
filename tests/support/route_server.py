"""Routes served over HTTP on a free loopback port, in this event loop."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Route


@contextlib.asynccontextmanager
async def route_server(routes: Sequence[Route], *, keep_alive_s: int = 5) -> AsyncIterator[str]:
    """Until the block ends; yields the address. Idle connections are kept for so long."""
    config = uvicorn.Config(
        Starlette(routes=routes), port=0, log_config=None, lifespan="off", timeout_keep_alive=keep_alive_s
    )
    config.load()
    listener = config.bind_socket()
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await serving
        listener.close()
