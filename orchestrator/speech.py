"""Speaks the segments of one response in order; the next is synthesized once the audio of the one before is there."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from orchestrator.domain import SessionConfig
from orchestrator.output import Output
from orchestrator.stages.language_model import SpeechSegment
from orchestrator.stages.text_to_speech import TextToSpeech, WordTiming


class Speech:
    """A queue of segments with the audio of each put out, whole and in order.

    One synthesis runs at a time: a second one beside it would only take the processor from the audio that is waited
    for, while the lead (see `Output.put_audio`) gives the next segment time enough. Of a response that is not released
    only the first segment is synthesized.

    Args:
        on_progress: called whenever audio has come.
    """

    def __init__(
        self, tts: TextToSpeech, config: SessionConfig, output: Output, on_progress: Callable[[], None]
    ) -> None:
        self._tts, self._config, self._output, self._on_progress = tts, config, output, on_progress
        self._segments: deque[SpeechSegment] = deque()
        self._finished = False
        self._changed = asyncio.Event()

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
            segment = self._segments.popleft()
            playback = self._output.playback
            playback.begin_segment(segment.text)
            async with contextlib.aclosing(self._tts.synthesize(self._config, segment, previous_text)) as audio:
                async for data in audio:
                    if isinstance(data, WordTiming):
                        playback.time_word(data.text, data.start_s, data.end_s)
                        continue
                    await self._output.put_audio(data)
                    self._on_progress()
            playback.end_segment()
            previous_text = segment.text
            await self._output.until_released()
            self._on_progress()

    async def _next_ready(self) -> bool:
        while not self._segments:
            if self._finished:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True
