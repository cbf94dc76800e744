"""The TTS program: its parts, put together."""

import grpc
from parley.tts.v1 import tts_service_pb2 as pb
from parley.tts.v1 import tts_service_pb2_grpc as pb_grpc

from services.common.admission import AdmissionQueue
from services.common.load import Load
from services.common.server import Service
from services.tts import engines
from services.tts.metrics import TtsMetrics
from services.tts.reading.lexicon import load_lexicon
from services.tts.servicer import TextToSpeechServicer
from services.tts.settings import TtsSettings
from services.tts.synthesizer import Synthesizer


class TtsService(Service):
    """Text to speech with the engine of the settings."""

    name = "tts"
    descriptors = (pb.DESCRIPTOR.services_by_name["TextToSpeechService"],)

    def __init__(self, settings: TtsSettings) -> None:
        self.room = Load(settings.max_load)
        admission = AdmissionQueue(
            "syntheses", running=settings.tts_max_running, waiting=settings.tts_max_waiting, load=self.room
        )
        engine = engines.build(settings)
        self.starts_programs = engine.starts_programs
        self._synthesizer = Synthesizer(
            engine,
            admission,
            default_voice=settings.tts_voice,
            fallback_voice=settings.tts_fallback_voice,
            lexicon=load_lexicon(settings.tts_lexicon),
            max_characters=settings.tts_max_characters,
            metrics=TtsMetrics(),
        )

    async def load(self) -> None:
        """Load the engine and speak a word with it."""
        await self._synthesizer.load()

    def register(self, server: grpc.aio.Server) -> None:
        """Add the servicer."""
        pb_grpc.add_TextToSpeechServiceServicer_to_server(TextToSpeechServicer(self._synthesizer), server)

    async def aclose(self) -> None:
        """Let go of the engine."""
        await self._synthesizer.aclose()
