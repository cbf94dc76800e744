"""Any vision-language model of the transformers library, in this process (`--llm_is_vlm`). One answer at a time."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from services.common.errors import ParleyError, StartupError
from services.common.model_thread import ModelThread, Stop
from services.llm.backends.base import Backend, Capabilities, RoleNames
from services.llm.backends.generation_options import check_flags, plan
from services.llm.domain import BackendEvent, GenerationRequest, Sampling
from services.llm.weights import locate

if TYPE_CHECKING:
    from services.llm.backends.vision_lm import VisionLanguageModel
    from services.llm.settings import LlmSettings

log = logging.getLogger(__name__)


class TransformersVisionBackend(Backend):
    """The model lives on its own thread; requests come to it one after another."""

    def __init__(self, settings: "LlmSettings") -> None:
        self._settings = settings
        self._thread = ModelThread("llm-model")
        self._model: VisionLanguageModel | None = None
        self._capabilities = Capabilities(settings.model, "transformers", images=True, in_process=True)
        self._defaults: dict[str, Any] = {
            **settings.generation_options,
            "max_new_tokens": settings.llm_gen_max_new_tokens,
            "min_new_tokens": settings.llm_gen_min_new_tokens,
            "temperature": settings.llm_gen_temperature,
            "do_sample": settings.llm_gen_do_sample,
        }

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def load(self) -> None:
        settings = self._settings
        check_flags(settings.generation_options)
        # As for language models: threads that spin at a barrier starve each other where services share the cores.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if settings.llm_device not in ("", "cpu"):
            await self._thread.run(_check_device, settings.llm_device)
        stop = Stop()
        try:
            folder = await asyncio.to_thread(locate, settings.model_reference, "float32", settings.cache_dir, stop)
        finally:
            stop.set()

        def load_model() -> "VisionLanguageModel":
            from services.llm.backends.vision_lm import VisionLanguageModel, VisionOptions, a_question

            options = VisionOptions(
                folder,
                settings.llm_device,
                settings.llm_torch_dtype,
                settings.llm_quantization,
                settings.llm_threads,
                settings.llm_trust_remote_code,
                RoleNames(settings.init_chat_role, settings.user_role),
            )
            model = VisionLanguageModel(options)
            # The first answer pays for what is set up late, and flags that the model rejects show now, not in a call.
            warm_up = plan({**self._defaults, "max_new_tokens": 2, "min_new_tokens": 0}, {}, Sampling())
            model.generate(GenerationRequest((a_question(),)), warm_up, Stop(), lambda event: True)
            return model

        try:
            self._model = await self._thread.run(load_model)
        except (ParleyError, StartupError):
            raise
        except Exception as error:
            log.debug("loading failed", exc_info=True)
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise StartupError(f"--model_name {settings.model_reference}: cannot load the model: {reason}") from error
        tools = self._model.template.tool_format is not None
        self._capabilities = Capabilities(
            settings.model,
            "transformers",
            self._model.context_length,
            tools=tools,
            images=True,
            in_process=True,
        )

    def check(self, request: GenerationRequest) -> None:
        assert self._model is not None, "load comes first"
        self._model.template.check(request.tools, request.tool_choice)
        plan(self._defaults, request.options, request.sampling)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        model = self._model
        assert model is not None, "load comes first"
        planned = plan(self._defaults, request.options, request.sampling)

        def work(stop: Stop, put: Callable[[BackendEvent], bool]) -> None:
            model.generate(request, planned, stop, put)

        events: AsyncGenerator[BackendEvent, None] = self._thread.stream_pushed(work)
        async with aclosing(events):
            async for event in events:
                yield event

    async def prefill(self, request: GenerationRequest) -> int:
        return 0

    async def aclose(self) -> None:
        await self._thread.aclose()
        self._model = None


def _check_device(device: str) -> None:
    """Before anything is downloaded for it."""
    from services.llm.backends.causal_lm import check_device

    check_device(device)
