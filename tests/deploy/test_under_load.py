"""Stacks on scripted engines under load: replicas share the work, callers outlive those that die or are replaced."""

import asyncio
import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.compose import TESTS, Compose, calls_served, needs_compose
from tests.support.docker_engine import Engine
from tests.support.envoy import write_certificate
from tests.support.redis_server import free_port
from tests.support.stack import Conversation, conversation

pytestmark = [
    pytest.mark.docker,
    needs_compose,
    pytest.mark.timeout(1200),
    pytest.mark.asyncio(loop_scope="module"),
]

STREAMING, CALLERS = 30, 50
PATIENCE_S = 20.0
"""Seconds after an error within which a response may still come: longer than an answer takes."""
PROMETHEUS = "http://127.0.0.1:9090"


@dataclass(frozen=True)
class Gateway:
    """Where it is published, and whom to trust."""

    folder: Path
    address: str
    credentials: grpc.ChannelCredentials


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    folder = tmp_path_factory.mktemp("tls")
    credentials = grpc.ssl_channel_credentials(write_certificate(folder))
    folder.chmod(0o755)  # Envoy is another user
    (folder / "tls.key").chmod(0o644)
    return Gateway(folder, f"localhost:{free_port()}", credentials)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def compose(engine: Engine, images: dict[str, str], gateway: Gateway) -> AsyncIterator[Compose]:
    """The stack on fakes, with Redis, gateway and Prometheus; down at the end, and nothing left."""
    settings = {
        "COMPOSE_PROFILES": "redis,gateway,monitoring",
        "GATEWAY_TLS": str(gateway.folder),
        "GATEWAY_PUBLISH": gateway.address.replace("localhost", "127.0.0.1"),
        "PARLEY_CONVERSATION_STORE": "redis://redis:6379",
        "PARLEY_DRAIN_WAIT_S": "1",
        "PARLEY_DRAIN_GRACE_S": "8",  # sessions and their streams to the STT go on until then
    }
    project = Compose(engine, TESTS / "fakes.yaml", **settings)
    try:
        await project.up()
        yield project
        begun = time.monotonic()
        await project.do("stop")
        print(f"all stopped after {time.monotonic() - begun:.1f} s")
        codes = [(container["Service"], container["ExitCode"]) for container in await project.containers()]
        assert not [code for code in codes if code[1] != 0]
    finally:
        await project.do("down", "--volumes", "--remove-orphans")


async def spoken_turn(client: Conversation) -> "pb.ResponseDone":
    """Say something; returns how the response to it ended.

    Raises:
        TimeoutError: where an error has come and no response.
        AssertionError: where the session ends.
    """
    await client.append()
    await client.commit()
    ended = await client.until("response_done", "error")
    if not isinstance(ended, pb.ResponseDone):
        async with asyncio.timeout(PATIENCE_S):
            ended = await client.until("response_done")
    assert isinstance(ended, pb.ResponseDone)
    return ended


async def test_a_client_outside_talks_through_the_gateway(compose: Compose, gateway: Gateway) -> None:
    assert [container["State"] for container in await compose.containers("gateway")] == ["running"]
    async with conversation(gateway.address, credentials=gateway.credentials) as client:
        assert (await spoken_turn(client)).status == pb.RESPONSE_STATUS_COMPLETED


async def test_prometheus_scrapes_every_replica(engine: Engine, compose: Compose) -> None:
    servers = {container["ID"] for container in await compose.containers("orchestrator", "stt", "llm-cpu", "tts")}
    (prometheus,) = await compose.containers("prometheus")
    ask = ("exec", prometheus["ID"], "promtool", "query", "instant", PROMETHEUS, 'up{job="parley"} == 1')
    while len((await asyncio.to_thread(engine.docker, *ask)).splitlines()) < len(servers):
        await asyncio.sleep(0.5)


async def test_replicas_that_are_added_share_the_work_and_one_that_is_killed_ends_no_session(
    engine: Engine, compose: Compose
) -> None:
    await compose.up("--no-recreate", "--scale", "tts=3")
    listeners = [container["ID"] for container in await compose.containers("stt")]
    speakers = [container["ID"] for container in await compose.containers("tts")]
    assert (len(listeners), len(speakers)) == (2, 3)
    while not all([await calls_served(engine, replica) for replica in (*listeners, *speakers)]):
        async with conversation(compose.address) as client:
            assert (await spoken_turn(client)).status == pb.RESPONSE_STATUS_COMPLETED

    async with contextlib.AsyncExitStack() as opened:
        clients = [await opened.enter_async_context(conversation(compose.address)) for _ in range(STREAMING)]
        turns = [asyncio.create_task(spoken_turn(client)) for client in clients]
        while not all("response_output_audio_delta" in client.kinds() for client in clients):
            assert not any(turn.done() for turn in turns)
            await asyncio.sleep(0.01)
        os.kill(int(await state(engine, speakers[0], "Pid")), signal.SIGKILL)
        first = Counter(turn.status for turn in await asyncio.gather(*turns))
        again = Counter(turn.status for turn in await asyncio.gather(*map(spoken_turn, clients)))
    completed, failed = pb.RESPONSE_STATUS_COMPLETED, pb.RESPONSE_STATUS_FAILED
    print(
        f"one of three TTS killed under {STREAMING} streaming answers: {first[completed]} were completed, "
        f"{first[failed]} failed; in all {again[completed]} sessions the next one was completed"
    )
    assert set(first) <= {completed, failed}
    assert again == {completed: STREAMING}
    await until_healthy(engine, speakers[0])  # the engine has started it again


@dataclass
class Caller:
    """Talks turn after turn. Where its session ends or a turn is lost, it asks again, in the same conversation."""

    address: str
    counts: Counter[str]
    conversation_id: str = ""
    asking: bool = False

    async def talk(self, enough: asyncio.Event) -> None:
        """Until it is enough and the last turn has been answered."""
        while self.asking or not enough.is_set():
            try:
                async with conversation(self.address, conversation_id=self.conversation_id) as client:
                    self.conversation_id = client.events[0].session_created.conversation_id
                    while self.asking or not enough.is_set():
                        await self._turn(client)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, AssertionError, TimeoutError):
                self.counts["sessions opened again"] += 1
                await asyncio.sleep(0.25)

    async def _turn(self, client: Conversation) -> None:
        self.counts["turns asked again"] += self.asking
        self.asking = True
        before = len(client.events)
        done = await spoken_turn(client)
        self.asking = False
        if done.status == pb.RESPONSE_STATUS_COMPLETED:
            self.counts["completed"] += 1
        else:
            said = "".join(event.response_output_text_delta.delta for event in client.events[before:])
            self.counts["failed with an apology" if "Sorry" in said else "failed in silence"] += 1


async def test_a_rolling_restart_of_every_service_fails_no_turn_in_silence(engine: Engine, compose: Compose) -> None:
    await compose.up("--no-recreate", "--scale", "tts=2")
    counts: Counter[str] = Counter()
    enough = asyncio.Event()
    callers = [asyncio.create_task(Caller(compose.address, counts).talk(enough)) for _ in range(CALLERS)]
    try:
        while counts["completed"] < CALLERS:
            await asyncio.sleep(0.05)
        for service in ("stt", "tts", "llm-cpu", "orchestrator"):
            for container in await compose.containers(service):
                begun, before = time.monotonic(), Counter(counts)
                await asyncio.to_thread(engine.docker, "restart", "--time", "30", container["ID"])
                await until_healthy(engine, container["ID"])
                print(f"{container['Name']} restarted in {time.monotonic() - begun:.0f} s: {dict(counts - before)}")
        settled = counts["completed"]
        while counts["completed"] < settled + CALLERS:
            await asyncio.sleep(0.05)
    finally:
        enough.set()
        await asyncio.gather(*callers)
    print(f"rolling restart of every service under {CALLERS} conversations: {dict(counts)}")
    assert counts["failed in silence"] == 0
    assert counts["completed"] > 0.9 * (counts["completed"] + counts["failed with an apology"])


async def test_a_turn_that_no_model_answers_is_apologised_for(compose: Compose) -> None:
    """By the orchestrator of the image, whose Python may be an older one than that of all other tests."""
    async with conversation(compose.address) as client:
        await compose.do("stop", "llm-cpu")
        assert (await spoken_turn(client)).status == pb.RESPONSE_STATUS_FAILED
        failure = next(event.error for event in client.events if event.WhichOneof("event") == "error")
        assert "language model service" in failure.message
        assert "Sorry" in "".join(event.response_output_text_delta.delta for event in client.events)


async def state(engine: Engine, container: str, name: str) -> str:
    """A part of a container's state."""
    command = ("inspect", "--format", f"{{{{.State.{name}}}}}", container)
    return (await asyncio.to_thread(engine.docker, *command)).strip()


async def until_healthy(engine: Engine, container: str) -> None:
    """Wait for a container that has just been started."""
    while await state(engine, container, "Health.Status") != "healthy":
        await asyncio.sleep(0.2)
