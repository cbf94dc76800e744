"""The program of each language talks to the real stack, and plays by the rules. `make test-clients` runs this."""

import re
from pathlib import Path

import pytest
import soundfile

from cli.audio_files import SpeechFile
from cli.transcribe import TranscribeOptions, transcripts
from cli.word_errors import word_error_rate
from tests.clients_e2e.conftest import Talks
from tests.clients_e2e.orchestrators import SPOKEN
from tests.clients_e2e.programs import CLIENTS_BY_LANGUAGE

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(400),  # the first test waits for the builds
    pytest.mark.parametrize("language", CLIENTS_BY_LANGUAGE),
]


def said(out: str, outcome: str = "completed") -> list[str]:
    """What was heard of the answers that ended so."""
    return re.findall(rf"^parley \({outcome}\): (.*)$", out, re.MULTILINE)


async def heard_in(recording: Path, target: str) -> str:
    with SpeechFile(recording) as source:
        return " ".join([t.text async for t in transcripts(source, TranscribeOptions(target)) if t.is_final])


@pytest.mark.models
async def test_a_recorded_question_is_answered_in_speech(talks: Talks, language: str) -> None:
    talked = await talks.of(language, "question")
    assert (talked.code, talked.err) == (0, "")
    assert re.search(r"^speech started$", talked.out, re.MULTILINE)
    assert re.search(r"^you: .*amiable himself", talked.out, re.MULTILINE)
    answer = " ".join(said(talked.out, "completed") + said(talked.out, "incomplete"))
    assert answer
    stack = await talks.real()
    assert word_error_rate(answer, await heard_in(talked.answer, stack.addresses["stt"])) < 0.3


async def test_whoever_speaks_over_the_answer_stops_it_and_the_history_keeps_what_was_heard(
    talks: Talks, language: str
) -> None:
    talked = await talks.of(language, "interruption")
    assert (talked.code, talked.err) == (0, "")
    (cut,), (whole,) = said(talked.out, "cancelled"), said(talked.out)
    assert talked.out.count("speech started") == 2
    assert cut.strip()
    assert f"assistant: {cut.strip()} | user:" in whole


async def test_what_is_sent_again_after_a_cough_is_heard_once(talks: Talks, language: str) -> None:
    talked = await talks.of(language, "cough")
    assert (talked.code, talked.err) == (0, "")
    (stopped_s,) = talks.coughs[language].stopped_s
    assert 0 <= stopped_s < 2
    samples, _ = soundfile.read(talked.answer, dtype="int16")
    assert samples.tobytes() == SPOKEN


async def test_a_function_is_called_and_its_output_is_answered(talks: Talks, language: str) -> None:
    talked = await talks.of(language, "clock")
    assert (talked.code, talked.err) == (0, "")
    assert "call: get_time\n" in talked.out
    assert re.search(r"tool: It is \d\d:\d\d\.", said(talked.out)[-1])


@pytest.mark.parametrize(
    ("scenario", "line"),
    [
        ("nobody", r"talk: UNAVAILABLE: [^\n]+\n"),
        ("death", r"talk: UNAVAILABLE: the process is gone\n"),
        ("refusal", r"talk: RESOURCE_EXHAUSTED OVERLOADED: too many sessions\n"),
    ],
)
async def test_a_session_that_fails_is_one_line_with_status_and_reason(
    talks: Talks, language: str, scenario: str, line: str
) -> None:
    talked = await talks.of(language, scenario)
    assert talked.code == 1
    assert re.fullmatch(line, talked.err), talked.err
    assert not talked.answer.exists()
