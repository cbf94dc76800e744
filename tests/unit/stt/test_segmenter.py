"""From bytes to segments."""

import numpy as np
import pytest

from services.common.audio import encode
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UnsupportedAudioError
from services.stt.endpointing import Endpointer, EndpointingConfig, SegmentEnded, SegmentStarted
from services.stt.segmenter import CountingSegmenter, VoiceSegmenter
from services.stt.vad import EnergyDetector
from tests.support.stt_doubles import PCM16, pcm16, silence, speech


def voice_segmenter(audio_format: AudioFormat = PCM16) -> VoiceSegmenter:
    return VoiceSegmenter(audio_format, EnergyDetector(), Endpointer(EndpointingConfig()))


@pytest.mark.parametrize("chunk_bytes", [1, 7, 640, 1_000, 100_000])
def test_events_do_not_depend_on_the_chunking(chunk_bytes: int) -> None:
    audio = pcm16(silence(0.2), speech(0.5), silence(0.7), speech(0.3))
    whole, pieces = voice_segmenter(), voice_segmenter()
    expected = [*whole.feed(audio), *whole.flush()]
    events = [event for at in range(0, len(audio), chunk_bytes) for event in pieces.feed(audio[at : at + chunk_bytes])]
    assert [*events, *pieces.flush()] == expected
    assert len(expected) >= 4


def test_flush_includes_the_last_sample_and_the_next_feed_goes_on_behind_it() -> None:
    segmenter = voice_segmenter()
    segmenter.feed(pcm16(speech(1)[: 16_000 - 100]))
    ended = segmenter.flush()[-1]
    assert isinstance(ended, SegmentEnded)
    assert ended.end == segmenter.position == 15_900
    assert len(segmenter.samples(ended.start, ended.end)) == 15_900
    segmenter.forget()
    started = segmenter.feed(pcm16(speech(1)))[0]
    assert isinstance(started, SegmentStarted)
    assert started.start >= 15_900


@pytest.mark.parametrize("rate_hz", [8_000, 44_100, 48_000])
def test_flush_gets_out_of_the_resampler_what_it_holds_back(rate_hz: int) -> None:
    audio_format = AudioFormat(Encoding.PCM_F32LE, rate_hz)
    time = np.arange(rate_hz) / rate_hz
    segmenter = voice_segmenter(audio_format)
    for second in (1, 2, 3):
        segmenter.feed(encode((0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32), audio_format))
        segmenter.flush()
        assert segmenter.position == pytest.approx(second * 16_000, abs=3)


def test_edge_29_a_constant_offset_hides_no_silence() -> None:
    segmenter = voice_segmenter()
    events = segmenter.feed(pcm16(silence(1) + np.float32(0.5)))
    assert events == []


def test_counting_makes_one_segment_of_all_audio_up_to_flush() -> None:
    segmenter = CountingSegmenter(PCM16)
    assert segmenter.flush() == []
    assert segmenter.feed(b"") == []
    assert segmenter.feed(bytes(32_000)) == [SegmentStarted(0, 0)]
    assert segmenter.feed(bytes(32_000)) == []
    assert segmenter.flush() == [SegmentEnded(0, 0, 32_000, 32_000, closes_utterance=True)]
    assert segmenter.flush() == []
    assert segmenter.feed(bytes(2)) == [SegmentStarted(32_000, 32_000)]


def test_counting_checks_what_it_counts() -> None:
    segmenter = CountingSegmenter(PCM16)
    segmenter.feed(bytes(3))
    with pytest.raises(UnsupportedAudioError, match="1 of 2 bytes"):
        segmenter.finish()
    with pytest.raises(UnsupportedAudioError, match="WAV"):
        CountingSegmenter(PCM16).feed(b"RIFF1234WAVE")
