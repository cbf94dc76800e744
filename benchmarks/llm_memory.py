"""Resident memory of the LLM service with the embedded model over 1,000 turns of 50 conversations.

A conversation has four turns at a time, and eight conversations go on at once. The first 200 turns, which are not
counted, fill the pool of keys and values: from then on contexts are given up for others, and read again.

    python -m benchmarks.llm_memory
"""

import asyncio

from benchmarks.llm_peers import SYSTEM, Parley, parley, resident_mb
from benchmarks.report import save, show

CONVERSATIONS, ROUNDS, TURNS_A_ROUND, AT_ONCE = 50, 5, 4, 8
ANSWER_TOKENS = 8
POOL_BYTES = 100_000_000
"""4,340 tokens: fewer than the conversations have after the first round."""
MOST_GROWTH = 1.05


async def talk(peer: Parley, number: int, first: int, places: asyncio.Semaphore) -> None:
    """Some turns of one conversation."""
    async with places:
        for turn in range(first, first + TURNS_A_ROUND):
            await peer.turn(f"conversation-{number}", f"Tell me fact {turn} about {number}.", ANSWER_TOKENS)


async def main() -> None:
    """Talk, look at the process after each round, and write the table."""
    places = asyncio.Semaphore(AT_ONCE)
    seen: list[int] = []
    async with parley(cache_bytes=POOL_BYTES) as peer:
        for number in range(CONVERSATIONS):
            await peer.open(
                f"conversation-{number}", f"You are assistant {number}. {SYSTEM}", (ROUNDS + 1) * TURNS_A_ROUND
            )
        for round_ in range(ROUNDS + 1):
            first = round_ * TURNS_A_ROUND
            await asyncio.gather(*(talk(peer, number, first, places) for number in range(CONVERSATIONS)))
            seen.append(resident_mb(peer))
    turns = [(round_ + 1) * TURNS_A_ROUND * CONVERSATIONS for round_ in range(ROUNDS + 1)]
    show("Resident memory", ["turns", "MB"], list(zip(turns, seen, strict=True)))
    growth = max(seen) / seen[0]
    print(f"most / first: {growth:.3f} (target: at most {MOST_GROWTH})")
    save("llm_memory", {"turns": turns, "resident_mb": seen, "growth": round(growth, 3)})


if __name__ == "__main__":
    asyncio.run(main())
