"""A scripted engine for tests and load: a quiet tone of a set length after a set delay, by a voice called "fake"."""

import asyncio
from collections.abc import AsyncGenerator

import numpy as np

from services.common.audio import Samples
from services.common.audio_format import AudioFormat, Encoding
from services.tts.domain import ANY_LANGUAGE, Segment, Voice
from services.tts.engines.base import Engine

RATE_HZ, TONE_HZ, AMPLITUDE = 24_000, 400, 0.05


class FakeEngine(Engine):
    """Speaks any text at once, as a tone.

    Args:
        delay_s: seconds before the first audio.
        s_per_character: seconds of audio for each character at the normal rate.
    """

    name = "fake"

    def __init__(self, delay_s: float, s_per_character: float) -> None:
        super().__init__()
        self._delay_s = delay_s
        self._s_per_character = s_per_character
        # One second is a whole number of the tone's periods, so that blocks join without a click.
        self._second: Samples = (AMPLITUDE * np.sin(2 * np.pi * TONE_HZ * np.arange(RATE_HZ) / RATE_HZ)).astype(
            np.float32
        )

    async def load(self) -> None:
        """Nothing to load."""
        self.voices = (Voice("fake", self.name, (ANY_LANGUAGE,), AudioFormat(Encoding.PCM_S16LE, RATE_HZ)),)
        self.default_voice = "fake"

    async def synthesize(self, segment: Segment) -> AsyncGenerator[Samples, None]:
        """The tone, after the delay."""
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        left = round(len(segment.text) * self._s_per_character / segment.speaking_rate * RATE_HZ)
        while left > 0:
            block = self._second[:left]
            left -= len(block)
            yield block

    async def aclose(self) -> None:
        """Nothing to let go of."""
