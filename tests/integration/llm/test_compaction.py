"""Summaries as a client of the LLM service sees them."""

import asyncio

from parley.llm.v1 import conversation_service_pb2 as conversation_pb2

from tests.support.llm_client import client_of
from tests.support.servers import server

SUMMARY = "They talked about this and that."
FLAGS = ("--llm_backend", "fake", "--fake_answer", f"<summary>{SUMMARY}</summary>", "--chat_size", "4")


async def test_a_full_window_is_summarized_unless_the_conversation_or_the_server_says_no() -> None:
    async with server("llm", *FLAGS) as address, client_of(address) as client:
        ident = await client.create()
        refused = await client.create(config=conversation_pb2.ConversationConfig(compact_history=False))
        for number in range(6):
            for conversation in (ident, refused):
                await client.generate(f"question {number}", conversation_id=conversation)
        async with asyncio.timeout(30):
            while not (await client.get(ident)).summary:
                await asyncio.sleep(0.01)
        known = await client.get(ident)
        assert known.summary == SUMMARY
        assert len(known.messages) < 2 * 6
        usage = (await client.generate("question 6", conversation_id=ident))[-1].completed.usage
        other = await client.get(refused)
        assert (other.summary, len(other.messages), other.config.compact_history) == ("", 8, False)
        assert usage.input_tokens > len(SUMMARY.split()), "the model sees it"
    async with server("llm", *FLAGS, "--compact_history", "False") as address, client_of(address) as client:
        ident = await client.create()
        for number in range(6):
            await client.generate(f"question {number}", conversation_id=ident)
        assert len((await client.get(ident)).messages) == 8
