"""The sound card, with a library that only pretends."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from parley_client import AudioDelta, Playback, Position

from cli.errors import CliError
from cli.microphone import Microphone, Speaker
from services.common.audio_format import AudioFormat, Encoding

FORMAT = AudioFormat(Encoding.PCM_S16LE, 16_000)


class PortAudioError(Exception):
    """As the real library's."""


class Stream:
    """A stream whose callback the test calls."""

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.running = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def close(self) -> None:
        self.running = False


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> list[Stream]:
    opened: list[Stream] = []

    def open_stream(**options: Any) -> Stream:
        opened.append(Stream(**options))
        return opened[-1]

    library = SimpleNamespace(RawInputStream=open_stream, RawOutputStream=open_stream, PortAudioError=PortAudioError)
    monkeypatch.setitem(sys.modules, "sounddevice", library)  # type: ignore[arg-type]
    return opened


def pulled(stream: Stream, size: int) -> bytes:
    """What the sound card gets when it asks for so many bytes."""
    buffer = bytearray(size)
    stream.options["callback"](memoryview(buffer), size // 2, None, None)
    return bytes(buffer)


async def test_frames_come_as_they_are_captured(streams: list[Stream]) -> None:
    with Microphone(FORMAT, 0.02) as microphone:
        assert streams[0].options["blocksize"] == 320
        streams[0].options["callback"](b"one", 320, None, None)
        streams[0].options["callback"](b"two", 320, None, None)
        frames = microphone.frames()
        assert [await anext(frames), await anext(frames)] == [b"one", b"two"]
    assert not streams[0].running


async def test_the_speaker_plays_in_order_and_fills_up_with_silence(streams: list[Stream]) -> None:
    with Speaker(FORMAT) as speaker:
        speaker.play(b"abcd")
        speaker.play(b"ef")
        assert [pulled(streams[0], 4), pulled(streams[0], 4)] == [b"abcd", b"ef\0\0"]


async def test_stopping_what_a_session_plays_silences_the_speaker_at_once(streams: list[Stream]) -> None:
    playback = Playback(FORMAT.sample_rate_hz)
    with Speaker(FORMAT, playback):
        playback.add(AudioDelta("r", b"abcdefgh", 0.0, "i"))
        assert pulled(streams[0], 2) == b"ab"
        assert playback.stop() == Position("i", 1 / FORMAT.sample_rate_hz)
        assert pulled(streams[0], 2) == b"\0\0"


@pytest.mark.parametrize("size", [4, 8])
async def test_drained_waits_until_the_sound_card_has_everything(streams: list[Stream], size: int) -> None:
    with Speaker(FORMAT) as speaker:
        speaker.play(b"abcdefgh")
        while pulled(streams[0], size).strip(b"\0"):
            pass
        await speaker.drained()
        assert not streams[0].running


@pytest.mark.parametrize("device", [Microphone, Speaker])
async def test_without_a_sound_card_there_is_one_clear_line(
    streams: list[Stream], monkeypatch: pytest.MonkeyPatch, device: Any
) -> None:
    def refuse(**_: Any) -> None:
        raise PortAudioError("Error querying device -1")

    for kind in ("RawInputStream", "RawOutputStream"):
        monkeypatch.setattr(sys.modules["sounddevice"], kind, refuse)
    with (
        pytest.raises(CliError, match=r"there is no sound card with a (microphone|loudspeaker) here"),
        device(*((FORMAT, 0.02) if device is Microphone else (FORMAT,))),
    ):
        pass


async def test_without_the_library_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(CliError, match=r"pip install 'parley-voice\[mic\]'"), Speaker(FORMAT):
        pass
