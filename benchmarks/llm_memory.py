"""Resident memory of the LLM service with the embedded model over 1,000 turns of 50 conversations.

The first turns of each, which are not counted, fill the pool of keys and values: from then on contexts are given up for
others, and read again. Then each has ten turns, and ten more when all others have had theirs; eight go on at once.

    python -m benchmarks.llm_memory
"""

import asyncio

from benchmarks.llm_peers import SYSTEM, Parley, parley, resident_mb
from benchmarks.report import save, show

CONVERSATIONS, ROUNDS, TURNS_A_ROUND, AT_ONCE = 50, 2, 10, 8
FILLING = 3
"""Turns of each conversation that are not counted."""
ANSWER_TOKENS = 8
POOL_BYTES = 100_000_000
"""4,340 tokens: fewer than the conversations have then."""
EACH = 100
"""Turns between two looks at the process."""
MOST_GROWTH = 1.05


async def talk(peer: Parley, number: int, turns: range, places: asyncio.Semaphore, seen: list[int]) -> None:
    """Some turns of one conversation; the resident memory after each goes to `seen`, in MB."""
    async with places:
        for turn in turns:
            await peer.turn(f"conversation-{number}", f"Tell me fact {turn} about {number}.", ANSWER_TOKENS)
            seen.append(resident_mb(peer))


async def main() -> None:
    """Talk, look at the process, and write the table."""
    places = asyncio.Semaphore(AT_ONCE)
    seen: list[int] = []
    last = FILLING + ROUNDS * TURNS_A_ROUND
    rounds = [range(FILLING), *(range(first, first + TURNS_A_ROUND) for first in range(FILLING, last, TURNS_A_ROUND))]
    async with parley(cache_bytes=POOL_BYTES) as peer:
        for number in range(CONVERSATIONS):
            await peer.open(f"conversation-{number}", f"You are assistant {number}. {SYSTEM}", last)
        for turns in rounds:
            await asyncio.gather(*(talk(peer, number, turns, places, seen) for number in range(CONVERSATIONS)))
    seen = seen[FILLING * CONVERSATIONS - 1 :]
    growth = max(seen) / seen[0]
    shown = {turns: seen[turns] for turns in range(0, len(seen), EACH)}
    show("Resident memory", ["turns", "MB"], list(shown.items()))
    print(f"most / first: {growth:.3f} (target: at most {MOST_GROWTH})")
    save("llm_memory", {"resident_mb": shown, "most_mb": max(seen), "growth": round(growth, 3)})


if __name__ == "__main__":
    asyncio.run(main())
