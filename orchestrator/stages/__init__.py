"""Clients of the three services, known through the contract alone: one file for each, plain data out."""

from dataclasses import dataclass

import grpc

from orchestrator.domain import SessionConfig
from orchestrator.stages.language_model import LanguageModel
from orchestrator.stages.speech_to_text import SpeechToText
from orchestrator.stages.text_to_speech import TextToSpeech
from services.common.channel import open_channel


@dataclass(frozen=True)
class Stages:
    """The three services; connections are made at the first call and kept."""

    stt: SpeechToText
    llm: LanguageModel
    tts: TextToSpeech
    channels: tuple[grpc.aio.Channel, ...]

    async def check_names(self, config: SessionConfig) -> None:
        """Raise NotFoundError for a voice or model that the services do not have; asks only for those that are set."""
        await self.tts.check_voice(config.voice)
        await self.stt.check_model(config.stt_model)
        await self.llm.check_model(config.llm_model)

    async def aclose(self) -> None:
        """Close the connections."""
        for channel in self.channels:
            await channel.close()


def connect(stt_target: str, llm_target: str, tts_target: str, response_timeout_s: float) -> Stages:
    """Clients of the services at these gRPC targets; no call outlasts the timeout (but for live recognition)."""
    stt, llm, tts = (open_channel(target) for target in (stt_target, llm_target, tts_target))
    return Stages(
        SpeechToText(stt, response_timeout_s),
        LanguageModel(llm, response_timeout_s),
        TextToSpeech(tts, response_timeout_s),
        (stt, llm, tts),
    )
