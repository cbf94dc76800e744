"""Live speech in several languages, each detected: the model is asked to answer in it, and a voice of it speaks."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.recordings import PROMPTS, prompt, recorded
from tests.support.servers import RunningServer, running
from tests.support.stack import conversation
from tests.support.stt_doubles import pcm16, silence

pytestmark = [
    pytest.mark.models,
    pytest.mark.espeak,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="the program espeak-ng is not installed"),
    pytest.mark.skipif(
        not all(path.is_file() for path in PROMPTS.values()),
        reason="the recordings are not installed: apt-get install asterisk-core-sounds-{es,fr,it,ru}-gsm",
    ),
]
SAID = {
    "es": ("Spanish", "responder"),
    "fr": ("French", "votre appel"),
    "it": ("Italian", "rispondere"),
    "ru": ("Russian", "ваш звонок"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[dict[str, RunningServer]]:
    flags = {
        "stt": ("--language=auto", "--stt_interim_model_name="),
        "llm": ("--llm_backend=fake", "--fake_answer=Yes.", "--enable_lang_prompt", "--log_content=true"),
        "tts": ("--tts_fallback_voice=espeak-ng", "--log_content=true"),
    }
    async with contextlib.AsyncExitStack() as owned:

        async def start(name: str) -> RunningServer:
            return await owned.enter_async_context(running(name, *flags[name]))

        servers = dict(zip(flags, await asyncio.gather(*map(start, flags)), strict=True))
        targets = (f"--{name}_target={server.address}" for name, server in servers.items())
        servers["orchestrator"] = await owned.enter_async_context(running("orchestrator", *targets))
        yield servers


async def test_each_utterance_is_answered_in_the_language_that_it_is_in(stack: dict[str, RunningServer]) -> None:
    spoken = {"en": recorded("0930"), **{language: prompt(language) for language in SAID}}
    said = {"en": ("English", "amiable"), **SAID}
    async with conversation(stack["orchestrator"].address) as client:
        for language, samples in spoken.items():
            await client.append(pcm16(samples, silence(0.5)))
            await client.commit()
            heard = await client.until("input_audio_transcription_completed")
            assert heard.language_code == language
            assert said[language][1] in heard.transcript
            assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED
    prompts = [str(entry["messages"]) for entry in stack["llm"].logs if entry["message"] == "prompt"]
    asked = [text.rpartition("Please reply to my message in ")[2].partition(".")[0] for text in prompts]
    assert asked == [name for name, _ in said.values()]
    voices = [str(entry["voice"]) for entry in stack["tts"].logs if entry["message"] == "speech"]
    # The apology was spoken ahead.
    assert [voice.partition("-")[0] for voice in dict.fromkeys(voices)] == ["heart", *SAID]
