"""What is special to the Redis store: what it cannot read, whom it lets in, how it connects."""

import asyncio
import pickle
import shutil
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from services.common.errors import FailedPreconditionError, OverloadedError, StartupError, StoreUnavailableError
from services.llm.conversation.codec import FORMAT, dump
from services.llm.conversation.conversation import Conversation, ConversationConfig
from services.llm.conversation.redis_store import RedisStore
from services.llm.domain import Message, Role, TextPart
from tests.support.redis_server import RedisServer, free_port, needs_redis, redis_server

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_redis]

KEY = "parley:conversation:a"
PASSWORD = "geheim:/?"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[RedisServer]:
    async with redis_server() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def store(server: RedisServer) -> AsyncIterator[RedisStore]:
    made = RedisStore(server.address, 100.0, 10)
    await made.open()
    yield made
    await made.delete("a")
    await made.aclose()


@pytest_asyncio.fixture(loop_scope="module")
async def redis(server: RedisServer) -> AsyncIterator[Redis]:
    async with Redis.from_url(server.address) as client:
        yield client


def conversation(*texts: str) -> Conversation:
    messages = tuple(Message(Role.USER, (TextPart(text),)) for text in texts)
    return Conversation("a", ConversationConfig(), 30, messages)


class Exploit:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return pytest.fail, ("what was stored has been executed",)


def _changed(**fields: object) -> bytes:
    return orjson.dumps({**orjson.loads(dump(conversation("hi"))), **fields})


POISON = {
    "garbage": b"\x00\xff not json",
    "pickle": pickle.dumps(Exploit()),
    "another shape": b'{"format":1,"conversation":{"id":"a"}}',
    "a wrong type": dump(conversation("hi")).replace(b'"chat_size":30', b'"chat_size":"30"'),
    "an unknown role": dump(conversation("hi")).replace(b'"user"', b'"root"'),
    "a newer format": _changed(format=FORMAT + 1),
    "nothing": b"",
    "a time that is none": dump(conversation("hi")).replace(b'"created_at":0.0', b'"created_at":1e300'),
    "a size that is none": dump(conversation("hi")).replace(b'"chat_size":30', b'"chat_size":1000000000000'),
    "flipped bits": bytes(byte ^ 1 for byte in dump(conversation("hi"))),
    "a megabyte of brackets": b"[" * (1 << 20),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_a_poisoned_value_is_an_error_that_can_be_deleted(store: RedisStore, redis: Redis, poison: bytes) -> None:
    await store.create(conversation("hi"))
    await redis.hset(KEY, "doc", poison)
    for attempt in (store.get("a"), store.get_for_turn("a", "r", 1.0)):
        with pytest.raises(FailedPreconditionError) as caught:
            await attempt
        assert caught.value.field == "conversation_id"
    assert await store.delete("a")
    assert await store.create(conversation("hi"))


async def test_a_key_of_another_kind_is_an_error_that_can_be_deleted(store: RedisStore, redis: Redis) -> None:
    await redis.set(KEY, "somebody else's")
    with pytest.raises(FailedPreconditionError):
        await store.get("a")
    with pytest.raises(FailedPreconditionError):
        await store.create(conversation())
    assert await store.delete("a")


async def test_creating_again_what_was_created_is_as_once(store: RedisStore) -> None:
    """A reply may be lost with its connection, and the request is made again then."""
    assert await store.create(conversation("hi"))
    assert await store.create(conversation("hi"))
    assert not await store.create(conversation("ho"))


async def test_nothing_is_left_of_what_expires(server: RedisServer, redis: Redis) -> None:
    store = RedisStore(server.address, 0.2, 10)
    await store.open()
    await store.create(conversation())
    await store.get_for_turn("a", "r", 60.0)
    assert 0 < await redis.pttl(KEY) <= 200
    assert 0 < await redis.pttl("parley:conversations") <= 200
    await store.delete("a")
    await store.aclose()


async def test_a_lost_connection_is_opened_again(store: RedisStore, redis: Redis) -> None:
    await store.create(conversation("hi"))
    await redis.client_kill_filter(_type="normal", skipme=True)
    assert await store.get("a") == conversation("hi")


async def test_a_server_that_went_away_and_came_back_empty() -> None:
    async with redis_server() as server:
        store = RedisStore(server.address, 100.0, 10)
        await store.open()
        await store.create(conversation("hi"))
        await server.kill()
        for attempt in (store.get("a"), store.create(conversation()), store.claim("a", "turn", "r", 1.0)):
            with pytest.raises(StoreUnavailableError) as caught:
                await attempt
            assert caught.value.retry_after_s == 1.0
            assert str(server.port) not in caught.value.message
        await server.start()
        assert await store.get("a") is None
        assert await store.create(conversation("hi"))
        await store.aclose()


async def test_a_server_that_hangs_is_given_up_soon_and_used_again_when_it_goes_on() -> None:
    async with redis_server() as server:
        store = RedisStore(server.address, 100.0, 10)
        await store.open()
        await store.create(conversation("hi"))
        server.pause()
        opening = RedisStore(server.address, 100.0, 10).open()
        async with asyncio.timeout(10):
            read, opened = await asyncio.gather(store.get("a"), opening, return_exceptions=True)
        assert isinstance(read, StoreUnavailableError)
        assert isinstance(opened, StartupError)
        server.resume()
        assert await store.get("a") == conversation("hi")
        await store.aclose()


async def test_a_password_a_full_server_and_a_user_who_may_not_write() -> None:
    reader = ("reader", "on", "nopass", "~*", "+@read", "+@connection", "+eval", "+evalsha", "+script")
    flags = ("--requirepass", PASSWORD, "--user", *reader)
    async with redis_server(*flags) as server:
        right = f"redis://:geheim%3A%2F%3F@127.0.0.1:{server.port}/0"
        store = RedisStore(right, 100.0, 10)
        await store.open()
        assert await store.create(conversation("hi"))
        async with Redis.from_url(right) as redis:
            await redis.config_set("maxmemory", "1")
        with pytest.raises(OverloadedError, match="full"):
            await store.create(Conversation("b", ConversationConfig(), 30))
        await store.aclose()
        for address, problem in {
            f"redis://:falsch@127.0.0.1:{server.port}": "refuses the password",
            f"redis://127.0.0.1:{server.port}": "refuses the password",
            f"redis://reader@127.0.0.1:{server.port}": "does not let this user write",
        }.items():
            with pytest.raises(StartupError, match=problem) as caught:
                await RedisStore(address, 100.0, 10).open()
            assert str(caught.value).startswith("--conversation_store: ")
            assert "falsch" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("redis://ada:geheim@127.0.0.1:1/0", "no Redis server answers at redis://127.0.0.1:1/0"),
        ("rediss://ada:geheim@127.0.0.1:1", "no Redis server answers at rediss://127.0.0.1:1"),
        ("unix://ada:geheim@/nowhere/redis.sock", "no Redis server answers at unix:///nowhere/redis.sock"),
        ("redis://ada:geheim@127.0.0.1:99999", "redis://… is no address of a Redis server"),
        ("redis://ada:geheim@127.0.0.1:6379/x?speed=1", "redis://127.0.0.1:6379/x is no address of a Redis server"),
    ],
)
async def test_an_address_that_does_not_work_is_told_without_its_secrets(address: str, problem: str) -> None:
    with pytest.raises(StartupError) as caught:
        await RedisStore(address, 100.0, 10).open()
    assert problem in str(caught.value)
    assert "geheim" not in str(caught.value)


async def test_a_unix_socket_will_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    socket = tmp_path_factory.mktemp("r") / "s"
    async with redis_server("--unixsocket", str(socket)):
        store = RedisStore(f"unix://{socket}", 100.0, 10)
        await store.open()
        assert await store.create(conversation("hi"))
        assert await store.get("a") == conversation("hi")
        await store.aclose()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the program openssl is not installed")
async def test_tls_with_an_authority_that_the_address_names(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1")
    command = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *names)
    making = await asyncio.create_subprocess_exec(
        *(*command, "-keyout", str(key), "-out", str(certificate)), stderr=asyncio.subprocess.DEVNULL
    )
    assert await making.wait() == 0
    port = free_port()
    tls = ("--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key))
    async with redis_server(*tls, "--tls-auth-clients", "no"):
        store = RedisStore(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}", 100.0, 10)
        await store.open()
        assert await store.create(conversation("hi"))
        await store.aclose()
        for query, problem in {
            "": "is not trusted; name its authority",
            f"?ssl_ca_certs={folder / 'other.pem'}": "correct the address",
        }.items():
            with pytest.raises(StartupError, match=problem) as caught:
                await RedisStore(f"rediss://127.0.0.1:{port}/0{query}", 100.0, 10).open()
            assert str(folder) not in str(caught.value)
