"""Speaks the segments of one response in order; the next is synthesized once the audio of the one before is there."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from orchestrator import clock
from orchestrator.domain import SessionConfig
from orchestrator.output import Output
from orchestrator.stages.language_model import SpeechSegment
from orchestrator.stages.text_to_speech import TextToSpeech, WordTiming

MAX_CHARACTERS = 300
"""Of segments that are spoken in one piece: some 20 seconds. What was heard of it is told by its length where the
engine does not time its words, and that is less exact the longer it is.
"""
_SAFETY = 0.5
"""Share of the audio that is left to play within which the next must begin."""


class Speech:
    """A queue of segments with the audio of each put out, whole and in order.

    One synthesis runs at a time: a second one beside it would only take the processor from the audio that is waited
    for, while the lead (see `Output.put_audio`) gives the next segment time enough. Of a response that is not released
    only the first segment is synthesized. Segments that have come meanwhile are synthesized in one piece (`together`):
    the more audio is left to play, the more of them.

    Args:
        on_progress: called whenever audio has come.
    """

    def __init__(
        self, tts: TextToSpeech, config: SessionConfig, output: Output, on_progress: Callable[[], None]
    ) -> None:
        self._tts, self._config, self._output, self._on_progress = tts, config, output, on_progress
        self._segments: deque[SpeechSegment] = deque()
        self._finished = False
        self.synthesizing = False
        """Whether audio of the service's is waited for, or for a client who plays it."""
        self._changed = asyncio.Event()
        self._character_s: float | None = None
        """Seconds from a request to its first audio, by character: the most that was seen."""

    def add(self, segment: SpeechSegment) -> None:
        """Speak this next."""
        self._segments.append(segment)
        self._changed.set()

    def finish(self) -> None:
        """No segment follows."""
        self._finished = True
        self._changed.set()

    async def run(self) -> None:
        """Put out the audio of every segment; ends after `finish`.

        Raises:
            ParleyError: where a synthesis fails.
        """
        previous_text = ""
        while await self._next_ready():
            segment = together(self._segments, self._room())
            await self._speak(segment, previous_text)
            previous_text = segment.text
            await self._output.until_released()
            self._on_progress()

    async def _speak(self, segment: SpeechSegment, previous_text: str) -> None:
        playback = self._output.playback
        playback.begin_segment(segment.text)
        self.synthesizing = True
        asked_at: float | None = clock.now()
        async with contextlib.aclosing(self._tts.synthesize(self._config, segment, previous_text)) as audio:
            async for data in audio:
                if isinstance(data, WordTiming):
                    playback.time_word(data.text, data.start_s, data.end_s)
                    continue
                if asked_at is not None:
                    spent_s, asked_at = (clock.now() - asked_at) / len(segment.text), None
                    self._character_s = max(self._character_s or 0.0, spent_s)
                await self._output.put_audio(data)
                self._on_progress()
        playback.end_segment()
        self.synthesizing = False

    def _room(self) -> int:
        """Characters that may be asked for in one piece, so that their first audio is there in time, even from a
        service that sends none before all of it is made.
        """
        left_s = self._output.playback.unplayed_s(clock.now())
        if self._character_s is None or left_s <= 0:
            return 0
        most = left_s * _SAFETY / self._character_s if self._character_s else MAX_CHARACTERS
        return min(MAX_CHARACTERS, int(most))

    async def _next_ready(self) -> bool:
        while not self._segments:
            if self._finished:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True


def together(waiting: deque[SpeechSegment], room: int) -> SpeechSegment:
    """Take the first segment, and as many more with it as there is room for, in characters."""
    taken = [waiting.popleft()]
    length = len(taken[0].text)
    while waiting and waiting[0].language_code == taken[0].language_code:
        length += 1 + len(waiting[0].text)
        if length > room:
            break
        taken.append(waiting.popleft())
    return SpeechSegment(" ".join(segment.text for segment in taken), taken[0].language_code)
