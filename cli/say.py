"""`parley say`: text to speech, by the TTS service alone."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc
from rich.console import Console

from cli.audio_files import check_writable, write_wav
from cli.connection import open_channel
from cli.errors import USAGE, CliError
from cli.programs import TTS
from cli.render import wrote
from cli.rpc import explain
from services.common.audio_format import AudioFormat, Encoding
from services.common.wire import audio_format, audio_format_message

SPEAKER_FORMAT = AudioFormat(Encoding.PCM_S16LE, 24_000)


@dataclass(frozen=True)
class SayOptions:
    """What the user asked for; empty text and None mean the server's default."""

    target: str
    voice: str = ""
    language: str = ""
    rate: float | None = None
    """Speaking rate; 1 is normal."""


async def run(text: str, output: Path | None, options: SayOptions, *, console: Console) -> None:
    """Speak a text into a WAV file of the voice's own format, or through the sound card.

    Raises:
        CliError: where the service fails or nothing can be written or played.
    """
    if not text.strip():
        raise CliError("there is nothing to say", USAGE)
    if output is None:
        await _play(text, options)
        return
    check_writable(output)
    audio, actual = bytearray(), SPEAKER_FORMAT
    async for item in _synthesize(text, options, None):
        if isinstance(item, AudioFormat):
            actual = item
        else:
            audio += item
    if not audio:
        raise CliError(f"{TTS.title} made no speech of this text; nothing was written")
    write_wav(output, bytes(audio), actual)
    seconds = len(audio) / actual.bytes_per_second
    console.print(wrote(output, seconds), soft_wrap=True)


async def _play(text: str, options: SayOptions) -> None:
    from cli.microphone import Speaker  # needs a library that the other commands do without

    with contextlib.ExitStack() as stack:
        try:
            speaker = stack.enter_context(Speaker(SPEAKER_FORMAT))
        except CliError as error:
            raise CliError(f"{error}; or write a file with -o FILE.wav") from None
        spoken = False
        async for item in _synthesize(text, options, SPEAKER_FORMAT):
            if isinstance(item, bytes):
                spoken = True
                speaker.play(item)
        if not spoken:
            raise CliError(f"{TTS.title} made no speech of this text")
        await speaker.drained()


async def _synthesize(text: str, options: SayOptions, wanted: AudioFormat | None) -> AsyncIterator[AudioFormat | bytes]:
    """The format of the audio, then the audio as it comes."""
    request = pb.SynthesizeRequest(
        text=text,
        voice=options.voice,
        language_code=options.language,
        audio_format=audio_format_message(wanted) if wanted else None,
        speaking_rate=options.rate,
    )
    connected = False
    async with open_channel(options.target) as channel:
        call = pb_grpc.TextToSpeechServiceStub(channel).Synthesize(request)
        try:
            async for response in call:
                connected = True
                if response.HasField("started"):
                    yield audio_format(response.started.audio_format, "audio_format")
                elif response.HasField("audio"):
                    yield response.audio.data
        except grpc.aio.AioRpcError as error:
            raise explain(error, TTS, options.target, connected=connected) from None
        finally:
            call.cancel()
