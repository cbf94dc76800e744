"""Barge-in with real models: recorded speech interrupts an answer, and what merely shows attention does not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb
from parley.common.v1 import audio_pb2, chat_pb2
from parley.llm.v1 import conversation_service_pb2, conversation_service_pb2_grpc
from parley.tts.v1 import tts_service_pb2

from cli.plan import EMBEDDED_GENERATION, EMBEDDED_MODEL, EMBEDDED_SPEED
from services.common.audio import decode, encode, resample
from services.common.audio_format import AudioFormat, Encoding
from services.common.wire import audio_format
from tests.support.microphone import open_microphone, recording
from tests.support.servers import RunningServer, running
from tests.support.stack import SPEECH, Conversation, conversation
from tests.support.synthesis import synthesize

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module")]
VOICE_DETECTION = pb.TurnDetection(mode=pb.TurnDetection.MODE_SERVER_VAD)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[dict[str, RunningServer]]:
    chosen = {"model_name": EMBEDDED_MODEL, **EMBEDDED_SPEED, **EMBEDDED_GENERATION, "llm_gen_min_new_tokens": 100}
    flags = {
        "stt": (),
        "llm": ("--llm_backend=transformers", *(f"--{name}={value}" for name, value in chosen.items())),
        "tts": (),
    }
    async with contextlib.AsyncExitStack() as owned:

        async def start(name: str) -> RunningServer:
            return await owned.enter_async_context(running(name, *flags[name]))

        servers = dict(zip(flags, await asyncio.gather(*map(start, flags)), strict=True))
        targets = (f"--{name}_target={server.address}" for name, server in servers.items())
        # On a machine that others use words may come late; the answer that went on meanwhile would be right to do so.
        patient = "--false_interruption_timeout=30"
        servers["orchestrator"] = await owned.enter_async_context(running("orchestrator", patient, *targets))
        yield servers


async def history(stack: dict[str, RunningServer], client: Conversation) -> list[tuple[int, str]]:
    request = conversation_service_pb2.GetConversationRequest(
        conversation_id=client.events[0].session_created.conversation_id
    )
    async with grpc.aio.insecure_channel(stack["llm"].address) as channel:
        stub = conversation_service_pb2_grpc.ConversationServiceStub(channel)
        messages = (await stub.GetConversation(request)).conversation.messages
    return [(message.role, "".join(part.text for part in message.content)) for message in messages]


async def answering(client: Conversation) -> None:
    """Have the agent tell something long, and hear the beginning of it."""
    item = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="Tell me a long story.")])
    await client.send(conversation_item_create=pb.ConversationItemCreate(item=item))
    await client.send(response_create=pb.ResponseCreate())
    await client.until("response_output_audio_delta")


async def test_recorded_speech_interrupts_an_answer_of_which_only_what_was_heard_is_kept(
    stack: dict[str, RunningServer], samples: Path
) -> None:
    async with (
        conversation(stack["orchestrator"].address, turn_detection=VOICE_DETECTION) as client,
        open_microphone(client) as microphone,
    ):
        await answering(client)
        microphone.say(recording(samples / "austen_0930.wav"))
        await client.until("input_audio_buffer_speech_started")
        interrupted = len(client.events)
        done = await client.until("response_done")
        assert done.status == pb.RESPONSE_STATUS_CANCELLED
        assert "response_output_audio_delta" not in client.kinds()[interrupted:]
        written = "".join(event.response_output_text_delta.delta for event in client.events)
        assert done.transcript
        assert len(done.transcript) < len(written)
        said = await client.until("input_audio_transcription_completed")
        assert "amiable" in said.transcript
        answer = await client.until("response_created")
        assert answer.response_id != done.response_id
        await client.until("response_output_audio_delta")
        await client.send(response_cancel=pb.ResponseCancel())
        await client.until("response_done")
        kept = await history(stack, client)
    assert kept[0] == (chat_pb2.ROLE_USER, "Tell me a long story.")
    assert kept[1][0] == chat_pb2.ROLE_ASSISTANT
    assert "".join(kept[1][1].split()) == "".join(done.transcript.split())
    assert kept[2] == (chat_pb2.ROLE_USER, said.transcript)


async def test_yeah_does_not_lose_the_answer(stack: dict[str, RunningServer]) -> None:
    spoken = await synthesize(
        stack["tts"].address,
        tts_service_pb2.SynthesizeRequest(
            text="Yeah.",
            audio_format=audio_pb2.AudioFormat(
                encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=SPEECH.sample_rate_hertz
            ),
        ),
    )
    assert np.abs(spoken.samples).max() > 0.05
    async with (
        conversation(stack["orchestrator"].address, turn_detection=VOICE_DETECTION) as client,
        open_microphone(client) as microphone,
    ):
        await answering(client)
        response_id = client.events[-1].response_output_audio_delta.response_id
        microphone.say(spoken.data)
        await client.until("input_audio_buffer_speech_started")
        heard = await client.until("input_audio_transcription_completed", "response_done")
        assert heard.transcript.lower().startswith("yeah")
        again = await client.until("response_output_audio_delta", "response_done")
        assert again.response_id == response_id
        assert again.audio


MULAW = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_MULAW, sample_rate_hertz=8_000)
BROWSER = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_S16LE, sample_rate_hertz=48_000)
STEREO = audio_pb2.AudioFormat(encoding=audio_pb2.AUDIO_ENCODING_PCM_F32LE, sample_rate_hertz=44_100, channel_count=2)


async def test_edge_29_a_telephone_a_browser_and_a_stereo_recorder_are_understood_at_once(
    stack: dict[str, RunningServer], samples: Path
) -> None:
    speech = decode(recording(samples / "austen_0930.wav"), AudioFormat(Encoding.PCM_S16LE, 16_000))

    async def say(wanted: audio_pb2.AudioFormat) -> tuple[str, float]:
        """What was understood, and how loud the answer is."""
        plain = audio_format(wanted, "format")
        audio = encode(resample(speech, 16_000, plain.sample_rate_hz), plain)
        address = stack["orchestrator"].address
        async with conversation(address, input_audio_format=wanted, output_audio_format=wanted) as client:
            step = plain.sample_rate_hz // 10 * plain.frame_bytes
            for at in range(0, len(audio), step):
                await client.append(audio[at : at + step])
            await client.commit()
            said = await client.until("input_audio_transcription_completed")
            await client.until("response_output_audio_delta")
            await client.until("response_output_audio_delta")
            await client.send(response_cancel=pb.ResponseCancel())
            await client.until("response_done")
            return said.transcript, float(np.abs(decode(client.audio(), plain)).max())

    for transcript, loudness in await asyncio.gather(*map(say, (MULAW, BROWSER, STEREO))):
        assert "amiable" in transcript
        assert loudness > 0.01
