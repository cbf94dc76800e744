"""Keys, and what was said, are searched for in all that four real programs put out: of good turns and of failures."""

import asyncio
import json
import os
import sys
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio
import yaml
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.llm.v1 import llm_service_pb2, llm_service_pb2_grpc

from services.common.access.token_file import digest_of
from services.common.errors import StartupError
from services.common.settings import ServerSettings, SettingsError, load
from services.llm.conversation.redis_store import RedisStore
from services.llm.settings import LlmSettings
from services.stt.settings import SttSettings
from services.tts.settings import TtsSettings
from tests.support.leaky_provider import LeakyProvider, leaky_provider
from tests.support.otlp import otlp_receiver
from tests.support.redis_server import needs_redis, redis_server
from tests.support.servers import ROOT, RunningServer, running
from tests.support.stack import SPEECH

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLANTED = "planted"
"""A part of every key."""
KEYS = {name: f"{PLANTED}-{name}-0f7b" for name in ("llm", "stt", "tts", "redis", "otlp", "caller", "stage")}
WRITTEN, ANSWERED, SPOKEN = "zanzibar marmalade", "quixotic hedgehog", "nocturnal accordion"
SAID = (WRITTEN, ANSWERED, SPOKEN)


def tokens(folder: Path, name: str) -> str:
    """A file that lets one token in, by its hash."""
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"tokens": [{"name": name, "sha256": digest_of(KEYS[name]).hex()}]}))
    return str(file)


class Output:
    """All that came out, by where."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def add(self, where: str, text: str) -> None:
        self.of[where] = self.of.get(where, "") + text

    def places_of(self, word: str) -> list[str]:
        return [where for where, text in self.of.items() if word in text]


def recording(samples: Path) -> bytes:
    """Three seconds of speech."""
    with wave.open(str(samples / "austen_0930.wav")) as file:
        return file.readframes(file.getframerate() * 3)


async def respond(address: str, output: Output, token: str = KEYS["caller"], **asked: Any) -> grpc.StatusCode:
    """One turn; what its client sees goes to the output."""
    request = pb.RespondRequest(session=pb.SessionConfig(input_audio_format=SPEECH), **asked)
    async with grpc.aio.insecure_channel(address) as channel:
        stub: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel)
        call = stub.Respond(request, metadata=(("authorization", f"Bearer {token}"),))
        try:
            _ = [response async for response in call]
        except grpc.aio.AioRpcError as error:
            output.add("status", f"{error.details()} {error.trailing_metadata()} {error.debug_error_string()}")
            return error.code()
    return grpc.StatusCode.OK


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def output(tmp_path_factory: pytest.TempPathFactory, samples: Path) -> AsyncIterator[Output]:
    """What the programs put out, of turns that go well and of every failure that is near a key."""
    folder, output = tmp_path_factory.mktemp("secrets"), Output()
    (folder / "stt.yaml").write_text(yaml.safe_dump({"stt_api_key": KEYS["stt"]}))
    (folder / "stage-token").write_text(KEYS["stage"])
    async with (
        otlp_receiver() as receiver,
        redis_server("--requirepass", KEYS["redis"]) as store,
        leaky_provider(f"{ANSWERED}.", f"{SPOKEN}.") as provider,
    ):
        common = ("--log_level=debug", "--metrics_port=0", f"--otlp_endpoint={receiver.endpoint}")
        behind = (*common, f"--auth_token_file={tokens(folder, 'stage')}")
        headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{KEYS['otlp']},x-more={KEYS['otlp']}"}
        address = store.address.replace("redis://", f"redis://:{KEYS['redis']}@")
        environment = {"PARLEY_RESPONSES_API_API_KEY": KEYS["llm"], "PARLEY_CONVERSATION_STORE": address, **headers}
        api = (f"--responses_api_base_url={provider.base_url}", "--model_name=m", "--responses_api_max_retries=0")
        stt_api = (f"--stt_api_base_url={provider.base_url}", "--stt_api_max_retries=0")
        tts_api = (f"--tts_api_base_url={provider.base_url}", f"--tts_api_key={KEYS['tts']}", "--tts_api_voices=v")
        async with (
            running("llm", "--llm_backend=chat-completions", *api, *behind, env=environment) as llm,
            running("stt", "--stt=openai-api", f"--config={folder}/stt.yaml", *stt_api, *behind, env=headers) as stt,
            running(
                "tts",
                "--tts=openai-api",
                *tts_api,
                "--tts_api_max_retries=0",
                "--tts_api_response_format=pcm",
                *behind,
                env=headers,
            ) as tts,
        ):
            servers = {"llm": llm, "stt": stt, "tts": tts}
            targets = (f"--{name}_target={server.address}" for name, server in servers.items())
            token_flags = (f"--auth_token_file={tokens(folder, 'caller')}", f"--stage_token_file={folder}/stage-token")
            async with running("orchestrator", *targets, *common, *token_flags, env=headers) as orchestrator:
                servers["orchestrator"] = orchestrator
                await _turns(orchestrator.address, output, provider, recording(samples))
                await store.kill()
                await _store_is_away(llm, output)
                for name, server in servers.items():
                    output.add(f"metrics of {name}", await server.metrics_page())
                    if name != "tts":  # whose key was a flag
                        output.add(
                            f"title of {name}",
                            psutil.Process(server.pid).name() + " ".join(psutil.Process(server.pid).cmdline()),
                        )
        for name, server in servers.items():
            output.add(f"logs of {name}", "\n".join(json.dumps(entry, ensure_ascii=False) for entry in server.logs))
        output.add("spans", b"".join(receiver.raw).decode(errors="replace"))
    assert provider.keys == {f"Bearer {KEYS[name]}" for name in ("llm", "stt", "tts")}, "each has shown its key"
    yield output


async def _turns(address: str, output: Output, provider: LeakyProvider, audio: bytes) -> None:
    assert await respond(address, output, text=f"Tell me of {WRITTEN}.") is grpc.StatusCode.OK
    assert await respond(address, output, audio=audio) is grpc.StatusCode.OK
    for status in (401, 429, 500, 400):
        provider.status = status
        assert await respond(address, output, text=WRITTEN) is not grpc.StatusCode.OK
        assert await respond(address, output, audio=audio) is not grpc.StatusCode.OK
    provider.status = 200
    for stream in (f"data: {{{ANSWERED}\n\n", f'data: ["{ANSWERED}"]\n\n', f'data: {{"choices": "{ANSWERED}"}}\n\n'):
        provider.stream = stream
        assert await respond(address, output, text=WRITTEN) is not grpc.StatusCode.OK
    provider.stream = ""
    wrong = await respond(address, output, token=f"{PLANTED}-wrong-token", text=WRITTEN)
    assert wrong is grpc.StatusCode.UNAUTHENTICATED


async def _store_is_away(llm: RunningServer, output: Output) -> None:
    async with grpc.aio.insecure_channel(llm.address) as channel:
        stub: Any = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        call = stub.Generate(
            llm_service_pb2.GenerateRequest(
                conversation_id="c1", messages=[{"role": 2, "content": [{"text": WRITTEN}]}]
            ),
            metadata=(("authorization", f"Bearer {KEYS['stage']}"),),
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        output.add("status", f"{caught.value.details()} {caught.value.trailing_metadata()}")


@needs_redis
async def test_no_key_is_in_any_log_status_metric_span_or_title(output: Output) -> None:
    assert output.places_of(PLANTED) == []
    assert len(output.places_of("parley")) > 6, "there is something to search"


@needs_redis
async def test_what_was_said_is_in_no_log_status_metric_or_span(output: Output) -> None:
    for words in SAID:
        assert [place for place in output.places_of(words) if not place.startswith("title")] == []
        assert output.places_of(words.split()[0]) == []


async def test_what_was_said_is_logged_where_a_flag_says_so() -> None:
    answer = f"--fake_answer={ANSWERED}."
    async with (
        running("llm", "--llm_backend=fake", answer, "--fake_token_ms=0", "--log_content") as llm,
        grpc.aio.insecure_channel(llm.address) as channel,
    ):
        stub: Any = llm_service_pb2_grpc.LanguageModelServiceStub(channel)
        said = {"role": 2, "content": [{"text": WRITTEN}]}
        _ = [event async for event in stub.Generate(llm_service_pb2.GenerateRequest(messages=[said]))]
    told = {str(entry["message"]): str(entry.get("messages")) for entry in llm.logs}
    assert WRITTEN in told["prompt"]
    assert ANSWERED in told["answer"]


KEY = f"{PLANTED}-key"
REFUSED: list[tuple[type[ServerSettings], list[str], dict[str, str]]] = [
    (LlmSettings, [f"--responses_api_api_keyy={KEY}"], {}),
    (LlmSettings, ["--responses_api_api_key", "a", KEY], {}),
    (SttSettings, [f"--stt_api_key={KEY}", "--port=x"], {}),
    (LlmSettings, [], {"PARLEY_RESPONSES_API_API_KEY": KEY, "PARLEY_CHAT_SIZE": "x"}),
    (LlmSettings, [], {"PARLEY_CONVERSATION_STORE": f"mysql://:{KEY}@h"}),
    (LlmSettings, [f"--responses_api_base_url=https://user:{KEY}@h/v1"], {}),
    (TtsSettings, [f"--otlp_endpoint=http://user:{KEY}@h:4317"], {}),
]


@pytest.mark.parametrize(("kind", "flags", "environment"), REFUSED)
async def test_no_key_is_in_what_a_program_says_of_a_wrong_setting(
    kind: type[ServerSettings], flags: list[str], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load(kind, "program", flags)
    assert PLANTED not in str(caught.value)


async def test_no_key_is_in_the_help_or_a_dump_of_the_settings_or_what_is_said_of_a_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PARLEY_RESPONSES_API_API_KEY", KEY)
    monkeypatch.setenv("PARLEY_CONVERSATION_STORE", f"redis://:{KEY}@h")
    with pytest.raises(SystemExit):
        load(LlmSettings, "program", ["--help"])
    settings = load(LlmSettings, "program", [])
    broken = tmp_path / "parley.yaml"
    broken.write_text(f"stt_api_key: {KEY}\n  port: [\n")
    with pytest.raises(SettingsError) as caught:
        load(SttSettings, "program", [f"--config={broken}"])
    shown = (capsys.readouterr().out, repr(settings), settings.model_dump_json(), str(caught.value))
    assert all(shown)
    assert not [text for text in shown if PLANTED in text]


async def test_no_key_is_in_what_is_said_of_a_store_that_does_not_answer() -> None:
    with pytest.raises(StartupError) as caught:
        await RedisStore(f"redis://user:{KEY}@127.0.0.1:1/0", 1.0, 1).open()
    assert PLANTED not in str(caught.value)


async def test_no_key_is_in_what_the_doctor_says() -> None:
    environment = {**os.environ, "OPENAI_API_KEY": KEY, "PARLEY_RESPONSES_API_API_KEY": KEY}
    command = (sys.executable, "-m", "cli", "doctor")
    doctor = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    told = (await doctor.communicate())[0].decode()
    assert "memory" in told
    assert PLANTED not in told
