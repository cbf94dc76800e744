"""What the state machine of a session wants done: plain data that `live.py` carries out."""

from dataclasses import dataclass, field

from orchestrator.domain import SessionConfig


@dataclass(frozen=True)
class TurnInput:
    """What a response answers: the user's words, or (None) what the conversation holds already, such as outputs of
    functions (`continues`). `config` is in place of the session's, `item_id` names the words.
    """

    text: str | None
    language_code: str = ""
    continues: bool = False
    config: SessionConfig | None = None
    item_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class StartResponse:
    """Begin this response; one that is `speculative` is not told to the client before it is confirmed."""

    response_id: str
    input: TurnInput
    speculative: bool = False


@dataclass(frozen=True)
class ConfirmResponse:
    """The speculation was right; the client may have it."""

    response_id: str


@dataclass(frozen=True)
class DiscardResponse:
    """The speculation was wrong; stop it, leave no trace, and report its end with `response_ended`."""

    response_id: str


@dataclass(frozen=True)
class HoldResponse:
    """Send nothing more of this response for now; the client has stopped playing."""

    response_id: str


@dataclass(frozen=True)
class ResumeResponse:
    """Send on from where the client stopped playing."""

    response_id: str


@dataclass(frozen=True)
class CancelResponse:
    """Stop this response, and report its end with `response_ended`."""

    response_id: str


@dataclass(frozen=True)
class FinishResponse:
    """What this response has called for is there; end it once it is written and sent."""

    response_id: str


@dataclass(frozen=True)
class AnswerCalls:
    """Tell the model that these calls have no output yet."""

    call_ids: tuple[str, ...]


@dataclass(frozen=True)
class KeepWords:
    """The user's words are a part of the conversation, though nobody has asked for an answer yet."""

    text: str
    item_id: str = field(default="", compare=False)


@dataclass(frozen=True)
class Prefill:
    """Make the model ready for the user's words, and for those of them that are known."""

    words: str = ""


Command = (
    StartResponse
    | ConfirmResponse
    | DiscardResponse
    | HoldResponse
    | ResumeResponse
    | CancelResponse
    | FinishResponse
    | AnswerCalls
    | KeepWords
    | Prefill
)
