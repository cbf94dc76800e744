"""Sessions over the Realtime bridge, scripted fakes inside; every event is held against OpenAI's own types."""

import asyncio
import base64
import itertools

import numpy as np
import pytest

from services.common.audio import encode
from services.common.audio_format import AudioFormat, Encoding
from tests.support.realtime import VOICE, Realtime, realtime
from tests.support.servers import RunningServer

pytestmark = pytest.mark.asyncio(loop_scope="package")
PUSH_TO_TALK = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
SYLLABLE = VOICE[: len(VOICE) // 4]
"""Too short for the recogniser to have words of it yet."""
SILENCE = bytes(len(VOICE))


async def push_to_talk(client: Realtime) -> None:
    await client.send("session.update", session=PUSH_TO_TALK)
    await client.until("session.updated")


async def answering(client: Realtime) -> dict[str, object]:
    """Have the agent say something, and hear the beginning of it."""
    await client.write_text("Tell me.")
    return await client.until("response.output_audio.delta")


async def test_a_spoken_turn_comes_in_the_protocols_order(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator, "?model=gpt-realtime") as client:
        await client.append(VOICE)
        await client.append(SILENCE)
        done = (await client.until("response.done"))["response"]
    order = [
        "session.created",
        "conversation.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    places = [client.kinds().index(kind) for kind in order]
    assert places == sorted(places)
    assert done["status"] == "completed"
    text = "".join(e["delta"] for e in client.events if e["type"] == "response.output_audio_transcript.delta")
    assert done["output"][0]["content"] == [{"type": "output_audio", "transcript": text}]
    assert done["usage"]["total_tokens"] == done["usage"]["input_tokens"] + done["usage"]["output_tokens"]
    ids = [event["event_id"] for event in client.events]
    assert len(set(ids)) == len(ids)
    added = [event for event in client.events if event["type"] == "conversation.item.added"]
    assert added[0]["previous_item_id"] is None
    assert [e["previous_item_id"] for e in added[1:]] == [e["item"]["id"] for e in added[:-1]]


async def test_push_to_talk_is_answered_where_a_response_is_asked_for(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        await push_to_talk(client)
        await client.append(VOICE)
        await client.send("input_audio_buffer.commit")
        await client.until("conversation.item.input_audio_transcription.completed")
        assert "response.created" not in client.kinds()
        await client.append(VOICE)
        await client.send("input_audio_buffer.commit")
        await client.send("response.create", response={"output_modalities": ["text"]})  # before the words are known
        await client.until("response.created")
        said = [e for e in client.events if e["type"] == "conversation.item.input_audio_transcription.completed"]
        assert len(said) == 2
        usage = (await client.until("response.done"))["response"]["usage"]
        assert usage["input_tokens"] > 20, "both utterances are in the history"


async def test_text_alone_for_one_response(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        await client.send("response.create", response={"output_modalities": ["text"], "instructions": "Rhyme."})
        done = (await client.until("response.done"))["response"]
        assert done["output_modalities"] == ["text"]
        assert "fake" in done["output"][0]["content"][0]["text"]
        assert "response.output_text.delta" in client.kinds()
        assert "response.output_audio.delta" not in client.kinds()


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
async def test_a_telephones_audio_goes_both_ways(orchestrator: RunningServer, kind: str) -> None:
    async with realtime(orchestrator) as client:
        both = {"input": {"format": {"type": kind}}, "output": {"format": {"type": kind}}}
        await client.send("session.update", session={"type": "realtime", "audio": both})
        assert (await client.until("session.updated"))["session"]["audio"]["output"]["format"] == {"type": kind}
        encoding = Encoding.MULAW if kind == "audio/pcmu" else Encoding.ALAW
        samples = np.tile(np.repeat(np.float32([0.5, -0.5]), 8), 500)
        await client.append(encode(samples, AudioFormat(encoding, 8_000)))
        await client.append(encode(np.zeros(8_000, np.float32), AudioFormat(encoding, 8_000)))
        started = await client.until("input_audio_buffer.speech_started")
        assert started["audio_start_ms"] < 200
        stopped = await client.until("input_audio_buffer.speech_stopped")
        assert 900 < stopped["audio_end_ms"] < 1200, "a second of it was a second"
        await client.until("response.output_audio.delta")


async def test_the_voice_stops_an_answer_and_the_words_cancel_it(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        delta = await answering(client)
        await client.append(SYLLABLE)
        await client.until("input_audio_buffer.speech_started")
        stopped = len(client.events)
        await client.send("conversation.item.truncate", item_id=delta["item_id"], content_index=0, audio_end_ms=40)
        assert (await client.until("conversation.item.truncated"))["audio_end_ms"] == 40
        await client.append(VOICE)
        await client.append(SILENCE)
        done = (await client.until("response.done"))["response"]
        assert done["status"] == "cancelled"
        assert done["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        assert "response.output_audio.delta" not in client.kinds()[stopped:]
        assert len(done["output"][0]["content"][0]["transcript"]) < 20
        await client.until("response.created")  # the words are answered


async def test_what_is_no_interruption_goes_on_in_an_item_of_its_own(orchestrator: RunningServer) -> None:
    """So that `audio_end_ms` counts from the audio that the client is playing then."""
    async with realtime(orchestrator) as client:
        delta = await answering(client)
        await client.append(SYLLABLE)
        await client.until("input_audio_buffer.speech_started")
        await client.send("input_audio_buffer.clear")  # the noise was none of the user's
        again = await client.until("response.output_audio.delta")
        assert again["response_id"] == delta["response_id"]
        assert again["item_id"] != delta["item_id"]
        assert again["output_index"] == 1
        done = (await client.until("response.done"))["response"]
        assert [item["status"] for item in done["output"]] == ["incomplete", "completed"]
        assert "input_audio_buffer.cleared" in client.kinds()


async def test_a_client_cancels(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        await answering(client)
        await client.send("response.cancel")
        done = (await client.until("response.done"))["response"]
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}


async def test_a_conversation_goes_on_in_another_session(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        conversation_id = client.events[-1]["conversation"]["id"]
        await client.send("response.create", response={"output_modalities": ["text"]})
        first = (await client.until("response.done"))["response"]["usage"]["input_tokens"]
    async with realtime(orchestrator, f"?conversation_id={conversation_id}") as client:
        assert client.events[-1]["conversation"]["id"] == conversation_id
        await client.send("session.update", session={"type": "realtime", "output_modalities": ["text"]})
        await client.write_text("Go on.")
        assert (await client.until("response.done"))["response"]["usage"]["input_tokens"] > first


async def test_items_are_retrieved_as_the_client_knows_them(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        item = {
            "id": "mine",
            "type": "message",
            "role": "system",
            "content": [{"type": "input_text", "text": "Rhyme."}],
        }
        await client.send("conversation.item.create", item=item)
        await client.send("conversation.item.retrieve", item_id="mine")
        assert (await client.until("conversation.item.retrieved"))["item"].items() >= item.items()


async def test_extensions_are_for_those_who_ask_for_them(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator, "?parley_events=true") as client:
        await client.append(VOICE)
        await client.append(SILENCE)
        timings = await client.until("parley.turn_timings")
        assert set(timings["steps_ms"]) >= {"endpointing", "first_token", "first_audio", "total"}
        assert sum(timings["stages_ms"].values()) == pytest.approx(timings["steps_ms"]["first_audio"], abs=1)
        assert "parley.input_audio_transcription.updated" in client.kinds()


async def test_what_deltas_have_said_is_never_taken_back(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        for audio in itertools.chain(itertools.repeat(VOICE, 3), [SILENCE]):
            await client.append(audio)
        said = await client.until("conversation.item.input_audio_transcription.completed")
        deltas = [e["delta"] for e in client.events if e["type"].endswith("transcription.delta")]
        assert "".join(deltas) == said["transcript"]


async def test_sessions_are_counted_like_those_of_other_clients(orchestrator: RunningServer) -> None:
    while "parley_sessions_active 0.0" not in await orchestrator.metrics_page():
        await asyncio.sleep(0)
    async with realtime(orchestrator):
        page = await orchestrator.metrics_page()
        assert "parley_sessions_active 1.0" in page
        assert 'parley_rpc_server_running{method="/v1/realtime"} 1.0' in page
    while "parley_sessions_active 0.0" not in await orchestrator.metrics_page():
        await asyncio.sleep(0)
    assert (
        'parley_rpc_server_duration_seconds_count{code="OK",method="/v1/realtime"}' in await orchestrator.metrics_page()
    )


async def test_audio_comes_as_base64_of_whole_samples(orchestrator: RunningServer) -> None:
    async with realtime(orchestrator) as client:
        delta = await answering(client)
        audio = base64.b64decode(str(delta["delta"]), validate=True)
        assert len(audio) % 2 == 0
        assert np.abs(np.frombuffer(audio, np.int16)).max() > 0
