"""A live stream of the STT service over a scripted engine. No clock: audio is time."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

from prometheus_client import CollectorRegistry

from services.stt.domain import Event, RecognitionRequest, StreamOptions, Transcript, TranscriptionOptions
from services.stt.endpointing import Endpointer, EndpointingConfig
from services.stt.listener import ForceEnd, Listener
from services.stt.metrics import SttMetrics
from services.stt.schedule import Schedule
from services.stt.segmenter import VoiceSegmenter
from tests.support.stt_doubles import PCM16, ScriptedEngine, ScriptedTurnEnd

OPTIONS = TranscriptionOptions(PCM16, RecognitionRequest("en"), "en")
INTERIM = replace(OPTIONS, interim_results=True)
FORCE = ForceEnd()


class Stream:
    """A stream that the test feeds step by step."""

    def __init__(
        self,
        engine: ScriptedEngine,
        options: TranscriptionOptions = OPTIONS,
        config: EndpointingConfig | None = None,
        *,
        manual_end: bool = False,
        pauses: bool = False,
        turn_end: ScriptedTurnEnd | None = None,
    ) -> None:
        self.registry = CollectorRegistry()
        stream_options = StreamOptions(options, config or EndpointingConfig(), manual_end, pauses)
        self.endpointer = Endpointer(stream_options.endpointing, manual_end=manual_end)
        self.segmenter = VoiceSegmenter(options.audio_format, engine.new_detector(), self.endpointer)
        self.listener = Listener(
            Schedule(engine), self.segmenter, stream_options, 0.5, SttMetrics(self.registry), turn_end
        )
        self.incoming: asyncio.Queue[bytes | ForceEnd | None] = asyncio.Queue()
        self.events = self.listener.listen(self._read())
        self.read = asyncio.Event()

    async def _read(self) -> AsyncIterator[bytes | ForceEnd]:
        while True:
            if self.incoming.empty():
                self.read.set()
            item = await self.incoming.get()
            if item is None:
                return
            yield item

    def send(self, *items: bytes | ForceEnd | None) -> None:
        self.read.clear()
        for item in items:
            self.incoming.put_nowait(item)

    async def until(self, kind: type[Event]) -> list[Event]:
        events: list[Event] = []
        async for event in self.events:
            events.append(event)
            if isinstance(event, kind):
                return events
        raise AssertionError(f"the stream ended without {kind.__name__}: {events}")


async def listen(
    engine: ScriptedEngine,
    *items: bytes | ForceEnd,
    options: TranscriptionOptions = OPTIONS,
    config: EndpointingConfig | None = None,
    manual_end: bool = False,
) -> list[Event]:
    """All events of a stream of these items."""
    stream = Stream(engine, options, config, manual_end=manual_end)
    stream.send(*items, None)
    return [event async for event in stream.events]


def texts(events: list[Event], *, final: bool = True) -> list[str]:
    return [event.text for event in events if isinstance(event, Transcript) and event.is_final == final]
