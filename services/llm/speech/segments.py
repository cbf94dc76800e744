"""Speech segments: speakable sentences in batches, the first one small so that audio starts early. Pure."""

from services.llm.domain import SpeechSegment
from services.llm.speech.sentences import Sentence, SentenceSplitter, is_speakable
from services.llm.speech.speakable import Kind, Piece, Speakable


class Segmenter:
    """Turns the text of an answer, in any chunking, into speech segments.

    Args:
        first: sentences in the first segment.
        later: sentences in every other one.
        first_clause_min: characters from which the first segment may also end at a clause's end, or (in
            `flush_deadline`) at a word's; 0 waits for the sentence. A first segment of several sentences always waits
            for their ends.
    """

    def __init__(self, first: int, later: int, first_clause_min: int = 0) -> None:
        self._wanted = first
        self._later = later
        self._index = 0
        self._speakable = Speakable()
        self._first_clause_min = first_clause_min if first == 1 else 0
        self._splitter = SentenceSplitter(self._first_clause_min)
        self._sentences: list[str] = []

    def feed(self, text: str) -> list[SpeechSegment]:
        """The segments that more text completes."""
        segments: list[SpeechSegment] = []
        for piece in self._speakable.feed(text):
            self._add(self._cut(piece), segments)
        return segments

    @property
    def waits(self) -> bool:
        """Whether `flush_deadline` may have something: text of the first segment."""
        return not self._index and bool(self._sentences or (self._first_clause_min and self._splitter.any_text))

    def flush_deadline(self) -> list[SpeechSegment]:
        """What of the first segment may go before it is whole, since no text has come for a while."""
        segments: list[SpeechSegment] = []
        if self.waits:
            words = self._splitter.cut_words(self._first_clause_min) if self._first_clause_min else None
            if words is not None:
                self._add([words], segments)
            elif self._sentences:
                self._emit(segments)
                self._wanted = self._later
        return segments

    def flush(self) -> list[SpeechSegment]:
        """What there is, however little: the answer is over, or a tool call comes next."""
        segments: list[SpeechSegment] = []
        for piece in self._speakable.finish():
            self._add(self._cut(piece), segments)
        self._add(self._splitter.finish(), segments)
        self._emit(segments)
        if self._index:
            self._wanted = self._later
        self.drop()
        return segments

    def drop(self) -> None:
        """Forget what has not been emitted."""
        self._speakable = Speakable()
        self._splitter = SentenceSplitter(0 if self._index else self._first_clause_min)
        self._sentences.clear()

    def _cut(self, piece: Piece) -> list[Sentence]:
        if piece.kind is Kind.BREAK:
            return self._splitter.end_paragraph()
        return self._splitter.feed(piece.text, joined=piece.kind is Kind.JOINED)

    def _add(self, sentences: list[Sentence], segments: list[SpeechSegment]) -> None:
        for sentence in sentences:
            self._sentences.append(sentence.text)
            if sentence.cut or len(self._sentences) >= self._wanted:
                self._emit(segments)
                if not sentence.cut and self._index:
                    self._wanted = self._later  # the rest of a sentence cut at a clause is not kept waiting for others

    def _emit(self, segments: list[SpeechSegment]) -> None:
        text = "".join(self._sentences).strip()
        if is_speakable(text):
            segments.append(SpeechSegment(self._index, text, len(self._sentences)))
            self._index += 1
        self._sentences.clear()
