"""What providers answer."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import orjson

from services.common.errors import ParleyError, UpstreamError
from services.llm.backends.api.chat_reader import ChatReader
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.reader import AnswerReader
from services.llm.backends.api.responses_reader import ResponsesReader
from services.llm.backends.api.sse import SseDecoder
from services.llm.backends.api.tool_ids import ToolIds
from services.llm.domain import Tool
from services.llm.speech.segments import Segmenter
from services.llm.turn import Turn
from services.tts.wav_stream import WavStream
from tests.fuzz.targets.registry import in_pieces, target


@target("s")
def sse(data: bytes) -> None:
    """Server-sent events: the same in any chunking."""

    def events(chunks: Iterable[bytes]) -> list[bytes]:
        decoder = SseDecoder()
        return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.finish()

    assert events([data]) == events(in_pieces(data))


@target("p")
def provider(data: bytes) -> None:
    """A provider's events, a JSON object a line, and the same as a whole answer."""
    readers: tuple[Callable[[], AnswerReader], ...] = (
        lambda: ChatReader(ToolIds(())),
        lambda: ResponsesReader(ToolIds(()), 9),
    )
    for make in readers:
        for whole in (False, True):
            reader, events = make(), []
            try:
                for line in data.split(b"\n"):
                    value = orjson.loads(line)
                    if isinstance(value, dict):
                        events += reader.whole(value) if whole else reader.feed(value)
                    if reader.ended:
                        break
                if not whole:
                    events += reader.end()
            except (orjson.JSONDecodeError, ProviderFailure):
                pass
            turn = Turn(Segmenter(1, 2), (Tool("f", "", ""),))
            try:
                for event in events:
                    turn.feed(event)
            except UpstreamError:
                continue


@target("w")
def wav_stream(data: bytes) -> None:
    """A provider's WAV file, in any chunking."""

    def samples(chunks: Iterable[bytes]) -> Any:
        stream = WavStream("the provider")
        try:
            parts = [stream.feed(chunk) for chunk in chunks]
            stream.finish()
        except ParleyError:
            return None
        return np.concatenate([*parts, np.zeros(0, np.float32)]).tolist()

    whole = samples([data])
    assert whole == samples(in_pieces(data))
