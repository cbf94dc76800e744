"""A chain of three gRPC servers with no product in it: what any orchestrator over gRPC pays, to compare with.

`python -m benchmarks.bare_chain llm FIRST_TOKEN_MS TOKEN_MS TOKENS`, `tts`, `stt` or `chain LLM_PORT TTS_PORT STT_PORT`
serves one part and prints its port. The messages are raw bytes: no contract, no history, no checks. The
event loop is Parley's.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc

from services.common import event_loop

CONVERSE, GENERATE, SYNTHESIZE = "/bare.Chain/Converse", "/bare.Llm/Generate", "/bare.Tts/Synthesize"
LISTEN, HEAR = "/bare.Chain/Listen", "/bare.Stt/Hear"
QUESTION = b"?"
"""In a stream of audio: answered at once."""
AUDIO = bytes(1920)
"""40 ms of PCM16 at 24 kHz, as the first chunk of a synthesis."""


def serve_llm(first_token_s: float, token_s: float, tokens: int) -> Any:
    """A token each `token_s` after `first_token_s`; after `tokens` of them the sentence ends with b"."."""

    async def generate(request: bytes, context: Any) -> AsyncIterator[bytes]:
        begun = time.monotonic()
        for number in range(tokens):
            await asyncio.sleep(max(0.0, begun + first_token_s + number * token_s - time.monotonic()))
            yield b"." if number == tokens - 1 else b"token"

    return grpc.method_handlers_generic_handler(
        "bare.Llm",
        {"Generate": grpc.unary_stream_rpc_method_handler(generate)},
    )


def serve_tts() -> Any:
    """Audio at once."""

    async def synthesize(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield AUDIO

    return grpc.method_handlers_generic_handler(
        "bare.Tts",
        {"Synthesize": grpc.unary_stream_rpc_method_handler(synthesize)},
    )


def serve_stt() -> Any:
    """Takes audio, and answers a question."""

    async def hear(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            if request == QUESTION:
                yield request

    return grpc.method_handlers_generic_handler(
        "bare.Stt",
        {"Hear": grpc.stream_stream_rpc_method_handler(hear)},
    )


def serve_chain(llm_port: str, tts_port: str, stt_port: str) -> Any:
    """For each message of the client, forward every token of the LLM and then the audio of the TTS; or its audio."""
    stt: Any = grpc.aio.insecure_channel(f"127.0.0.1:{stt_port}").stream_stream(HEAR)
    llm: Any = grpc.aio.insecure_channel(f"127.0.0.1:{llm_port}").unary_stream(GENERATE)
    tts: Any = grpc.aio.insecure_channel(f"127.0.0.1:{tts_port}").unary_stream(SYNTHESIZE)

    async def converse(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            async for token in llm(request):
                yield token
                if token == b".":
                    async for audio in tts(token):
                        yield audio

    async def listen(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        call = stt()

        async def forward() -> None:
            async for request in requests:
                await call.write(request)
            await call.done_writing()

        forwarding = asyncio.create_task(forward())
        async for answer in call:
            yield answer
        await forwarding

    return grpc.method_handlers_generic_handler(
        "bare.Chain",
        {
            "Converse": grpc.stream_stream_rpc_method_handler(converse),
            "Listen": grpc.stream_stream_rpc_method_handler(listen),
        },
    )


async def main(role: str, *arguments: str) -> None:
    """Serve one part until the process is ended."""
    if role == "llm":
        first_token_ms, token_ms, tokens = arguments
        handler = serve_llm(float(first_token_ms) / 1000, float(token_ms) / 1000, int(tokens))
    else:
        serve: Any = {"tts": serve_tts, "stt": serve_stt, "chain": serve_chain}[role]
        handler = serve(*arguments)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    event_loop.run(main(*sys.argv[1:]))
