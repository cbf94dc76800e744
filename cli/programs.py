"""The four programs of Parley: what they are called, how they are started, where they listen unless told otherwise."""

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.common.settings import ServerSettings

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Program:
    """One program.

    Attributes:
        name: short, as in flags and logs.
        title: as sentences name it, the same words that the orchestrator uses.
        module: what `python -m` runs.
        settings: module and class of its flags.
        default_port: gRPC port.
        metrics_port: where `parley up` has it serve its metrics, unless told otherwise.
    """

    name: str
    title: str
    module: str
    settings: tuple[str, str]
    default_port: int
    metrics_port: int

    @property
    def default_target(self) -> str:
        """Where it listens unless told otherwise."""
        return f"{LOOPBACK}:{self.default_port}"

    def settings_class(self) -> "type[ServerSettings]":
        """The class of its flags; imported only here, since it is slow to import."""
        module, name = self.settings
        kind: type[ServerSettings] = getattr(importlib.import_module(module), name)
        return kind


ORCHESTRATOR = Program(
    "orchestrator", "the orchestrator", "orchestrator", ("orchestrator.settings", "OrchestratorSettings"), 50050, 9464
)
STT = Program(
    "stt", "the speech-to-text service", "services.stt", ("services.stt.settings", "SttSettings"), 50051, 9465
)
LLM = Program(
    "llm", "the language model service", "services.llm", ("services.llm.settings", "LlmSettings"), 50052, 9466
)
TTS = Program(
    "tts", "the text-to-speech service", "services.tts", ("services.tts.settings", "TtsSettings"), 50053, 9467
)
SERVICES = (STT, LLM, TTS)
PROGRAMS = (*SERVICES, ORCHESTRATOR)
