"""`docker compose up` with the embedded models: a spoken conversation on the published port, the bridge beside it."""

import json
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
import websockets
from parley.agent.v1 import agent_service_pb2 as pb

from cli.word_errors import word_error_rate
from tests.support.compose import DEPLOY, TESTS, Compose, needs_compose
from tests.support.docker_engine import Engine
from tests.support.microphone import open_microphone, recording
from tests.support.redis_server import free_port
from tests.support.stack import conversation

pytestmark = [pytest.mark.docker, pytest.mark.models, needs_compose, pytest.mark.timeout(1200)]

ANSWERED = (pb.RESPONSE_STATUS_COMPLETED, pb.RESPONSE_STATUS_INCOMPLETE)
"""A small model's answer may be longer than it may write."""
VOICE_DETECTION = pb.TurnDetection(mode=pb.TurnDetection.MODE_SERVER_VAD)
SAID = {
    "austen_0880.wav": "He was not an ill-disposed young man,",
    "austen_0890.wav": "unless to be rather cold-hearted and rather selfish is to be ill-disposed.",
    "austen_0930.wav": "He might even have been made amiable himself.",
}
"""Recordings and what is said in them: samples/README.md."""


@pytest.mark.usefixtures("images")
async def test_the_embedded_stack_holds_a_spoken_conversation_and_ends_within_its_grace(
    engine: Engine, samples: Path
) -> None:
    bridge = f"127.0.0.1:{free_port()}"
    files = (DEPLOY / "compose.realtime.yaml",)
    compose = Compose(engine, *files, PARLEY_LLM_GEN_MAX_NEW_TOKENS="30", PUBLISH_REALTIME=bridge)
    try:
        begun = time.monotonic()
        await compose.up()
        print(f"all healthy after {time.monotonic() - begun:.0f} s")
        async with (
            conversation(compose.address, turn_detection=VOICE_DETECTION) as client,
            open_microphone(client) as microphone,
        ):
            for name, words in SAID.items():
                before = len(client.audio())
                microphone.say(recording(samples / name))
                heard = (await client.until("input_audio_transcription_completed")).transcript
                done = await client.until("response_done")
                print(f"heard {heard!r}, answered {done.transcript!r}")
                assert word_error_rate(words, heard) <= 0.2
                assert done.status in ANSWERED
                assert done.transcript
                answer = np.frombuffer(client.audio()[before:], "<i2")
                assert np.abs(answer).max() > 1000
        async with httpx2.AsyncClient() as browser:
            assert "Parley" in (await browser.get(f"http://{bridge}/")).text
        async with websockets.connect(f"ws://{bridge}/v1/realtime") as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"
        begun = time.monotonic()
        await compose.do("stop")
        print(f"stopped after {time.monotonic() - begun:.1f} s")
        assert {
            container["Service"]: container["ExitCode"] for container in await compose.containers()
        } == dict.fromkeys(("orchestrator", "stt", "tts", "llm-cpu", "models"), 0)
    finally:
        await compose.do("down", "--volumes", "--remove-orphans")
    assert not await compose.containers()


@pytest.mark.usefixtures("images")
async def test_the_profile_llama_cpp_answers_in_place_of_the_embedded_model(engine: Engine) -> None:
    settings = {"COMPOSE_PROFILES": "llama-cpp", "LLM": "llm-llama-cpp", "LLM_CPU_REPLICAS": "0"}
    compose = Compose(engine, TESTS / "short.yaml", **settings)
    try:
        await compose.up()
        assert not await compose.containers("llm-cpu")
        async with conversation(compose.address, output_modality=pb.OUTPUT_MODALITY_TEXT) as client:
            await client.write_text("What is the capital of France?")
            done = await client.until("response_done")
        print(f"llama.cpp answered {done.transcript!r}")
        assert done.status in ANSWERED
        assert done.transcript
    finally:
        await compose.do("down", "--volumes", "--remove-orphans")
