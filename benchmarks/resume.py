"""How soon a client goes on whose orchestrator has died.

From opening `Converse` again at another orchestrator, with the conversation's id, to the session and to the first audio
of its next answer. Fakes without delay, conversations in a real Redis.

    python -m benchmarks.resume [--turns 20] [--sessions 8]
"""

import argparse
import asyncio

import grpc
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import chat_pb2
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc

from benchmarks.report import milliseconds, save, show
from tests.support.replicas import Replicas, replicas
from tests.support.stack import conversation

NO_DELAY = ("--fake_first_token_ms=0", "--fake_token_ms=0", "--fake_answer=I am here.")


class Lost:
    """Sessions that talk to one orchestrator, lose it at the same moment, and go on at another."""

    def __init__(self, servers: Replicas, turns: int, sessions: int) -> None:
        self._servers, self._turns = servers, turns
        self._talked = asyncio.Barrier(sessions + 1)
        self._dead = asyncio.Event()

    async def kill(self) -> None:
        """Once all have talked, kill their orchestrator."""
        await self._talked.wait()
        await self._servers.orchestrators[0].kill()
        self._dead.set()

    async def session(self) -> tuple[float, float]:
        """Seconds from opening again to the session and to the first audio."""
        first, second = (server.address for server in self._servers.orchestrators)
        async with conversation(first, output_modality=pb.OUTPUT_MODALITY_TEXT) as client:
            conversation_id = client.events[0].session_created.conversation_id
            for number in range(self._turns):
                await client.write_text(f"This is turn {number}.")
                await client.until("response_done")
            await self._talked.wait()
            await self._dead.wait()
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with conversation(second, conversation_id=conversation_id) as client:
            opened = loop.time() - begun
            await client.write_text("Go on.")
            await client.until("response_output_audio_delta")
            heard = loop.time() - begun
            await client.until("response_done")
        if await self._said(conversation_id) != self._turns + 1:
            raise RuntimeError("the history is not whole")
        return opened, heard

    async def _said(self, conversation_id: str) -> int:
        """User messages in the history."""
        async with grpc.aio.insecure_channel(self._servers.llms[1].address) as channel:
            stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
            request = conversation_service_pb2.GetConversationRequest(conversation_id=conversation_id)
            messages = (await stub.GetConversation(request)).conversation.messages
        return sum(message.role == chat_pb2.ROLE_USER for message in messages)


async def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--turns", type=int, default=20, help="turns in each history")
    parser.add_argument("--sessions", type=int, default=8, help="sessions that are lost at once")
    args = parser.parse_args()
    async with replicas(*NO_DELAY) as servers:
        lost = Lost(servers, args.turns, args.sessions)
        _, *spans = await asyncio.gather(lost.kill(), *(lost.session() for _ in range(args.sessions)))
    names = ("session open again", "first audio of the next answer")
    figures = {name: milliseconds(column) for name, column in zip(names, zip(*spans, strict=True), strict=True)}
    title = f"After an orchestrator has died, ms, {args.sessions} sessions of {args.turns} turns"
    show(title, ["", "median", "p90", "min", "max"], [[name, *spans.values()] for name, spans in figures.items()])
    save("resume", {"turns": args.turns, "sessions": args.sessions, "figures_ms": figures})


if __name__ == "__main__":
    asyncio.run(main())
