"""Who is let in."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from prometheus_client import CollectorRegistry

from services.common.errors import OverloadedError
from services.common.settings import load
from services.stt.domain import RecognitionRequest, StreamOptions, TranscriptionOptions
from services.stt.endpointing import EndpointingConfig
from services.stt.listener import ForceEnd
from services.stt.metrics import SttMetrics
from services.stt.schedule import Schedule
from services.stt.settings import SttSettings
from services.stt.transcriber import Transcriber
from tests.support.stt_doubles import PCM16, BusyEngine, ScriptedEngine, pcm16, speech
from tests.support.virtual_time import in_virtual_time

OPTIONS = StreamOptions(TranscriptionOptions(PCM16, RecognitionRequest("en"), "en"), EndpointingConfig())


async def nothing_said() -> AsyncIterator[bytes | ForceEnd]:
    await asyncio.Event().wait()
    yield b""


def test_a_stream_that_the_model_has_no_time_for_is_refused_and_told_when_to_try_again() -> None:
    registry = CollectorRegistry()

    async def main() -> None:
        schedule = Schedule(BusyEngine(takes_s=1.2))
        await schedule.measure()  # 0.4 s for a second of audio: two fit, and no third
        transcriber = Transcriber(schedule, load(SttSettings, "parley-stt", []), SttMetrics(registry))

        async def listen() -> None:
            async for _ in transcriber.listen(OPTIONS, nothing_said()):
                pass

        streams = [asyncio.create_task(listen()) for _ in range(2)]
        await asyncio.sleep(0.1)
        assert registry.get_sample_value("parley_stt_load_ratio") == pytest.approx(0.8)
        with pytest.raises(OverloadedError) as refused:
            await listen()
        assert refused.value.retry_after_s
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        assert registry.get_sample_value("parley_stt_active_streams") == 0

    in_virtual_time(main())


async def test_recordings_that_are_transcribed_and_that_wait_are_counted() -> None:
    registry, engine = CollectorRegistry(), ScriptedEngine()
    settings = load(SttSettings, "parley-stt", ["--stt_max_transcriptions=1"])
    transcriber = Transcriber(Schedule(engine), settings, SttMetrics(registry))
    engine.gate.clear()

    async def transcribe() -> None:
        async for _ in transcriber.transcribe(OPTIONS.transcription, pcm16(speech(1))):
            pass

    def at_work() -> tuple[float | None, float | None]:
        running, waiting = (f"parley_stt_transcriptions_{what}" for what in ("running", "waiting"))
        return registry.get_sample_value(running), registry.get_sample_value(waiting)

    recordings = [asyncio.create_task(transcribe()) for _ in range(3)]
    await engine.called.wait()
    assert at_work() == (1, 2)
    engine.gate.set()
    await asyncio.gather(*recordings)
    assert at_work() == (0, 0)
    durations = registry.get_sample_value("parley_stt_recognition_duration_seconds_sum", {"kind": "final"})
    assert durations == pytest.approx(3 * engine.processing_s)
