"""Clients of the three services, known through the contract alone: one file for each, plain data out."""

from dataclasses import dataclass
from functools import partial

import grpc

from orchestrator.domain import SessionConfig
from orchestrator.settings import OrchestratorSettings
from orchestrator.stages.calls import Timeouts
from orchestrator.stages.failover import FailoverLanguageModel
from orchestrator.stages.language_model import LanguageModel
from orchestrator.stages.speech_to_text import SpeechToText
from orchestrator.stages.text_to_speech import TextToSpeech
from services.common.channel import open_channel
from services.common.errors import StartupError, first_line
from services.common.load import Load
from services.common.metrics import ClientMetrics

HOLD_S = 1.0
_WORK = ("/StreamingTranscribe", "/Generate", "/Synthesize")


@dataclass(frozen=True)
class Stages:
    """The three services, as one session sees them."""

    stt: SpeechToText
    llm: FailoverLanguageModel
    tts: TextToSpeech

    async def check_names(self, config: SessionConfig) -> None:
        """Raise NotFoundError for a voice or model that the services do not have; asks only for those that are set."""
        await self.tts.check_voice(config.voice)
        await self.stt.check_model(config.stt_model)
        await self.llm.check_model(config.llm_model)


@dataclass(frozen=True)
class Services:
    """The services of all sessions; connections are made by `warm` or the first call, and kept.

    `llm_fallback` answers where `llm` fails, or has not begun after `llm_first_token_timeout_s` seconds.
    """

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    llm_fallback: LanguageModel | None
    llm_first_token_timeout_s: float
    channels: tuple[grpc.aio.Channel, ...]

    def for_session(self, owner: str = "") -> Stages:
        """The same for one session, whose history goes where its turns go, and belongs to this owner."""
        fallback = None if self.llm_fallback is None else self.llm_fallback.of(owner)
        llm = FailoverLanguageModel(self.llm.of(owner), fallback, self.llm_first_token_timeout_s)
        return Stages(self.stt, llm, self.tts)

    def warm(self) -> None:
        """Begin to connect, to all replicas: else the first calls would all go to the one that is connected first."""
        for channel in self.channels:
            channel.get_state(try_to_connect=True)

    async def aclose(self) -> None:
        """Close the connections."""
        for channel in self.channels:
            await channel.close()


class _StageMetrics(ClientMetrics):
    """Counts calls; where a service has no room for the work of a session, no new one is let in for a while."""

    def __init__(self, room: Load) -> None:
        super().__init__()
        self._room = room

    def call_ended(self, method: str, code: str, seconds: float) -> None:
        super().call_ended(method, code, seconds)
        if code == "RESOURCE_EXHAUSTED" and method.endswith(_WORK):
            self._room.hold(HOLD_S)


def connect(settings: OrchestratorSettings, room: Load) -> Services:
    """Clients of the services at their gRPC targets; no call outlasts its timeout (but for live recognition).

    `room`, of sessions, is closed for a while where a service refuses work.

    Raises:
        StartupError: where what is needed to call them is missing.
    """
    timeouts = Timeouts(settings.response_timeout_s, settings.call_timeout_s)
    security = settings.stage_security
    open_one = partial(open_channel, metrics=_StageMetrics(room), keepalive=settings.keepalive, security=security)
    open_llm = partial(open_one, affinity=settings.llm_affinity)
    try:
        stt, llm, tts = (open_one(settings.stt_target), open_llm(settings.llm_target), open_one(settings.tts_target))
        fallback = open_llm(settings.llm_fallback_target) if settings.llm_fallback_target else None
    except (OSError, ValueError) as error:
        raise StartupError(f"cannot call the services: {first_line(error)}") from None
    return Services(
        SpeechToText(stt, timeouts),
        LanguageModel(llm, timeouts),
        TextToSpeech(tts, timeouts),
        None if fallback is None else LanguageModel(fallback, timeouts),
        settings.llm_first_token_timeout_s,
        (stt, llm, tts) if fallback is None else (stt, llm, tts, fallback),
    )
