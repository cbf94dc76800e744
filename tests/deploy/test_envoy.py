"""deploy/envoy/gateway.yaml: a real Envoy with TLS before a real stack on fakes."""

import asyncio
import contextlib
import http.client
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb

from tests.support.envoy import FOLDER, PROGRAM, Envoy, needs_envoy, running_envoy, write_certificate, write_config
from tests.support.redis_server import free_port
from tests.support.servers import RunningServer
from tests.support.stack import conversation, fake_stack

pytestmark = [pytest.mark.asyncio(loop_scope="module"), needs_envoy]
RESPOND = "/parley.agent.v1.VoiceAgentService/Respond"
TRAILERS = 0x80
"""The flag of gRPC-Web's last frame (PROTOCOL-WEB.md)."""


@dataclass
class Gateway:
    """Where it listens, whom to trust, and who is behind it."""

    envoy: Envoy
    port: int
    probes_port: int
    certificate: bytes
    orchestrator: RunningServer

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @property
    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(self.certificate)


@contextlib.asynccontextmanager
async def gateway_before(orchestrator: RunningServer, folder: Path) -> AsyncIterator[Gateway]:
    """The configuration that is deployed, on this machine's ports."""
    port, probes_port, admin_port = free_port(), free_port(), free_port()
    certificate = write_certificate(folder)
    host, _, orchestrator_port = orchestrator.address.rpartition(":")
    files = {"/etc/tls": str(folder), "/etc/envoy": str(folder)}
    write_config("certificate.yaml", folder, {"/etc/tls": str(folder)})
    changes = {
        "port_value: 8443": f"port_value: {port}",
        "port_value: 8081": f"port_value: {probes_port}",
        "port_value: 9901": f"port_value: {admin_port}",
        "address: orchestrator, port_value: 50050": f"address: {host}, port_value: {orchestrator_port}",
        "0.0.0.0": "127.0.0.1",
    }
    config = write_config("gateway.yaml", folder, files | changes)
    async with running_envoy(config, admin_port, "--drain-time-s", "1") as envoy:
        yield Gateway(envoy, port, probes_port, certificate, orchestrator)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    async with (
        fake_stack(orchestrator=("--log_level=debug",)) as stack,
        gateway_before(stack["orchestrator"], tmp_path_factory.mktemp("gateway")) as gateway,
    ):
        yield gateway


def ask(
    gateway: Gateway, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """One HTTP/1.1 request with TLS, as a browser's: status, headers, body."""
    context = ssl.create_default_context(cadata=gateway.certificate.decode())
    connection = http.client.HTTPSConnection("localhost", gateway.port, timeout=30, context=context)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def frames(body: bytes) -> tuple[list[bytes], dict[str, str]]:
    """The messages and the trailers of a gRPC-Web body."""
    messages, trailers = [], {}
    while body:
        flag, size = body[0], int.from_bytes(body[1:5], "big")
        payload, body = body[5 : 5 + size], body[5 + size :]
        if flag & TRAILERS:
            trailers = dict(line.split(":", 1) for line in payload.decode().strip().split("\r\n"))
        else:
            messages.append(payload)
    return messages, trailers


async def respond_from_web(gateway: Gateway, request: pb.RespondRequest) -> tuple[list[bytes], dict[str, str]]:
    message = request.SerializeToString()
    headers = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", "origin": "https://example.org"}
    body = b"\0" + len(message).to_bytes(4, "big") + message
    status, answered, answer = await asyncio.to_thread(ask, gateway, "POST", RESPOND, headers, body)
    assert (status, answered["access-control-allow-origin"]) == (200, "https://example.org")
    messages, trailers = frames(answer)
    return messages, trailers or answered


async def test_a_grpc_web_call_is_answered_through_tls(gateway: Gateway) -> None:
    messages, trailers = await respond_from_web(gateway, pb.RespondRequest(text="Hello?"))
    events = [pb.RespondResponse.FromString(message) for message in messages]
    assert events[-1].WhichOneof("event") == "response_done"
    assert events[-1].response_done.status == pb.RESPONSE_STATUS_COMPLETED
    assert trailers["grpc-status"].strip() == "0"


async def test_a_web_page_is_told_the_details_of_an_error(gateway: Gateway) -> None:
    config = pb.SessionConfig(voice="nobody")
    messages, trailers = await respond_from_web(gateway, pb.RespondRequest(text="Hello?", session=config))
    assert not messages
    assert trailers["grpc-status"].strip() == str(grpc.StatusCode.NOT_FOUND.value[0])
    assert trailers["grpc-status-details-bin"]


async def test_a_web_page_of_another_origin_may_ask(gateway: Gateway) -> None:
    headers = {
        "origin": "https://example.org",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-grpc-web",
    }
    status, answered, _ = await asyncio.to_thread(ask, gateway, "OPTIONS", RESPOND, headers)
    assert status in (200, 204)
    assert "authorization" in answered["access-control-allow-headers"]


async def test_a_live_session_runs_through_tls(gateway: Gateway) -> None:
    async with conversation(gateway.address, credentials=gateway.credentials) as client:
        await client.write_text("Hello?")
        assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED
        assert client.audio()


async def test_ids_for_the_logs_are_not_taken_from_outside(gateway: Gateway) -> None:
    forged = {"parley-conversation-id": "forged", "content-type": "application/grpc-web+proto", "x-grpc-web": "1"}
    message = pb.RespondRequest(text="Hello?", session=pb.SessionConfig(voice="nobody")).SerializeToString()
    body = b"\0" + len(message).to_bytes(4, "big") + message
    seen = len(gateway.orchestrator.logs)
    await asyncio.to_thread(ask, gateway, "POST", RESPOND, forged, body)
    while not any(line["message"] == "call refused" for line in gateway.orchestrator.logs[seen:]):
        await asyncio.sleep(0)
    assert "forged" not in str(gateway.orchestrator.logs[seen:])


async def test_what_is_no_call_to_parley_is_not_let_through(gateway: Gateway) -> None:
    assert (await asyncio.to_thread(ask, gateway, "GET", "/", {}))[0] == 404
    assert (await asyncio.to_thread(ask, gateway, "POST", "/parley.llm.v1.LanguageModelService/Generate", {}))[0] == 404


async def test_a_gateway_that_drains_waits_for_its_sessions(gateway: Gateway, tmp_path: Path) -> None:
    async with gateway_before(gateway.orchestrator, tmp_path) as leaving:
        async with conversation(leaving.address, credentials=leaving.credentials) as client:
            drain = await asyncio.create_subprocess_exec(
                *("bash", str(FOLDER / "drain.sh"), "60"),
                env={**os.environ, "ADMIN_PORT": str(leaving.envoy.admin_port)},
            )
            for _ in range(3):
                await client.write_text("Hello?")
                assert (await client.until("response_done")).status == pb.RESPONSE_STATUS_COMPLETED
            assert drain.returncode is None
        assert await drain.wait() == 0


async def test_the_configuration_is_valid_as_it_is_deployed(tmp_path: Path) -> None:
    """But for the folders of its files, which are this test's."""
    assert PROGRAM is not None
    write_certificate(tmp_path)
    write_config("certificate.yaml", tmp_path, {"/etc/tls": str(tmp_path)})
    config = write_config("gateway.yaml", tmp_path, {"/etc/tls": str(tmp_path), "/etc/envoy": str(tmp_path)})
    process = await asyncio.create_subprocess_exec(
        *(PROGRAM, "--mode", "validate", "-c", str(config)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
