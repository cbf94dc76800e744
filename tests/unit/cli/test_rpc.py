"""Failed calls become one line that names the service."""

import asyncio

import grpc
import pytest

from cli.programs import LLM, ORCHESTRATOR, TTS, Program
from cli.rpc import explain
from services.common import errors
from services.common.status import to_status


def failed(code: grpc.StatusCode, details: str = "transport words with an address") -> grpc.aio.AioRpcError:
    """A call that no Parley server answered."""
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)


def refused(error: errors.ParleyError) -> grpc.aio.AioRpcError:
    """A call that a Parley server refused."""
    status = to_status(error)
    return grpc.aio.AioRpcError(
        status.code, grpc.aio.Metadata(), grpc.aio.Metadata.from_tuple(status.trailing_metadata), status.details
    )


def line(error: grpc.aio.AioRpcError, program: Program = TTS, *, connected: bool = False) -> str:
    return str(explain(error, program, "127.0.0.1:1", connected=connected))


def test_nothing_there_says_what_to_start() -> None:
    assert line(failed(grpc.StatusCode.UNAVAILABLE)) == "nothing listens at 127.0.0.1:1; start it with `parley up`"


async def test_a_server_of_another_protocol_is_told_from_none() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await reader.read()  # until the client has had enough
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with grpc.aio.insecure_channel(target) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await channel.unary_unary("/a/b")(b"")
    told = str(explain(raised.value, TTS, target))
    assert told == f"what listens at {target} speaks no gRPC, or only with TLS: see --tls, --tls_ca"


def test_a_server_that_goes_away_is_named() -> None:
    gone = failed(grpc.StatusCode.UNAVAILABLE)
    assert line(gone, connected=True) == "the text-to-speech service is not reachable"
    assert line(gone, ORCHESTRATOR, connected=True) == "the orchestrator is not reachable"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (grpc.StatusCode.DEADLINE_EXCEEDED, "the language model service did not answer in time"),
        (grpc.StatusCode.UNIMPLEMENTED, "what listens at 127.0.0.1:1 is not the language model service"),
        (grpc.StatusCode.INTERNAL, "the language model service had an internal error; its log has the details"),
        (grpc.StatusCode.UNKNOWN, "the language model service is not reachable"),
        (grpc.StatusCode.CANCELLED, "the language model service ended the call"),
        (grpc.StatusCode.PERMISSION_DENIED, "the language model service failed with PERMISSION_DENIED"),
    ],
)
def test_other_ends_are_told_in_our_words(code: grpc.StatusCode, words: str) -> None:
    assert line(failed(code), LLM) == words


def test_the_orchestrator_names_the_service_at_fault_itself() -> None:
    error = refused(errors.UpstreamError("the language model service is not reachable"))
    assert line(error, ORCHESTRATOR, connected=True) == "the language model service is not reachable"


def test_a_service_that_speaks_for_itself_is_named_by_us() -> None:
    error = refused(errors.ModelLoadingError("the model is still loading"))
    assert line(error, TTS) == "the text-to-speech service: the model is still loading"


def test_a_wrong_field_is_named() -> None:
    error = refused(errors.VoiceNotFoundError("no voice 'x'", field="voice"))
    assert line(error) == "voice: no voice 'x'"


def test_a_message_of_several_lines_becomes_one() -> None:
    assert line(refused(errors.InvalidArgumentError("one\n  two"))) == "one two"
