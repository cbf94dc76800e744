"""`parley-orchestrator`, or `python -m orchestrator`."""

import asyncio
from typing import TYPE_CHECKING

import grpc
from parley.agent.v1 import agent_service_pb2, agent_service_pb2_grpc

from orchestrator.apology import Apology
from orchestrator.live import SessionOptions
from orchestrator.metrics import TurnMetrics
from orchestrator.servicer import VoiceAgentServicer
from orchestrator.sessions import Sessions
from orchestrator.settings import OrchestratorSettings
from orchestrator.stages import Services, connect
from orchestrator.turn import TurnOptions
from orchestrator.watchdog import Limits, Watchdog
from services.common import server
from services.common.access.access import Access
from services.common.admission import AdmissionQueue
from services.common.errors import StartupError, first_line
from services.common.interceptor import Gate
from services.common.load import Load
from services.common.metrics import ServerMetrics
from services.common.settings import load_or_exit

if TYPE_CHECKING:
    from orchestrator.realtime.server import RealtimeServer


SESSION_RETRY_S = 5.0
"""Sessions last: who is refused one need not ask again at once."""


class Orchestrator(server.Service):
    """The program: it has no model, so it serves at once; a service that is missing is reported by each call."""

    name = "orchestrator"
    descriptors = (agent_service_pb2.DESCRIPTOR.services_by_name["VoiceAgentService"],)

    def __init__(self, settings: OrchestratorSettings) -> None:
        self._settings = settings
        self._services: Services | None = None
        self._sessions: Sessions | None = None
        self._realtime: RealtimeServer | None = None
        limits = Limits(settings.session_idle_timeout_s, settings.session_max_s, settings.client_read_timeout_s)
        self._watchdog = Watchdog(limits)
        self._apology = Apology(settings.apology_text)
        self._running: list[asyncio.Task[None]] = []
        self.room: Load = Load(settings.max_load, settle_s=3.0, window_s=5.0, retry_after_s=SESSION_RETRY_S)

    def register(self, grpc_server: grpc.aio.Server) -> None:
        """Connect to the services and add the servicer."""
        settings = self._settings
        self._services = connect(settings, self.room)
        places = AdmissionQueue(
            "sessions", running=settings.max_sessions, waiting=0, retry_after_s=SESSION_RETRY_S, load=self.room
        )
        turn = TurnOptions(settings.response_timeout_s, settings.max_audio_lead, apology=self._apology)
        options = SessionOptions(
            turn,
            settings.speculation,
            settings.false_interruption_timeout,
            transcript_timeout_s=settings.transcript_timeout_s,
        )
        self._sessions = Sessions(self._services, places, options, self._watchdog, TurnMetrics())
        agent_service_pb2_grpc.add_VoiceAgentServiceServicer_to_server(VoiceAgentServicer(self._sessions), grpc_server)

    async def listen(self, gate: Gate, metrics: ServerMetrics, access: Access | None) -> None:
        """Serve Realtime clients, if that is wanted."""
        settings = self._settings
        if settings.realtime_port < 0 or self._sessions is None:
            return
        try:
            from orchestrator.realtime.server import RealtimeServer
            from orchestrator.realtime.socket import RealtimeEndpoint
        except ImportError as error:
            raise StartupError(f"--realtime_port needs the extra parley-voice[realtime]: {first_line(error)}") from None
        origins = frozenset(origin.strip() for origin in settings.realtime_origins.split(",") if origin.strip())
        endpoint = RealtimeEndpoint(self._sessions, gate, metrics, origins, access)
        self._realtime = RealtimeServer(
            endpoint,
            self._sessions,
            settings.host,
            settings.realtime_port,
            settings.max_message_bytes,
            settings.server_tls,
        )
        self._realtime.start()

    async def load(self) -> None:
        """There is no model; begin to connect (a service may come later), and to watch the sessions."""
        if self._services is not None:
            self._services.warm()
            self._running.append(asyncio.create_task(self._apology.prepare(self._services.tts)))
        self._running.append(asyncio.create_task(self._watchdog.run()))

    def drain(self) -> None:
        """End each live session between two turns."""
        self._watchdog.drain()

    async def aclose(self) -> None:
        """End the sessions of Realtime clients; close the connections to the services."""
        if self._realtime is not None:
            await self._realtime.aclose()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        if self._services is not None:
            await self._services.aclose()


def main() -> None:
    """Run the program."""
    settings = load_or_exit(OrchestratorSettings, "parley-orchestrator")
    server.main(Orchestrator(settings), settings)


if __name__ == "__main__":
    main()
