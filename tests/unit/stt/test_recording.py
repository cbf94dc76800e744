"""Whole recordings."""

from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import AudioTooLongError, InvalidArgumentError, UnsupportedAudioError
from services.stt.domain import Completed, RecognitionRequest, Transcript, TranscriptionOptions
from services.stt.endpointing import Endpointer, EndpointingConfig
from services.stt.metrics import SttMetrics
from services.stt.recording import RecordingTranscriber, check_size
from services.stt.schedule import Schedule
from services.stt.segmenter import VoiceSegmenter
from tests.support.stt_doubles import PCM16, ScriptedEngine, pcm16, silence, speech

OPTIONS = TranscriptionOptions(PCM16, RecognitionRequest("en"), "en")


async def transcribe(
    engine: ScriptedEngine, audio: bytes, options: TranscriptionOptions = OPTIONS
) -> list[Transcript | Completed]:
    segmenter = VoiceSegmenter(options.audio_format, engine.new_detector(), Endpointer(EndpointingConfig()))
    recording = RecordingTranscriber(Schedule(engine), segmenter, options, SttMetrics(CollectorRegistry()))
    return [event async for event in recording.transcribe(audio)]


async def test_a_recording_is_one_final_transcript_with_the_place_of_its_speech() -> None:
    transcript, completed = await transcribe(ScriptedEngine(), pcm16(silence(1), speech(2), silence(1)))
    assert isinstance(transcript, Transcript)
    assert transcript.is_final
    assert (transcript.start_s, transcript.end_s) == (pytest.approx(1, abs=0.04), pytest.approx(3, abs=0.04))
    assert completed == Completed("scripted", 4.0, 0.125)


async def test_silence_is_not_given_to_the_model() -> None:
    engine = ScriptedEngine()
    transcript, _ = await transcribe(engine, pcm16(silence(5)))
    assert isinstance(transcript, Transcript)
    assert (transcript.text, transcript.is_final) == ("", True)
    assert engine.calls == []


async def test_sentences_near_each_other_go_to_the_model_together() -> None:
    engine = ScriptedEngine()
    await transcribe(engine, pcm16(speech(2), silence(1), speech(2), silence(1)))
    assert [call.seconds for call in engine.calls] == [pytest.approx(5.1, abs=0.07)]


async def test_a_minute_is_split_at_its_silences_into_windows_and_nothing_is_lost() -> None:
    engine = ScriptedEngine(texts=["one", "two"])
    transcript, _ = await transcribe(engine, pcm16(*[speech(9), silence(1)] * 6))  # 29.2 s of each 30 s
    assert isinstance(transcript, Transcript)
    assert transcript.text == "one two"
    assert all(call.seconds <= 30 for call in engine.calls)
    assert sum(call.seconds for call in engine.calls) >= 6 * 9


async def test_speech_without_a_pause_is_split_and_nothing_is_lost() -> None:
    engine = ScriptedEngine()
    await transcribe(engine, pcm16(speech(60)))
    assert sum(call.seconds for call in engine.calls) == pytest.approx(60, abs=0.05)
    assert all(call.seconds <= 30 for call in engine.calls)


async def test_interim_transcripts_come_from_the_quick_recognition_of_each_window() -> None:
    engine = ScriptedEngine(texts=["quick one", "one", "quick two", "two"])
    options = replace(OPTIONS, interim_results=True, request=RecognitionRequest("en", word_timings=True))
    events = await transcribe(engine, pcm16(speech(10), silence(4), speech(10)), options)
    transcripts = [(event.text, event.is_final) for event in events if isinstance(event, Transcript)]
    assert transcripts == [("quick one", False), ("one quick two", False), ("one two", True)]
    assert [(call.interim, call.request.word_timings) for call in engine.calls] == [(True, True), (False, True)] * 2


async def test_a_language_once_detected_holds_for_the_rest_of_the_recording() -> None:
    engine = ScriptedEngine(language="de")
    options = replace(OPTIONS, request=RecognitionRequest(None), language_tag="")
    events = await transcribe(engine, pcm16(speech(10), silence(4), speech(10)), options)
    assert [call.request.language for call in engine.calls] == [None, "de"]
    assert [event.language_tag for event in events if isinstance(event, Transcript)] == ["de"]


async def test_edge_29_half_a_sample_at_the_end_is_refused() -> None:
    with pytest.raises(UnsupportedAudioError) as refused:
        await transcribe(ScriptedEngine(), pcm16(speech(1)) + b"x")
    assert refused.value.field == "audio"


@pytest.mark.parametrize(
    ("audio_format", "size", "error"),
    [
        (PCM16, 0, InvalidArgumentError),
        (PCM16, 60 * 32_000 + 2, AudioTooLongError),
        (AudioFormat(Encoding.PCM_F32LE, 48_000, 2), (4 << 20) + 8, AudioTooLongError),
    ],
)
def test_nothing_and_too_much_are_refused_by_name(
    audio_format: AudioFormat, size: int, error: type[InvalidArgumentError]
) -> None:
    with pytest.raises(error) as refused:
        check_size(bytes(size), replace(OPTIONS, audio_format=audio_format))
    assert refused.value.field == "audio"


def test_exactly_a_minute_is_not_too_much() -> None:
    check_size(bytes(60 * 32_000), OPTIONS)
