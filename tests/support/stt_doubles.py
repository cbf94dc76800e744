"""A speech engine that a test holds in its hand, and audio that is loud where someone speaks."""

import asyncio
from dataclasses import dataclass, field

import numpy as np

from services.common.audio import Samples, encode
from services.common.audio_format import AudioFormat, Encoding
from services.stt.domain import ModelInfo, Recognition, RecognitionRequest
from services.stt.engines.base import Engine
from services.stt.timebase import SAMPLE_RATE_HZ
from services.stt.vad import EnergyDetector, VoiceDetector

PCM16 = AudioFormat(Encoding.PCM_S16LE, SAMPLE_RATE_HZ)


def speech(seconds: float) -> Samples:
    """Audio that the energy detector takes for speech."""
    time = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.3 * np.sin(2 * np.pi * 200 * time)).astype(np.float32)


def silence(seconds: float) -> Samples:
    """Audio that it takes for silence."""
    return np.zeros(round(seconds * SAMPLE_RATE_HZ), np.float32)


def pcm16(*parts: Samples) -> bytes:
    """Audio as bytes of `PCM16`."""
    return encode(np.concatenate(parts), PCM16)


@dataclass
class Call:
    """One call of `recognize`."""

    seconds: float
    request: RecognitionRequest
    interim: bool
    cancelled: bool = False


class ScriptedTurnEnd:
    """A turn-end model that answers with `answers`, in order, and waits while `gate` is closed."""

    def __init__(self, *answers: float | Exception) -> None:
        self._answers = list(answers)
        self.heard_s: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def probability(self, samples: Samples) -> float:
        """What comes next."""
        answer = self._answers.pop(0)
        self.heard_s.append(len(samples) / SAMPLE_RATE_HZ)
        await self.gate.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass
class ScriptedEngine(Engine):
    """Answers "said N.NN" with the seconds of audio it got, or what `texts` holds, in order; waits while `gate` is
    closed; raises `error` where there is one.
    """

    texts: list[str] = field(default_factory=list)
    error: Exception | None = None
    language: str = "en"
    processing_s: float = 0.125
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()

    async def load(self) -> None:
        """Nothing to load."""

    @property
    def info(self) -> ModelInfo:
        return ModelInfo("scripted", "scripted", ("en", "de", "no", "jw"), supports_word_timings=True)

    def new_detector(self) -> VoiceDetector:
        return EnergyDetector()

    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        call = Call(len(samples) / SAMPLE_RATE_HZ, request, interim)
        self.calls.append(call)
        self.called.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            call.cancelled = True
            raise
        if self.error is not None:
            raise self.error
        text = self.texts.pop(0) if self.texts else f"said {call.seconds:.2f}"
        return Recognition(text, request.language or self.language, 0.9, (), self.processing_s)

    async def aclose(self) -> None:
        """Nothing to let go of."""


@dataclass
class BusyEngine(ScriptedEngine):
    """Takes `takes_s` seconds for each recognition, `parallel` of them at a time."""

    takes_s: float = 1.0
    places: int | None = 1
    begun: list[tuple[float, bool]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.parallel = self.places

    async def recognize(self, samples: Samples, request: RecognitionRequest, *, interim: bool = False) -> Recognition:
        self.begun.append((len(samples) / 16_000, interim))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.at_once -= 1
        return Recognition("said", "en")
