"""One caller of a load run: what they say next, and what they make of what they hear. No I/O.

Time is the audio's own: a caller sends a frame every `FRAME_S` seconds, speech or silence, and decides at each frame
what comes next. So a conversation of minutes runs in microseconds in a test.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from parley_client import events

from cli.dialogue import Dialogue, Turn
from cli.load.plan import LoadPlan
from cli.load.records import UNANSWERED, TurnEnded
from cli.pacing import FRAME_S

_SETTLING_S = 2.0
"""Silence after which speech counts as over, where no answer is begun: longer than an endpointer hesitates."""


@dataclass(frozen=True)
class Speech:
    """A recording in frames of `FRAME_S` seconds, and a frame of silence, in the format that is sent."""

    frames: tuple[bytes, ...]
    silence: bytes

    @property
    def duration_s(self) -> float:
        """Its length."""
        return len(self.frames) * FRAME_S


class NoAnswer(Exception):
    """A caller has waited for too long."""


class Caller:
    """Take `frames` at the speed of speech, and `hear` every event.

    Args:
        number: from 0.
        begun_s: when their audio begins, in seconds of the run.
    """

    def __init__(self, number: int, plan: LoadPlan, speech: Speech, begun_s: float) -> None:
        self._number, self._plan, self._speech, self._begun_s = number, plan, speech, begun_s
        self._interrupted = plan.interrupted(number)
        self._dialogue = Dialogue()
        self._sent = 0
        self._spoke_until_s = 0.0
        self._heard_before: int | None = None
        """While they listen, the turns that there were before they spoke."""
        self._answer_began_s: float | None = None
        """When the audio of the answer that is being heard began; None while there is none."""
        self._voice_s: float | None = None
        self._stopped_s: dict[str, float] = {}
        self._looked_at = self._told = 0

    def frames(self) -> Iterator[bytes]:
        """What they say, to the end of the last answer.

        Raises:
            NoAnswer: where nothing has come for too long.
        """
        for turn in range(self._plan.turns):
            heard_before, self._heard_before = len(self._dialogue.turns), None
            yield from self._say(self._speech.frames)
            self._spoke_until_s, self._heard_before = self._now_s, heard_before
            while not self._interrupts(turn) and not self._answered:
                self._give_up()
                yield from self._say((self._speech.silence,))
            if self._answered and turn + 1 < self._plan.turns:
                yield from self._say([self._speech.silence] * round(self._plan.pause_s / FRAME_S))

    def hear(self, event: events.Event, at_s: float) -> list[TurnEnded]:
        """Take in an event, `at_s` seconds after the beginning of the caller's audio; the turns that it ends."""
        self._dialogue.feed(event, at_s)
        match event:
            case events.AudioDelta():
                self._voice_s = None  # it was no interruption: the answer goes on
                if self._answer_began_s is None:
                    self._answer_began_s = at_s
            case events.SpeechStarted(_, voice_s):
                if self._answer_began_s is not None and self._voice_s is None:
                    self._voice_s = at_s - voice_s
            case events.ResponseEnded(response_id, outcome):
                self._answer_began_s = None
                if outcome is events.Outcome.CANCELLED and self._voice_s is not None:
                    self._stopped_s[response_id] = self._voice_s
                self._voice_s = None
            case _:
                pass
        return [self._record(turn) for turn in self._settled()]

    def hang_up(self) -> list[TurnEnded]:
        """The session is over: the turns that no answer came for."""
        left = [turn for turn in self._dialogue.turns[self._looked_at :] if not turn.superseded]
        if not left and not self._heard and self._heard_before is not None:
            left = [Turn("", speech_end_s=self._spoke_until_s)]
        return [self._record(turn) for turn in left]

    @property
    def _now_s(self) -> float:
        return self._sent * FRAME_S

    def _say(self, frames: Iterable[bytes]) -> Iterator[bytes]:
        for frame in frames:
            self._sent += 1
            yield frame

    def _interrupts(self, turn: int) -> bool:
        """Whether it is time to speak into the answer."""
        if turn not in self._interrupted or self._answer_began_s is None:
            return False
        return self._now_s - self._answer_began_s >= self._plan.barge_in_after_s

    @property
    def _heard(self) -> bool:
        """Whether the server has heard what they said last."""
        return self._heard_before is not None and len(self._dialogue.turns) > self._heard_before

    @property
    def _answered(self) -> bool:
        """Whether all that they said has been answered."""
        return self._heard and not self._dialogue.waiting and self._now_s - self._spoke_until_s >= _SETTLING_S

    def _give_up(self) -> None:
        waited_s = self._now_s - max(self._spoke_until_s, self._dialogue.heard_at_s)
        if waited_s >= self._plan.patience_s:
            raise NoAnswer(f"nothing came for {waited_s:.0f} s")

    def _settled(self) -> Iterator[Turn]:
        """The turns that nothing more is to come of, in their order, each once."""
        turns = self._dialogue.turns
        while self._looked_at < len(turns):
            turn = turns[self._looked_at]
            ended = turn.outcome is not None or (bool(turn.error) and not turn.response_id)
            spoken_on = turn.superseded and any(later.outcome for later in turns[self._looked_at + 1 :])
            if not ended and not spoken_on:
                return
            self._looked_at += 1
            if ended:
                yield turn

    def _record(self, turn: Turn) -> TurnEnded:
        timings = vars(turn.timings) if turn.timings else {}
        self._told += 1
        return TurnEnded(
            at_s=round(self._begun_s + (turn.speech_end_s or self._spoke_until_s), 3),
            session=self._number,
            turn=self._told - 1,
            outcome=turn.outcome.value if turn.outcome else UNANSWERED,
            response_s=turn.first_audio_s,
            stopped_s=self._stopped_s.get(turn.response_id),
            steps={name.removesuffix("_s"): at for name, at in timings.items() if at is not None},
            response_id=turn.response_id,
            error=turn.error,
        )
