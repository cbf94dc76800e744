"""`parley` against servers that ask for certificates and tokens, and a whole stack with them."""

from pathlib import Path

import grpc
import pytest

from cli.errors import CliError
from cli.plan import FREE_PORTS, plan_stack
from cli.stack import Stack
from services.common.access.token_file import digest_of, new_token
from tests.support.certificates import Authority
from tests.support.commands import FAKES, parley
from tests.support.servers import running
from tests.support.stack import conversation


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_options_before_the_command_show_a_token_over_tls(authority: Authority, tmp_path: Path) -> None:
    token, file = new_token(), tmp_path / "tokens.yaml"
    file.write_text(f"tokens: [{{name: me, sha256: {digest_of(token).hex()}}}]")
    (mine := tmp_path / "me.token").write_text(token + "\n")
    cert = authority.certify("tts.example")
    flags = ("--tts=fake", "--health_port=0", f"--auth_token_file={file}", *cert.flags)
    async with running("tts", *flags) as server:
        say = ("say", "hello", "-o", str(tmp_path / "out.wav"), "--target", server.address)
        trust = ("--tls_ca", str(authority.cert), "--tls_server_name", "tts.example")
        async with parley(*trust, "--token_file", str(mine), *say) as command:
            code, output, errors = await command.ended()
            assert (code, errors) == (0, "")
            assert "Wrote" in output
        async with parley(*trust, *say) as command:
            code, _, errors = await command.ended()
            assert (code, errors) == (1, "parley: a token is needed, as `authorization: Bearer …`\n")
        async with parley("--tls_ca", str(authority.cert), *say, env={"PARLEY_TOKEN": token}) as command:
            code, _, errors = await command.ended()
            assert code == 1
            assert "that TLS trusts" in errors  # another name
        assert token not in str(server.logs)


async def test_a_token_is_not_sent_where_others_can_read_it() -> None:
    async with parley("--token", "secret", "say", "hello", "-o", "x.wav", "--target", "example.com:50053") as command:
        code, _, errors = await command.ended()
    assert code == 2
    assert errors == "parley: the token would be sent to example.com:50053 without encryption; give --tls or --tls_ca\n"


async def test_parley_up_with_tls_has_all_four_talk_so(authority: Authority, tmp_path: Path) -> None:
    cert = authority.certify("localhost", "127.0.0.1")
    words = (
        *FAKES,
        "--fake_tts_ms_per_character=1",  # an answer lasts as long as its speech
        *cert.flags,
        f"--tls_client_ca={authority.cert}",
        f"--tls_ca={authority.cert}",
        "--realtime_port=-1",
    )
    plan = plan_stack(words, FREE_PORTS)
    stack = Stack(plan.launches, log_dir=tmp_path / "logs", targets=plan.targets)
    try:
        await stack.start()
        credentials = grpc.ssl_channel_credentials(*(f.read_bytes() for f in (authority.cert, cert.key, cert.cert)))
        async with conversation(stack.addresses["orchestrator"], credentials) as talk:
            await talk.write_text("hello")
            assert (await talk.until("response_done")).response_id
    finally:
        await stack.stop()


def test_a_plan_says_which_flags_are_missing() -> None:
    with pytest.raises(CliError, match="--tls_cert needs --tls_key"):
        plan_stack([*FAKES, "--tls_cert", "a.pem"], FREE_PORTS)
