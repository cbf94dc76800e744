"""The backends by name; each is imported only when it is chosen."""

from importlib import import_module
from typing import TYPE_CHECKING

from services.llm.backends.base import Backend

if TYPE_CHECKING:
    from services.llm.settings import LlmSettings

BACKENDS = {
    "responses-api": "services.llm.backends.responses_api:ResponsesApiBackend",
    "chat-completions": "services.llm.backends.chat_completions:ChatCompletionsBackend",
    "transformers": "services.llm.backends.transformers:TransformersBackend",
    "mlx-lm": "services.llm.backends.mlx_lm:MlxLmBackend",
    "fake": "services.llm.backends.fake:FakeBackend",
}
"""`--llm_backend` to the class that takes the settings alone."""
VISION_BACKENDS = {"transformers": "services.llm.backends.transformers_vision:TransformersVisionBackend"}
"""Those that are another class with `--llm_is_vlm`."""


def create(settings: "LlmSettings") -> Backend:
    """The backend that the settings choose, not loaded yet."""
    known = BACKENDS | VISION_BACKENDS if settings.llm_is_vlm else BACKENDS
    module, _, name = known[settings.llm_backend].partition(":")
    backend: Backend = getattr(import_module(module), name)(settings)
    return backend
