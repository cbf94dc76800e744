"""Audio files in and out."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from cli.audio_files import SpeechFile, check_writable, write_wav
from cli.errors import CliError
from services.common.audio_format import AudioFormat, Encoding


def tone(seconds: float, rate: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)


def pcm(path: Path) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    with SpeechFile(path) as source:
        return np.frombuffer(b"".join(source.blocks()), "<i2")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_any_container_is_read_as_16_bit_mono_at_its_own_rate(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(1.3, 44100), tone(1.3, 44100)], axis=1), 44100)
    with SpeechFile(path) as source:
        assert source.format == AudioFormat(Encoding.PCM_S16LE, 44100)
        samples = np.frombuffer(b"".join(source.blocks()), "<i2")
    assert abs(len(samples) / 44100 - 1.3) < 0.06  # lossy codecs add a little
    assert 0.3 < np.sqrt(np.mean((samples / 32768) ** 2)) / 0.3535 < 1.1


def test_channels_are_averaged(tmp_path: Path) -> None:
    left = np.full(100, 0.5)
    soundfile.write(tmp_path / "a.wav", np.stack([left, -left], axis=1), 16000)
    assert not pcm(tmp_path / "a.wav").any()


@pytest.mark.parametrize(("rate", "read_as"), [(96_000, 48_000), (4_000, 8_000), (22_050, 22_050)])
def test_rates_that_no_server_takes_are_resampled(tmp_path: Path, rate: int, read_as: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.5, rate), rate)
    with SpeechFile(tmp_path / "a.wav") as source:
        assert source.format.sample_rate_hz == read_as
    assert abs(len(pcm(tmp_path / "a.wav")) - 2.5 * read_as) <= 2


def test_frames_have_one_length_and_lose_nothing(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(2.013, 16000), 16000, subtype="PCM_16")
    with SpeechFile(tmp_path / "a.wav") as source:
        frames = list(source.frames(0.02))
        silence = source.silence(0.02)
    assert {len(frame) for frame in frames} == {640}
    assert silence == bytes(640)
    assert b"".join(frames).startswith(pcm(tmp_path / "a.wav").tobytes())
    assert len(frames) == 101


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.wav", None, "No such file"),
        ("empty.wav", b"", "the file is empty"),
        ("text.wav", b"this is no audio at all", "is not an audio file"),
        ("samples.raw", bytes(100), "is not an audio file"),
        (".", None, "is a folder"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_names_the_file(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CliError, match=message) as raised:
        SpeechFile(path)
    assert str(path) in str(raised.value)


def test_a_recording_without_samples_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(CliError, match="no audio in it"):
        SpeechFile(tmp_path / "a.wav")


def test_a_damaged_recording_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, np.random.default_rng(0).uniform(-1, 1, 160_000), 16000)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) // 2))
    with SpeechFile(path) as source, pytest.raises(CliError, match=r"a\.flac: is damaged"):
        list(source.blocks())


@pytest.mark.parametrize("encoding", list(Encoding))
@pytest.mark.parametrize("channels", [1, 2])
def test_raw_audio_is_written_as_it_is(tmp_path: Path, encoding: Encoding, channels: int) -> None:
    audio_format = AudioFormat(encoding, 8000, channels)
    raw = (tone(0.5, 8000) * 32767).astype("<i2")
    data = {
        Encoding.PCM_S16LE: raw.tobytes(),
        Encoding.PCM_F32LE: (raw / 32768).astype("<f4").tobytes(),
    }.get(encoding, bytes(range(256)) * 8)
    write_wav(tmp_path / "a.wav", data + b"\1", audio_format)  # half a sample at the end is dropped
    with soundfile.SoundFile(tmp_path / "a.wav") as file:
        assert (file.samplerate, file.channels) == (8000, channels)
        assert file.frames == (len(data) + (audio_format.frame_bytes == 1)) // audio_format.frame_bytes
        if encoding is Encoding.PCM_S16LE:
            assert bytes(file.buffer_read(dtype="int16")) == data


def test_results_that_cannot_be_written_are_known_beforehand(tmp_path: Path) -> None:
    check_writable(tmp_path / "a.wav")
    with pytest.raises(CliError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(CliError, match="there is no folder"):
        check_writable(tmp_path / "no" / "a.wav")
    with pytest.raises(CliError, match="cannot write"):
        write_wav(tmp_path / "no" / "a.wav", b"\0\0", AudioFormat(Encoding.PCM_S16LE, 8000))
