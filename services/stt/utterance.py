"""One utterance as it grows out of the recognitions of its segments. Pure."""

from dataclasses import replace
from uuid import uuid4

from services.common import tracing
from services.stt import languages
from services.stt.domain import Recognition, RecognitionRequest, Transcript, TranscriptionOptions, Word
from services.stt.segment_text import SegmentText
from services.stt.timebase import to_seconds


class Utterance:
    """Collects recognitions in order, and states them as transcripts with offsets from the start of the stream.

    Args:
        options: what the client asked for.
        onset: the sample at which its speech began.
    """

    def __init__(self, options: TranscriptionOptions, onset: int) -> None:
        self.id = f"utt_{uuid4().hex[:16]}"
        self.onset = onset
        self.speech_end = onset
        """The sample at which its speech ended, as far as is known."""
        self.turn_end_probability: float | None = None
        """How likely, in [0, 1], the turn ends at its last pause, as far as a model has heard it."""
        self.span = tracing.OFF
        """What a trace tells of it."""
        self._options = options
        self._recognitions: list[Recognition] = []
        self._segment = SegmentText()

    @property
    def request(self) -> RecognitionRequest:
        """How to recognize the next segment: once the language has been detected it stays."""
        said = next((recognition for recognition in self._recognitions if recognition.text), None)
        request = self._options.request
        return request if said is None else replace(request, language=said.language)

    def add(self, recognition: Recognition, start: int, onset: int, speech_end: int) -> None:
        """Take the final recognition of a segment whose audio begins at sample `start`; the next segment begins.

        Words lie between `onset` and `speech_end`: Whisper stretches the first one over the padding before it.
        """
        self._recognitions.append(_placed(self._segment.final(recognition), start, onset, speech_end))
        self._segment = SegmentText()

    def interim(self, recognition: Recognition, start: int, end: int) -> Transcript:
        """What is known so far: the segments that have ended, then the one being spoken, whose audio begins at sample
        `start` and was heard up to `end`.
        """
        return self._so_far(self._segment.interim(recognition), start, end)

    def at_pause(self, recognition: Recognition, start: int, end: int) -> Transcript:
        """What `final` will say if the segment being spoken ends at sample `end`."""
        return replace(self._so_far(self._segment.at_pause(recognition), start, end), at_pause=True)

    def final(self) -> Transcript:
        """The whole of it."""
        return replace(self._transcript(self._recognitions, self.speech_end), is_final=True)

    def _so_far(self, recognition: Recognition, start: int, end: int) -> Transcript:
        heard = _placed(recognition, start, max(start, self.onset), end)
        transcript = self._transcript([*self._recognitions, heard], end)
        said = [ended.text for ended in self._recognitions] + [self._segment.stable]
        stable = languages.join(said, self._code([*self._recognitions, heard]))
        return replace(transcript, stable_characters=len(stable))

    def _code(self, recognitions: list[Recognition]) -> str:
        """The language of the first words."""
        said = (recognition.language for recognition in recognitions if recognition.text)
        return next(said, self._options.request.language or "")

    def _transcript(self, recognitions: list[Recognition], end: int) -> Transcript:
        said = [recognition for recognition in recognitions if recognition.text]
        code = self._code(said)
        sure = [recognition.confidence for recognition in said if recognition.confidence is not None]
        return Transcript(
            utterance_id=self.id,
            text=languages.join([recognition.text for recognition in said], code),
            is_final=False,
            language_tag=self._options.language_tag or languages.tag_of(code),
            start_s=to_seconds(self.onset),
            end_s=to_seconds(max(end, self.onset)),
            confidence=min(sure) if sure else None,
            words=tuple(word for recognition in said for word in recognition.words),
        )


def _placed(recognition: Recognition, start: int, onset: int, end: int) -> Recognition:
    """With words on the stream's clock, between `onset` and `end`; their audio begins at `start`."""
    low_s, high_s = to_seconds(onset), to_seconds(end)

    def place(word: Word) -> Word:
        start_s, end_s = (min(max(at + to_seconds(start), low_s), high_s) for at in (word.start_s, word.end_s))
        return replace(word, start_s=start_s, end_s=end_s)

    return replace(recognition, words=tuple(map(place, recognition.words)))
