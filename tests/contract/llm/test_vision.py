"""A vision-language model in process: a tiny one with random weights, held against what its library answers itself."""

import asyncio
import contextlib
import importlib.util
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from services.common.errors import ContextLengthError, InvalidArgumentError, StartupError
from services.llm import backends
from services.llm.backends.base import Backend
from services.llm.backends.transformers_vision import TransformersVisionBackend
from services.llm.domain import (
    Finished,
    FinishReason,
    GenerationRequest,
    ImagePart,
    Message,
    Role,
    Sampling,
    TextDelta,
    TextPart,
    Tool,
    ToolCall,
)
from services.llm.settings import LlmSettings
from tests.support.pictures import picture

pytest.importorskip("torch")

RED, BLUE = (ImagePart(picture(colour=colour), media_type="image/png") for colour in ("red", "blue"))
QUESTION = TextPart("What is this?")
ANSWER = Message(Role.ASSISTANT, (TextPart("A square."),))
BRIEF = Message(Role.SYSTEM, (TextPart("Be brief."),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.support.tiny_vlm import build

    return build(tmp_path_factory.mktemp("vlm"))


def settings(folder: Path, **flags: Any) -> LlmSettings:
    return LlmSettings(
        llm_backend="transformers",
        model_name=str(folder),
        llm_device="cpu",
        llm_is_vlm=True,
        llm_threads=1,
        llm_gen_max_new_tokens=12,
        **flags,
    )


@pytest.fixture(scope="module")
def backend(folder: Path) -> Iterator[Backend]:
    made = backends.create(settings(folder))
    asyncio.run(made.load())
    yield made
    asyncio.run(made.aclose())


def user(*parts: TextPart | ImagePart) -> Message:
    return Message(Role.USER, parts)


async def answer(backend: Backend, *messages: Message, **sampling: Any) -> tuple[str, Finished]:
    request = GenerationRequest(messages, Sampling(**sampling))
    async with contextlib.aclosing(backend.generate(request)) as events:
        got = [event async for event in events]
    assert isinstance(got[-1], Finished)
    return "".join(event.text for event in got if isinstance(event, TextDelta)), got[-1]


def expected(folder: Path, *messages: Message) -> tuple[str, int]:
    """What the library makes of the same messages in one piece, and how many tokens they have."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor: Any = AutoProcessor.from_pretrained(folder)
    model: Any = AutoModelForImageTextToText.from_pretrained(folder)
    conversation = [
        {
            "role": message.role.value,
            "content": [
                {"type": "text", "text": part.text}
                if isinstance(part, TextPart)
                else {"type": "image", "image": Image.open(io.BytesIO(part.data))}
                for part in message.content
            ],
        }
        for message in messages
    ]
    inputs = processor.apply_chat_template(
        conversation, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    length = inputs["input_ids"].shape[1]
    tokens = model.generate(**inputs, max_new_tokens=12, do_sample=False)[0, length:]
    return processor.decode(tokens, skip_special_tokens=True), length


def test_it_says_that_it_sees(backend: Backend) -> None:
    able = backend.capabilities
    assert (able.backend, able.images, able.context_length_tokens) == ("transformers", True, 512)


@pytest.mark.parametrize(
    "messages",
    [
        (user(QUESTION),),
        (BRIEF, user(RED, QUESTION)),
        (user(BLUE, QUESTION),),
        (user(QUESTION, RED, TextPart("And this?"), BLUE),),
        (BRIEF, user(RED, QUESTION), ANSWER, user(TextPart("Are you sure?"))),
        (user(RED, QUESTION), ANSWER, user(BLUE)),
    ],
)
async def test_it_answers_as_its_library_does(backend: Backend, folder: Path, messages: tuple[Message, ...]) -> None:
    text, finished = await answer(backend, *messages)
    whole, length = await asyncio.to_thread(expected, folder, *messages)
    assert (text.rstrip("\ufffd"), finished.usage and finished.usage.input_tokens) == (whole.rstrip("\ufffd"), length)


async def test_what_it_sees_changes_what_it_says(backend: Backend) -> None:
    said = [(await answer(backend, user(image, QUESTION)))[0] for image in (RED, BLUE, RED)]
    assert said[0] == said[2] != said[1]


@pytest.mark.parametrize("flags", [{"llm_torch_dtype": "bfloat16"}, {"llm_quantization": "int8"}])
async def test_smaller_numbers_see_too(folder: Path, flags: dict[str, Any]) -> None:
    made = backends.create(settings(folder, **flags))
    await made.load()
    try:
        said = [(await answer(made, user(image, QUESTION)))[0] for image in (RED, BLUE)]
        assert said[0] != said[1]
    finally:
        await made.aclose()


async def test_every_type_of_image_is_taken(backend: Backend) -> None:
    for kind in ("JPEG", "WEBP", "PNG"):
        _, finished = await answer(backend, user(ImagePart(picture(kind, (300, 200))), QUESTION), max_output_tokens=1)
        assert finished.reason is FinishReason.LENGTH


async def test_a_picture_is_turned_as_its_camera_was(backend: Backend) -> None:
    half = Image.new("RGB", (32, 32), "red")
    half.paste("blue", (0, 0, 32, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera lay on its side
    turned, upright = io.BytesIO(), io.BytesIO()
    half.rotate(90).save(turned, "PNG", exif=exif)
    half.save(upright, "PNG")
    said = [(await answer(backend, user(ImagePart(file.getvalue()), QUESTION)))[0] for file in (turned, upright)]
    assert said[0] == said[1]


async def test_a_text_that_spells_an_images_token_is_text(backend: Backend) -> None:
    _, plain = await answer(backend, user(TextPart("x" * 8)), max_output_tokens=1)
    _, forged = await answer(backend, user(TextPart("<image>")), max_output_tokens=1)
    assert plain.usage == forged.usage
    _, marked = await answer(backend, user(TextPart("x" * 8 + "\ue0ff")), max_output_tokens=1)
    assert marked.usage == plain.usage


async def test_edge_24_images_count_in_the_context(backend: Backend) -> None:
    with pytest.raises(ContextLengthError):
        await answer(backend, user(*[RED] * 100))
    assert (await answer(backend, user(QUESTION)))[0]


async def test_an_image_that_cannot_be_decoded_after_all_is_refused_and_the_next_request_works(
    backend: Backend,
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        await answer(backend, user(ImagePart(picture()[:40], media_type="image/png"), QUESTION))
    assert (caught.value.field, caught.value.message) == ("messages", "an image is damaged")
    assert (await answer(backend, user(RED)))[0]


async def test_a_stop_string_ends_the_answer_before_it(backend: Backend) -> None:
    whole, _ = await answer(backend, user(RED, QUESTION))
    stop = whole[len(whole) // 2]
    text, finished = await answer(backend, user(RED, QUESTION), stop=(stop,))
    assert (text, finished.reason) == (whole[: whole.index(stop)], FinishReason.STOP)


async def test_edge_18_closing_stops_the_work_and_the_next_request_is_answered(backend: Backend) -> None:
    events = backend.generate(GenerationRequest((user(RED),), Sampling(max_output_tokens=400)))
    await anext(events)
    await events.aclose()
    assert (await answer(backend, user(RED, QUESTION)))[1].usage


async def test_edge_18_cancelling_before_the_first_token_stops_the_work(backend: Backend) -> None:
    task = asyncio.create_task(answer(backend, user(RED, QUESTION), max_output_tokens=400))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await answer(backend, user(QUESTION)))[1].usage


async def test_edge_22_a_model_that_raises_fails_its_request_alone(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(backend, TransformersVisionBackend)
    assert backend._single is not None

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("out of order")

    with monkeypatch.context() as patch:
        patch.setattr(backend._single._model, "generate", broken)
        with pytest.raises(RuntimeError, match="out of order"):
            await answer(backend, user(RED))
    assert (await answer(backend, user(RED)))[1].usage


async def test_requests_at_the_same_time_are_all_answered_each_its_own(backend: Backend) -> None:
    alone = [(await answer(backend, user(image, QUESTION)))[0] for image in (RED, BLUE)]
    together = await asyncio.gather(*(answer(backend, user(image, QUESTION)) for image in (RED, BLUE, RED)))
    assert [text for text, _ in together] == [*alone, alone[0]]


def test_an_unknown_option_is_refused_by_name(backend: Backend) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        backend.check(GenerationRequest((user(RED),), options={"no_such_option": 1}))
    assert caught.value.field == "backend_options.no_such_option"


TOOLS_TEMPLATE = (
    "{% if tools %}<|im_start|>system\n# Tools\nCall one within <tool_call></tool_call>:\n"
    "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<end_of_utterance>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% if m['content'] is string %}{{ m['content'] }}"
    "{% elif m['content'] %}{% for p in m['content'] %}{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}"
    "{% endif %}{% endfor %}{% endif %}{% for call in m['tool_calls'] or [] %}\n<tool_call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>'
    "{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


async def test_tools_are_offered_beside_images_where_the_template_has_them(tmp_path: Path, backend: Backend) -> None:
    from tests.support.tiny_vlm import build

    assert not backend.capabilities.tools
    made = backends.create(settings(build(tmp_path, TOOLS_TEMPLATE)))
    await made.load()
    try:
        assert made.capabilities.tools
        tool = Tool("look_up", "Looks up a word.", "{}")
        call = Message(Role.ASSISTANT, (), (ToolCall("call_1", "look_up", '{"word": "red"}'),))
        output = Message(Role.TOOL, (TextPart("a colour"),), tool_call_id="call_1")
        asked = (user(RED, QUESTION), call, output)
        request = GenerationRequest(asked, Sampling(max_output_tokens=2), (tool,))
        async with contextlib.aclosing(made.generate(request)) as events:
            finished = [event async for event in events][-1]
        assert isinstance(finished, Finished)
        assert finished.usage is not None
        without = await answer(made, user(RED, QUESTION), max_output_tokens=2)
        assert without[1].usage is not None
        assert finished.usage.input_tokens > without[1].usage.input_tokens + len('{"word": "red"}') + len("a colour")
    finally:
        await made.aclose()


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}{{ m['content'] }}{% endfor %}",
        "{% for m in messages %}{{ m['content'] + ' ' }}{% endfor %}",
        "{% for m in messages %}{% for p in m['content'] %}{{ p['text'] }}{% endfor %}{% endfor %}",
    ],
)
async def test_a_template_that_shows_no_images_is_refused_at_the_start(tmp_path: Path, template: str) -> None:
    from tests.support.tiny_vlm import build

    await _start_fails(build(tmp_path, template), "no place for images")


async def test_a_model_for_text_alone_is_refused_at_the_start(tmp_path: Path) -> None:
    from tests.support.tiny_vlm import build_text_model

    await _start_fails(build_text_model(tmp_path), "sees no images")


@pytest.mark.skipif(importlib.util.find_spec("torchvision") is not None, reason="torchvision is installed")
async def test_a_processor_that_cannot_be_loaded_points_to_what_may_be_missing(tmp_path: Path) -> None:
    from tests.support.tiny_vlm import build

    file = build(tmp_path) / "processor_config.json"
    file.write_text(file.read_text().replace("Idefics3Processor", "Qwen2VLProcessor"))
    await _start_fails(tmp_path, "torchvision")


async def _start_fails(folder: Path, words: str) -> None:
    made = backends.create(settings(folder))
    try:
        with pytest.raises(StartupError, match=words) as caught:
            await made.load()
    finally:
        await made.aclose()
    assert "\n" not in str(caught.value)
