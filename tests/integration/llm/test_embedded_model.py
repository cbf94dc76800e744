"""The LLM service on the embedded model, as a process, over gRPC."""

import asyncio
import sys
from collections.abc import AsyncIterator

import grpc
import psutil
import pytest
import pytest_asyncio
from parley.common.v1 import chat_pb2
from parley.llm.v1 import llm_service_pb2, llm_service_pb2_grpc

from services.llm.processor import prefers_bfloat16
from services.llm.weights import EMBEDDED
from tests.support.servers import ROOT, RunningServer, running

pytestmark = pytest.mark.models

DTYPE = "bfloat16" if prefers_bfloat16() else "float32"
FLAGS = ("--llm_backend", "transformers", "--model_name", EMBEDDED, "--llm_torch_dtype", DTYPE)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started() -> AsyncIterator[RunningServer]:
    async with running("llm", *FLAGS) as process:
        yield process


def ask(text: str, limit: int) -> llm_service_pb2.GenerateRequest:
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=text)])
    sampling = chat_pb2.SamplingOptions(max_output_tokens=limit)
    return llm_service_pb2.GenerateRequest(messages=[message], sampling=sampling, enable_speech_segments=True)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_real_answer_streams_in_text_and_segments(started: RunningServer) -> None:
    async with grpc.aio.insecure_channel(started.address) as channel:
        stub = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        responses = [response async for response in stub.Generate(ask("What is the capital of France?", 40))]
    deltas = [response.text_delta.text for response in responses if response.HasField("text_delta")]
    spoken = [response.speech_segment.text for response in responses if response.HasField("speech_segment")]
    assert responses[0].started.model == "smollm2-135m-instruct"
    assert len(deltas) > 2
    assert "Paris" in "".join(deltas)
    assert "".join("".join(deltas).split()) == "".join("".join(spoken).split())
    assert responses[-1].completed.usage.output_tokens >= len(deltas)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_cancelled_answer_frees_the_model_for_the_next(started: RunningServer) -> None:
    async with grpc.aio.insecure_channel(started.address) as channel:
        stub = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        call = stub.Generate(ask("Tell me a very long story.", 1000))
        while not (await call.read()).HasField("text_delta"):
            pass
        call.cancel()
        responses = [response async for response in stub.Generate(ask("Say hello.", 3))]
    assert responses[-1].HasField("completed")


@pytest.mark.asyncio(loop_scope="module")
async def test_memory_stays_within_its_bound(started: RunningServer) -> None:
    assert psutil.Process(started.pid).memory_info().rss < 1.3e9


async def test_a_model_that_is_not_there_ends_the_program_with_one_line() -> None:
    process = await asyncio.create_subprocess_exec(
        *(
            sys.executable,
            "-m",
            "services.llm",
            "--llm_backend",
            "transformers",
            "--port",
            "0",
            "--model_name",
            "/no/such/model",
        ),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    _, errors = await process.communicate()
    last = errors.decode().strip().splitlines()[-1]
    assert process.returncode == 1
    assert last == "parley-llm: --model_name /no/such/model: there is no such folder"
