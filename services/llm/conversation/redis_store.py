"""Conversations on a Redis server that replicas share: one round trip for each operation."""

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from services.common.errors import ConversationBusyError, OverloadedError, StartupError, StoreUnavailableError
from services.common.event_loop import WriteToClosedError
from services.llm.conversation import codec, redis_scripts
from services.llm.conversation.conversation import Conversation
from services.llm.conversation.store import ConversationStore

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

log = logging.getLogger(__name__)

_PREFIX = "parley:conversation:"
_INDEX = "parley:conversations"
_PROBE = "parley:probe"
_TIMEOUT_S = 2.0
"""Seconds for an operation, with the connection that it may have to open, and the second try."""
_CONNECTIONS = 64
_SCRIPTS = {
    name: getattr(redis_scripts, name)
    for name in ("OPEN", "CREATE", "GET", "REPLACE", "DELETE", "CLAIM", "GIVE_BACK", "HOLDER")
}


class RedisStore(ConversationStore):
    """One Redis server, or a primary behind one address; not a cluster.

    Every operation is one script, so that it is atomic and one round trip. A lost connection is opened again, and the
    operation repeated once: those that write are harmless when they are made twice.

    Args:
        address: `redis://`, `rediss://` or `unix://` URL; it may hold a password, which is never shown.
        ttl_s: seconds after its last use that a conversation is forgotten.
        limit: conversations kept at a time, by all servers together.
    """

    shared = True

    def __init__(self, address: str, ttl_s: float, limit: int) -> None:
        self.ttl_s = ttl_s
        self._address = address
        self._ttl_ms = round(ttl_s * 1000)
        self._limit = limit
        self._client: Redis | None = None
        self._scripts: dict[str, AsyncScript] = {}
        self._ahead_s = time.time() - time.monotonic()
        """How far the server's clock is ahead of ours."""

    async def open(self) -> None:
        shown = _shown(self._address)
        try:
            from redis.asyncio import BlockingConnectionPool, Redis
            from redis.asyncio.retry import Retry
            from redis.backoff import NoBackoff
            from redis.exceptions import AuthenticationError, ConnectionError, RedisError, ResponseError
        except ImportError:
            raise StartupError(
                "--conversation_store: the library for Redis is missing: pip install 'parley-voice[llm-redis]'"
            ) from None
        problem = ""
        try:
            pool = BlockingConnectionPool.from_url(
                self._address,
                max_connections=_CONNECTIONS,
                timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                socket_timeout=_TIMEOUT_S,
                retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError, WriteToClosedError)),  # type: ignore[arg-type]
                protocol=2,
            )
            self._client = Redis.from_pool(pool)
            self._scripts = {name: self._client.register_script(text) for name, text in _SCRIPTS.items()}
            self._see((await self._scripts["OPEN"](keys=[_PROBE]))[1])
        except AuthenticationError:
            problem = f"the Redis server at {shown} refuses the password"
        except ResponseError:
            problem = f"the Redis server at {shown} does not let this user write"
        except (RedisError, OSError) as error:
            problem = f"no Redis server answers at {shown}; start it, or correct the address"
            if "certificate" in str(error).lower():
                problem = f"the certificate of {shown} is not trusted; name its authority with ?ssl_ca_certs=FILE"
        except (ValueError, TypeError):
            problem = f"{shown} is no address of a Redis server"
        if problem:
            await self.aclose()
            raise StartupError(f"--conversation_store: {problem}")

    def now(self) -> float:
        return time.monotonic() + self._ahead_s

    async def create(self, conversation: Conversation) -> bool:
        document = codec.dump(conversation)
        word, found = await self._call(
            "CREATE", conversation.id, document, conversation.version, self._ttl_ms, conversation.id, self._limit
        )
        if word == b"full":
            retry_after_s = max(1.0, float(found[0]) / 1000 - self.now())
            raise OverloadedError("too many conversations; delete some, or try later", retry_after_s=retry_after_s)
        return word == b"ok"

    async def get(self, conversation_id: str) -> Conversation | None:
        return await self._get(conversation_id, "", 0.0)

    async def get_for_turn(self, conversation_id: str, response_id: str, seconds: float) -> Conversation | None:
        return await self._get(conversation_id, response_id, seconds)

    async def replace(self, conversation: Conversation, ended: str = "") -> bool:
        version = conversation.version
        document = codec.dump(replace(conversation, version=version + 1))
        word, _ = await self._call(
            "REPLACE", conversation.id, document, version, version + 1, self._ttl_ms, conversation.id, ended
        )
        if word == b"busy":
            raise ConversationBusyError("another turn of this conversation was faster", retry_after_s=1.0)
        return word == b"ok"

    async def delete(self, conversation_id: str) -> bool:
        word, _ = await self._call("DELETE", conversation_id, conversation_id)
        return word == b"ok"

    async def claim(self, conversation_id: str, what: str, holder: str, seconds: float) -> bool:
        word, _ = await self._call("CLAIM", conversation_id, what, holder, round(seconds * 1000))
        return word == b"ok"

    async def give_back(self, conversation_id: str, what: str, holder: str) -> None:
        await self._call("GIVE_BACK", conversation_id, what, holder)

    async def holder(self, conversation_id: str, what: str) -> str | None:
        word, found = await self._call("HOLDER", conversation_id, what)
        return found[0].decode() if word == b"ok" else None

    async def aclose(self) -> None:
        if self._client is not None:
            await self._client.aclose()
            await self._client.connection_pool.disconnect()

    async def _get(self, conversation_id: str, response_id: str, seconds: float) -> Conversation | None:
        word, found = await self._call(
            "GET", conversation_id, self._ttl_ms, conversation_id, response_id, round(seconds * 1000)
        )
        if word == b"busy":
            raise ConversationBusyError("another turn of this conversation is running", retry_after_s=1.0)
        return codec.load(found[0]) if word == b"ok" else None

    async def _call(self, name: str, conversation_id: str, *arguments: bytes | str | int) -> tuple[bytes, list[Any]]:
        """Run a script to its end, even where the caller is cancelled: breaking off would cost the connection, and
        leave open what was done.
        """
        running = asyncio.ensure_future(self._run(name, conversation_id, arguments))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.gather(running, return_exceptions=True)
            raise

    async def _run(
        self, name: str, conversation_id: str, arguments: tuple[bytes | str | int, ...]
    ) -> tuple[bytes, list[Any]]:
        from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisError, ResponseError

        try:
            async with asyncio.timeout(_TIMEOUT_S):
                word, clock, *found = await self._scripts[name](
                    keys=[_PREFIX + conversation_id, _INDEX], args=arguments
                )
        except OutOfMemoryError:
            raise OverloadedError("the store of conversations is full; try later", retry_after_s=5.0) from None
        except ResponseError as error:
            if isinstance(error, ReadOnlyError):
                raise _unreachable(error) from None
            log.warning("the store refused an operation", extra={"operation": name, "error": str(error)})
            raise codec.unreadable() from None
        except (RedisError, OSError, WriteToClosedError) as error:
            raise _unreachable(error) from None
        self._see(clock)
        return word, found

    def _see(self, clock: int) -> None:
        self._ahead_s = clock / 1000 - time.monotonic()


def _unreachable(error: Exception) -> StoreUnavailableError:
    log.warning("the store is not reachable", extra={"error": str(error)})
    return StoreUnavailableError("the store of conversations is not reachable; try again", retry_after_s=1.0)


def _shown(address: str) -> str:
    """An address without what may be secret in it."""
    try:
        parts = urlsplit(address)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return address.partition("://")[0] + "://…"
    host = parts.hostname or ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"
