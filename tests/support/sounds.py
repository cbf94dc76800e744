"""Ten minutes of what is not speech, made here: noise, machines, hands, breath, music and silence. 16 kHz, seeded."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from services.common.audio import Samples
from services.stt.timebase import SAMPLE_RATE_HZ

Array = npt.NDArray[np.float64]
Random = np.random.Generator


def _time(seconds: float) -> Array:
    return np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _coloured(seconds: float, random: Random, slope: float) -> Array:
    """Noise whose power falls with the frequency to the power of `slope`: 0 is white, 1 pink, 2 brown."""
    count = round(seconds * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequency = np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ), 20.0)
    sound = np.fft.irfft(spectrum / frequency ** (slope / 2), count)
    return np.asarray(sound / sound.std())


def _band(seconds: float, random: Random, low_hz: float, high_hz: float) -> Array:
    """Noise between two frequencies."""
    count = round(seconds * SAMPLE_RATE_HZ)
    spectrum = np.fft.rfft(random.standard_normal(count))
    frequency = np.fft.rfftfreq(count, 1 / SAMPLE_RATE_HZ)
    sound = np.fft.irfft(np.where((frequency > low_hz) & (frequency < high_hz), spectrum, 0), count)
    return np.asarray(sound / sound.std())


def _strewn(seconds: float, random: Random, every_s: float, sound: Callable[[], Array]) -> Array:
    """Short sounds at irregular times."""
    track = np.zeros(round(seconds * SAMPLE_RATE_HZ))
    at = 0.0
    while (at := at + random.exponential(every_s) + 0.02) < seconds:
        piece, start = sound(), round(at * SAMPLE_RATE_HZ)
        end = min(len(track), start + len(piece))
        track[start:end] += piece[: end - start]
    return track


def _note(frequency_hz: float, seconds: float, decay_s: float) -> Array:
    """A plucked or struck note with five overtones."""
    time = _time(seconds)
    tones = sum(np.sin(2 * np.pi * frequency_hz * n * time) / n**1.5 for n in range(1, 7))
    return np.asarray(tones * np.exp(-time / decay_s) * np.minimum(1, time / 0.005))


def _pitch(semitones: int) -> float:
    return 220.0 * float(2.0 ** (semitones / 12))


def _chords(seconds: float, random: Random) -> Array:
    chords = [(0, 4, 7), (9, 12, 16), (5, 9, 12), (7, 11, 14)]
    bars = [sum(_note(_pitch(n), 1.0, 0.8) for n in chords[bar % 4]) for bar in range(round(seconds))]
    return np.concatenate(bars)


def _melody(seconds: float, random: Random) -> Array:
    scale = (0, 2, 4, 5, 7, 9, 11, 12, 14, 16)
    steps = np.clip(np.cumsum(random.integers(-2, 3, round(seconds * 2))) + 4, 0, 9)
    vibrato = [_note(_pitch(12 + scale[step]) * (1 + 0.004 * random.standard_normal()), 0.5, 0.4) for step in steps]
    return np.concatenate(vibrato)


def _drums(seconds: float, random: Random) -> Array:
    def kick() -> Array:
        time = _time(0.2)
        return np.asarray(np.sin(2 * np.pi * (50 * time + 8 * (1 - np.exp(-time / 0.02)))) * np.exp(-time / 0.06))

    def snare() -> Array:
        return random.standard_normal(3_200) * np.exp(-_time(0.2) / 0.05)

    track = np.zeros(round(seconds * SAMPLE_RATE_HZ))
    for beat in range(round(seconds * 2)):
        piece, start = (kick() if beat % 2 == 0 else snare()), beat * SAMPLE_RATE_HZ // 2
        track[start : start + len(piece)] += piece[: len(track) - start]
    return track


def _key(random: Random) -> Array:
    return 0.4 * random.standard_normal(640) * np.exp(-_time(0.04) / random.uniform(0.004, 0.012))


def _choir(seconds: float, random: Random) -> Array:
    """Vowels without words, sung: harmonics under the formants of "ah", "oh" and "oo", with vibrato."""
    formants = [(730, 1090, 2440), (570, 840, 2410), (300, 870, 2240)]
    notes = []
    for _ in range(round(seconds)):
        time, pitch = _time(1.0), _pitch(int(random.choice([0, 2, 4, 5, 7, 9])))
        peaks = formants[random.integers(3)]
        phase = 2 * np.pi * np.cumsum(pitch * (1 + 0.01 * np.sin(2 * np.pi * 5.5 * time))) / SAMPLE_RATE_HZ
        gains = [sum(np.exp(-(((n * pitch - peak) / 150) ** 2)) for peak in peaks) + 0.02 for n in range(1, 30)]
        tones = sum(gain * np.sin(n * phase) for n, gain in enumerate(gains, 1))
        notes.append(tones * np.minimum(1, np.minimum(time, 1 - time) / 0.08))
    return np.concatenate(notes)


def _coughs(seconds: float, random: Random) -> Array:
    """Bursts of noise through a throat, in twos and threes."""

    def cough() -> Array:
        pieces = [_band(0.25, random, 200, 3_000) * np.exp(-_time(0.25) / 0.06) for _ in range(random.integers(2, 4))]
        return np.concatenate(pieces)

    return _strewn(seconds, random, 3.0, cough)


def _breath(seconds: float, random: Random) -> Array:
    """In and out, every four seconds: noise in the bands of the mouth and the nose."""
    time = _time(seconds)
    waves = np.maximum(0, np.sin(2 * np.pi * time / 4)) ** 2 + 0.6 * np.maximum(0, -np.sin(2 * np.pi * time / 4)) ** 3
    return (_band(seconds, random, 300, 2_500) + 0.4 * _coloured(seconds, random, 1)) * waves


SOUNDS: dict[str, Callable[[float, Random], Array]] = {
    "silence": lambda seconds, random: np.zeros(round(seconds * SAMPLE_RATE_HZ)),
    "white noise": lambda seconds, random: 0.1 * _coloured(seconds, random, 0),
    "pink noise": lambda seconds, random: 0.1 * _coloured(seconds, random, 1),
    "brown noise": lambda seconds, random: 0.15 * _coloured(seconds, random, 2),
    "hum": lambda seconds, random: (
        sum(0.2 / n * np.sin(2 * np.pi * 50 * n * _time(seconds) + n) for n in (1, 2, 3, 5, 7))
        + 0.005 * random.standard_normal(round(seconds * SAMPLE_RATE_HZ))
    ),
    "clicks": lambda seconds, random: _strewn(seconds, random, 0.5, lambda: np.full(random.integers(8, 60), 0.8)),
    "typing": lambda seconds, random: (
        _strewn(seconds, random, 0.13, lambda: _key(random))
        + 0.003 * random.standard_normal(round(seconds * SAMPLE_RATE_HZ))
    ),
    "breath": lambda seconds, random: 0.15 * _breath(seconds, random),
    "coughs": lambda seconds, random: 0.2 * _coughs(seconds, random),
    "choir": lambda seconds, random: 0.15 * _choir(seconds, random),
    "chords": lambda seconds, random: 0.1 * _chords(seconds, random),
    "melody and drums": lambda seconds, random: 0.2 * _melody(seconds, random) + 0.3 * _drums(seconds, random),
}
"""What makes each kind, from its seconds."""


def sound(kind: str, seconds: float = 50.0, seed: int = 1) -> Samples:
    """So many seconds of a kind, within [-1, 1]."""
    made = SOUNDS[kind](seconds, np.random.default_rng(seed))
    return np.clip(made, -1, 1).astype(np.float32)


def whispered(speech: Samples) -> Samples:
    """Speech without its voice: the spectrum of each 25 ms with phases by chance."""
    width, step = 400, 200
    random, window = np.random.default_rng(0), np.hanning(width)
    made = np.zeros(len(speech) + width)
    for at in range(0, len(speech) - width, step):
        loudness = np.abs(np.fft.rfft(speech[at : at + width] * window))
        phases = np.exp(2j * np.pi * random.random(len(loudness)))
        made[at : at + width] += np.fft.irfft(loudness * phases, width) * window
    return made[: len(speech)].astype(np.float32)
