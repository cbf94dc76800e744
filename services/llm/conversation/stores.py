"""The stores by their addresses; a library is imported only where its store is chosen."""

from services.llm.conversation.memory import MemoryStore
from services.llm.conversation.store import ConversationStore

MEMORY = "memory"
URL_SCHEMES = ("redis://", "rediss://", "unix://")


def create(address: str, ttl_s: float, limit: int) -> ConversationStore:
    """The store at an address, not opened yet.

    Args:
        address: `memory`, or the URL of a Redis server.
        ttl_s: seconds after its last use that a conversation is forgotten.
        limit: conversations kept at a time.
    """
    if address == MEMORY:
        return MemoryStore(ttl_s, limit)
    from services.llm.conversation.redis_store import RedisStore

    return RedisStore(address, ttl_s, limit)
