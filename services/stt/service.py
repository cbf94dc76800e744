"""The STT program: its engine, its servicer, its end."""

import grpc
from parley.stt.v1 import stt_service_pb2, stt_service_pb2_grpc

from services.common.errors import StartupError
from services.common.load import Load
from services.common.server import Service
from services.stt import engines, languages
from services.stt.metrics import SttMetrics
from services.stt.schedule import Schedule
from services.stt.servicer import SpeechToTextServicer
from services.stt.settings import SttSettings
from services.stt.transcriber import Transcriber
from services.stt.turn_end_model import SmartTurn


class SttService(Service):
    """Args:
    settings: which engine, and its defaults and limits.
    """

    name = "stt"
    descriptors = (stt_service_pb2.DESCRIPTOR.services_by_name["SpeechToTextService"],)

    def __init__(self, settings: SttSettings) -> None:
        self._settings = settings
        self._engine = engines.create(settings)
        self._schedule = Schedule(self._engine)
        name = settings.turn_end_model
        self._turn_end_model = SmartTurn(name) if name else None
        self.room = Load(settings.max_load, settle_s=3.0, window_s=5.0)
        self._transcriber = Transcriber(self._schedule, settings, SttMetrics(), self._turn_end_model, self.room)

    def register(self, server: grpc.aio.Server) -> None:
        servicer = SpeechToTextServicer(self._transcriber, self._settings.stt_idle_timeout_s)
        stt_service_pb2_grpc.add_SpeechToTextServiceServicer_to_server(servicer, server)

    async def load(self) -> None:
        await self._engine.load()
        info, language = self._engine.info, self._settings.language
        if language.lower() != languages.AUTO and languages.match(language, info.languages) is None:
            raise StartupError(f"--language {language}: the model {info.name} does not know it")
        await self._schedule.measure()
        if self._turn_end_model is not None:
            await self._turn_end_model.load()

    async def aclose(self) -> None:
        if self._turn_end_model is not None:
            await self._turn_end_model.aclose()
        await self._engine.aclose()
