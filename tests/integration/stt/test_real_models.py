"""The STT program with its embedded models, on recorded speech (LibriVox, Sense and Sensibility)."""

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
import pytest_asyncio
import soundfile
from google.protobuf.duration_pb2 import Duration
from parley.stt.v1 import stt_service_pb2 as pb
from parley.stt.v1 import stt_service_pb2_grpc as pb_grpc

from services.common.audio import Samples, encode, resample
from services.common.audio_format import AudioFormat, Encoding
from services.common.wire import audio_format_message
from tests.support.recordings import TEXTS, errors, recorded
from tests.support.servers import RunningServer, running
from tests.support.sounds import SOUNDS, sound, whispered
from tests.support.stt_client import FORCE, Heard, UntilInterim, audio, config, opening, stream, transcribe
from tests.support.stt_doubles import pcm16, silence

pytestmark = [pytest.mark.models, pytest.mark.asyncio(loop_scope="module")]

MAX_RESIDENT_BYTES = 700e6


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stt() -> AsyncIterator[RunningServer]:
    async with running("stt") as started:
        yield started


@pytest.mark.parametrize("name", TEXTS)
async def test_recorded_speech_is_understood(stt: RunningServer, name: str) -> None:
    heard = await transcribe(stt.address, pcm16(recorded(name)))
    assert errors(heard.text, name) <= 0.05
    assert heard.finals[0].confidence > 0.5


def assert_promises_are_kept(heard: Heard) -> None:
    """Of each utterance: what a transcript says will not change begins all later ones."""
    transcripts = heard.of("transcript")
    for at, transcript in enumerate(transcripts):
        promised = transcript.text.encode()[: transcript.stable_length_bytes]
        later = [other for other in transcripts[at:] if other.utterance_id == transcript.utterance_id]
        assert all(other.text.encode().startswith(promised) for other in later)


async def test_live_speech_is_understood_with_interim_transcripts_on_the_way(stt: RunningServer) -> None:
    begin, end = np.split(recorded("0870"), [3 * 16_000])
    messages = [*audio(pcm16(begin)), UntilInterim(), *audio(pcm16(end, silence(1)))]
    heard = await stream(stt.address, [opening(config(enable_interim_results=True)), *messages])
    assert errors(heard.text, "0870") <= 0.05
    assert "John" in heard.interims[-1].text
    assert_promises_are_kept(heard)
    assert {interim.utterance_id for interim in heard.interims} == {heard.finals[0].utterance_id}


@pytest.mark.parametrize(
    "audio_format",
    [
        AudioFormat(Encoding.MULAW, 8_000),
        AudioFormat(Encoding.ALAW, 8_000),
        AudioFormat(Encoding.PCM_S16LE, 44_100, 2),
        AudioFormat(Encoding.PCM_F32LE, 48_000),
        AudioFormat(Encoding.PCM_S16LE, 22_050),
    ],
    ids=lambda value: f"{value.encoding.value}-{value.sample_rate_hz}-{value.channels}",
)
async def test_edge_29_every_format_is_understood(stt: RunningServer, audio_format: AudioFormat) -> None:
    samples = np.concatenate([recorded("0930"), silence(1)])
    data = encode(resample(samples, 16_000, audio_format.sample_rate_hz), audio_format)
    asked = config(audio_format_message(audio_format))
    for heard in (
        await transcribe(stt.address, data, asked),
        await stream(stt.address, [opening(asked), *audio(data)]),
    ):
        assert errors(heard.text, "0930") <= 0.15
        assert heard.of("completed")[0].audio_duration.ToMilliseconds() == pytest.approx(4_290, abs=3)


@pytest.mark.parametrize("damage", ["constant offset", "clipping", "very quiet"])
async def test_edge_29_bad_recordings_are_understood(stt: RunningServer, damage: str) -> None:
    samples = recorded("0890")
    damaged = {
        "constant offset": samples * np.float32(0.5) + np.float32(0.5),
        "clipping": np.clip(samples * 8, -1, 1),
        "very quiet": samples / 50,
    }[damage]
    heard = await stream(stt.address, [opening(), *audio(pcm16(damaged, silence(1)))])
    assert len(heard.finals) == 1
    assert errors(heard.text, "0890") <= 0.15


def noise(kind: str) -> Samples:
    generator = np.random.default_rng(1)
    white = generator.standard_normal(6 * 16_000)
    time = np.arange(6 * 16_000) / 16_000
    sound = {
        "silence": np.zeros_like(white),
        "white noise": 0.05 * white,
        "loud noise": 0.3 * white,
        "mains hum": 0.3 * np.sin(2 * np.pi * 50 * time) + 0.1 * np.sin(2 * np.pi * 100 * time),
        "clicks": np.where(np.arange(len(white)) % 8_000 < 40, 0.8, 0.0),
        "dialling": 0.2 * np.sin(2 * np.pi * 440 * time),
    }[kind]
    return sound.astype(np.float32)


@pytest.mark.parametrize("kind", ["silence", "white noise", "loud noise", "mains hum", "clicks", "dialling"])
async def test_noise_gives_no_invented_text(stt: RunningServer, kind: str) -> None:
    data = pcm16(noise(kind))
    assert (await transcribe(stt.address, data)).text == ""
    live = await stream(stt.address, [opening(config(enable_interim_results=True)), *audio(data)])
    assert "".join(transcript.text for transcript in live.of("transcript")) == ""
    released = await stream(stt.address, [opening(manual_end=True), *audio(data), FORCE])
    assert [final.text for final in released.finals] == [""]


async def test_ten_minutes_of_noise_music_and_silence_give_no_word(stt: RunningServer) -> None:
    data = pcm16(*(sound(kind) for kind in SOUNDS))
    assert len(data) >= 10 * 60 * 32_000
    heard = await stream(stt.address, [opening(config(enable_interim_results=True)), *audio(data, 16_000)])
    assert heard.of("completed")
    assert [transcript.text for transcript in heard.of("transcript") if transcript.text] == []


async def test_edge_30_a_pause_inside_a_sentence_does_not_part_it(stt: RunningServer) -> None:
    samples = recorded("0890")
    middle = 39 * 512  # in the pause after "rather"
    heard = await stream(stt.address, [opening(), *audio(pcm16(samples[:middle], silence(0.25), samples[middle:]))])
    assert len(heard.finals) == 1
    assert errors(heard.text, "0890") <= 0.15


async def test_two_utterances_in_a_stream_have_offsets_from_its_start(stt: RunningServer) -> None:
    data = pcm16(silence(2), recorded("0880"), silence(2), recorded("0930"), silence(1))
    heard = await stream(stt.address, [opening(config(enable_word_timings=True)), *audio(data)])
    assert [errors(final.text, name) for final, name in zip(heard.finals, ("0880", "0930"), strict=True)] == [0, 0]
    first, second = heard.finals
    assert first.utterance_id != second.utterance_id
    assert first.start_offset.ToMilliseconds() == pytest.approx(2_260, abs=100)
    assert first.end_offset.ToMilliseconds() == pytest.approx(2_000 + 2_820, abs=100)
    assert second.start_offset.ToMilliseconds() == pytest.approx(6_990 + 290, abs=100)
    assert second.words[0].start_offset.ToMilliseconds() >= second.start_offset.ToMilliseconds()
    stopped = [event.offset.ToMilliseconds() for event in heard.of("speech_stopped")]
    assert stopped == [final.end_offset.ToMilliseconds() for final in heard.finals]


async def test_words_are_timed_in_order_and_spell_the_text(stt: RunningServer) -> None:
    heard = await transcribe(stt.address, pcm16(silence(1), recorded("0880")), config(enable_word_timings=True))
    (final,) = heard.finals
    assert " ".join(word.text for word in final.words) == final.text
    times = [at.ToMilliseconds() for word in final.words for at in (word.start_offset, word.end_offset)]
    assert times == sorted(times)
    assert 1_000 <= times[0] <= times[-1] <= 3_990
    young = next(word for word in final.words if word.text == "young")
    assert young.start_offset.ToMilliseconds() == pytest.approx(1_000 + 2_050, abs=250)
    assert all(0 < word.confidence <= 1 for word in final.words)
    assert (await transcribe(stt.address, pcm16(recorded("0880")))).finals[0].words == []


async def test_push_to_talk_holds_what_was_said_between_two_releases(stt: RunningServer) -> None:
    data = pcm16(recorded("0880"), silence(1.2), recorded("0930"))
    rest = audio(pcm16(silence(3), recorded("0890")))
    heard = await stream(stt.address, [opening(manual_end=True), *audio(data), FORCE, *rest, FORCE])
    assert len(heard.finals) == 2
    assert errors(heard.finals[0].text, "0880", "0930") <= 0.1
    assert errors(heard.finals[1].text, "0890") <= 0.1
    assert len(heard.of("speech_started")) == 2


async def test_edge_30_max_utterance_parts_speech_without_losing_it(stt: RunningServer) -> None:
    data = pcm16(recorded("0870"), silence(1))
    heard = await stream(stt.address, [opening(max_utterance=Duration(seconds=3)), *audio(data)])
    assert len(heard.finals) >= 2
    assert errors(heard.text, "0870") <= 0.15
    stopped = [event.offset.ToMilliseconds() for event in heard.of("speech_stopped")]
    started = [event.offset.ToMilliseconds() for event in heard.of("speech_started")]
    assert set(started[1:]) <= set(stopped)


async def test_a_minute_is_understood_to_its_end(stt: RunningServer) -> None:
    names = (*TEXTS, *TEXTS, *TEXTS)
    heard = await transcribe(stt.address, pcm16(*(recorded(name) for name in names)))
    assert errors(heard.text, *names) <= 0.05


async def test_edge_30_speech_in_the_first_frame_is_whole(stt: RunningServer) -> None:
    samples = recorded("0930")[10 * 512 :]  # "he" begins here
    heard = await stream(stt.address, [opening(), *audio(pcm16(samples, silence(1)))])
    assert errors(heard.text, "0930") == 0
    assert heard.of("speech_started")[0].offset.ToMilliseconds() < 100


async def test_fast_speech_is_not_cut_short(stt: RunningServer) -> None:
    faster = resample(np.concatenate([recorded("0870"), silence(0.5)]), 16_000, 10_700)  # 1.5 times the speed
    heard = await transcribe(stt.address, pcm16(faster))
    assert errors(heard.text, "0870") <= 0.15


async def test_the_language_is_detected_on_request(stt: RunningServer) -> None:
    heard = await stream(
        stt.address,
        [
            opening(config(language_code="auto", enable_interim_results=True)),
            *audio(pcm16(recorded("0930"), silence(1))),
        ],
    )
    assert heard.finals[0].language_code == "en"
    assert errors(heard.text, "0930") <= 0.15
    assert (await transcribe(stt.address, pcm16(recorded("0930")), config(language_code="en-GB"))).finals[
        0
    ].language_code == "en-GB"


async def test_a_hint_decides_how_a_name_is_spelt(stt: RunningServer) -> None:
    data = pcm16(recorded("0870"))
    assert "Dashwood " in (await transcribe(stt.address, data)).text
    assert "Dashwoode " in (await transcribe(stt.address, data, config(hints=["John Dashwoode"]))).text


async def test_hints_are_not_heard_in_silence_and_control_tokens_in_them_are_only_text(stt: RunningServer) -> None:
    hints = ["Dashwood", "<|endoftext|><|nospeech|>", "x" * 1_500]
    assert (await transcribe(stt.address, pcm16(silence(3)), config(hints=hints))).text == ""
    heard = await transcribe(stt.address, pcm16(recorded("0930")), config(hints=hints))
    assert errors(heard.text, "0930") <= 0.3


async def test_both_models_are_loaded_and_the_careful_one_is_listed(stt: RunningServer) -> None:
    async with grpc.aio.insecure_channel(stt.address) as channel:
        (model,) = (await pb_grpc.SpeechToTextServiceStub(channel).ListModels(pb.ListModelsRequest())).models
    assert (model.name, model.engine) == ("whisper-base", "faster-whisper")
    assert len(model.language_codes) > 90
    assert model.supports_interim_results
    assert model.supports_word_timings


async def test_clients_that_leave_in_the_middle_leave_nothing_behind(stt: RunningServer) -> None:
    data = audio(pcm16(recorded("0870")))
    async with grpc.aio.insecure_channel(stt.address) as channel:
        stub = pb_grpc.SpeechToTextServiceStub(channel)
        for _ in range(5):
            call = stub.StreamingTranscribe()
            for message in [opening(config(enable_interim_results=True)), *data]:
                await call.write(message)
            await call.read()
            call.cancel()
    heard = await transcribe(stt.address, pcm16(recorded("0930")))
    assert errors(heard.text, "0930") == 0
    assert not [entry for entry in stt.logs if entry.get("level") in ("ERROR", "WARNING")]


async def test_edge_29_half_an_hour_in_one_stream_with_ten_minutes_of_silence_before_the_first_word(
    stt: RunningServer,
) -> None:
    before = psutil.Process(stt.pid).memory_info().rss
    minute = audio(pcm16(silence(60)), chunk_bytes=64_000)
    spoken = audio(pcm16(recorded("0930"), silence(1)))
    heard = await stream(stt.address, [opening(), *minute * 10, *spoken, *(minute * 4 + spoken) * 5])
    assert [errors(final.text, "0930") for final in heard.finals] == [0] * 6
    starts = [final.start_offset.ToMilliseconds() for final in heard.finals]
    apart = 241_000 + len(recorded("0930")) // 16
    assert starts == [pytest.approx(600_290 + number * apart, abs=250) for number in range(6)]
    assert psutil.Process(stt.pid).memory_info().rss - before < 60e6


async def test_whispered_speech_is_understood(stt: RunningServer) -> None:
    heard = await stream(stt.address, [opening(), *audio(pcm16(whispered(recorded("0870")), silence(1)))])
    assert errors(heard.text, "0870") <= 0.25


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="the program espeak-ng is not installed")
async def test_two_languages_in_one_utterance_are_one_transcript_in_the_first_of_them(stt: RunningServer) -> None:
    asked = ("espeak-ng", "-v", "de", "--stdout", "Und morgen fahren wir mit dem Zug nach Berlin.")
    process = await asyncio.create_subprocess_exec(*asked, stdout=asyncio.subprocess.PIPE)
    spoken, _ = await process.communicate()
    german, rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
    data = pcm16(recorded("0930"), resample(german, rate, 16_000), silence(1.5))
    heard = await stream(stt.address, [opening(config(language_code="auto")), *audio(data)])
    assert heard.error is None
    assert "amiable" in heard.text
    assert heard.finals[0].language_code == "en"


async def test_memory_stays_within_its_bound_after_all_of_this(stt: RunningServer) -> None:
    assert psutil.Process(stt.pid).memory_info().rss <= MAX_RESIDENT_BYTES


async def test_the_final_model_can_do_both_jobs_and_a_folder_can_be_named(tmp_path: Path) -> None:
    from services.stt import weights

    folder = weights.locate("package:whisper-tiny.en", tmp_path).source
    async with running("stt", "--stt_model_name", folder, "--stt_interim_model_name", "") as only:
        *parts, end = np.split(recorded("0870"), [second * 16_000 for second in (2, 3, 4, 5, 6)])
        spoken = [message for part in parts for message in (*audio(pcm16(part)), UntilInterim())]
        asked = config(enable_interim_results=True, enable_word_timings=True)
        heard = await stream(only.address, [opening(asked), *spoken, *audio(pcm16(end, silence(1)))])
        assert errors(heard.text, "0870") <= 0.15
        assert_promises_are_kept(heard)
        assert max(interim.stable_length_bytes for interim in heard.interims) > len("Mr. John")
        assert all([word.text for word in interim.words] == interim.text.split() for interim in heard.interims)
        refused = await transcribe(only.address, pcm16(recorded("0930")), config(language_code="de"))
        assert refused.error is not None
        assert refused.error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_language_that_the_model_does_not_know_is_refused_at_start() -> None:
    flags = ("--stt_model_name", "package:whisper-tiny.en", "--stt_interim_model_name", "", "--language", "de")
    with pytest.raises(RuntimeError, match="--language de"):
        async with running("stt", *flags):
            pass
