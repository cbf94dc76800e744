"""Calls to several replicas: real servers on loopback whose answers the test scripts."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from parley.llm.v1 import conversation_service_pb2 as conversations
from parley.llm.v1 import conversation_service_pb2_grpc
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.common import logs
from services.common.channel import id_metadata, open_channel
from services.common.errors import ModelLoadingError, ParleyError, ServerDrainingError, UpstreamError
from services.common.keepalive import Keepalive
from services.common.status import from_rpc_error, to_status
from tests.support.fault_proxy import fault_proxy

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING


class Replica(pb_grpc.TextToSpeechServiceServicer, conversation_service_pb2_grpc.ConversationServiceServicer):
    """Counts calls, and fails with `error` where there is one; `Synthesize` fails after its first response."""

    server: grpc.aio.Server

    def __init__(self) -> None:
        self.health = health.aio.HealthServicer()
        self.calls = 0
        self.error: ParleyError | None = None

    async def _answer(self, context: Any) -> None:
        self.calls += 1
        if self.error is not None:
            await context.abort_with_status(to_status(self.error))

    async def ListVoices(self, request: Any, context: Any) -> pb.ListVoicesResponse:
        await self._answer(context)
        return pb.ListVoicesResponse()

    async def Synthesize(self, request: Any, context: Any) -> AsyncIterator[pb.SynthesizeResponse]:
        yield pb.SynthesizeResponse()
        await self._answer(context)

    async def AppendMessages(self, request: Any, context: Any) -> conversations.AppendMessagesResponse:
        await self._answer(context)
        return conversations.AppendMessagesResponse()


Replicas = tuple[Replica, Replica, grpc.aio.Channel]


@contextlib.asynccontextmanager
async def pair_of_replicas() -> AsyncIterator[tuple[Replica, Replica, str]]:
    """Two that serve, and the target that names both."""
    async with contextlib.AsyncExitStack() as stack:
        pair, addresses = (Replica(), Replica()), []
        for replica in pair:
            replica.server = server = grpc.aio.server()
            pb_grpc.add_TextToSpeechServiceServicer_to_server(replica, server)
            conversation_service_pb2_grpc.add_ConversationServiceServicer_to_server(replica, server)
            health_pb2_grpc.add_HealthServicer_to_server(replica.health, server)
            addresses.append(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
            await replica.health.set("", SERVING)
            await server.start()
            stack.push_async_callback(server.stop, 0)
        yield *pair, f"ipv4:{','.join(addresses)}"


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    """Two replicas that serve, and a channel to both."""
    async with pair_of_replicas() as (*pair, target), open_channel(target) as channel:
        stub = pb_grpc.TextToSpeechServiceStub(channel)
        while not all(replica.calls for replica in pair):
            await stub.ListVoices(pb.ListVoicesRequest(), wait_for_ready=True)
        for replica in pair:
            replica.calls = 0
        yield *pair, channel


async def until(condition: Callable[[], bool], channel: grpc.aio.Channel) -> None:
    """Make calls until something is so."""
    while not condition():
        with contextlib.suppress(grpc.aio.AioRpcError):
            await pb_grpc.TextToSpeechServiceStub(channel).ListVoices(pb.ListVoicesRequest())


async def test_a_connection_that_has_died_without_a_word_is_given_up_and_a_new_one_is_made() -> None:
    async with pair_of_replicas() as (replica, _, target):
        address, _, _ = target.removeprefix("ipv4:").partition(",")
        async with fault_proxy(address) as link, open_channel(link.address, keepalive=Keepalive(0.2, 0.2)) as channel:
            stub = pb_grpc.TextToSpeechServiceStub(channel)
            await stub.ListVoices(pb.ListVoicesRequest(), wait_for_ready=True)
            link.black_hole()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.ListVoices(pb.ListVoicesRequest())
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            link.restore()
            await stub.ListVoices(pb.ListVoicesRequest(), wait_for_ready=True)
            assert replica.calls >= 2


async def test_calls_take_turns(replicas: Replicas) -> None:
    first, second, channel = replicas
    for _ in range(20):
        await pb_grpc.TextToSpeechServiceStub(channel).ListVoices(pb.ListVoicesRequest())
    assert first.calls == second.calls == 10


async def test_a_replica_that_does_not_serve_gets_no_calls_and_gets_them_again_when_it_does(replicas: Replicas) -> None:
    first, _, channel = replicas
    stub = pb_grpc.TextToSpeechServiceStub(channel)
    await first.health.set("", NOT_SERVING)
    seen = -1
    while first.calls != seen:  # until the news has arrived
        seen = first.calls
        await stub.ListVoices(pb.ListVoicesRequest())
        await stub.ListVoices(pb.ListVoicesRequest())
    for _ in range(10):
        await stub.ListVoices(pb.ListVoicesRequest())
    assert first.calls == seen
    await first.health.set("", SERVING)
    await until(lambda: first.calls > seen, channel)


async def test_where_none_serves_the_error_says_that_it_is_not_ready(replicas: Replicas) -> None:
    first, second, channel = replicas
    for replica in (first, second):
        await replica.health.set("", NOT_SERVING)
    caught: ParleyError | None = None
    while caught is None:
        try:
            await pb_grpc.TextToSpeechServiceStub(channel).ListVoices(pb.ListVoicesRequest())
        except grpc.aio.AioRpcError as error:
            caught = from_rpc_error(error)
    assert type(caught) is ModelLoadingError
    assert caught.retry_after_s == 1.0
    assert "127.0.0.1" not in caught.message


async def test_a_call_that_one_replica_refuses_is_answered_by_the_other(replicas: Replicas) -> None:
    first, second, channel = replicas
    first.error = ServerDrainingError("the server is shutting down")
    for _ in range(10):
        await pb_grpc.TextToSpeechServiceStub(channel).ListVoices(pb.ListVoicesRequest())
    assert first.calls > 0
    assert second.calls == 10


async def test_a_failure_behind_the_replicas_is_not_tried_again(replicas: Replicas) -> None:
    first, second, channel = replicas
    first.error = second.error = UpstreamError("the provider failed")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await pb_grpc.TextToSpeechServiceStub(channel).ListVoices(pb.ListVoicesRequest())
    assert first.calls + second.calls == 1
    assert from_rpc_error(caught.value).message == "the provider failed"


async def test_what_has_begun_to_be_answered_is_not_begun_again(replicas: Replicas) -> None:
    first, second, channel = replicas
    first.error = second.error = ServerDrainingError("the server is shutting down")
    call = pb_grpc.TextToSpeechServiceStub(channel).Synthesize(pb.SynthesizeRequest())
    with pytest.raises(grpc.aio.AioRpcError):
        _ = [response async for response in call]
    assert first.calls + second.calls == 1


async def test_what_changes_a_conversation_is_not_done_twice(replicas: Replicas) -> None:
    first, second, channel = replicas
    first.error = second.error = ServerDrainingError("the server is shutting down")
    stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.AppendMessages(conversations.AppendMessagesRequest())
    assert first.calls + second.calls == 1


class Talk:
    """Calls about one conversation after another, on a channel that keeps each at one replica."""

    def __init__(self, target: str) -> None:
        self.channel = open_channel(target, affinity=True)

    async def call(self, conversation: int) -> None:
        with logs.ids(conversation_id=f"conv_{conversation}"):
            stub = pb_grpc.TextToSpeechServiceStub(self.channel)
            await stub.ListVoices(pb.ListVoicesRequest(), metadata=id_metadata(), wait_for_ready=True)

    async def served_by(self, conversation: int, *replicas: Replica) -> list[int]:
        """The replicas, as numbers, that served five calls about a conversation."""
        before = [replica.calls for replica in replicas]
        for _ in range(5):
            await self.call(conversation)
        return [at for at, replica in enumerate(replicas) if replica.calls > before[at]]


@pytest.fixture
async def talk() -> AsyncIterator[tuple[Talk, Replica, Replica]]:
    """Two replicas, and calls that keep to one."""
    async with pair_of_replicas() as (first, second, target):
        talk = Talk(target)
        async with talk.channel:
            yield talk, first, second


async def test_with_affinity_a_conversation_stays_at_a_replica_and_all_are_used(
    talk: tuple[Talk, Replica, Replica],
) -> None:
    calls, *pair = talk
    at = [await calls.served_by(conversation, *pair) for conversation in range(32)]
    assert all(len(replicas) == 1 for replicas in at)
    assert {replicas[0] for replicas in at} == {0, 1}
    assert at == [await calls.served_by(conversation, *pair) for conversation in range(32)]


async def test_with_affinity_conversations_go_on_elsewhere_when_their_replica_is_gone(
    talk: tuple[Talk, Replica, Replica],
) -> None:
    calls, first, second = talk
    before = [await calls.served_by(conversation, first, second) for conversation in range(32)]
    await first.server.stop(0)
    assert [await calls.served_by(conversation, first, second) for conversation in range(32)] == [[1]] * 32
    assert [0] in before, "some were at the one that is gone"


async def test_with_affinity_a_replica_that_does_not_serve_gets_no_calls(talk: tuple[Talk, Replica, Replica]) -> None:
    calls, first, second = talk
    while not first.calls:
        for conversation in range(32):
            await calls.call(conversation)
    await first.health.set("", NOT_SERVING)
    seen = -1
    while first.calls != seen:  # until the news has arrived
        seen = first.calls
        for conversation in range(32):
            await calls.call(conversation)
    assert [await calls.served_by(conversation, first, second) for conversation in range(32)] == [[1]] * 32


async def test_with_affinity_calls_about_no_conversation_are_spread(talk: tuple[Talk, Replica, Replica]) -> None:
    calls, first, second = talk
    stub = pb_grpc.TextToSpeechServiceStub(calls.channel)
    while not (first.calls and second.calls):
        await stub.ListVoices(pb.ListVoicesRequest())
