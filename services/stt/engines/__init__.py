"""STT engines: one file each, imported only when chosen."""

import importlib
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from services.stt.engines.base import Engine
    from services.stt.settings import SttSettings

_MODULES = {
    "faster-whisper": "services.stt.engines.faster_whisper",
    "transformers": "services.stt.engines.transformers",
    "openai-api": "services.stt.engines.openai_api",
    "fake": "services.stt.engines.fake",
}
"""What `--stt` may name; each module has a function `create(settings)`."""


class _EngineModule(Protocol):
    def create(self, settings: "SttSettings") -> "Engine": ...


def create(settings: "SttSettings") -> "Engine":
    """The engine that the settings name, not yet loaded."""
    module = cast(_EngineModule, importlib.import_module(_MODULES[settings.stt]))
    return module.create(settings)
