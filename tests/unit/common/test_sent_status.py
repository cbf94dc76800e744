"""Which status a client goes by where its call is refused while it is writing, over real gRPC within one process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.common.errors import OverloadedError, ParleyError
from services.common.sent_status import SentStatus
from services.common.status import from_rpc_error, to_status

CALLS = 50


@contextlib.asynccontextmanager
async def ends_with(error: ParleyError) -> AsyncIterator[Any]:
    """A method whose server ends each call at once with this error."""

    async def end(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        await context.abort_with_status(to_status(error))
        yield b""

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(end)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Microphone", {"Listen": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.stream_stream("/test.Microphone/Listen")
    await server.stop(0)


async def write_on(call: Any) -> grpc.aio.AioRpcError:
    """Write until the call is over; what it has ended with."""
    status = SentStatus(call)
    try:
        while True:
            await call.write(b"audio")
            await asyncio.sleep(0)
    except grpc.aio.AioRpcError as error:
        return status.of(error)
    except asyncio.InvalidStateError:  # it was over before the write
        try:
            await call.read()
        except grpc.aio.AioRpcError as error:
            return status.of(error)
    raise AssertionError("the call was not refused")


async def test_a_refusal_that_comes_while_a_message_is_being_written_is_known() -> None:
    async with ends_with(OverloadedError("too many", retry_after_s=3.0)) as call:
        errors = await asyncio.gather(*(write_on(call()) for _ in range(CALLS)))
    for error in errors:
        refusal = from_rpc_error(error)
        assert type(refusal) is OverloadedError
        assert (refusal.message, refusal.retry_after_s) == ("too many", 3.0)


async def test_an_internal_error_of_the_server_stays_its_own() -> None:
    async with ends_with(ParleyError("a fault")) as call:
        error = await write_on(call())
    assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "a fault")
