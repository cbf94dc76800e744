"""espeak-ng: light, in more than a hundred languages. Its licence is the GPL: it runs as a program of its own."""

import asyncio
import contextlib
import logging
import shutil
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator

from services.common.audio import Samples
from services.common.audio_format import AudioFormat
from services.common.errors import StartupError, UpstreamError
from services.tts.calibration import SAMPLE_TEXTS
from services.tts.domain import Segment
from services.tts.engines.base import Engine
from services.tts.engines.espeak_voices import parse_voices
from services.tts.loudness import gain, levelled
from services.tts.timescale import TimeScale
from services.tts.wav_stream import WavStream

log = logging.getLogger(__name__)

_PROGRAM = "espeak-ng"
_SOURCE = "the speech program"
_DEFAULT_VOICE = "en-US"
_NORMAL_WORDS_PER_MINUTE, _FEWEST_WORDS_PER_MINUTE = 175, 80
_BLOCK_BYTES = 8192
_START_TIMEOUT_S = 10.0


class EspeakNgEngine(Engine):
    """One short-lived process a segment, read as it speaks and killed with the request."""

    name = "espeak-ng"
    starts_programs = True

    def __init__(self) -> None:
        super().__init__()
        self._program = ""
        self._gain = 1.0

    async def load(self) -> None:
        """Find the program, its voices and its sample rate."""
        self._program = shutil.which(_PROGRAM) or ""
        if not self._program:
            raise StartupError(f"--tts {self.name} needs the program {_PROGRAM}; apt-get install {_PROGRAM}")
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                table = await self._output("--voices")
                wav = await self._output("--stdout", "-v", _DEFAULT_VOICE, SAMPLE_TEXTS[0])
            native, samples = _decode(wav)
        except (TimeoutError, OSError, UpstreamError):
            raise StartupError(f"the program {_PROGRAM} does not work; try: {_PROGRAM} --voices") from None
        self.voices = parse_voices(table.decode(errors="replace"), self.name, native)
        self.default_voice = _DEFAULT_VOICE
        self._gain = gain(samples, native.sample_rate_hz)  # of all: one synthesizer makes them

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """Blocks of samples as the program writes them."""
        words = max(_FEWEST_WORDS_PER_MINUTE, round(_NORMAL_WORDS_PER_MINUTE * segment.speaking_rate))
        stretch = min(1.0, segment.speaking_rate * _NORMAL_WORDS_PER_MINUTE / _FEWEST_WORDS_PER_MINUTE)
        scale = TimeScale(stretch, segment.voice.native_format.sample_rate_hz) if stretch < 1 else None
        async with self._speaking(segment.voice.name, words, segment.text) as process:
            assert process.stdout is not None
            async with contextlib.aclosing(_samples(process.stdout)) as blocks:
                async for block in blocks:
                    samples = levelled(block, self._gain)
                    yield scale.feed(samples) if scale else samples
            if await process.wait():
                log.error("espeak-ng failed", extra={"exit_code": process.returncode, "voice": segment.voice.name})
                raise UpstreamError(f"{_SOURCE} failed")
            if scale:
                yield scale.finish()

    async def aclose(self) -> None:
        """Nothing to let go of: each process ends with its request."""

    @contextlib.asynccontextmanager
    async def _speaking(self, voice: str, words_per_minute: int, text: str) -> AsyncIterator[Process]:
        """The program at work on a text; dead when the block is left.

        The text goes in by the standard input: as an argument, "-x" would be an option. `[[` begins phoneme codes.
        """
        flags = ("--stdin", "--stdout", "-b", "1", "-v", voice, "-s", str(words_per_minute))
        process = await asyncio.create_subprocess_exec(self._program, *flags, stdin=PIPE, stdout=PIPE, stderr=DEVNULL)
        try:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: the exit code says so
                process.stdin.write(text.replace("[[", "[ [").encode())
                await process.stdin.drain()
                process.stdin.close()
            yield process
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
            await process.communicate()  # reads what is left in the pipe: only so is it closed

    async def _output(self, *arguments: str) -> bytes:
        process = await asyncio.create_subprocess_exec(self._program, *arguments, stdout=PIPE, stderr=DEVNULL)
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise UpstreamError(f"{_SOURCE} failed")
        return output


async def _samples(stream: asyncio.StreamReader) -> AsyncGenerator[Samples, None]:
    """What follows the header, decoded; nothing where the program said nothing."""
    wav = WavStream(_SOURCE)
    while data := await stream.read(_BLOCK_BYTES):
        if len(samples := wav.feed(data)):
            yield samples


def _decode(wav: bytes) -> tuple[AudioFormat, Samples]:
    """What the program speaks in, and what it said.

    Raises:
        UpstreamError: where it is no WAV file.
    """
    stream = WavStream(_SOURCE)
    samples = stream.feed(wav)
    if stream.audio_format is None:
        raise UpstreamError(f"{_SOURCE} sends no WAV file")
    return stream.audio_format, samples
