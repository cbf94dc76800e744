"""A vision-language model of the transformers library, used on the one thread that loads it. Imports torch."""

import importlib.util
import io
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image, ImageOps
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
)

from services.common.errors import ContextLengthError, InvalidArgumentError, StartupError
from services.common.model_thread import Stop
from services.llm.backends.base import RoleNames
from services.llm.backends.chat_template import ChatTemplate
from services.llm.backends.detokenizer import Detokenizer
from services.llm.backends.end_tokens import end_tokens
from services.llm.backends.generation_options import GenerationPlan
from services.llm.backends.local_answer import LocalAnswer
from services.llm.backends.penalties import RepetitionPenalties
from services.llm.backends.quantization import quantize
from services.llm.backends.stop_strings import StopStrings
from services.llm.backends.vision_template import VisionTokenizer, images_of, marked
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    GenerationRequest,
    ImagePart,
    Message,
    Role,
    TextPart,
    Usage,
)
from services.llm.processor import usable_cores
from services.llm.tools.calls import callable_tools

log = logging.getLogger(__name__)

Emit = Callable[[BackendEvent], bool]
"""Hands an event over; False where nobody wants more."""


@dataclass(frozen=True)
class VisionOptions:
    """How a model is loaded; "" and 0 mean what suits the machine."""

    folder: Path
    device: str
    dtype: str
    quantization: str
    threads: int
    trust_remote_code: bool
    names: RoleNames


class _Abandoned(Exception):
    """Nobody wants the answer any more."""


class VisionLanguageModel:
    """Loads a model and generates with it, one answer at a time.

    Raises:
        StartupError: with one line that says what to do.
    """

    def __init__(self, options: VisionOptions) -> None:
        transformers.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
        transformers.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
        torch.set_num_threads(options.threads or usable_cores())
        self._device = options.device or _best_device()
        dtype = options.dtype or ("float32" if self._device == "cpu" else "float16")
        where = {"local_files_only": True, "trust_remote_code": options.trust_remote_code}
        self._processor: Any = _processor(options.folder, where)
        tokenizer = VisionTokenizer(self._processor)
        self._template = ChatTemplate(tokenizer, options.names)
        model: Any = AutoModelForImageTextToText.from_pretrained(options.folder, dtype=getattr(torch, dtype), **where)
        self._model = model.to(self._device).eval()
        if options.quantization:
            quantize(self._model, self._device, dtype)
        self._dtype = getattr(torch, dtype)
        named = self._model.generation_config.eos_token_id
        self._ends = end_tokens(tokenizer, named if isinstance(named, list) else () if named is None else (named,))
        text_config = self._model.config.get_text_config()
        self.context_length = int(getattr(text_config, "max_position_embeddings", 0) or 0)
        log.info(
            "model loaded",
            extra={
                "device": self._device,
                "dtype": dtype,
                "quantization": options.quantization or "none",
                "threads": torch.get_num_threads(),
                "context": self.context_length,
            },
        )

    @property
    def template(self) -> ChatTemplate:
        """How its prompts are written."""
        return self._template

    def generate(self, request: GenerationRequest, plan: GenerationPlan, stop: Stop, emit: Emit) -> None:
        """Answer a context; returns early once `stop` is set or `emit` says that nobody wants more.

        Raises:
            ContextLengthError: the context leaves no room for an answer.
            InvalidArgumentError: the model cannot take an image, or these roles in this order.
        """
        prompt = self._template.render(marked(request.messages), request.tools, request.tool_choice)
        inputs = self._inputs(prompt.text, images_of(request.messages))
        tokens = int(inputs["input_ids"].shape[-1])
        room = self.context_length - tokens if self.context_length else plan.max_new_tokens
        if room < 1:
            message = f"the context has {tokens} tokens, the model takes {self.context_length} with the answer"
            raise ContextLengthError(message, field="messages")
        tools = callable_tools(request.tools, request.tool_choice)
        answer = LocalAnswer(self._template.tool_format, tools, prompt.begun)
        sink = _Sink(Detokenizer(self._template.decode), plan, answer, self._ends, stop, emit)

        def look(*_: object) -> None:
            if stop:
                raise _Abandoned

        torch.manual_seed(secrets.randbits(63) if plan.seed is None else plan.seed)
        hook = self._model.register_forward_pre_hook(look)
        try:
            with torch.inference_mode():
                self._model.generate(
                    **inputs.to(self._device, self._dtype),
                    generation_config=self._config(plan, min(plan.max_new_tokens, room)),
                    stopping_criteria=StoppingCriteriaList([sink]),
                    logits_processor=_processors(plan, tokens),
                )
        except _Abandoned:
            return
        finally:
            hook.remove()
        if not stop:
            sink.finish()
            emit(Finished(sink.reason, Usage(tokens, sink.count)))

    def _inputs(self, prompt: str, images: Sequence[ImagePart]) -> Any:
        """What the model reads: the prompt's tokens, those of images in it, and the pixels."""
        pictures = [_decoded(image) for image in images]
        try:
            return self._processor(
                text=[prompt], images=[pictures] if pictures else None, add_special_tokens=False, return_tensors="pt"
            )
        except ValueError as error:
            if not pictures:
                raise
            log.info("the model's processor refused an image", extra={"problem": str(error)})
            raise InvalidArgumentError("the model cannot take an image of this shape", field="messages") from None

    def _config(self, plan: GenerationPlan, limit: int) -> GenerationConfig:
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=limit,
            min_new_tokens=min(plan.min_new_tokens, limit) or None,
            do_sample=plan.temperature is not None,
            temperature=plan.temperature,
            eos_token_id=sorted(self._ends),
            pad_token_id=min(self._ends),
            num_beams=1,
            return_dict_in_generate=False,
        )
        for name, value in plan.parameters.items():
            setattr(config, name, value)
        return config


class _Sink(StoppingCriteria):
    """Sees each new token once: makes text of it, hands it over, and says whether the answer is over."""

    def __init__(
        self,
        detokenizer: Detokenizer,
        plan: GenerationPlan,
        answer: LocalAnswer,
        ends: frozenset[int],
        stop: Stop,
        emit: Emit,
    ) -> None:
        self._detokenizer = detokenizer
        self._answer = answer
        self._stops = StopStrings(plan.stop)
        self._min_tokens = plan.min_new_tokens
        self._ends = ends
        self._stop = stop
        self._emit = emit
        self.count = 0
        self.reason = FinishReason.LENGTH

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        over = self._take(int(input_ids[0, -1]))
        return torch.full((input_ids.shape[0],), over, device=input_ids.device, dtype=torch.bool)

    def finish(self) -> None:
        """Hand over what was held back."""
        rest = self._stops.feed(self._detokenizer.finish()) + self._stops.finish()
        for event in (*self._answer.feed(rest), *self._answer.finish()):
            self._emit(event)

    def _take(self, token: int) -> bool:
        if self._stop:
            return True
        self.count += 1
        if token in self._ends:
            self.reason = FinishReason.STOP
            return True
        text = self._detokenizer.feed(token)
        if not text:
            return False
        # A stop string does not count before the least number of tokens, as an end token does not.
        text = self._stops.feed(text) if self.count > self._min_tokens else text
        if self._stops.hit:
            self.reason = FinishReason.STOP
        wanted = all(self._emit(event) for event in self._answer.feed(text))
        return not wanted or self._stops.hit


def a_question() -> Message:
    """A text and a picture, for a first answer that nobody waits for."""
    png = io.BytesIO()
    Image.new("RGB", (224, 224), "grey").save(png, "PNG")
    return Message(Role.USER, (ImagePart(png.getvalue(), media_type="image/png"), TextPart("What is this?")))


def _processor(folder: Path, where: dict[str, Any]) -> Any:
    try:
        processor: Any = AutoProcessor.from_pretrained(folder, **where)  # type: ignore[no-untyped-call]
    except Exception as error:
        # Some processors, such as Qwen-VL's, raise something puzzling where this package of torch's is missing.
        if importlib.util.find_spec("torchvision") is not None:
            raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        hint = f"many need torchvision, which is not installed; take the version for torch {torch.__version__}"
        raise StartupError(f"--model_name: cannot load the model's image processor ({hint}): {reason}") from error
    if not hasattr(processor, "image_processor") or not hasattr(processor, "tokenizer"):
        raise StartupError("--llm_is_vlm: the model sees no images; leave the flag out, or choose another model")
    return processor


def _decoded(image: ImagePart) -> Image.Image:
    """The picture as it is meant to be seen: turned as its camera was, on white where it is transparent."""
    try:
        with Image.open(io.BytesIO(image.data)) as opened:
            picture = ImageOps.exif_transpose(opened)
            if not picture.has_transparency_data:
                return picture.convert("RGB")
            seen = Image.new("RGBA", picture.size, "white")
            seen.alpha_composite(picture.convert("RGBA"))
            return seen.convert("RGB")
    except Exception as error:  # noqa: BLE001  what Pillow raises for damaged files is as various as its decoders
        log.info("an image cannot be decoded", extra={"problem": type(error).__name__})
        raise InvalidArgumentError("an image is damaged", field="messages") from None


def _processors(plan: GenerationPlan, prompt_length: int) -> LogitsProcessorList:
    if not plan.frequency_penalty and not plan.presence_penalty:
        return LogitsProcessorList()
    return LogitsProcessorList([RepetitionPenalties(prompt_length, plan.frequency_penalty, plan.presence_penalty)])


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    device = "mps" if torch.backends.mps.is_available() else "cpu"
    log.info("no CUDA device: the model runs on the %s", device)
    return device
