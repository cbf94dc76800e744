"""A vision-language model of the transformers library, one answer at a time. Imports torch."""

import importlib.util
import io
import logging
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image, ImageOps
from transformers import AutoModelForImageTextToText, AutoProcessor

from services.common.errors import InvalidArgumentError, StartupError, first_line
from services.llm.backends.causal_lm import LoadedModel, ModelOptions, prepare, put_together
from services.llm.backends.chat_template import ChatTemplate, Prompt
from services.llm.backends.one_at_a_time import OneAtATime
from services.llm.backends.vision_template import VisionTokenizer, images_of, marked
from services.llm.domain import GenerationRequest, ImagePart, Message, Role, TextPart

log = logging.getLogger(__name__)


class VisionLanguageModel(OneAtATime):
    """Loads a model that sees, and generates with it.

    Raises:
        StartupError: with one line that says what to do.
    """

    prefill_chunk = None  # the library puts all images into the first part of a prompt

    def __init__(self, options: ModelOptions) -> None:
        place = prepare(options)
        self._processor = _processor(options, place.files)
        tokenizer = VisionTokenizer(self._processor)
        template = ChatTemplate(tokenizer, options.names)
        model: Any = AutoModelForImageTextToText.from_pretrained(options.folder, dtype=place.dtype, **place.files)
        self.loaded: LoadedModel = put_together(model, tokenizer, template, place)
        super().__init__(self.loaded, options.quantization)

    def _prompt(self, request: GenerationRequest) -> Prompt:
        return self.loaded.template.render(marked(request.messages), request.tools, request.tool_choice)

    def _inputs(self, prompt: str, request: GenerationRequest) -> Mapping[str, Any]:
        """The prompt's tokens, those of images in it, and the pixels."""
        pictures = [_decoded(image) for image in images_of(request.messages)]
        try:
            inputs: Any = self._processor(
                text=[prompt], images=[pictures] if pictures else None, add_special_tokens=False, return_tensors="pt"
            )
        except ValueError as error:
            if not pictures:
                raise
            log.info("the model's processor refused an image", extra={"problem": str(error)})
            raise InvalidArgumentError("the model cannot take an image of this shape", field="messages") from None
        on_device: Mapping[str, Any] = inputs.to(self.loaded.device, self.loaded.dtype)
        return on_device


def a_question() -> GenerationRequest:
    """A text and a picture, for a first answer that nobody waits for."""
    png = io.BytesIO()
    Image.new("RGB", (224, 224), "grey").save(png, "PNG")
    picture = ImagePart(png.getvalue(), media_type="image/png")
    return GenerationRequest((Message(Role.USER, (picture, TextPart("What is this?"))),))


def _processor(options: ModelOptions, files: dict[str, Any]) -> Any:
    try:
        processor: Any = AutoProcessor.from_pretrained(options.folder, **files)  # type: ignore[no-untyped-call]
    except Exception as error:
        # Some processors, such as Qwen-VL's, raise something puzzling where this package of torch's is missing.
        if importlib.util.find_spec("torchvision") is not None:
            raise
        hint = f"many need torchvision, which is not installed; take the version for torch {torch.__version__}"
        raise StartupError(
            f"--model_name: cannot load the model's image processor ({hint}): {first_line(error)}"
        ) from error
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
