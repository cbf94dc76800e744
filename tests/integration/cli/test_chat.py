"""`parley chat` against the real language model service with its fake backend."""

import re
import signal
from pathlib import Path

from tests.support.commands import parley
from tests.support.servers import server

ECHO = ("--llm_backend", "fake", "--fake_token_ms", "2", "--fake_answer", "Got {received}.")


async def test_one_message_is_answered_with_how_fast_that_was() -> None:
    async with server("llm", *ECHO) as target, parley("chat", "Hello you", "--target", target) as chat:
        code, out, err = await chat.ended()
    answer, summary = out.splitlines()
    assert (code, err) == (0, "")
    assert "user: Hello you" in answer
    assert re.fullmatch(r"first token [\d,]+ ms · \d+ tokens, \d+ tokens/s", summary)


async def test_instructions_reach_the_model() -> None:
    words = ("chat", "Hello", "--instructions", "Speak like a pirate")
    async with server("llm", *ECHO) as target, parley(*words, "--target", target) as chat:
        _, out, _ = await chat.ended()
    assert "Speak like a pirate" in out


async def test_a_conversation_remembers_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "typed").write_text("My name is Ada\n\nWho am I\n")
    async with (
        server("llm", *ECHO) as target,
        parley("chat", "--target", target, typed=tmp_path / "typed") as chat,
    ):
        code, out, err = await chat.ended()
    answers = [line for line in out.splitlines() if "Got " in line]
    assert (code, err) == (0, "")
    assert len(answers) == 2
    assert "user: My name is Ada" in answers[1]
    assert "user: Who am I" in answers[1]


async def test_an_unknown_conversation_is_named() -> None:
    words = ("chat", "Hello", "--conversation_id", "nobody")
    async with server("llm", *ECHO) as target, parley(*words, "--target", target) as chat:
        code, out, err = await chat.ended()
    assert (code, out) == (1, "")
    assert err.startswith("parley: conversation_id: ")


async def test_ctrl_c_is_quiet() -> None:
    slow = ("--llm_backend", "fake", "--fake_token_ms", "2000")
    async with server("llm", *slow) as target, parley("chat", "Hello", "--target", target) as chat:
        assert chat.process.stdout is not None
        await chat.process.stdout.read(1)  # the answer has begun
        chat.process.send_signal(signal.SIGINT)
        code, _, err = await chat.ended()
    assert (code, err) == (130, "")
