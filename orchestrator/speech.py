"""Speaks the segments of one response in order, the next one being synthesized while the first is heard."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from orchestrator.domain import SessionConfig
from orchestrator.playback import Playback
from orchestrator.stages.language_model import SpeechSegment
from orchestrator.stages.text_to_speech import Synthesis, TextToSpeech

SYNTHESES_AHEAD = 2
"""Segments that the TTS service works on at a time for one response: the one being sent and the next."""


class Speech:
    """A queue of segments with the audio of each sent, whole and in order, through `send`.

    Args:
        send: takes the next audio bytes; waits where the client does not keep up.
        playback: told of every segment as its audio goes out.
    """

    def __init__(
        self, tts: TextToSpeech, config: SessionConfig, playback: Playback, send: Callable[[bytes], Awaitable[None]]
    ) -> None:
        self._tts, self._config, self._playback, self._send = tts, config, playback, send
        self._segments: deque[SpeechSegment] = deque()
        self._syntheses: deque[Synthesis] = deque()
        self._previous_text = ""
        self._finished = False
        self._changed = asyncio.Event()

    def add(self, segment: SpeechSegment) -> None:
        """Speak this next; its synthesis begins at once, up to `SYNTHESES_AHEAD`."""
        self._segments.append(segment)
        self._begin_syntheses()

    def finish(self) -> None:
        """No segment follows."""
        self._finished = True
        self._changed.set()

    async def run(self) -> None:
        """Send the audio of every segment; ends after `finish`.

        Raises:
            ParleyError: where a synthesis fails.
        """
        try:
            while await self._next_ready():
                synthesis = self._syntheses[0]
                self._playback.begin_segment(synthesis.text)
                async for audio in synthesis.audio():
                    await self._send(audio)
                self._playback.end_segment()
                self._syntheses.popleft()
                self._begin_syntheses()
        finally:
            for synthesis in self._syntheses:
                synthesis.cancel()

    async def _next_ready(self) -> bool:
        while not self._syntheses:
            if self._finished:
                return False
            self._changed.clear()
            await self._changed.wait()
        return True

    def _begin_syntheses(self) -> None:
        while self._segments and len(self._syntheses) < SYNTHESES_AHEAD:
            segment = self._segments.popleft()
            self._syntheses.append(self._tts.synthesize(self._config, segment, self._previous_text))
            self._previous_text = segment.text
        self._changed.set()
