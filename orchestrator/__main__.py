"""`parley-orchestrator`, or `python -m orchestrator`."""

import asyncio

import grpc
from parley.agent.v1 import agent_service_pb2, agent_service_pb2_grpc

from orchestrator.apology import Apology
from orchestrator.live import SessionOptions
from orchestrator.servicer import VoiceAgentServicer
from orchestrator.settings import OrchestratorSettings
from orchestrator.stages import Services, connect
from orchestrator.turn import TurnOptions
from orchestrator.watchdog import Limits, Watchdog
from services.common import server
from services.common.admission import AdmissionQueue
from services.common.settings import load_or_exit


class Orchestrator(server.Service):
    """The program: it has no model, so it serves at once; a service that is missing is reported by each call."""

    name = "orchestrator"
    descriptors = (agent_service_pb2.DESCRIPTOR.services_by_name["VoiceAgentService"],)

    def __init__(self, settings: OrchestratorSettings) -> None:
        self._settings = settings
        self._services: Services | None = None
        limits = Limits(settings.session_idle_timeout_s, settings.session_max_s, settings.client_read_timeout_s)
        self._watchdog = Watchdog(limits)
        self._apology = Apology(settings.apology_text)
        self._running: list[asyncio.Task[None]] = []

    def register(self, grpc_server: grpc.aio.Server) -> None:
        """Connect to the services and add the servicer."""
        settings = self._settings
        self._services = connect(settings)
        sessions = AdmissionQueue("sessions", running=settings.max_sessions, waiting=0, retry_after_s=5.0)
        turn = TurnOptions(settings.response_timeout_s, settings.max_audio_lead, apology=self._apology)
        options = SessionOptions(turn, settings.speculation, settings.false_interruption_timeout)
        servicer = VoiceAgentServicer(self._services, sessions, options, self._watchdog)
        agent_service_pb2_grpc.add_VoiceAgentServiceServicer_to_server(servicer, grpc_server)

    async def load(self) -> None:
        """There is no model; begin to connect (a service may come later), and to watch the sessions."""
        if self._services is not None:
            self._services.warm()
            self._running.append(asyncio.create_task(self._apology.prepare(self._services.tts)))
        self._running.append(asyncio.create_task(self._watchdog.run()))

    async def aclose(self) -> None:
        """Close the connections to the services."""
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
