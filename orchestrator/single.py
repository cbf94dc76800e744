"""One turn without a live session: an utterance or text in, the events of one response out."""

import asyncio
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from parley.common.v1 import chat_pb2

from orchestrator import clock
from orchestrator.apology import Apology
from orchestrator.domain import (
    Failure,
    ServerEvent,
    SessionConfig,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
)
from orchestrator.messages import user_message
from orchestrator.metrics import TurnMetrics
from orchestrator.outbox import Outbox
from orchestrator.stages import Stages
from orchestrator.stages.language_model import Prompt
from orchestrator.turn import Heard, Turn, TurnOptions
from services.common import tracing
from services.common.errors import ParleyError


@dataclass(frozen=True)
class SingleTurn:
    """What is asked: `audio` in the configuration's input format, or `text`; with a conversation or a history."""

    config: SessionConfig
    conversation_id: str
    history: tuple[chat_pb2.Message, ...]
    audio: bytes | None
    text: str


async def respond(
    stages: Stages, turn: SingleTurn, options: TurnOptions, metrics: TurnMetrics, trace: tracing.Span = tracing.OFF
) -> AsyncGenerator[ServerEvent, None]:
    """The events of one turn; none after an empty transcript, since nothing was asked. Audio comes as fast as the
    client takes it.

    Raises:
        ParleyError: where a service fails, after the ResponseDone of a response that had begun.
    """
    begun = clock.now()
    await stages.check_names(turn.config)
    if turn.conversation_id:
        await stages.llm.open_conversation(turn.conversation_id)
    text, language_code, heard = turn.text, turn.config.language_code, Heard(begun)
    if turn.audio is not None:
        text = ""
        async for event in stages.stt.transcribe(turn.config, turn.audio):
            if isinstance(event, SpeechStarted | SpeechStopped):
                continue
            yield event
            if isinstance(event, TranscriptCompleted):
                text, language_code = event.text, event.language_code
                heard = Heard(begun, final_transcript=clock.now() - begun)
    if not text.strip():
        return
    outbox = Outbox(lambda event: response.output.audio_left(event))
    response_id = f"response_{uuid.uuid4().hex[:16]}"
    prompt = Prompt((*turn.history, user_message(text)), turn.conversation_id, language_code)
    unpaced = replace(options, paced=False, apology=Apology(""))
    response = Turn(stages, turn.config, outbox, response_id, prompt, unpaced, metrics, trace=trace)
    response.confirm(heard)
    running = asyncio.create_task(_run(response, outbox))
    error: ParleyError | None = None
    try:
        async for outgoing in outbox:
            if isinstance(outgoing, Failure):
                error = outgoing.error
            else:
                yield outgoing
        if error is not None:
            raise error
    finally:
        response.cancel()
        await running


async def _run(response: Turn, outbox: Outbox) -> None:
    try:
        await response.run()
    finally:
        outbox.close()
