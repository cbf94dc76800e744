"""What the STT service talks about: requests to a recognizer, what it answers, and the events of a transcription.

Plain data; offsets are seconds from the start of the stream.
"""

from dataclasses import dataclass

from services.common.audio_format import AudioFormat
from services.stt.endpointing import EndpointingConfig

MAX_RECORDING_S = 60.0
MAX_RECORDING_BYTES = 4 << 20


@dataclass(frozen=True)
class RecognitionRequest:
    """How to recognize: `language` as the model names it (None detects it), phrases to favour, timings of words."""

    language: str | None
    hints: tuple[str, ...] = ()
    word_timings: bool = False


@dataclass(frozen=True)
class Word:
    """A word with its place; seconds from the start of the audio, or of the stream once it is in a transcript."""

    text: str
    start_s: float
    end_s: float
    confidence: float | None = None


@dataclass(frozen=True)
class Recognition:
    """What a recognizer heard in one stretch of audio.

    `text` is empty where nothing was said, `confidence` lies in [0, 1] and is None where the model gives none,
    `processing_s` is the time spent in the model. `quick`: by another model than the one of final transcripts, which
    may hear other words.
    """

    text: str
    language: str
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    processing_s: float = 0.0
    quick: bool = False


@dataclass(frozen=True)
class ModelInfo:
    """What one recognizer can do; `languages` are the model's own codes. `recognizes_meanwhile`: what is being said may
    be recognized now and then; otherwise interim results come at pauses alone.
    """

    name: str
    engine: str
    languages: tuple[str, ...]
    supports_word_timings: bool
    supports_interim_results: bool = True
    recognizes_meanwhile: bool = True


@dataclass(frozen=True)
class TranscriptionOptions:
    """What both kinds of transcription are asked for; `language_tag` is the client's, "" where it is to be detected."""

    audio_format: AudioFormat
    request: RecognitionRequest
    language_tag: str = ""
    interim_results: bool = False


@dataclass(frozen=True)
class StreamOptions:
    """What a live stream is asked for; `manual_end` leaves the end of an utterance to the client, `pauses` tells it
    where one may have ended.
    """

    transcription: TranscriptionOptions
    endpointing: EndpointingConfig
    manual_end: bool = False
    pauses: bool = False


@dataclass(frozen=True)
class SpeechStarted:
    """Someone began to speak."""

    utterance_id: str
    offset_s: float


@dataclass(frozen=True)
class SpeechPaused:
    """The utterance may have ended at `offset_s`."""

    utterance_id: str
    offset_s: float


@dataclass(frozen=True)
class SpeechResumed:
    """It has not: the speaker goes on."""

    utterance_id: str


@dataclass(frozen=True)
class SpeechStopped:
    """An utterance was closed; `offset_s` is the end of its speech.

    `turn_end_probability` in [0, 1] is what a turn-end model made of it, None where it was not asked, or not in time.
    """

    utterance_id: str
    offset_s: float
    turn_end_probability: float | None = None


@dataclass(frozen=True)
class Transcript:
    """The whole utterance so far; replaces every earlier one of the same utterance.

    With `at_pause` it is what the final one will say if the speaker does not go on. The first `stable_characters` of
    an interim text begin every later one, too.
    """

    utterance_id: str
    text: str
    is_final: bool
    language_tag: str
    start_s: float
    end_s: float
    confidence: float | None = None
    words: tuple[Word, ...] = ()
    at_pause: bool = False
    stable_characters: int = 0


@dataclass(frozen=True)
class Completed:
    """The last event: the seconds of audio consumed and of time spent in the model."""

    model: str
    audio_s: float
    processing_s: float


Event = SpeechStarted | SpeechPaused | SpeechResumed | SpeechStopped | Transcript | Completed
