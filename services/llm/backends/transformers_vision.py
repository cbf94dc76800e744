"""Any vision-language model of the transformers library, in this process (`--llm_is_vlm`). One answer at a time."""

from typing import TYPE_CHECKING, Any

from services.llm.backends.base import Capabilities
from services.llm.backends.transformers import TransformersBackend

if TYPE_CHECKING:
    from services.llm.backends.vision_lm import VisionLanguageModel


class TransformersVisionBackend(TransformersBackend):
    """Requests come to the model one after another, on the thread that loaded it."""

    async def _load(self, options: tuple[Any, ...]) -> None:
        def load_model() -> "tuple[VisionLanguageModel, int]":
            import torch

            from services.llm.backends.causal_lm import ModelOptions
            from services.llm.backends.vision_lm import VisionLanguageModel, a_question

            self._warm_up = a_question()
            return VisionLanguageModel(ModelOptions(*options)), torch.get_num_threads()

        model, threads = await self._thread.run(load_model)
        self._single = model
        self._loaded = loaded = model.loaded
        self._log_loaded(loaded, threads, {"engine": "one answer at a time"})
        self._capabilities = Capabilities(
            self._settings.model,
            "transformers",
            loaded.context_length,
            tools=loaded.template.tool_format is not None,
            images=True,
            in_process=True,
        )
