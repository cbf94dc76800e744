"""What an API backend says where it cannot start, and what it sees of the provider where it can."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import StartupError
from services.llm import backends
from services.llm.backends.api import startup
from services.llm.backends.base import Backend
from services.llm.settings import LlmSettings
from tests.support.api_backends import KEY
from tests.support.dialects import DIALECTS
from tests.support.fault_server import FaultServer, answering, fault_server, models, stalling
from tests.support.servers import ROOT

NAMES = [dialect.backend for dialect in DIALECTS]


@pytest.fixture(autouse=True)
def _no_key_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


async def load(url: str, backend: str = "chat-completions", model: str = "test-model", **flags: Any) -> Backend:
    """Load a backend, and let it go."""
    settings = LlmSettings(llm_backend=backend, model_name=model, responses_api_base_url=url, **flags)  # type: ignore[arg-type]
    made = backends.create(settings)
    try:
        await made.load()
    finally:
        await made.aclose()
    return made


async def problem(*args: Any, **flags: Any) -> str:
    with pytest.raises(StartupError) as caught:
        await load(*args, **flags)
    assert "\n" not in str(caught.value)
    assert KEY not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("backend", NAMES)
async def test_no_key_is_told_before_anything_else(backend: str) -> None:
    told = await problem("https://router.example/v1", backend)
    assert told.startswith("no API key for router.example: set OPENAI_API_KEY or PARLEY_RESPONSES_API_API_KEY")
    assert "api.openai.com" in await problem("", backend)


async def test_a_server_on_this_machine_needs_no_key(provider: FaultServer) -> None:
    await load(provider.url)
    assert "authorization" not in provider.exchanges[0].headers


async def test_the_key_comes_from_the_flag_then_from_the_environment(
    provider: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "from-environment")
    await load(provider.url)
    await load(provider.url, responses_api_api_key="from-flag")
    seen = [exchange.headers["authorization"] for exchange in provider.exchanges]
    assert seen == ["Bearer from-environment", "Bearer from-flag"]


async def test_a_key_that_cannot_be_one_is_refused(provider: FaultServer) -> None:
    assert "--responses_api_api_key" in await problem(provider.url, responses_api_api_key="schlüssel")
    assert "--responses_api_api_key" in await problem(provider.url, responses_api_api_key="two\nlines")


@pytest.mark.parametrize("backend", NAMES)
async def test_edge_21_connection_refused(backend: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    told = await problem(f"http://127.0.0.1:{port}/v1", backend)
    assert told == (f"--responses_api_base_url http://127.0.0.1:{port}/v1: connection refused; is the server running?")


async def test_a_host_that_is_not_known() -> None:
    told = await problem("http://nowhere.invalid/v1", responses_api_api_key=KEY)
    assert told.endswith("the host name is not known")


async def test_edge_21_a_server_that_never_answers(provider: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "PATIENCE_S", 0.1)
    provider.models = stalling(head=False)
    assert "no answer within 0.1 s" in await problem(provider.url)


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl program")
async def test_edge_21_tls_that_is_not_trusted_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with fault_server(_self_signed(tmp_path)) as secure:
        assert "its certificate is not trusted; set SSL_CERT_FILE" in await problem(secure.url)
        # What the line says helps.
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        await load(secure.url)
    plain = await asyncio.start_server(_bad_request, "127.0.0.1", 0)
    async with plain:
        url = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/v1"
        assert "no TLS connection; is it http:// there?" in await problem(url)


async def test_edge_21_a_key_that_is_refused(provider: FaultServer, monkeypatch: pytest.MonkeyPatch) -> None:
    provider.models = answering(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}})
    told = await problem(provider.url, responses_api_api_key=KEY)
    assert told == f"{provider.url} refuses the API key; check --responses_api_api_key"
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert (await problem(provider.url)).endswith("check OPENAI_API_KEY")


@pytest.mark.parametrize("backend", NAMES)
async def test_edge_21_a_model_that_the_provider_does_not_have(provider: FaultServer, backend: str) -> None:
    provider.models = models("gpt-small", "gpt-large")
    told = await problem(provider.url, backend, "gpt-smal")
    assert told == f"--model_name gpt-smal: {provider.url} has no such model; did you mean gpt-small?"
    assert "it has gpt-small, gpt-large" in await problem(provider.url, backend, "other")


@pytest.mark.parametrize(
    ("asked", "listed"),
    [("m", "m"), ("org/m:fast", "org/m"), ("m", "m:latest"), ("gemini", "models/gemini")],
)
async def test_names_that_mean_the_same_model(provider: FaultServer, asked: str, listed: str) -> None:
    provider.models = models("another", listed)
    await load(provider.url, model=asked)


async def test_an_address_without_its_version_is_told_with_it(provider: FaultServer) -> None:
    async def script(exchange: Any) -> None:
        await exchange.whole(200 if exchange.path.startswith("/v1/") else 404, {"data": [{"id": "test-model"}]})

    provider.models = script
    bare = provider.url.removesuffix("/v1")
    assert await problem(bare) == f"--responses_api_base_url {bare}: the API is not here but at {bare}/v1"


async def test_an_alias_that_is_not_listed_is_asked_for(provider: FaultServer) -> None:
    async def script(exchange: Any) -> None:
        body = {"id": "real-name"} if exchange.path.endswith("/alias") else {"data": [{"id": "real-name"}]}
        await exchange.whole(200, body)

    provider.models = script
    await load(provider.url, model="alias")
    assert [exchange.path for exchange in provider.exchanges] == ["/v1/models", "/v1/models/alias"]


@pytest.mark.parametrize(
    "script",
    [
        answering(404, {"detail": "Not Found"}),
        answering(403, {"error": {"message": "missing scope"}}),
        answering(503, {"error": {"message": "Loading model"}}),
        answering(200, "<html></html>", "text/html"),
        answering(200, "[1]"),
        answering(200, {"data": None}),
        answering(200, {"data": []}),
    ],
)
async def test_a_server_that_lists_no_models_is_taken_at_its_word(provider: FaultServer, script: Any) -> None:
    provider.models = script
    made = await load(provider.url)
    assert made.capabilities.context_length_tokens == 0


@pytest.mark.parametrize(
    "entry", [{"max_model_len": 4096}, {"context_length": 4096}, {"meta": {"n_ctx": 4096, "n_ctx_train": 8192}}]
)
async def test_the_length_of_the_context_is_told_where_it_is_known(
    provider: FaultServer, entry: dict[str, Any]
) -> None:
    provider.models = answering(200, {"data": [{"id": "test-model", **entry}]})
    able = (await load(provider.url)).capabilities
    assert (able.model, able.backend, able.context_length_tokens) == ("test-model", "chat-completions", 4096)
    assert (able.tools, able.images, able.prefill, able.parallel) == (True, True, False, 256)


@pytest.mark.parametrize(
    ("backend", "flags", "words"),
    [
        ("responses-api", {"llm_gen_top_k": 5}, "--llm_gen_top_k: the responses-api backend has no such parameter"),
        ("responses-api", {"llm_gen_presence_penalty": 1}, "--llm_gen_presence_penalty"),
        ("chat-completions", {"llm_gen_do_sample": True}, "--llm_gen_do_sample"),
        ("chat-completions", {"llm_gen_min_new_tokens": 2}, "--llm_gen_min_new_tokens"),
        ("chat-completions", {"llm_gen_top_p": 7}, "--llm_gen_top_p: must be a number above 0 to 1"),
    ],
)
async def test_edge_23_a_parameter_that_the_api_lacks_is_refused_by_name(
    provider: FaultServer, backend: str, flags: dict[str, Any], words: str
) -> None:
    assert words in await problem(provider.url, backend, **flags)


async def test_a_proxy_of_the_environment_is_used_for_the_world_outside_alone(
    provider: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", provider.url.removesuffix("/v1"))
    await load("http://nowhere.invalid/v1", responses_api_api_key=KEY)
    await load(provider.url)
    monkeypatch.setenv("no_proxy", "nowhere.invalid")
    assert "the host name is not known" in await problem("http://nowhere.invalid/v1", responses_api_api_key=KEY)
    assert [exchange.path for exchange in provider.exchanges] == ["http://nowhere.invalid/v1/models", "/v1/models"]


@pytest.mark.parametrize("backend", NAMES)
async def test_the_program_ends_with_one_line(backend: str) -> None:
    flags = ("--llm_backend", backend, "--responses_api_base_url", "http://127.0.0.1:1/v1", "--port", "0")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.llm", *flags, "--log_level", "error"),
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    _, told = await process.communicate()
    assert process.returncode == 1
    assert told.decode() == (
        "parley-llm: --responses_api_base_url http://127.0.0.1:1/v1: connection refused; is the server running?\n"
    )


async def _bad_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a server without TLS answers to a handshake."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
    writer.close()


def _self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate that nobody has reason to trust."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=127.0.0.1"
    name = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run([*command.split(), *name, "-out", certificate, "-keyout", key], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
