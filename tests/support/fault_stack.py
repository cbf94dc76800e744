"""The whole of Parley as processes, with a link that breaks as told between any two of them that talk."""

import asyncio
import contextlib
import gc
import json
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import psutil

from services.common.keepalive import Keepalive
from tests.support.dialects import Chat, sse
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.fault_server import MODEL, Exchange, FaultServer, fault_server
from tests.support.redis_server import RedisServer, redis_server
from tests.support.servers import RunningServer, running

KEEPALIVE = Keepalive(1.0, 4.0)
APOLOGY = "Sorry."
THINKING, SPEAKING, CALLING = "state: thinking", "state: speaking", "state: calling"
"""Instructions of sessions whose first turn the provider keeps waiting, or answers with a function call."""
_EVERY = (
    "--metrics_port=0",
    f"--keepalive_idle_s={KEEPALIVE.idle_s}",
    f"--keepalive_timeout_s={KEEPALIVE.timeout_s}",
    "--drain_grace_s=1",
)
_RUNNING = re.compile(r"^parley_rpc_server_running\{.*\} (\S+)$", re.MULTILINE)
_LINKS = {
    "orchestrator": ("client", "stt", "llm", "tts"),
    "stt": ("stt",),
    "llm": ("llm", "provider", "redis"),
    "tts": ("tts",),
}
"""The links that end at a process."""
_LEAK_DEADLINE_S = 10.0
_DESCRIPTORS_SPARE = 3
"""Fewer than one for each session."""
_THREADS_SPARE = 8
"""gRPC's pool of threads grows and shrinks by itself."""


class Provider:
    """An OpenAI-compatible provider that keeps the answers for some sessions back until it is told."""

    def __init__(self, server: FaultServer) -> None:
        self._server = server
        self._released = asyncio.Event()
        self.keeps = 0
        """Answers that it keeps back now."""
        server.play(self._answer)

    @property
    def address(self) -> str:
        """Its `host:port`."""
        return self._server.url.split("/")[2]

    def keep(self) -> None:
        """From now on, keep back what is to be kept back."""
        self._released.clear()

    def release(self) -> None:
        """Answer."""
        self._released.set()

    async def _answer(self, exchange: Exchange) -> None:
        chat, messages = Chat(), exchange.body["messages"]
        asked = json.dumps(messages[0])
        first = [message["role"] for message in messages].count("user") == 1
        await exchange.head()
        if CALLING in asked and first and messages[-1]["role"] == "user":
            await self._send(exchange, *sse(*chat.call("", "look_up", "{}"), *chat.end("tool_calls")))
            return
        if SPEAKING in asked and first:
            await self._send(exchange, *sse(chat.text("This is the first of two sentences.")))
        if (SPEAKING in asked or THINKING in asked) and first:
            self.keeps += 1
            try:
                await self._released.wait()
            finally:
                self.keeps -= 1
        await self._send(exchange, *chat.answer(" All is well."))

    @staticmethod
    async def _send(exchange: Exchange, *events: str) -> None:
        for event in events:
            await exchange.send(event)
        if "[DONE]" in events[-1]:
            await exchange.end()


@dataclass
class FaultStack:
    """Everything runs; `links` has the one to each server by its name, `client` that to the orchestrator."""

    provider: Provider
    redis: RedisServer
    links: dict[str, FaultProxy]
    flags: dict[str, tuple[str, ...]]
    servers: dict[str, RunningServer] = field(default_factory=dict)
    _ends: dict[str, contextlib.AsyncExitStack] = field(default_factory=dict)
    _most: dict[str, "Held"] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where clients connect."""
        return self.links["client"].address

    async def start(self, name: str) -> None:
        """Start a process, or start it again, where its link leads."""
        if name == "redis":
            await self.redis.start()
            return
        await self.end(name)
        self._ends[name] = end = contextlib.AsyncExitStack()
        self.servers[name] = server = await end.enter_async_context(running(name, *_EVERY, *self.flags[name]))
        self.links["client" if name == "orchestrator" else name].target = server.address

    async def end(self, name: str) -> None:
        """End a process with SIGTERM, if it runs."""
        if name == "redis":
            await self.redis.kill()
        elif name in self._ends:
            await self._ends.pop(name).aclose()

    async def kill(self, name: str) -> None:
        """End a process with SIGKILL."""
        await (self.redis if name == "redis" else self.servers[name]).kill()

    def stop(self, name: str) -> None:
        """Stop a process with SIGSTOP."""
        if name == "redis":
            self.redis.pause()
        else:
            self.servers[name].process.send_signal(signal.SIGSTOP)

    def go_on(self, name: str) -> None:
        """Let a stopped process go on."""
        if name == "redis":
            self.redis.resume()
        else:
            self.servers[name].process.send_signal(signal.SIGCONT)

    async def measure(self) -> None:
        """What the servers hold now, while no session is open, is what they may hold later."""
        for name, server in self.servers.items():
            async with asyncio.timeout(_LEAK_DEADLINE_S):
                while not await _is_idle(server):
                    await asyncio.sleep(0.05)
            self._most[name] = await self._held(server)

    async def check_nothing_is_left(self) -> None:
        """No session is open any more: neither is any call, task, thread or socket of one.

        Raises:
            AssertionError: it names the server, and what it holds.
        """
        gc.collect()  # what an error still holds here keeps its connection
        for name, server in self.servers.items():
            try:
                async with asyncio.timeout(_LEAK_DEADLINE_S):
                    while not await _is_idle(server) or not (await self._held(server)).within(self._most[name]):
                        await asyncio.sleep(0.05)
            except TimeoutError:
                held = await self._held(server)
                page = [line for line in (await server.metrics_page()).splitlines() if "running{" in line]
                raise AssertionError(f"{name} holds {held}, at first {self._most[name]}; {page}") from None

    async def _held(self, server: RunningServer) -> "Held":
        page = await server.metrics_page()
        process = psutil.Process(server.pid)
        kept = sum(self.links[name].connections for name in _LINKS[server.name])
        return Held(_value(page, "parley_event_loop_tasks"), process.num_fds() - kept, process.num_threads())


@dataclass(frozen=True)
class Held:
    """What a process holds; descriptors without those of connections that are kept for the next session."""

    tasks: int
    descriptors: int
    threads: int

    def within(self, most: "Held") -> bool:
        """Whether it is no more than that."""
        return (
            self.tasks <= most.tasks
            and self.descriptors <= most.descriptors + _DESCRIPTORS_SPARE
            and self.threads <= most.threads + _THREADS_SPARE
        )


async def _is_idle(server: RunningServer) -> bool:
    page = await server.metrics_page()
    sessions = _value(page, "parley_sessions_active") if server.name == "orchestrator" else 0
    return not sessions and not any(float(value) for value in _RUNNING.findall(page))


def _value(page: str, name: str) -> int:
    found = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
    assert found is not None, name
    return int(float(found[1]))


@contextlib.asynccontextmanager
async def fault_stack() -> AsyncIterator[FaultStack]:
    """Start everything; short timeouts, so that what is broken shows soon."""
    async with contextlib.AsyncExitStack() as stack:
        provider = Provider(await stack.enter_async_context(fault_server()))
        redis = await stack.enter_async_context(redis_server())
        targets = {"provider": provider.address, "redis": f"127.0.0.1:{redis.port}"}
        links = {
            name: await stack.enter_async_context(fault_proxy(targets.get(name, "")))
            for name in ("client", "stt", "llm", "tts", "provider", "redis")
        }
        flags = {
            "stt": ("--stt=fake", "--fake_transcript=What is it?"),
            "tts": ("--tts=fake", "--fake_tts_ms_per_character=5"),
            "llm": (
                "--llm_backend=chat-completions",
                f"--model_name={MODEL}",
                f"--responses_api_base_url=http://{links['provider'].address}/v1",
                "--responses_api_connect_timeout_s=1",
                "--responses_api_first_token_timeout_s=4",
                "--responses_api_idle_timeout_s=4",
                f"--conversation_store=redis://{links['redis'].address}/0",
            ),
            "orchestrator": (
                *(f"--{name}_target={links[name].address}" for name in ("stt", "llm", "tts")),
                f"--apology_text={APOLOGY}",
                "--response_timeout_s=10",
                "--call_timeout_s=3",
                "--transcript_timeout_s=3",
            ),
        }
        started = FaultStack(provider, redis, links, flags)
        for name in flags:
            stack.push_async_callback(started.end, name)
        await asyncio.gather(*(started.start(name) for name in ("stt", "llm", "tts")))
        await started.start("orchestrator")
        yield started
