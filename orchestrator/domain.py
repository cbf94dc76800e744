"""What the orchestrator's parts tell each other: the session's configuration and the events of a conversation.

Messages of `parley.common.v1` that only pass through (tools, sampling) stay as they are; all else is plain data.
Times are seconds; those called `at` are of `clock.now()`, all others are spans.
"""

from dataclasses import dataclass
from enum import Enum

from parley.common.v1 import audio_pb2, chat_pb2

from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import ParleyError


@dataclass(frozen=True)
class TurnDetection:
    """Who ends the user's turn, and what user speech does to a response."""

    manual: bool = False
    endpointing: audio_pb2.EndpointingConfig | None = None
    interrupt_response: bool = True
    create_response: bool = True
    echo_guard: bool = False


@dataclass(frozen=True)
class SessionConfig:
    """One session's settings; an empty string means the default of the service that it concerns."""

    instructions: str | None = None
    language_code: str = ""
    input_format: AudioFormat = AudioFormat(Encoding.PCM_S16LE, 16_000)
    output_format: AudioFormat = AudioFormat(Encoding.PCM_S16LE, 24_000)
    stt_model: str = ""
    llm_model: str = ""
    voice: str = ""
    turn_detection: TurnDetection = TurnDetection()
    sampling: chat_pb2.SamplingOptions | None = None
    tools: tuple[chat_pb2.Tool, ...] = ()
    tool_choice: chat_pb2.ToolChoice | None = None
    text_only: bool = False


class ResponseStatus(Enum):
    """How a response ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True)
class TurnTimings:
    """Seconds from the end of the user's speech (or from the request, for text) to each step; None: not reached."""

    endpointing: float | None = None
    final_transcript: float | None = None
    first_token: float | None = None
    first_segment: float | None = None
    first_audio: float | None = None
    total: float | None = None


@dataclass(frozen=True)
class SpeechStarted:
    """The user began to speak, `start_s` after the start of the stream."""

    item_id: str
    start_s: float


@dataclass(frozen=True)
class SpeechStopped:
    """The user's turn is over; their speech ended `end_s` after the start of the stream.

    `turn_end_probability` in [0, 1] is what a turn-end model heard, None where there is none, or it was not in time.
    """

    item_id: str
    end_s: float
    turn_end_probability: float | None = None


@dataclass(frozen=True)
class SpeechPaused:
    """The user is silent since `at_s` after the start of the stream; their turn may be over. Not for the client."""

    item_id: str
    at_s: float


@dataclass(frozen=True)
class SpeechResumed:
    """The user goes on after a pause. Not for the client."""

    item_id: str


@dataclass(frozen=True)
class TranscriptUpdated:
    """The utterance so far, whole; `at_pause` says that it is final if nothing follows."""

    item_id: str
    text: str
    language_code: str = ""
    at_pause: bool = False


@dataclass(frozen=True)
class TranscriptCompleted:
    """The final transcript; empty where nothing was said."""

    item_id: str
    text: str
    language_code: str = ""


@dataclass(frozen=True)
class ResponseCreated:
    """A response begins; `audio_format` is of its audio, None where it is text alone."""

    response_id: str
    item_id: str
    audio_format: AudioFormat | None = None


@dataclass(frozen=True)
class TextDelta:
    """New text of a response; with audio it goes before the audio that says it, which begins at `offset_s`."""

    response_id: str
    item_id: str
    text: str
    offset_s: float | None = None


@dataclass(frozen=True)
class AudioDelta:
    """New audio of a response, in the session's output format; `offset_s` is of its first sample."""

    response_id: str
    item_id: str
    audio: bytes
    offset_s: float


@dataclass(frozen=True)
class FunctionCall:
    """The model calls a tool of the client's."""

    response_id: str
    call: chat_pb2.ToolCall


@dataclass(frozen=True)
class ResponseDone:
    """The one end of a response; `transcript` is what the history keeps of it."""

    response_id: str
    status: ResponseStatus
    transcript: str
    timings: TurnTimings
    usage: chat_pb2.Usage | None = None


@dataclass(frozen=True)
class SessionCreated:
    """The session is ready."""

    session_id: str
    conversation_id: str
    config: SessionConfig


@dataclass(frozen=True)
class SessionUpdated:
    """The configuration now in force."""

    config: SessionConfig


@dataclass(frozen=True)
class ItemDeleted:
    """The history has this item no more."""

    item_id: str


@dataclass(frozen=True)
class Failure:
    """Something failed and the session goes on; `client_event_id` names the client event at fault, if one is, and
    `item_id` the utterance that will have no transcript, if that is what failed.
    """

    error: ParleyError
    client_event_id: str = ""
    item_id: str = ""


ResponseEvent = ResponseCreated | TextDelta | AudioDelta | FunctionCall | ResponseDone
TranscriptEvent = SpeechStarted | SpeechStopped | TranscriptUpdated | TranscriptCompleted
ListeningEvent = TranscriptEvent | SpeechPaused | SpeechResumed
ServerEvent = ResponseEvent | TranscriptEvent | SessionCreated | SessionUpdated | ItemDeleted | Failure
