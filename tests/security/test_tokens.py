"""Tokens on real servers: who is let in, what each token may use, and to whom a conversation belongs."""

import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import yaml
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status
from parley.agent.v1 import agent_service_pb2 as agent
from parley.agent.v1 import agent_service_pb2_grpc
from parley.common.v1 import error_reason_pb2
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc
from rich.console import Console
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from cli import token as token_command
from cli.errors import CliError
from services.common.access.access import open_access
from services.common.access.token_file import digest_of, new_token
from services.common.channel import open_channel
from services.common.client_security import ClientSecurity
from services.common.errors import StartupError
from services.common.settings import SettingsError, load
from services.tts.settings import TtsSettings
from tests.support.realtime import realtime_port
from tests.support.servers import ROOT, running
from tests.support.signing import AUDIENCE, ISSUER, Signer, published
from tests.support.stack import MANUAL, SPEECH, Conversation, fake_stack

UNAUTHENTICATED, EXHAUSTED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.RESOURCE_EXHAUSTED


def write_tokens(file: Path, **tokens: dict[str, Any]) -> dict[str, str]:
    """A token for each name, in a file with their hashes and limits."""
    made = {name: new_token() for name in tokens}
    entries = [{"name": name, "sha256": digest_of(made[name]).hex(), **limits} for name, limits in tokens.items()]
    new = file.with_suffix(".new")
    new.write_text(yaml.safe_dump({"tokens": entries}))
    new.replace(file)
    return made


async def failure(call: Any) -> tuple[grpc.StatusCode, str, float | None]:
    """How a call fails: status, reason and seconds to wait; (OK, "", None) where it does not."""
    try:
        await (call if not hasattr(call, "read") else call.read())
    except grpc.aio.AioRpcError as error:
        return explained(error)
    return grpc.StatusCode.OK, "", None


def explained(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, str, float | None]:
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    status: Any = rpc_status.from_call(error)  # type: ignore[arg-type]
    wait_s = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            wait_s = retry.retry_delay.ToNanoseconds() / 1e9
    return error.code(), info.reason, wait_s


async def voices(address: str, token: str = "", **metadata: str) -> tuple[grpc.StatusCode, str, float | None]:
    async with open_channel(address, own_connection=True, security=ClientSecurity(token=token)) as channel:
        stub: Any = pb_grpc.TextToSpeechServiceStub(channel)
        return await failure(stub.ListVoices(pb.ListVoicesRequest(), metadata=tuple(metadata.items())))


@asynccontextmanager
async def session(
    address: str, token: str, conversation_id: str = ""
) -> AsyncIterator[tuple[Conversation, agent.SessionCreated]]:
    async with open_channel(address, own_connection=True, security=ClientSecurity(token=token)) as channel:
        call: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Converse()
        talk = Conversation(call)
        opening = agent.SessionConfig(input_audio_format=SPEECH, turn_detection=MANUAL, conversation_id=conversation_id)
        try:
            await talk.send(session_update=agent.SessionUpdate(session=opening))
            yield talk, await talk.until("session_created")
        finally:
            call.cancel()


async def test_only_callers_with_a_token_are_served_but_health_answers_all(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    token = write_tokens(file, acme={})["acme"]
    async with running("tts", "--tts=fake", f"--auth_token_file={file}") as server:
        ok, refused = (grpc.StatusCode.OK, "", None), (UNAUTHENTICATED, "UNAUTHENTICATED", None)
        assert await voices(server.address, token) == ok
        assert await voices(server.address, authorization=f"bearer {token}") == ok
        assert await voices(server.address) == refused
        assert await voices(server.address, token[:-1]) == refused
        assert await voices(server.address, digest_of(token).hex()) == refused  # the file is no key to the server
        assert await voices(server.address, authorization=f"Basic {token}") == refused
        async with grpc.aio.insecure_channel(server.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1

            def services(metadata: tuple[tuple[str, str], ...] = ()) -> Any:
                asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
                stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
                return stub.ServerReflectionInfo(iter(asked), metadata=metadata)

            assert (await failure(services()))[0] is UNAUTHENTICATED
            assert (await failure(services((("authorization", f"Bearer {token}"),))))[0] is grpc.StatusCode.OK
        assert token not in str(server.logs)

        # The file is changed: the next call sees it; one that cannot be read changes nothing.
        second = write_tokens(file, other={})["other"]
        assert (await voices(server.address, token), await voices(server.address, second)) == (refused, ok)
        file.write_text("tokens: 5")
        assert await voices(server.address, second) == ok
        file.unlink()
        assert await voices(server.address, second) == ok


async def test_a_token_may_use_what_its_entry_says(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"
    limited = {"sessions": 1, "requests_per_minute": 6, "audio_seconds_per_day": 1}
    tokens = write_tokens(file, acme=limited, free={})
    async with fake_stack(orchestrator=(f"--auth_token_file={file}",)) as stack:
        address = stack["orchestrator"].address
        async with session(address, tokens["acme"]) as (talk, _):
            with pytest.raises(grpc.aio.AioRpcError) as second:
                async with session(address, tokens["acme"]):
                    pass
            assert explained(second.value) == (EXHAUSTED, "QUOTA_EXCEEDED", 5.0)
            async with session(address, tokens["free"]):
                pass

            # Responses count as calls do, and one too many ends no session. Two calls have counted.
            for _ in range(4):
                await talk.write_text("hello")
                await talk.until("response_done")
            await talk.write_text("hello")
            error = await talk.until("error")
            assert error.reason == error_reason_pb2.ERROR_REASON_QUOTA_EXCEEDED
            assert 0 < error.retry_delay.ToSeconds() <= 60

            await talk.append(bytes(28_800))  # 0.9 s
            await talk.append(bytes(16_000))
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await talk.until("never")
            code, reason, wait_s = explained(ended.value)
            assert (code, reason) == (EXHAUSTED, "QUOTA_EXCEEDED")
            assert wait_s is not None
            assert 3600 < wait_s <= 86_400


async def test_a_conversation_belongs_to_whom_the_token_names(tmp_path: Path) -> None:
    file, stages = tmp_path / "tokens.yaml", tmp_path / "stages.yaml"
    tokens = write_tokens(file, acme={}, other={}, once={"requests_per_minute": 1})
    stage_token = tmp_path / "stage.token"
    stage_token.write_text(write_tokens(stages, orchestrator={})["orchestrator"] + "\n")
    asked = (f"--auth_token_file={stages}",)
    flags = (f"--auth_token_file={file}", f"--stage_token_file={stage_token}", "--realtime_port=0")
    async with fake_stack(orchestrator=flags, stt=asked, llm=asked, tts=asked) as stack:
        address = stack["orchestrator"].address
        async with session(address, tokens["acme"]) as (talk, created):
            conversation_id = created.conversation_id
            await talk.write_text("my name is Ada")
            await talk.until("response_done")
            with pytest.raises(grpc.aio.AioRpcError) as stranger:
                async with session(address, tokens["other"], conversation_id):
                    pass
            assert explained(stranger.value)[:2] == (grpc.StatusCode.NOT_FOUND, "CONVERSATION_NOT_FOUND")
            await talk.write_text("still here")  # nor has it been taken from its owner
            await talk.until("response_done")
        async with session(address, tokens["acme"], conversation_id) as (_, again):
            assert again.conversation_id == conversation_id

        # The bridge: a header, what browsers can do, and nothing.
        url = f"ws://127.0.0.1:{realtime_port(stack['orchestrator'])}/v1/realtime"
        header = {"Authorization": f"Bearer {tokens['acme']}"}
        async with connect(f"{url}?conversation_id={conversation_id}", additional_headers=header) as bridge:
            assert "session.created" in str(await bridge.recv())
        offers: Any = ["realtime", f"openai-insecure-api-key.{tokens['other']}"]
        async with connect(url, subprotocols=offers) as bridge:
            assert bridge.subprotocol == "realtime"
            assert "session.created" in str(await bridge.recv())
        with pytest.raises(InvalidStatus) as refused:
            await connect(url)
        assert refused.value.response.status_code == 401
        assert refused.value.response.headers["WWW-Authenticate"] == "Bearer"
        assert b"unauthenticated" in (refused.value.response.body or b"")
        header = {"Authorization": f"Bearer {tokens['once']}"}
        async with connect(url, additional_headers=header):
            with pytest.raises(InvalidStatus) as spent:
                await connect(url, additional_headers=header)
        assert spent.value.response.status_code == 429
        assert 0 < int(spent.value.response.headers["Retry-After"]) <= 60
        assert b"quota_exceeded" in (spent.value.response.body or b"")


async def test_a_stage_that_does_not_take_the_orchestrators_token_is_not_the_clients_fault(tmp_path: Path) -> None:
    stages, wrong = tmp_path / "stages.yaml", tmp_path / "stage.token"
    write_tokens(stages, orchestrator={})
    wrong.write_text(new_token())
    flags = (f"--auth_token_file={stages}",)
    async with fake_stack(orchestrator=(f"--stage_token_file={wrong}",), llm=flags) as stack:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            async with session(stack["orchestrator"].address, ""):
                pass
        code, reason, _ = explained(failed.value)
        assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_UNAUTHENTICATED")


@pytest.mark.parametrize("source", ["file", "url"])
async def test_signed_tokens_are_checked_with_the_signers_keys(source: str, tmp_path: Path) -> None:
    signers, file = [Signer()], tmp_path / "keys.json"
    file.write_text(signers[0].keys)
    with published(signers) as (url, asked):
        keys = (f"--auth_jwks={file if source == 'file' else url}", f"--auth_issuer={ISSUER}")
        limits = ("--token_requests_per_minute=4",)
        async with running("tts", "--tts=fake", *keys, f"--auth_audience={AUDIENCE}", *limits) as server:
            address, good = server.address, signers[0].token()
            ok, refused = (grpc.StatusCode.OK, "", None), (UNAUTHENTICATED, "UNAUTHENTICATED", None)
            assert await voices(address, good) == ok
            for bad in (
                signers[0].token(aud="another"),
                signers[0].token(iss="https://another.example"),
                signers[0].token(exp=int(time.time()) - 60),
                jwt.encode({"sub": "x", "iss": ISSUER, "aud": AUDIENCE}, "", algorithm="none"),
                Signer().token(),  # the same name of the key, another key
                Signer("two").token(),
                "a.b.c",
                new_token(),
            ):
                assert await voices(address, bad) == refused
            assert len(asked) <= 1  # nobody makes it ask for keys again and again

            if source == "file":  # keys are replaced
                signers.append(Signer("two"))
                file.write_text(signers[-1].keys)
                assert await voices(address, good) == refused
            for _ in range(3):
                assert await voices(address, signers[-1].token()) == ok
            code, reason, wait_s = await voices(address, signers[-1].token())
            assert (code, reason) == (EXHAUSTED, "QUOTA_EXCEEDED")
            assert wait_s is not None
            assert 0 < wait_s <= 60
            assert await voices(address, signers[-1].token("other")) == ok


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--auth_jwks=keys.json",), "--auth_jwks needs --auth_issuer and --auth_audience"),
        (("--auth_jwks=http://a.example/k", "--auth_issuer=a", "--auth_audience=b"), "must be a file, or an https://"),
        (("--auth_audience=b",), "--auth_issuer and --auth_audience need --auth_jwks"),
    ],
)
def test_flags_that_would_let_in_the_wrong_ones_are_refused(flags: tuple[str, ...], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        load(TtsSettings, "parley-tts", flags)


@pytest.mark.parametrize(
    "flags", [("--auth_token_file=none",), ("--auth_jwks=none", "--auth_issuer=a", "--auth_audience=b")]
)
def test_without_the_files_nobody_is_let_in(flags: tuple[str, ...]) -> None:
    with pytest.raises(StartupError, match="cannot read who may call"):
        open_access(load(TtsSettings, "parley-tts", flags))


async def test_parley_token_makes_one_that_the_server_takes(tmp_path: Path) -> None:
    file = tmp_path / "tokens.yaml"

    def make(*words: str) -> str:
        command = (sys.executable, "-m", "cli", "token", *words, "--file", str(file))
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout.strip()

    first = make("acme")
    file.chmod(0o640)
    second = make("other", "--requests_per_minute", "1")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert first not in file.read_text()
    async with running("tts", "--tts=fake", f"--auth_token_file={file}") as server:
        assert (await voices(server.address, first))[0] is grpc.StatusCode.OK
        assert (await voices(server.address, second))[0] is grpc.StatusCode.OK
        assert (await voices(server.address, second))[0] is EXHAUSTED


@pytest.mark.parametrize("name", ["", "x" * 201])
def test_parley_token_makes_none_that_a_server_would_refuse(tmp_path: Path, name: str) -> None:
    file = tmp_path / "tokens.yaml"
    with pytest.raises(CliError, match="the name of a token has 1 to 200 characters"):
        token_command.run(token_command.TokenOptions(name), file, console=Console())
    assert not file.exists()
