"""`parley transcribe`: speech to text, by the STT service alone."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from parley.stt.v1 import stt_service_pb2 as pb
from parley.stt.v1 import stt_service_pb2_grpc as pb_grpc
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.audio_files import SpeechFile
from cli.connection import open_channel
from cli.errors import CliError
from cli.programs import STT
from cli.render import printable
from cli.rpc import explain
from services.common.audio_format import AudioFormat
from services.common.sent_status import SentStatus
from services.common.wire import audio_format_message, seconds

MAX_UTTERANCE_S = 60.0
MAX_UTTERANCE_BYTES = 4 << 20
"""The contract's limits for Transcribe; longer recordings are streamed."""


@dataclass(frozen=True)
class TranscribeOptions:
    """What the user asked for; empty text means the server's default."""

    target: str
    language: str = ""
    interim: bool = False
    words: bool = False


async def run(path: Path, options: TranscribeOptions, *, console: Console) -> None:
    """Print what is said in a recording: an utterance a line, interim transcripts and word times where asked for.

    Raises:
        CliError: where the file cannot be read, the service fails, or nothing is said.
    """
    heard = False
    with SpeechFile(path) as source:
        async for transcript in transcripts(source, options):
            if not transcript.is_final:
                console.print(Text(printable(transcript.text), style="dim"), soft_wrap=True)
                continue
            if transcript.text.strip():
                heard = True
                console.print(Text(printable(transcript.text.strip())), soft_wrap=True)
            if options.words and transcript.words:
                console.print(_word_table(transcript))
    if not heard:
        raise CliError(f"no speech was heard in {path}")


async def transcripts(source: SpeechFile, options: TranscribeOptions) -> AsyncIterator[pb.Transcript]:
    """The transcripts of a recording, as the service sends them.

    Raises:
        CliError: where the file is damaged or the service fails.
    """
    size = source.duration_s * source.format.bytes_per_second
    whole = source.duration_s <= MAX_UTTERANCE_S and size <= MAX_UTTERANCE_BYTES
    connected = False
    damage: list[CliError] = []
    async with open_channel(options.target) as channel:
        stub = pb_grpc.SpeechToTextServiceStub(channel)
        config = _config(options, source.format)
        call: Any = _transcribe(stub, source, config) if whole else _stream(stub, source, config, damage)
        status = SentStatus(call)
        try:
            async for response in call:
                connected = True
                if response.HasField("transcript"):
                    yield response.transcript
        except grpc.aio.AioRpcError as error:
            raise explain(status.of(error), STT, options.target, connected=connected) from None
        finally:
            call.cancel()
    if damage:
        raise damage[0]


def _transcribe(stub: Any, source: SpeechFile, config: pb.TranscriptionConfig) -> Any:
    return stub.Transcribe(pb.TranscribeRequest(config=config, audio=b"".join(source.blocks())))


def _stream(stub: Any, source: SpeechFile, config: pb.TranscriptionConfig, damage: list[CliError]) -> Any:
    """As fast as the service takes it: gRPC's flow control sets the pace. What is before a damage is transcribed."""

    async def requests() -> AsyncIterator[pb.StreamingTranscribeRequest]:
        yield pb.StreamingTranscribeRequest(config=pb.StreamingConfig(config=config))
        try:
            for block in source.blocks():
                yield pb.StreamingTranscribeRequest(audio=block)
        except CliError as error:  # raised here it would be lost inside grpc
            damage.append(error)

    return stub.StreamingTranscribe(requests())


def _config(options: TranscribeOptions, audio_format: AudioFormat) -> pb.TranscriptionConfig:
    return pb.TranscriptionConfig(
        audio_format=audio_format_message(audio_format),
        language_code=options.language,
        enable_interim_results=options.interim,
        enable_word_timings=options.words,
    )


def _word_table(transcript: pb.Transcript) -> Table:
    table = Table("word", box=box.SIMPLE_HEAD)
    for name in ("from", "to", "confidence"):
        table.add_column(name, justify="right")
    for word in transcript.words:
        confidence = f"{word.confidence:.2f}" if word.HasField("confidence") else "-"
        times = (f"{seconds(offset):.2f} s" for offset in (word.start_offset, word.end_offset))
        table.add_row(Text(printable(word.text)), *times, confidence)
    return table
