"""`parley say`, `transcribe` and the doctor's ports against the real services with their fake engines."""

import io
import socket
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from cli import say, transcribe
from cli.checks import Verdict
from cli.errors import CliError
from cli.ports import port_check
from cli.programs import STT, TTS
from cli.say import SayOptions
from cli.transcribe import TranscribeOptions
from tests.support.servers import server


def console() -> Console:
    return Console(file=io.StringIO(), width=100)


def printed(target: Console) -> str:
    assert isinstance(target.file, io.StringIO)
    return target.file.getvalue()


async def test_say_writes_the_voices_own_format(tmp_path: Path) -> None:
    out = console()
    async with server("tts", "--tts", "fake") as target:
        await say.run("Hello there.", tmp_path / "a.wav", SayOptions(target), console=out)
    info = soundfile.info(tmp_path / "a.wav")
    assert info.duration > 0.3
    assert printed(out) == f"Wrote {info.duration:.1f} s of speech to {tmp_path / 'a.wav'}\n"


async def test_say_with_an_unknown_voice_names_the_field(tmp_path: Path) -> None:
    async with server("tts", "--tts", "fake") as target:
        with pytest.raises(CliError, match=r"^voice: "):
            await say.run("Hello.", tmp_path / "a.wav", SayOptions(target, voice="nobody"), console=console())
    assert not (tmp_path / "a.wav").exists()


async def test_a_text_to_speech_service_is_no_speech_to_text_service(samples: Path) -> None:
    async with server("tts", "--tts", "fake") as target:
        with pytest.raises(CliError, match=f"what listens at {target} is not the speech-to-text service"):
            await transcribe.run(samples / "austen_0880.wav", TranscribeOptions(target), console=console())


async def test_transcribe_prints_what_is_said(samples: Path) -> None:
    out = console()
    async with server("stt", "--stt", "fake", "--fake_transcript", "Some words.") as target:
        await transcribe.run(samples / "austen_0880.wav", TranscribeOptions(target), console=out)
    assert printed(out) == "Some words.\n"


async def test_words_are_a_table_with_their_times(samples: Path) -> None:
    out = console()
    async with server("stt", "--stt", "fake", "--fake_transcript", "Some words.") as target:
        await transcribe.run(samples / "austen_0880.wav", TranscribeOptions(target, words=True), console=out)
    header, *rows = [line.split() for line in printed(out).splitlines()[1:] if line.strip(" ─")]
    assert header == ["word", "from", "to", "confidence"]
    assert [row[0] for row in rows] == ["Some", "words."]


async def test_a_long_recording_is_streamed_utterance_by_utterance(samples: Path, tmp_path: Path) -> None:
    speech, rate = soundfile.read(samples / "austen_0880.wav")
    pause = np.zeros(29 * rate)
    soundfile.write(tmp_path / "long.wav", np.concatenate([speech, pause, speech, pause]), rate)
    out = console()
    async with server("stt", "--stt", "fake", "--fake_transcript", "Some words.") as target:
        await transcribe.run(tmp_path / "long.wav", TranscribeOptions(target), console=out)
    assert printed(out) == "Some words.\nSome words.\n"


async def test_silence_is_no_speech(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(61 * 8000), 8000)
    async with server("stt", "--stt", "fake") as target:
        with pytest.raises(CliError, match=r"no speech was heard in .*silence\.wav"):
            await transcribe.run(tmp_path / "silence.wav", TranscribeOptions(target), console=console())


async def test_the_doctor_knows_parley_from_strangers() -> None:
    async with server("tts", "--tts", "fake") as target:
        port = int(target.rpartition(":")[2])
        assert (await port_check(TTS, port)).found == "Parley is serving here"
    assert (await port_check(TTS, port)).found == "free"
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        check = await port_check(STT, stranger.getsockname()[1])
        assert (check.verdict, check.advice) == (Verdict.MISSING, "choose another with --stt_port")
