"""Every backend against everything real that it runs on, and what those cannot do: the contract suite reads it here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.common.errors import InvalidArgumentError, ParleyError, UpstreamError
from services.llm.settings import LlmSettings
from tests.support.openai_servers import OpenAiServer


@dataclass(frozen=True)
class Kind:
    """A backend, the server that it asks, and what is lacking there: what tests need to why those are skipped."""

    name: str
    backend: str
    server: str = ""
    lacks: Mapping[str, str] = field(default_factory=dict)
    needs_models: bool = True
    bad_model: tuple[type[ParleyError], ...] = ()
    """What the first request raises for a model that the server lacks, where the start cannot tell."""

    @property
    def is_local(self) -> bool:
        """Whether the model is in this process."""
        return not self.server and self.needs_models

    def settings(self, folder: Path, server: OpenAiServer | None, **flags: Any) -> LlmSettings:
        """The flags of this kind, on the model in a folder, or as a server has it."""
        if server is not None:
            # The other tests on this machine may slow a server down, and its own timeouts are tested elsewhere.
            patient = {"responses_api_first_token_timeout_s": 90, "responses_api_idle_timeout_s": 60}
            flags = {"model_name": server.model, "responses_api_base_url": server.base_url, **patient, **flags}
        elif self.is_local:
            flags = {"model_name": str(folder), "llm_device": "cpu", **flags}
        else:
            flags = {"fake_token_ms": 1, **flags}
        return LlmSettings(llm_backend=self.backend, **flags)  # type: ignore[arg-type]


_FOREIGN_TEMPLATE = "the chat template is the server's, and so is what it refuses"
_FOREIGN_ENGINE = "the engine is the server's; tests/integration/llm/test_api_failures.py plays its failures"
_NO_LIMIT = "the server knows no end of the context, and goes on"
_SILENT_LENGTH = "the server does not say how long its context is"
_API = {"own template": _FOREIGN_TEMPLATE, "own engine": _FOREIGN_ENGINE}
_GOES_ON = "the server cuts the stop string out of its answer and goes on after it"
_GREEDY = "the server takes the likeliest token whatever the temperature is"
_NO_CONTEXT = {"context": _NO_LIMIT, "context length": _SILENT_LENGTH}

KINDS = (
    Kind(
        "fake",
        "fake",
        lacks={
            "model": "it understands nothing",
            "tools": "it calls none",
            "own template": "it has none",
            "own engine": "it has none",
            "bad model": "any name will do",
            "sampling": "it chooses nothing",
        },
        needs_models=False,
    ),
    Kind("transformers", "transformers"),
    Kind("mlx-lm", "mlx-lm"),
    Kind(
        "responses-api on llama.cpp",
        "responses-api",
        "llama.cpp",
        {**_API, "roles": "the server takes OpenAI's roles alone in items, and says so"},
    ),
    Kind(
        "responses-api on transformers serve",
        "responses-api",
        "transformers serve",
        {**_API, **_NO_CONTEXT, "sampling": _GREEDY},
        bad_model=(InvalidArgumentError,),
    ),
    Kind("chat-completions on llama.cpp", "chat-completions", "llama.cpp", _API),
    Kind(
        "chat-completions on transformers serve",
        "chat-completions",
        "transformers serve",
        {**_API, **_NO_CONTEXT, "sampling": _GREEDY},
        bad_model=(InvalidArgumentError,),
    ),
    Kind(
        "chat-completions on mlx_lm.server",
        "chat-completions",
        "mlx_lm.server",
        {**_API, **_NO_CONTEXT, "stop": _GOES_ON},
        bad_model=(UpstreamError,),
    ),
)
