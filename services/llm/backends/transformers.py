"""Any chat model of the transformers library, in this process: CUDA, CPU or MPS."""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from services.common.cores import usable_cores
from services.common.errors import ParleyError, StartupError, first_line
from services.common.model_thread import ModelThread, Stop
from services.llm.backends.base import Backend, Capabilities, RoleNames
from services.llm.backends.generation_options import GenerationPlan, check_flags, plan
from services.llm.context import compose
from services.llm.domain import BackendEvent, GenerationRequest, Message, Role, Sampling, TextPart
from services.llm.weights import locate

if TYPE_CHECKING:
    from services.llm.backends.batching.batched_lm import BatchedLanguageModel
    from services.llm.backends.batching.packed import PackedModel
    from services.llm.backends.causal_lm import LoadedModel
    from services.llm.backends.one_at_a_time import OneAtATime
    from services.llm.settings import LlmSettings

log = logging.getLogger(__name__)

_WARM_UP = GenerationRequest((Message(Role.USER, (TextPart("Hello."),)),))


class TransformersBackend(Backend):
    """Answers are written together, a step for all of them at a time (`batching`).

    A model that cannot be batched answers one request after another, on the thread that loaded it.
    """

    def __init__(self, settings: "LlmSettings") -> None:
        self._settings = settings
        self._thread = ModelThread("llm-model")
        self._loaded: LoadedModel | None = None
        self._batched: BatchedLanguageModel | None = None
        self._single: OneAtATime | None = None
        self._warm_up = _WARM_UP
        self._capabilities = Capabilities(settings.model, "transformers", in_process=True)
        self._defaults = settings.generation_defaults

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    async def load(self) -> None:
        settings = self._settings
        check_flags(settings.generation_options)
        # Threads that spin at a barrier starve each other where other services share the cores: an answer then takes
        # twenty times as long. Read once, when torch is loaded; whoever knows better sets it himself.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        # oneDNN compiles a product for each size that comes, in a step up to eight for each of its parts. A thousand of
        # them would stay: half a gigabyte and more.
        products = str(max(24, 8 * (1 + (settings.llm_threads or usable_cores()))))
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", products)
        os.environ.setdefault("LRU_CACHE_CAPACITY", products)
        if settings.llm_device not in ("", "cpu"):
            await self._thread.run(_check_device, settings.llm_device)
        packaged = "bfloat16" if settings.llm_torch_dtype == "bfloat16" else "float32"
        stop = Stop()
        try:
            folder = await asyncio.to_thread(locate, settings.model_reference, packaged, settings.cache_dir, stop)
        finally:
            stop.set()

        options = (
            folder,
            settings.llm_device,
            settings.llm_torch_dtype,
            settings.llm_quantization,
            settings.llm_threads,
            settings.llm_trust_remote_code,
            RoleNames(settings.init_chat_role, settings.user_role),
        )
        try:
            await self._load(options)
            # The first answer pays for what is set up late, and flags that the model rejects show now, not in a call.
            warm_up = plan({**self._defaults, "max_new_tokens": 2, "min_new_tokens": 0}, {}, Sampling())
            async with aclosing(self._answer(self._warm_up, warm_up)) as events:
                async for _ in events:
                    pass
            if self._capabilities.prefill and settings.init_chat_prompt.strip():
                # What every conversation without instructions of its own begins with.
                await self.prefill(GenerationRequest(compose((), None, settings.init_chat_prompt)))
        except (ParleyError, StartupError):
            raise
        except Exception as error:
            log.debug("loading failed", exc_info=True)
            message = f"--model_name {settings.model_reference}: cannot load the model: {first_line(error)}"
            raise StartupError(message) from error

    async def _load(self, options: tuple[Any, ...]) -> None:
        settings = self._settings

        def load_model() -> "tuple[LoadedModel, PackedModel | None, dict[str, Any], int]":
            import torch

            from services.llm.backends.batching.packing import pack
            from services.llm.backends.causal_lm import ModelOptions, load

            wanted = ModelOptions(*options)
            loaded = load(wanted)
            defaults = loaded.model.generation_config.to_dict()
            packed = pack(loaded, wanted.quantization, lambda: load(wanted))
            if packed is None and loaded.model is None:
                loaded = load(wanted)
            return loaded, packed, defaults, torch.get_num_threads()

        loaded, packed, defaults, threads = await self._thread.run(load_model)
        self._loaded = loaded
        if packed is not None:
            from services.llm.backends.batching.batched_lm import BatchedLanguageModel, EngineOptions

            engine = EngineOptions(
                settings.llm_cache_bytes, settings.llm_max_batch, settings.llm_max_tokens_in_flight, threads
            )
            self._batched = BatchedLanguageModel(loaded, packed, defaults, engine)
            fields = {"engine": type(packed).__name__, "cache_bytes": self._batched.cache_bytes}
        else:
            from services.llm.backends.one_at_a_time import OneAtATime

            self._single = await self._thread.run(OneAtATime, loaded, settings.llm_quantization)
            fields = {"engine": "one answer at a time"}
        self._log_loaded(loaded, threads, fields)
        self._capabilities = Capabilities(
            settings.model,
            "transformers",
            loaded.context_length,
            tools=loaded.template.tool_format is not None,
            prefill=self._batched is not None and settings.llm_cache_bytes != 0,
            parallel=settings.llm_max_batch if self._batched else 1,
            in_process=True,
            admits=self._batched is not None,
        )

    def _log_loaded(self, loaded: "LoadedModel", threads: int, fields: dict[str, Any]) -> None:
        log.info(
            "model loaded",
            extra={
                "device": loaded.device,
                "dtype": str(loaded.dtype).removeprefix("torch."),
                **fields,
                "quantization": self._settings.llm_quantization or "none",
                "threads": threads,
                "context": loaded.context_length,
            },
        )

    def check(self, request: GenerationRequest) -> None:
        assert self._loaded is not None, "load comes first"
        self._loaded.template.check(request.tools, request.tool_choice)
        plan(self._defaults, request.options, request.sampling)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[BackendEvent, None]:
        planned = plan(self._defaults, request.options, request.sampling)
        async with aclosing(self._answer(request, planned)) as events:
            async for event in events:
                yield event

    def _answer(self, request: GenerationRequest, planned: GenerationPlan) -> AsyncGenerator[BackendEvent, None]:
        if self._batched is not None:
            return self._batched.generate(request, planned)
        single = self._single
        assert single is not None, "load comes first"

        def work(stop: Stop, put: Callable[[BackendEvent], bool]) -> None:
            single.generate(request, planned, stop, put)

        return self._thread.stream_pushed(work)

    async def prefill(self, request: GenerationRequest) -> int:
        return await self._batched.prefill(request) if self._batched is not None else 0

    @property
    def prefix_cache_bytes(self) -> int:
        return self._batched.cached_bytes if self._batched is not None else 0

    async def aclose(self) -> None:
        if self._batched is not None:
            await self._batched.aclose()
        await self._thread.aclose()
        self._batched = self._single = self._loaded = None


def _check_device(device: str) -> None:
    """Before anything is unpacked or downloaded for it."""
    from services.llm.backends.causal_lm import check_device

    check_device(device)
