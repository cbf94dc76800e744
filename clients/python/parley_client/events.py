"""What happens in a conversation, as plain data. Seconds and bytes; no gRPC."""

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeAlias


class Outcome(Enum):
    """How a response ended."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    INCOMPLETE = "incomplete"
    FAILED = "failed"


@dataclass(frozen=True)
class Timings:
    """The server's measurements, in seconds from the end of the user's speech; None for what did not happen."""

    endpointing_s: float | None = None
    final_transcript_s: float | None = None
    first_token_s: float | None = None
    first_segment_s: float | None = None
    first_audio_s: float | None = None
    total_s: float | None = None


@dataclass(frozen=True)
class SpeechStarted:
    """The user began to speak, `at_s` seconds into the audio: playback stops now."""

    item_id: str
    at_s: float


@dataclass(frozen=True)
class SpeechStopped:
    """The user stopped speaking, `at_s` seconds into the audio (without the silence after it).

    `turn_end_probability` in [0, 1] is what the server's turn-end model heard, None where it has none.
    """

    item_id: str
    at_s: float
    turn_end_probability: float | None = None


@dataclass(frozen=True)
class InterimTranscript:
    """What has been understood so far; replaces the one before."""

    item_id: str
    text: str


@dataclass(frozen=True)
class FinalTranscript:
    """What the user said; empty where it was no speech."""

    item_id: str
    text: str
    language: str


@dataclass(frozen=True)
class ResponseStarted:
    """The assistant begins to answer."""

    response_id: str
    item_id: str = ""


@dataclass(frozen=True)
class TextDelta:
    """More of the answer's text.

    Attributes:
        offset_s: of the audio that says it, from the start of the item, for captions; None without audio.
    """

    response_id: str
    text: str
    offset_s: float | None = None


@dataclass(frozen=True)
class AudioDelta:
    """More of the answer's speech, in the session's output format.

    Attributes:
        offset_s: of its first sample in the answer; None follows what came before. What comes again replaces what came.
    """

    response_id: str
    data: bytes
    offset_s: float | None = None
    item_id: str = ""


@dataclass(frozen=True)
class FunctionCall:
    """The assistant calls a function; those given to `connect` are run by the session."""

    response_id: str
    call_id: str
    name: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ResponseEnded:
    """The answer has ended; `spoken` is what the user heard of it, `timings` is None where none were sent."""

    response_id: str
    outcome: Outcome
    spoken: str
    timings: Timings | None


@dataclass(frozen=True)
class ItemDeleted:
    """An item has left the conversation."""

    item_id: str


@dataclass(frozen=True)
class TurnFailed:
    """A turn failed, the session goes on; the message names the service at fault.

    Attributes:
        reason: a name of `ErrorReason` without its prefix.
        retry_after_s: when trying again may help; None where it does not.
        client_event_id: of the client's event at fault, if any.
    """

    message: str
    reason: str = ""
    retry_after_s: float | None = None
    client_event_id: str = ""


@dataclass(frozen=True)
class Reconnected:
    """The stream was lost; the conversation goes on in a new session. What was being answered was lost with it."""

    session_id: str


Event: TypeAlias = (
    SpeechStarted
    | SpeechStopped
    | InterimTranscript
    | FinalTranscript
    | ResponseStarted
    | TextDelta
    | AudioDelta
    | FunctionCall
    | ResponseEnded
    | ItemDeleted
    | TurnFailed
    | Reconnected
)
