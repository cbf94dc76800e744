"""A recogniser dies while people speak: another one hears what they have said."""

import asyncio
import contextlib

from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.microphone import open_microphone, recording
from tests.support.recordings import SAMPLES, errors
from tests.support.replicas import all_used, replicated, spoken_turn
from tests.support.servers import running
from tests.support.stack import FAKE_FLAGS, Conversation, conversation
from tests.support.talking import noise

SESSIONS = 30
MIDDLE_WORDS = 8
"""Of a sentence of 22."""
VOICE = pb.TurnDetection(mode=pb.TurnDetection.MODE_SERVER_VAD)


async def test_of_those_who_speak_while_a_recogniser_is_killed_nobody_needs_to_say_it_again() -> None:
    async with contextlib.AsyncExitStack() as stack:
        address, pair = await stack.enter_async_context(replicated("stt", "--metrics_port=0"))
        await all_used(address, pair, spoken_turn)
        clients = [await stack.enter_async_context(conversation(address)) for _ in range(SESSIONS)]

        async def begin(client: Conversation) -> None:
            await client.append(noise(0.4))
            await client.until("input_audio_buffer_speech_started")

        async def end(client: Conversation) -> int:
            await client.append(noise(0.4))
            await client.commit()
            return int((await client.until("response_done")).status)

        await asyncio.gather(*map(begin, clients))
        await pair[0].kill()
        assert set(await asyncio.gather(*map(end, clients))) == {pb.RESPONSE_STATUS_COMPLETED}
        for client in clients:
            assert client.kinds().count("input_audio_buffer_speech_started") == 1
            assert "error" not in client.kinds()
            items = {
                event.item_id
                for kind in ("input_audio_buffer_speech_started", "input_audio_transcription_completed")
                for event in [getattr(e, kind) for e in client.events if e.WhichOneof("event") == kind]
            }
            assert len(items) == 1


async def test_a_sentence_of_which_two_recognisers_hear_a_part_each_is_transcribed_whole() -> None:
    async with contextlib.AsyncExitStack() as stack:
        pair = await asyncio.gather(
            *(stack.enter_async_context(running("stt", "--metrics_port=0", "--stt_threads=1")) for _ in range(2))
        )
        targets = {"stt": f"ipv4:{','.join(recogniser.address for recogniser in pair)}"}
        for name in ("llm", "tts"):
            targets[name] = (await stack.enter_async_context(running(name, *FAKE_FLAGS[name]))).address
        flags = (f"--{name}_target={target}" for name, target in targets.items())
        orchestrator = await stack.enter_async_context(running("orchestrator", *flags))
        client = await stack.enter_async_context(conversation(orchestrator.address, turn_detection=VOICE))
        microphone = await stack.enter_async_context(open_microphone(client))
        microphone.say(recording(SAMPLES / "austen_0870.wav"))
        while len((await client.until("input_audio_transcription_updated")).transcript.split()) < MIDDLE_WORDS:
            pass
        pages = [await recogniser.metrics_page() for recogniser in pair]
        [hearing] = [one for one, page in zip(pair, pages, strict=True) if "parley_stt_active_streams 1.0" in page]
        await hearing.kill()
        heard = (await client.until("input_audio_transcription_completed")).transcript
        assert errors(heard, "0870") <= 0.1, heard
        assert client.kinds().count("input_audio_buffer_speech_started") == 1
        assert "error" not in client.kinds()
