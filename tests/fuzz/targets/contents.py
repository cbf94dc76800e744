"""What callers have recognised, seen or said: audio, images, text."""

import numpy as np

from services.common.audio import Decoder, decode, encode, resample
from services.common.audio_format import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ, AudioFormat, Encoding
from services.common.errors import InvalidArgumentError
from services.llm.images.content import inspect
from services.llm.images.limits import ImageError, ImageLimits
from services.tts import text as tts_text
from tests.fuzz.targets.registry import check, in_pieces, target


@target("u")
def audio(data: bytes) -> None:
    """Samples of any kind: finite, within limits, the same in any chunking, and able to be any other kind."""
    if len(data) < 4:
        return
    kinds, rate_hz = list(Encoding), MIN_RATE_HZ + int.from_bytes(data[1:3]) * (MAX_RATE_HZ - MIN_RATE_HZ) // 65535
    one = AudioFormat(kinds[data[0] % 4], rate_hz, 1 + data[3] % MAX_CHANNELS)
    other = AudioFormat(kinds[data[0] // 4 % 4], MIN_RATE_HZ + 1, 1 + data[3] // MAX_CHANNELS % MAX_CHANNELS)
    one.validate("audio")
    data = data[4:]
    try:
        samples = decode(data, one)
    except InvalidArgumentError as error:
        check(error.field == "audio", "names no field")
        return
    decoder = Decoder(one)
    pieces = [decoder.feed(chunk) for chunk in in_pieces(data)]
    assert np.array_equal(np.concatenate([*pieces, np.zeros(0, np.float32)]), samples)
    assert np.isfinite(samples).all()
    assert not len(samples) or float(np.abs(samples).max()) <= 1.0
    resampled = resample(samples, one.sample_rate_hz, other.sample_rate_hz)
    assert len(encode(resampled, other)) == len(resampled) * other.frame_bytes
    raw = np.frombuffer(data[: len(data) // 4 * 4], "<f4")  # what a model may compute
    encode(raw, other)


@target("i")
def image(data: bytes) -> None:
    """An encoded image."""
    try:
        inspect(data, ImageLimits(1 << 20, 1 << 20, 64, 1, 0, 1.0))
    except ImageError:
        return


@target("x")
def spoken_text(data: bytes) -> None:
    """Text for a TTS: sentences and pieces hold all that is to be read, once."""
    text = tts_text.clean(data.decode(errors="ignore"))
    pieces = [piece for sentence in tts_text.sentences(text) for piece in tts_text.cut(sentence, 40)]
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= 40 for piece in pieces)
