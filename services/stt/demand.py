"""How much of a model's time the audio of live streams needs, as measured. Pure."""

import math

_MEMORY_S = 120.0
"""Seconds of audio, of all streams together, after which what was measured counts a third."""


class Demand:
    """Time in the model for each second of audio that comes in, silence included: the real-time factor as it is felt.

    It knows no clock: how old a measurement is, is told by how much audio has come since.
    """

    def __init__(self) -> None:
        self._audio_s = 0.0
        self._work_s = 0.0

    def heard(self, audio_s: float) -> None:
        """So many seconds of audio have come in."""
        fading = math.exp(-audio_s / _MEMORY_S)
        self._audio_s = self._audio_s * fading + audio_s
        self._work_s *= fading

    def worked(self, work_s: float) -> None:
        """Final transcripts have taken so many seconds in the model."""
        self._work_s += work_s

    @property
    def factor(self) -> float:
        """Seconds in the model for a second of audio; 0 before anything was heard."""
        return self._work_s / self._audio_s if self._audio_s else 0.0
