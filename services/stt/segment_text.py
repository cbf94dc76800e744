"""The text of a segment while it is spoken: what the client has been promised, and what it is shown. Pure.

Promised is what the model of final transcripts has heard twice alike: the final text begins with it. A quick model,
where there is one, is not asked to promise anything: the careful one may hear better. But what two recognitions agree
on is shown on, whichever model they are of, until the careful one has spoken: so that nothing flickers.
"""

from collections.abc import Sequence
from dataclasses import replace

from services.stt.agreement import Agreement, continue_from, split, unsplit
from services.stt.domain import Recognition, Word


class SegmentText:
    """Feed it the recognitions of one segment, each of all its audio so far; it answers with what to tell of each."""

    def __init__(self) -> None:
        self._promised = Agreement()
        self._shown = Agreement()
        self._language: str | None = None
        """Decides how words are parted, for good: the promised text must not change."""

    @property
    def stable(self) -> str:
        """What all texts to come begin with."""
        return unsplit(self._promised.settled, self._language or "")

    def interim(self, recognition: Recognition) -> Recognition:
        """What was heard of speech that goes on."""
        heard = self._split(recognition)
        if recognition.quick:
            return self._joined(recognition, heard, self._shown.settled, self._shown.hear(heard))
        settled = self._promised.settled
        said = self._promised.hear(heard)
        self._shown.settled = self._promised.settled
        return self._joined(recognition, heard, settled, said)

    def at_pause(self, recognition: Recognition) -> Recognition:
        """What was heard up to a pause: final, if nothing follows. All but the last word, which may go on, stays."""
        heard, settled = self._split(recognition), self._promised.settled
        said = self._promised.hear(heard)
        self._shown.settled = said[: max(len(self._promised.settled), len(said) - 1)]
        return self._joined(recognition, heard, settled, said)

    def final(self, recognition: Recognition) -> Recognition:
        """What was heard in all."""
        heard, settled = self._split(recognition), self._promised.settled
        return self._joined(recognition, heard, settled, self._promised.settle(heard))

    def _split(self, recognition: Recognition) -> list[str]:
        if self._language is None and recognition.text:
            self._language = recognition.language
        return split(recognition.text, self._language or "")

    def _joined(
        self, recognition: Recognition, heard: Sequence[str], settled: Sequence[str], said: Sequence[str]
    ) -> Recognition:
        """The recognition with the words `said`, which are those that were `settled` and the rest of those `heard`."""
        if said == heard:
            return recognition
        words = recognition.words
        if len(words) == len(heard):
            at = continue_from(settled, heard)
            words = (*_spread(settled, words[:at]), *words[at:])
        else:
            words = ()
        return replace(recognition, text=unsplit(said, self._language or ""), words=words)


def _spread(texts: Sequence[str], heard: Sequence[Word]) -> list[Word]:
    """Words that are spoken where others were heard."""
    if len(texts) == len(heard):
        return [replace(word, text=text) for text, word in zip(texts, heard, strict=True)]
    start_s, end_s = (heard[0].start_s, heard[-1].end_s) if heard else (0.0, 0.0)
    step_s = (end_s - start_s) / max(1, len(texts))
    return [Word(text, start_s + at * step_s, start_s + (at + 1) * step_s) for at, text in enumerate(texts)]
