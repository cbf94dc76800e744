"""`parley demo`, with fake engines and with the embedded models."""

import re
import signal
from pathlib import Path

import psutil
import pytest
import soundfile

from tests.support.commands import FAKES, parley


async def test_the_demo_shows_question_answer_latency_and_what_the_answer_sounds_like(
    tmp_path: Path, question: Path
) -> None:
    output = tmp_path / "new" / "answer.wav"
    async with parley("demo", "-o", str(output), "--question", str(question), *FAKES) as demo:
        code, out, err = await demo.ended()
    assert (code, err) == (0, "")
    for text in ("You:", "Parley:", "end of speech decided", "Heard in it:", "Word error rate"):
        assert text in out
    assert soundfile.info(output).duration > 1


async def test_a_demo_that_is_stopped_leaves_no_process_behind(tmp_path: Path) -> None:
    async with parley("demo", "-o", str(tmp_path / "answer.wav"), *FAKES) as demo:
        await demo.until("Sending")
        pids = [child.pid for child in psutil.Process(demo.pid).children()]
        demo.process.send_signal(signal.SIGTERM)
        code, _, err = await demo.ended()
    assert (code, err) == (130, "")
    assert len(pids) == 4
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_question_without_speech_fails_the_demo(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", [0.0] * 8000, 8000)
    words = ("--question", str(tmp_path / "silence.wav"), "-o", str(tmp_path / "answer.wav"))
    async with parley("demo", *words, *FAKES) as demo:
        code, _, err = await demo.ended()
    assert (code, err) == (1, "parley: no speech was heard in the question\n")


@pytest.mark.models
async def test_the_embedded_models_understand_the_question_and_speak_their_answer(tmp_path: Path) -> None:
    output = tmp_path / "answer.wav"
    async with parley("demo", "-o", str(output)) as demo:
        code, out, err = await demo.ended()
    assert (code, err) == (0, "")
    assert re.search(r"You:\s+Unless to be rather cold-hearted and rather selfish is to be ill-disposed", out)
    rate = re.search(r"Word error rate against the answer: ([\d.]+)%", out)
    assert rate is not None
    assert float(rate[1]) <= 25
    assert soundfile.info(output).duration > 0.5
