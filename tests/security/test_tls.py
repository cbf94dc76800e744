"""TLS on real servers and real connections: who is let in, who is refused, and certificates that are replaced."""

import asyncio
import os
import re
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from orchestrator.settings import OrchestratorSettings
from services.common.channel import open_channel
from services.common.client_security import ClientSecurity
from services.common.errors import StartupError
from services.common.settings import ServerSettings, SettingsError, load
from services.common.tls import ServerTls
from services.tts.settings import TtsSettings
from tests.support.certificates import Authority, Certified
from tests.support.servers import ROOT, RunningServer, running
from tests.support.stack import conversation, fake_stack

LOCAL = ("localhost", "127.0.0.1")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def trusting(authority: Authority, pair: Certified | None = None, name: str = "") -> ClientSecurity:
    own = (None, None) if pair is None else (pair.cert, pair.key)
    return ClientSecurity(True, authority.cert, *own, name)


async def voices(address: str, security: ClientSecurity) -> grpc.StatusCode:
    """The status of a call on a connection of its own."""
    async with open_channel(address, own_connection=True, security=security) as channel:
        return await status(channel)


async def status(channel: grpc.aio.Channel) -> grpc.StatusCode:
    call: Any = pb_grpc.TextToSpeechServiceStub(channel).ListVoices(pb.ListVoicesRequest(), timeout=10)
    code: grpc.StatusCode = await call.code()
    return code


def shown(port: int) -> str:
    """The certificate that a new connection is shown."""
    return ssl.get_server_certificate(("127.0.0.1", port)).strip()


def probe(server: RunningServer, **environment: object) -> subprocess.CompletedProcess[str]:
    port = server.address.rpartition(":")[2]
    return subprocess.run(
        (sys.executable, "-m", "services.common.health_probe"),
        env={**os.environ, "PARLEY_PORT": port, **{name: str(value) for name, value in environment.items()}},
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )


async def test_clients_without_a_certificate_are_refused_where_one_is_asked_for(
    authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    own = authority.certify("tts")
    flags = ("--tts=fake", "--health_port=0", f"--tls_client_ca={authority.cert}", *own.flags)
    async with running("tts", *flags) as server:
        refused = grpc.StatusCode.UNAVAILABLE
        client = authority.certify("orchestrator")
        assert await voices(server.address, trusting(authority, client, "tts")) is grpc.StatusCode.OK
        assert await voices(server.address, trusting(authority, None, "tts")) is refused
        assert await voices(server.address, trusting(authority, stranger.certify("x"), "tts")) is refused
        assert await voices(server.address, trusting(authority, client, "another")) is refused
        assert await voices(server.address, trusting(stranger, client, "tts")) is refused
        assert await voices(server.address, ClientSecurity()) is refused
        assert all("time" in entry for entry in server.logs), "who is refused writes no line that is not of the log"

        # The probe knows what the server itself knows, and no more.
        mine = {"PARLEY_TLS_CERT": own.cert, "PARLEY_TLS_KEY": own.key}
        port = next(entry["health_port"] for entry in server.logs if "health_port" in entry)
        done, beside, without = await asyncio.gather(
            asyncio.to_thread(probe, server, **mine),
            asyncio.to_thread(probe, server, PARLEY_HEALTH_PORT=port),
            asyncio.to_thread(probe, server, PARLEY_TLS_CA=authority.cert),
        )
        assert (done.returncode, done.stderr) == (beside.returncode, beside.stderr) == (0, "")
        assert without.returncode == 1


async def test_a_new_connection_sees_the_new_certificate_and_calls_that_run_go_on(authority: Authority) -> None:
    own, renewed = authority.certify(*LOCAL), authority.certify(*LOCAL)
    async with running("tts", "--tts=fake", "--health_port=0", *own.flags) as server:
        port = int(server.address.rpartition(":")[2])
        async with open_channel(server.address, security=trusting(authority)) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            assert await asyncio.to_thread(shown, port) == own.cert.read_text().strip()

            own.key.write_text("half written")  # the server keeps what it has
            assert await asyncio.to_thread(shown, port) == own.cert.read_text().strip()
            own.replace_by(renewed)
            assert await asyncio.to_thread(shown, port) == renewed.cert.read_text().strip()
            assert await status(channel) is grpc.StatusCode.OK
            assert not watch.done()
            watch.cancel()


async def test_a_client_uses_the_certificate_that_is_in_its_files_at_each_call(
    authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "other")
    flags = ("--tts=fake", "--health_port=0", f"--tls_client_ca={other.cert}", *authority.certify(*LOCAL).flags)
    async with running("tts", *flags) as server:
        files = authority.certify("client")
        async with open_channel(server.address, security=trusting(authority, files)) as channel:
            stub = pb_grpc.TextToSpeechServiceStub(channel)
            assert await status(channel) is grpc.StatusCode.UNAVAILABLE
            files.replace_by(other.certify("client"))
            assert await stub.ListVoices(pb.ListVoicesRequest(), wait_for_ready=True, timeout=10)

            # A call that runs goes on with what it began with, and ends with the channel.
            watch: Any = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
            await watch.read()
            files.replace_by(other.certify("client"))
            assert await status(channel) is grpc.StatusCode.OK
            assert not watch.done()
        assert await watch.code() is grpc.StatusCode.CANCELLED


async def test_a_whole_conversation_over_mutual_tls_and_the_bridge_beside_it(authority: Authority) -> None:
    cert = authority.certify(*LOCAL)
    mutual = (*cert.flags, f"--tls_client_ca={authority.cert}", "--health_port=0")
    flags = dict.fromkeys(("stt", "llm", "tts"), mutual)
    orchestrator = (*mutual, f"--tls_ca={authority.cert}", "--realtime_port=0")
    async with fake_stack(orchestrator=orchestrator, **flags) as stack:
        server = stack["orchestrator"]
        credentials = grpc.ssl_channel_credentials(
            authority.cert.read_bytes(), cert.key.read_bytes(), cert.cert.read_bytes()
        )
        async with conversation(server.address, credentials) as talk:
            await talk.write_text("hello")
            done = await talk.until("response_done")
            assert talk.audio()
            assert done.response_id

        port = next(int(str(entry["realtime_port"])) for entry in server.logs if "realtime_port" in entry)
        context = ssl.create_default_context(cafile=authority.cert)
        url = f"wss://localhost:{port}/v1/realtime"
        with pytest.raises((OSError, WebSocketException)):
            async with connect(url, ssl=context) as refused:
                await refused.recv()
        context.load_cert_chain(cert.cert, cert.key)
        async with connect(url, ssl=context) as bridge:
            assert "session.created" in str(await bridge.recv())
        renewed = authority.certify(*LOCAL)
        cert.replace_by(renewed)
        assert await asyncio.to_thread(shown, port) == renewed.cert.read_text().strip()


@pytest.mark.parametrize(
    ("kind", "flag", "line"),
    [
        (TtsSettings, "--host=0.0.0.0", "--host 0.0.0.0 would serve other machines without encryption"),
        (TtsSettings, "--host=::", "--host :: would serve"),
        (
            OrchestratorSettings,
            "--stt_target=dns:///stt:50051",
            "--stt_target dns:///stt:50051 would be called without",
        ),
        (OrchestratorSettings, "--tls_server_name=x", "--tls_server_name needs --tls_ca"),
        (TtsSettings, "--tls_cert=a.pem", "--tls_cert needs --tls_key"),
        (TtsSettings, "--tls_key=a.pem", "--tls_key needs --tls_cert"),
        (TtsSettings, "--tls_client_ca=a.pem", "--tls_client_ca needs --tls_cert"),
    ],
)
def test_flags_that_are_not_safe_are_refused(kind: type[ServerSettings], flag: str, line: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(line)):
        load(kind, "parley", [flag])


def test_plaintext_beyond_this_machine_ends_a_program_before_it_listens() -> None:
    command = (sys.executable, "-m", "services.tts", "--tts=fake", "--port=0", "--host=0.0.0.0")
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (2, 1)
    assert ended.stderr.startswith("parley-tts: --host 0.0.0.0 would serve other machines without encryption")


def test_a_key_that_is_not_the_certificates_is_refused_at_start(authority: Authority) -> None:
    one, other = authority.certify("a"), authority.certify("b")
    with pytest.raises(StartupError, match="are not a certificate and its key"):
        ServerTls(one.cert, other.key, None).grpc_credentials()
    with pytest.raises(StartupError, match=r"none\.key"):
        ServerTls(one.cert, one.key.with_name("none.key"), None).http_context()
    with pytest.raises(StartupError, match="has no certificates"):
        ServerTls(one.cert, one.key, one.key).grpc_credentials()


async def test_insecure_says_that_the_network_is_trusted() -> None:
    async with running("tts", "--tts=fake", "--host=0.0.0.0", "--insecure") as server:
        assert await voices(server.address, ClientSecurity()) is grpc.StatusCode.OK
        with socket.create_connection(("127.0.0.1", int(server.address.rpartition(":")[2]))):
            pass
