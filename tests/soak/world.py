"""The processes of a soak: two of each program over one Redis, each behind a link that can be broken."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.redis_server import redis_server
from tests.support.servers import RunningServer, running

NAMES = ("stt", "llm", "tts", "orchestrator")
_FLAGS = {
    "stt": ("--stt=fake", "--fake_stt_delay_ms=50"),
    "llm": (
        *("--llm_backend=fake", "--fake_calls_tools=true", "--fake_first_token_ms=50", "--fake_token_ms=10"),
        *("--compact_history=false", "--chat_size=1000", "--held_response_ttl_s=20"),
    ),
    "tts": ("--tts=fake", "--fake_tts_ms_per_character=10"),
    "orchestrator": ("--session_idle_timeout_s=30", "--client_read_timeout_s=5", "--response_timeout_s=20"),
}
_FAULT_S = (0.3, 3.0)
_PAUSE_S = (2.0, 6.0)


@dataclass
class Replica:
    """A server that may be killed and started again; its link keeps the address."""

    name: str
    flags: tuple[str, ...]
    link: FaultProxy
    server: RunningServer
    stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    logs: list[dict[str, object]] = field(default_factory=list)
    """Of the servers before this one."""

    async def restart(self) -> None:
        """Kill it, and start another in its place."""
        await self.server.kill()
        await self.stack.aclose()
        self.logs += self.server.logs
        self.server = await self.stack.enter_async_context(running(self.name, *self.flags))
        self.link.target = self.server.address

    async def freeze(self, seconds: float) -> None:
        """Stop it for a while, as a machine that swaps does."""
        os.kill(self.server.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            os.kill(self.server.pid, signal.SIGCONT)


@dataclass
class World:
    """All replicas by "stt 1", "stt 2", …; the second of each program is the one that dies."""

    replicas: dict[str, Replica]

    def log_of(self, conversation_id: str) -> list[str]:
        """What the servers had to say of a conversation, in order."""
        entries = [
            (str(entry.get("time")), name, entry)
            for name, replica in self.replicas.items()
            for entry in replica.logs + replica.server.logs
            if entry.get("conversation_id") == conversation_id and entry.get("level") != "DEBUG"
        ]
        return [f"{name}: {entry}" for _, name, entry in sorted(entries, key=lambda found: found[0])]

    def target(self, name: str) -> str:
        """Both replicas of a program, as a gRPC target."""
        return "ipv4:" + ",".join(self.replicas[f"{name} {number}"].link.address for number in (1, 2))

    async def break_things(self, rng: random.Random, log: Callable[[str], None]) -> None:
        """One fault after another, until it is cancelled; what was broken is whole again then."""
        while True:
            await asyncio.sleep(rng.uniform(*_PAUSE_S))
            kind, name, seconds = rng.choice(_FAULTS), rng.choice(NAMES), rng.uniform(*_FAULT_S)
            replica = self.replicas[f"{name} {rng.choice((1, 2))}"]
            log(f"{kind} {replica.name}")
            if kind == "kill":
                await self.replicas[f"{name} 2"].restart()
            elif kind == "freeze":
                await replica.freeze(seconds)
            else:
                await _break_link(replica.link, kind, seconds)


_FAULTS = ("kill", "freeze", "reset", "close", "stall", "delay", "corrupt", "black_hole")


async def _break_link(link: FaultProxy, kind: str, seconds: float) -> None:
    act: Callable[[], None] = (lambda: link.delay(0.1)) if kind == "delay" else getattr(link, kind)
    act()
    try:
        await asyncio.sleep(seconds)
    finally:
        link.restore()


@contextlib.asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Everything, running."""
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(redis_server())
        made = World({})

        async def start(name: str, *more: str) -> None:
            flags = (*_FLAGS[name], *more, "--metrics_port=0")
            for number in (1, 2):
                replica_stack = contextlib.AsyncExitStack()
                stack.push_async_callback(_closer(replica_stack))
                server = await replica_stack.enter_async_context(running(name, *flags))
                link = await stack.enter_async_context(fault_proxy(server.address))
                made.replicas[f"{name} {number}"] = Replica(name, flags, link, server, replica_stack)

        await start("stt")
        await start("llm", f"--conversation_store={redis.address}")
        await start("tts")
        await start("orchestrator", *(f"--{name}_target={made.target(name)}" for name in ("stt", "llm", "tts")))
        yield made


def _closer(stack: contextlib.AsyncExitStack) -> Callable[[], Awaitable[None]]:
    return stack.aclose
