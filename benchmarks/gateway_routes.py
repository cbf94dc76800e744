"""The routes to one provider that `llm_gateway` compares; each is asked the same by a client of its own kind."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
import venv
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Any

import grpc
import psutil
from openai import AsyncOpenAI
from parley.common.v1 import chat_pb2
from parley.llm.v1 import llm_service_pb2 as pb
from parley.llm.v1 import llm_service_pb2_grpc

from benchmarks.llm_upstream import MODEL, WORD
from tests.support.servers import ROOT, running

QUESTION = "How are you?"
LITELLM_REQUIREMENTS = ROOT / "requirements" / "bench-litellm.txt"
LITELLM_VENV = ROOT / "out" / "bench-litellm"
_LITELLM_START_S = 90.0
_WORD = WORD.strip().encode()


class RouteMissingError(Exception):
    """A route cannot be measured here; the message says why."""


@dataclass
class Progress:
    """What has come of an answer: seconds from the question to the first token, and tokens."""

    begun: float
    first_s: float = 0.0
    tokens: int = 0

    def add(self, tokens: int) -> None:
        """More tokens have come."""
        if tokens and not self.tokens:
            self.first_s = time.monotonic() - self.begun
        self.tokens += tokens


class Route(ABC):
    """A way to the provider.

    Attributes:
        process: what stands between client and provider; None where nothing does.
    """

    name: str
    process: psutil.Process | None = None

    @abstractmethod
    async def ask(self, stop_after: int | None = None, asked: Awaitable[None] | None = None) -> Progress:
        """Put the question and receive the answer, or give it up once so many tokens have come; then `quit_at` is set.

        Args:
            stop_after: tokens to receive; None for all, 0 for none: give up when the provider has got the question.
            asked: tells when that is.
        """

    quit_at: float = 0.0
    """When (`time.monotonic()`) the last answer was given up."""

    def cpu_s(self) -> float:
        """Processor time that what stands between has used so far."""
        if self.process is None:
            return 0.0
        times = [process.cpu_times() for process in (self.process, *self.process.children(recursive=True))]
        return sum(spent.user + spent.system for spent in times)


class RawRoute(Route):
    """HTTP and server-sent events by hand, over connections that stay open: as little as a client can do."""

    def __init__(self, name: str, port: int) -> None:
        self.name = name
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        body = b'{"model":"%b","stream":true,"messages":[{"role":"user","content":"%b"}]}' % (
            MODEL.encode(),
            QUESTION.encode(),
        )
        self._request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer none\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )

    async def ask(self, stop_after: int | None = None, asked: Awaitable[None] | None = None) -> Progress:
        reader, writer = await self._connect()
        progress = Progress(time.monotonic())
        writer.write(self._request)
        if asked is not None:
            await asked
        else:
            await reader.readuntil(b"\r\n\r\n")
            while True:
                data = await reader.readuntil(b"\r\n")
                size = int(data, 16)
                data = await reader.readexactly(size + 2)
                if not size:
                    self._idle.append((reader, writer))
                    return progress
                # LiteLLM sends several events in a chunk, and one event in several.
                progress.add(data.count(_WORD))
                if stop_after is not None and progress.tokens >= stop_after:
                    break
        self.quit_at = time.monotonic()
        writer.close()
        return progress

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that is open still, or a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def aclose(self) -> None:
        """Close the connections."""
        for _, writer in self._idle:
            writer.close()


class SdkRoute(Route):
    """The openai SDK with its typed events."""

    name = "openai SDK"

    def __init__(self, port: int) -> None:
        self._client = AsyncOpenAI(api_key="none", base_url=f"http://127.0.0.1:{port}/v1")

    async def ask(self, stop_after: int | None = None, asked: Awaitable[None] | None = None) -> Progress:
        progress = Progress(time.monotonic())
        asking = asyncio.ensure_future(self._receive(progress, stop_after))
        if asked is not None:
            await asked
            self.quit_at = time.monotonic()
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            return progress
        await asking
        return progress

    async def _receive(self, progress: Progress, stop_after: int | None) -> None:
        stream = await self._client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": QUESTION}], stream=True
        )
        async for chunk in stream:
            progress.add(1 if chunk.choices and chunk.choices[0].delta.content else 0)
            if stop_after is not None and progress.tokens >= stop_after:
                self.quit_at = time.monotonic()
                await stream.close()
                return

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()


class ParleyRoute(Route):
    """parley-llm: `Generate` over gRPC."""

    def __init__(self, backend: str, pid: int, channel: grpc.aio.Channel) -> None:
        self.name = f"Parley, {backend}"
        self.process = psutil.Process(pid)
        self._generate: Any = llm_service_pb2_grpc.LanguageModelServiceStub(channel).Generate
        message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=QUESTION)])
        self._request = pb.GenerateRequest(messages=[message], instructions="")

    async def ask(self, stop_after: int | None = None, asked: Awaitable[None] | None = None) -> Progress:
        progress = Progress(time.monotonic())
        call = self._generate(self._request)
        if asked is not None:
            await asked
        else:
            async for response in call:
                progress.add(response.text_delta.text.count(WORD))
                if stop_after is not None and progress.tokens >= stop_after:
                    break
        if stop_after is not None:
            self.quit_at = time.monotonic()
            call.cancel()
        return progress


@contextlib.asynccontextmanager
async def parley(backend: str, port: int) -> AsyncIterator[ParleyRoute]:
    """parley-llm in front of the provider."""
    flags = ("--llm_backend", backend, "--model_name", MODEL, "--responses_api_base_url", f"http://127.0.0.1:{port}/v1")
    async with (
        running("llm", *flags) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield ParleyRoute(backend, server.pid, channel)


@contextlib.asynccontextmanager
async def litellm(port: int) -> AsyncIterator[RawRoute]:
    """LiteLLM's proxy in front of the provider, in a virtual environment of its own, called by the raw client.

    Raises:
        RouteMissingError: it cannot be installed or does not start.
    """
    program = await asyncio.to_thread(_install_litellm)
    own_port = _free_port()
    config = LITELLM_VENV / "config.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n      model: openai/{MODEL}\n"
        f"      api_base: http://127.0.0.1:{port}/v1\n      api_key: none\n",
        "utf-8",
    )
    process = await asyncio.create_subprocess_exec(
        *(program, "--config", str(config), "--host", "127.0.0.1", "--port", str(own_port)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=LITELLM_VENV,
        env={
            **os.environ,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
        },
    )
    try:
        route = RawRoute("LiteLLM proxy", own_port)
        route.process = psutil.Process(process.pid)
        await _until_it_answers(route, process)
        yield route
        await route.aclose()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _until_it_answers(route: RawRoute, process: asyncio.subprocess.Process) -> None:
    ends = time.monotonic() + _LITELLM_START_S
    while True:
        if process.returncode is not None or time.monotonic() > ends:
            raise RouteMissingError("LiteLLM's proxy does not start")
        try:
            await route.ask()
        except (OSError, ValueError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.5)
        else:
            return


def _install_litellm() -> str:
    program = LITELLM_VENV / "bin" / "litellm"
    if not program.exists():
        venv.create(LITELLM_VENV, with_pip=True)
        pip = [
            str(LITELLM_VENV / "bin" / "pip"),
            "install",
            "--quiet",
            "--require-hashes",
            "-r",
            str(LITELLM_REQUIREMENTS),
        ]
        if subprocess.run(pip, check=False, stdout=sys.stderr).returncode:
            raise RouteMissingError("LiteLLM cannot be installed; the package index is out of reach?")
    return str(program)


def _free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])
