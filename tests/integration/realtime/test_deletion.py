"""Items that a client of the bridge deletes: the model, which says what it was given, is given them no more."""

from typing import Any

import pytest

from tests.support.realtime import VOICE, Realtime, realtime
from tests.support.stack import fake_stack

pytestmark = pytest.mark.asyncio(loop_scope="package")


def item(item_id: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"id": item_id, "type": kind, **fields}


async def received(client: Realtime) -> tuple[str, str]:
    """Ask for a response: what the model was given, and the id of the answer's item."""
    await client.send("response.create", response={"output_modalities": ["text"]})
    answer = (await client.until("response.done"))["response"]["output"][0]
    return answer["content"][0]["text"], answer["id"]


async def deleted(client: Realtime, item_id: str, number: int = 1) -> list[str]:
    await client.send("conversation.item.delete", item_id=item_id)
    return [(await client.until("conversation.item.deleted"))["item_id"] for _ in range(number)]


async def test_the_next_prompt_lacks_what_was_deleted() -> None:
    llm = ("--fake_answer=<{received}>", "--fake_token_ms=0", "--fake_first_token_ms=0", "--fake_calls_tools")
    async with (
        fake_stack(orchestrator=("--realtime_port=0",), llm=llm) as stack,
        realtime(stack["orchestrator"]) as client,
    ):
        for text in ("Alpha.", "Beta."):
            content = [{"type": "input_text", "text": text}]
            told = item(f"i_{text}", "message", role="user", content=content)
            await client.send("conversation.item.create", item=told)
        call = item("i_call", "function_call", call_id="c", name="f", arguments="{}")
        output = item("i_output", "function_call_output", call_id="c", output="Gamma.")
        for told in (call, output):
            await client.send("conversation.item.create", item=told)
        text, answer = await received(client)
        assert all(word in text for word in ("Alpha.", "Beta.", "Gamma."))
        assert await deleted(client, "i_Alpha.") == ["i_Alpha."]
        assert await deleted(client, "i_output", 2) == ["i_call", "i_output"], "a call and its output go together"
        assert await deleted(client, answer) == [answer]
        text, _ = await received(client)
        assert "Beta." in text
        assert not any(word in text for word in ("Alpha.", "Gamma.", "assistant:", "tool:"))
        await client.send("conversation.item.delete", item_id="i_Alpha.", event_id="again")
        error = (await client.until("error"))["error"]
        assert (error["param"], error["event_id"]) == ("item_id", "again")
        await client.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        await client.append(VOICE)
        await client.append(bytes(len(VOICE)))
        spoken = await client.until("conversation.item.input_audio_transcription.completed")
        answer = (await client.until("response.done"))["response"]["output"][0]
        assert spoken["transcript"] in answer["content"][0]["text"]
        for item_id in (spoken["item_id"], answer["id"]):
            assert await deleted(client, item_id) == [item_id]
        await client.write_text("Delta.")
        answer = (await client.until("response.done"))["response"]["output"][0]
        assert "Delta." in answer["content"][0]["text"]
        assert spoken["transcript"] not in answer["content"][0]["text"]
