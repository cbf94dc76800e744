"""espeak-ng: light, in more than a hundred languages. Its licence is the GPL: it runs as a program of its own."""

import asyncio
import contextlib
import logging
import shutil
import struct
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator

from services.common.audio import Decoder, Samples
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import StartupError, UpstreamError
from services.tts.domain import Segment
from services.tts.engines.base import Engine
from services.tts.engines.espeak_voices import parse_voices
from services.tts.timescale import TimeScale

log = logging.getLogger(__name__)

_PROGRAM = "espeak-ng"
_DEFAULT_VOICE = "en-US"
_NORMAL_WORDS_PER_MINUTE, _FEWEST_WORDS_PER_MINUTE = 175, 80
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
"""Of a WAV file with 16-byte `fmt `, as it writes it: the length fields are meaningless, since it cannot seek."""
_BLOCK_BYTES = 8192
_START_TIMEOUT_S = 10.0


class EspeakNgEngine(Engine):
    """One short-lived process a segment, read as it speaks and killed with the request."""

    name = "espeak-ng"

    def __init__(self) -> None:
        super().__init__()
        self._program = ""

    async def load(self) -> None:
        """Find the program, its voices and its sample rate."""
        self._program = shutil.which(_PROGRAM) or ""
        if not self._program:
            raise StartupError(f"--tts {self.name} needs the program {_PROGRAM}; apt-get install {_PROGRAM}")
        try:
            async with asyncio.timeout(_START_TIMEOUT_S):
                table = await self._output("--voices")
                rate_hz = _rate_hz(await self._output("--stdout", "-v", _DEFAULT_VOICE, "a"))
        except (TimeoutError, OSError, UpstreamError):
            raise StartupError(f"the program {_PROGRAM} does not work; try: {_PROGRAM} --voices") from None
        self.voices = parse_voices(table.decode(errors="replace"), self.name, AudioFormat(Encoding.PCM_S16LE, rate_hz))
        self.default_voice = _DEFAULT_VOICE

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """Blocks of samples as the program writes them."""
        words = max(_FEWEST_WORDS_PER_MINUTE, round(_NORMAL_WORDS_PER_MINUTE * segment.speaking_rate))
        stretch = min(1.0, segment.speaking_rate * _NORMAL_WORDS_PER_MINUTE / _FEWEST_WORDS_PER_MINUTE)
        native = segment.voice.native_format
        decoder = Decoder(native)
        scale = TimeScale(stretch, native.sample_rate_hz) if stretch < 1 else None
        async with self._speaking(segment.voice.name, words, segment.text) as process:
            assert process.stdout is not None
            async with contextlib.aclosing(_samples(process.stdout, decoder)) as blocks:
                async for samples in blocks:
                    yield scale.feed(samples) if scale else samples
            if await process.wait():
                log.error("espeak-ng failed", extra={"exit_code": process.returncode, "voice": segment.voice.name})
                raise UpstreamError("the speech program failed")
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
            raise UpstreamError("the speech program failed")
        return output


async def _samples(stream: asyncio.StreamReader, decoder: Decoder) -> AsyncGenerator[Samples, None]:
    """What follows the header, decoded; nothing where the program said nothing."""
    try:
        _rate_hz(await stream.readexactly(_HEADER.size))
    except asyncio.IncompleteReadError:
        return
    while data := await stream.read(_BLOCK_BYTES):
        yield decoder.feed(data)


def _rate_hz(wav: bytes) -> int:
    """The sample rate (hertz) in the header of mono 16-bit WAV.

    Raises:
        UpstreamError: where it is something else.
    """
    if len(wav) >= _HEADER.size:
        riff, _, wave, _, _, coding, channels, rate_hz, _, _, bits, _, _ = _HEADER.unpack_from(wav)
        if (riff, wave, coding, channels, bits) == (b"RIFF", b"WAVE", 1, 1, 16):
            return int(rate_hz)
    raise UpstreamError("the speech program failed")
