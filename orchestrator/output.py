"""What one response sends to its client, and when: nothing before it is released, nothing while it is held."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from parley.common.v1 import chat_pb2

from orchestrator import clock
from orchestrator.captions import Captions
from orchestrator.domain import AudioDelta, FunctionCall, ResponseCreated, TextDelta
from orchestrator.outbox import Outbox
from orchestrator.playback import Playback
from services.common.audio_format import AudioFormat

_SLACK_S = 0.1
"""Audio is taken again once so much more than the least fits: a few chunks at a time, not one at a time."""
_ALL_PLAYED_S = 1e-3


@dataclass(frozen=True)
class OutputOptions:
    """How a response's events are sent.

    Attributes:
        audio_format: of the audio.
        max_audio_lead_s: seconds of audio that may be ahead of what the client plays.
        paced: whether the client plays the audio as it comes.
        spoken: whether there is audio; the text then goes along with it.
    """

    audio_format: AudioFormat
    max_audio_lead_s: float = 2.0
    paced: bool = True
    spoken: bool = True


def item_id_of(response_id: str) -> str:
    """The item that is what a response says."""
    return f"{response_id}_item"


class Output:
    """Text, audio and function calls of one response on their way to the outbox.

    Args:
        on_first_audio: called once, when the client takes the first audio.
        on_call: called with the id of each function call that the client is given.
        busy_until: when the client will have played what came before this response.
    """

    def __init__(
        self,
        outbox: Outbox,
        response_id: str,
        options: OutputOptions,
        on_first_audio: Callable[[], None],
        on_call: Callable[[str], None],
        busy_until: float = 0.0,
    ) -> None:
        self.response_id = response_id
        self.item_id = item_id_of(response_id)
        self.playback = Playback(options.audio_format, paced=options.paced, starts_at=busy_until)
        self._outbox, self._options = outbox, options
        self._on_first_audio, self._on_call = on_first_audio, on_call
        self.audio_at: float | None = None
        """When the first audio was there."""
        self._any_audio = False
        self._waiting: list[TextDelta | FunctionCall] = []
        self._sent_text: list[str] = []
        self._captions = Captions()
        self._whole = False
        self._released = self._hurried = False
        self._changed = asyncio.Event()

    @property
    def released(self) -> bool:
        """Whether the client knows of the response."""
        return self._released

    @property
    def playing(self) -> bool:
        """Whether the client may be playing some of it."""
        return self._any_audio and not self.playback.held

    def release(self) -> None:
        """Tell the client that the response begins, and all that has waited for it."""
        self._released = True
        audio_format = self._options.audio_format if self._options.spoken else None
        self._outbox.put(ResponseCreated(self.response_id, self.item_id, audio_format))
        self._flush()

    async def until_released(self) -> None:
        """Wait for `release`."""
        while not self._released:
            await self._change()

    def hold(self) -> None:
        """Send nothing for now; what the client has not taken or not played comes again after `resume`."""
        self.playback.hold(clock.now())
        self._outbox.drop_audio(self.response_id)
        self._changed.set()

    def resume(self) -> None:
        """Send on from where the client stopped playing."""
        self.playback.resume()
        self._flush()

    def cut(self) -> str:
        """Send nothing more, and nothing of what the client has not taken; returns the text that it was given."""
        self._waiting.clear()
        self._outbox.drop_audio(self.response_id)
        return "".join(self._sent_text)

    def put_text(self, text: str) -> None:
        """Send text: at once, or along with the audio that says it."""
        if self._options.spoken:
            self._captions.write(text)
        else:
            self.put_aside(text)

    def put_aside(self, text: str) -> None:
        """Send text at once."""
        self._waiting.append(TextDelta(self.response_id, self.item_id, text))
        self._flush()

    def end_audio(self) -> None:
        """No audio follows: what was written but never said goes after it."""
        self._whole = True
        self._flush()

    def put_call(self, call: chat_pb2.ToolCall) -> None:
        """Send a function call."""
        self._waiting.append(FunctionCall(self.response_id, call))
        self._flush()

    async def put_audio(self, audio: bytes) -> None:
        """Send audio; waits while as much as may be ahead of the client is."""
        most_s = self._options.max_audio_lead_s
        lead_s = self.playback.unplayed_s(clock.now())
        while lead_s >= most_s:
            await self._change(None if self.playback.held else lead_s - most_s + _SLACK_S)
            lead_s = self.playback.unplayed_s(clock.now())
        if self.audio_at is None:
            self.audio_at = clock.now()
        self.playback.receive(audio)
        self._flush()

    def audio_left(self, event: AudioDelta) -> None:
        """The client has taken this audio."""
        if not self._any_audio:
            self._any_audio = True
            self._on_first_audio()
        end_s = event.offset_s + len(event.audio) / self._options.audio_format.bytes_per_second
        self.playback.left(end_s, clock.now())
        self._changed.set()

    def hurry(self) -> None:
        """Do not wait until the client has played all: what follows is to be begun."""
        self._hurried = True
        self._changed.set()

    async def played_out(self) -> None:
        """Wait until the client knows all and has played all; or has taken all, where it is hurried."""
        await self.until_released()
        while self.playback.held or (left_s := self.playback.unplayed_s(clock.now())) > _ALL_PLAYED_S:
            if self._hurried and self.playback.all_left and not self.playback.held:
                return
            await self._change(None if self.playback.held else left_s)

    def _flush(self) -> None:
        """Send what may be sent."""
        self._changed.set()
        if not self._released or self.playback.held:
            return
        for event in self._waiting:
            if isinstance(event, TextDelta):
                self._sent_text.append(event.text)
            else:
                self._on_call(event.call.id)
            self._outbox.put(event)
        self._waiting.clear()
        for chunk in self.playback.to_send():
            self._caption(self._captions.say(*self.playback.being_said(chunk.end_s)), chunk.offset_s)
            self._outbox.put(AudioDelta(self.response_id, self.item_id, chunk.audio, chunk.offset_s))
        if self._whole:
            self._caption(self._captions.rest(), self.playback.received_s)

    def _caption(self, text: str, offset_s: float) -> None:
        if text:
            self._outbox.put(TextDelta(self.response_id, self.item_id, text, offset_s))

    async def _change(self, timeout_s: float | None = None) -> None:
        """Wait until something has changed, or so long."""
        self._changed.clear()
        timer = None if timeout_s is None else asyncio.get_running_loop().call_later(timeout_s, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()
