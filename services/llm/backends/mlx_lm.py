"""Any chat model of mlx-lm, in this process: Apple Silicon, and Linux on a CPU or CUDA. One answer at a time."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from services.common.errors import ParleyError, StartupError, first_line
from services.common.model_thread import ModelThread, Stop
from services.llm.backends.base import Backend, Capabilities, RoleNames
from services.llm.backends.generation_options import MLX_PARAMETERS, GenerationPlan, check_flags, plan
from services.llm.domain import BackendEvent, GenerationRequest, Message, Role, Sampling, TextPart
from services.llm.weights import locate

if TYPE_CHECKING:
    from services.llm.backends.mlx_model import MlxModel
    from services.llm.settings import LlmSettings

log = logging.getLogger(__name__)

_WARM_UP = GenerationRequest((Message(Role.USER, (TextPart("Hello."),)),))
_CACHE_BYTES = 2 << 30
_PREFILL_PRIORITY = 1
"""Who reads ahead steps back for those who wait for an answer."""


class MlxLmBackend(Backend):
    """The model lives on its own thread, as mlx wants it; requests come to it one after another."""

    def __init__(self, settings: "LlmSettings") -> None:
        self._settings = settings
        self._thread = ModelThread("llm-model")
        self._model: MlxModel | None = None
        self._capabilities = Capabilities(settings.model, "mlx-lm")
        self._defaults = settings.generation_defaults

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def load(self) -> None:
        settings = self._settings
        check_flags(settings.generation_options, MLX_PARAMETERS)
        if settings.llm_quantization:
            raise StartupError("--llm_quantization: not for mlx-lm; choose a model with 4- or 8-bit weights instead")
        if settings.llm_threads:
            raise StartupError("--llm_threads: mlx-lm has no such setting; leave the flag out")
        await self._thread.run(_import)
        packaged = settings.llm_torch_dtype if settings.llm_torch_dtype == "bfloat16" else "float32"
        stop = Stop()
        try:
            folder = await asyncio.to_thread(locate, settings.model_reference, packaged, settings.cache_dir, stop)
        finally:
            stop.set()

        def load_model() -> "MlxModel":
            from services.llm.backends.mlx_model import MlxModel, MlxOptions

            options = MlxOptions(
                folder,
                settings.llm_device,
                settings.llm_torch_dtype,
                _CACHE_BYTES if settings.llm_cache_bytes is None else settings.llm_cache_bytes,
                settings.llm_trust_remote_code,
                RoleNames(settings.init_chat_role, settings.user_role),
            )
            model = MlxModel(options)
            # The first answer pays for what is set up late, and flags that the model rejects show now, not in a call.
            warm_up = {**self._defaults, "max_new_tokens": 2, "min_new_tokens": 0}
            model.generate(_WARM_UP, plan(warm_up, {}, Sampling(), MLX_PARAMETERS), Stop(), lambda event: True)
            return model

        try:
            self._model = model = await self._thread.run(load_model)
        except (ParleyError, StartupError):
            raise
        except Exception as error:
            log.debug("loading failed", exc_info=True)
            message = f"--model_name {settings.model_reference}: cannot load the model: {first_line(error)}"
            raise StartupError(message) from error
        tools = model.template.tool_format is not None
        self._capabilities = Capabilities(
            settings.model, "mlx-lm", model.context_length, tools, prefill=model.prefills, in_process=True
        )

    def check(self, request: GenerationRequest) -> None:
        assert self._model is not None, "load comes first"
        self._model.template.check(request.tools, request.tool_choice)
        self._plan(request)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        model = self._model
        assert model is not None, "load comes first"
        planned = self._plan(request)

        def work(stop: Stop, put: Callable[[BackendEvent], bool]) -> None:
            model.generate(request, planned, stop, put)

        events: AsyncGenerator[BackendEvent, None] = self._thread.stream_pushed(work)
        async with aclosing(events):
            async for event in events:
                yield event

    async def prefill(self, request: GenerationRequest) -> int:
        model = self._model
        assert model is not None, "load comes first"
        if not model.prefills:
            return 0

        def work(stop: Stop, put: Callable[[int], bool]) -> None:
            put(model.prefill(request, stop))

        counts: AsyncGenerator[int, None] = self._thread.stream_pushed(work, priority=_PREFILL_PRIORITY)
        async with aclosing(counts):
            return await anext(counts)

    @property
    def prefix_cache_bytes(self) -> int:
        return self._model.cached_bytes if self._model is not None else 0

    async def aclose(self) -> None:
        await self._thread.aclose()
        self._model = None

    def _plan(self, request: GenerationRequest) -> GenerationPlan:
        return plan(self._defaults, request.options, request.sampling, MLX_PARAMETERS)


def _import() -> None:
    """On the thread that uses it, and before anything is unpacked or downloaded for it."""
    try:
        import mlx.core  # noqa: F401
        import mlx_lm  # noqa: F401
    except ImportError as error:
        log.debug("mlx is missing", exc_info=True)
        raise StartupError(
            "--llm_backend mlx-lm needs mlx, which is not installed: pip install 'parley-voice[llm-mlx]'"
        ) from error
