"""The language models that benchmarks/llm_local.py puts side by side, each behind the same few lines.

Same weights, same chat template, same prompts, greedy, answers of exactly as many tokens as asked for.
"""

import asyncio
import contextlib
import json
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import httpx2
import psutil
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc, llm_service_pb2, llm_service_pb2_grpc

from services.common import model_cache
from services.common.model_thread import Stop
from services.llm.weights import EMBEDDED, PACKAGED, locate
from tests.support.servers import ROOT, running

THREADS = 2
SYSTEM = "You are a friendly voice assistant. Answer in one to three short sentences of plain spoken language."
Turn = tuple[str, str]
"""Role and text."""
_ROLES = {"system": chat_pb2.ROLE_SYSTEM, "user": chat_pb2.ROLE_USER, "assistant": chat_pb2.ROLE_ASSISTANT}
_READY_S = 60.0
_LLAMA_CPP = """
import json, sys, time, xllamacpp
asked = json.loads(sys.argv[1])
p = xllamacpp.CommonParams()
p.model.path = asked["model"]
p.hostnames, p.port = ["127.0.0.1"], asked["port"]
p.n_parallel, p.n_ctx = asked["slots"], asked["slots"] * 4096
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = asked["threads"]
server = xllamacpp.Server(p)
time.sleep(3600)
"""


@dataclass
class Answer:
    """What came when: seconds since the request, for each piece of text."""

    text: str = ""
    tokens: int = 0
    times: list[float] = field(default_factory=list)
    begun: float = field(default_factory=time.perf_counter)

    def piece(self, text: str) -> None:
        """More text has come."""
        self.times.append(time.perf_counter() - self.begun)
        self.text += text

    @property
    def first_s(self) -> float:
        """Seconds to the first text."""
        return self.times[0]


class Peer(ABC):
    """A server, or a model in this process."""

    temperature = 0.0
    """Tokens are drawn where it is above 0."""

    @abstractmethod
    async def answer(self, messages: Sequence[Turn], tokens: int, running: Answer | None = None) -> Answer:
        """Answer a context with that many tokens; `running` is filled while the text comes."""

    async def prefill(self, messages: Sequence[Turn]) -> None:
        """Make a context ready; only Parley can."""
        raise NotImplementedError


class Plain(Peer):
    """`generate()` with a TextIteratorStreamer, one answer at a time: what pipelines in one process do."""

    def __init__(self, folder: Path, dtype: str) -> None:
        import torch
        import transformers

        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(THREADS)
        self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder)
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
        self._model = model.eval()
        self._one = asyncio.Lock()

    async def answer(self, messages: Sequence[Turn], tokens: int, running: Answer | None = None) -> Answer:
        result = running or Answer()
        async with self._one:
            await asyncio.to_thread(self._answer, messages, tokens, result)
        return result

    def _answer(self, messages: Sequence[Turn], tokens: int, result: Answer) -> None:
        from transformers import TextIteratorStreamer

        conversation = [{"role": role, "content": text} for role, text in messages]
        prompt = self._tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        inputs = self._tokenizer(prompt, return_tensors="pt", add_special_tokens=False)
        streamer: Any = TextIteratorStreamer(self._tokenizer, skip_prompt=True, skip_special_tokens=True)
        limits = {"max_new_tokens": tokens, "min_new_tokens": tokens}
        drawn = {"do_sample": True, "temperature": self.temperature} if self.temperature else {"do_sample": False}
        work = threading.Thread(target=self._model.generate, kwargs={**inputs, **limits, **drawn, "streamer": streamer})
        work.start()
        for text in streamer:
            if text:
                result.piece(text)
        work.join()
        result.tokens = tokens


class LlamaCpp(Peer):
    """llama.cpp's server, over HTTP; as many slots as sessions."""

    def __init__(self, url: str) -> None:
        # A connection for each request: the server closes idle ones without a word.
        limits = httpx2.Limits(max_keepalive_connections=0)
        self._client = httpx2.AsyncClient(base_url=url, timeout=300, limits=limits)

    async def answer(self, messages: Sequence[Turn], tokens: int, running: Answer | None = None) -> Answer:
        body = {
            "messages": [{"role": role, "content": text} for role, text in messages],
            "max_tokens": tokens,
            "temperature": self.temperature,
            "ignore_eos": True,
            "stream": True,
            "cache_prompt": True,
        }
        result = running or Answer()
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                if line.startswith("data: {"):
                    choices = json.loads(line[6:]).get("choices") or [{}]
                    if text := (choices[0].get("delta") or {}).get("content"):
                        result.piece(text)
        result.tokens = tokens
        return result

    async def aclose(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()


class Parley(Peer):
    """Parley's LLM service, over gRPC."""

    def __init__(self, channel: grpc.aio.Channel, pid: int) -> None:
        self.pid = pid
        self._stub = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        self._conversations = conversation_service_pb2_grpc.ConversationServiceStub(channel)

    async def answer(self, messages: Sequence[Turn], tokens: int, running: Answer | None = None) -> Answer:
        sampling = chat_pb2.SamplingOptions(
            max_output_tokens=tokens, min_output_tokens=tokens, temperature=self.temperature
        )
        request = llm_service_pb2.GenerateRequest(messages=_messages(messages), sampling=sampling, instructions="")
        result = running or Answer()
        async for response in self._stub.Generate(request):
            if response.HasField("text_delta"):
                result.piece(response.text_delta.text)
            elif response.HasField("completed"):
                result.tokens = response.completed.usage.output_tokens
        return result

    async def open(self, conversation_id: str, instructions: str, turns: int) -> None:
        """Begin a conversation that the server keeps, with that many turns in its window."""
        config = conversation_service_pb2.ConversationConfig(instructions=instructions, chat_size=turns)
        await self._conversations.CreateConversation(
            conversation_service_pb2.CreateConversationRequest(conversation_id=conversation_id, config=config)
        )

    async def turn(self, conversation_id: str, text: str, tokens: int) -> None:
        """A turn of such a conversation."""
        sampling = chat_pb2.SamplingOptions(max_output_tokens=tokens, min_output_tokens=tokens)
        request = llm_service_pb2.GenerateRequest(
            conversation_id=conversation_id, messages=_messages([("user", text)]), sampling=sampling
        )
        async for _ in self._stub.Generate(request):
            pass

    async def prefill(self, messages: Sequence[Turn]) -> None:
        await self._stub.Prefill(llm_service_pb2.PrefillRequest(messages=_messages(messages)))


def _messages(messages: Sequence[Turn]) -> list[chat_pb2.Message]:
    return [chat_pb2.Message(role=_ROLES[role], content=[chat_pb2.ContentPart(text=text)]) for role, text in messages]


@contextlib.asynccontextmanager
async def plain(dtype: str = "bfloat16") -> AsyncIterator[Peer]:
    """The library's own loop, in this process."""
    yield Plain(await asyncio.to_thread(_folder), dtype)


@contextlib.asynccontextmanager
async def llama_cpp(slots: int) -> AsyncIterator[Peer]:
    """A llama.cpp server on the packaged Q4_1 file."""
    model = PACKAGED[EMBEDDED.partition(":")[2]]
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    asked = {
        "model": str(model_cache.package_dir(model.package) / model.file),
        "port": port,
        "slots": slots,
        "threads": THREADS,
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _LLAMA_CPP, json.dumps(asked)),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
    )
    peer = LlamaCpp(f"http://127.0.0.1:{port}")
    try:
        async with asyncio.timeout(_READY_S):
            while True:
                try:
                    await peer.answer([("user", "Hello.")], 2)
                    break
                except httpx2.HTTPError:
                    await asyncio.sleep(0.2)
        yield peer
    finally:
        await peer.aclose()
        if process.returncode is None:
            process.kill()
        await process.wait()


_CACHE_BYTES = 800_000_000
"""As many tokens as llama.cpp's eight slots hold, 4096 each: the default is for one machine that runs everything."""


@contextlib.asynccontextmanager
async def parley(*flags: str, cache_bytes: int = _CACHE_BYTES) -> AsyncIterator[Parley]:
    """Parley's service, with 8-bit weights as `parley up` starts it, on as many threads as the others."""
    model = ("--llm_backend", "transformers", "--model_name", EMBEDDED, "--llm_quantization", "int8")
    threads = ("--llm_threads", str(THREADS))
    cache = ("--llm_cache_bytes", str(cache_bytes))
    async with (
        running("llm", *model, *threads, *cache, *flags) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        yield Parley(channel, server.pid)


def resident_mb(peer: Parley) -> int:
    """Memory of the service's process."""
    return round(psutil.Process(peer.pid).memory_info().rss / 1e6)


def _folder() -> Path:
    return locate(EMBEDDED, "float32", Path.home() / ".cache" / "parley", Stop())
