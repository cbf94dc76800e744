"""What every backend does, whichever it is."""

import asyncio
import contextlib
from collections.abc import Iterator

import pytest

from services.common.errors import ContextLengthError, InvalidArgumentError
from services.llm import backends
from services.llm.backends.base import Backend
from services.llm.domain import (
    BackendEvent,
    Finished,
    FinishReason,
    GenerationRequest,
    Message,
    Role,
    Sampling,
    TextDelta,
    TextPart,
)
from services.llm.processor import prefers_bfloat16
from services.llm.settings import LlmSettings
from services.llm.weights import EMBEDDED

KINDS = ["fake", *(pytest.param(kind, marks=pytest.mark.models) for kind in ("transformers", "mlx-lm"))]


def settings(kind: str) -> LlmSettings:
    if kind == "fake":
        return LlmSettings(llm_backend="fake", fake_token_ms=1)
    if kind == "mlx-lm":
        return LlmSettings(llm_backend="mlx-lm", model_name=EMBEDDED)
    dtype = "bfloat16" if prefers_bfloat16() else "float32"
    return LlmSettings(llm_backend="transformers", model_name=EMBEDDED, llm_torch_dtype=dtype)


@pytest.fixture(scope="module", params=KINDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    made = backends.create(settings(request.param))
    asyncio.run(made.load())
    yield made
    asyncio.run(made.aclose())


SHORT = Sampling(max_output_tokens=8)


def ask(text: str = "Tell me a story about the sea.", sampling: Sampling = SHORT) -> GenerationRequest:
    return GenerationRequest((Message(Role.USER, (TextPart(text),)),), sampling)


async def run(backend: Backend, request: GenerationRequest) -> list[BackendEvent]:
    async with contextlib.aclosing(backend.generate(request)) as events:
        return [event async for event in events]


def text_of(events: list[BackendEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_it_says_what_it_is(backend: Backend) -> None:
    able = backend.capabilities
    assert able.model
    assert able.backend in backends.BACKENDS
    assert able.context_length_tokens > 1000
    assert able.parallel >= 1


async def test_deltas_come_and_then_one_finish(backend: Backend) -> None:
    *deltas, finished = await run(backend, ask())
    assert len(deltas) > 1
    assert all(isinstance(delta, TextDelta) and delta.text for delta in deltas)
    assert isinstance(finished, Finished)
    assert finished.usage is not None
    assert finished.usage.input_tokens > 5


async def test_the_limit_of_tokens_is_kept_and_told(backend: Backend) -> None:
    finished = (await run(backend, ask(sampling=Sampling(max_output_tokens=3))))[-1]
    assert isinstance(finished, Finished)
    assert finished.reason is FinishReason.LENGTH
    assert finished.usage is not None
    assert finished.usage.output_tokens == 3


async def test_a_stop_string_ends_the_answer_before_it(backend: Backend) -> None:
    whole = text_of(await run(backend, ask()))
    stop = whole.split()[3]
    events = await run(backend, ask(sampling=Sampling(max_output_tokens=8, stop=(stop,))))
    assert text_of(events) == whole[: whole.index(stop)]
    assert events[-1].reason is FinishReason.STOP  # type: ignore[union-attr]


async def test_the_same_question_gets_the_same_answer(backend: Backend) -> None:
    assert text_of(await run(backend, ask())) == text_of(await run(backend, ask()))


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_edge_18_closing_stops_the_work_and_the_next_request_is_answered(backend: Backend, after: int) -> None:
    before = text_of(await run(backend, ask()))
    events = backend.generate(ask(sampling=Sampling(max_output_tokens=500)))
    for _ in range(after):
        await anext(events)
    await events.aclose()
    await events.aclose()
    assert text_of(await run(backend, ask())) == before


async def test_edge_18_cancelling_before_the_first_token_stops_the_work(backend: Backend) -> None:
    task = asyncio.create_task(run(backend, ask("Word. " * 100, Sampling(max_output_tokens=500))))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert text_of(await run(backend, ask()))


async def test_requests_at_the_same_time_are_all_answered(backend: Backend) -> None:
    answers = await asyncio.gather(*(run(backend, ask()) for _ in range(3)))
    assert len({text_of(answer) for answer in answers}) == 1


async def test_edge_24_a_context_that_does_not_fit_is_refused(backend: Backend) -> None:
    words = backend.capabilities.context_length_tokens + 1
    with pytest.raises(ContextLengthError):
        await run(backend, ask("word " * words))
    assert text_of(await run(backend, ask()))


def test_an_unknown_option_is_refused_by_name(backend: Backend) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        backend.check(GenerationRequest(ask().messages, options={"no_such_option": 1}))
    assert caught.value.field == "backend_options.no_such_option"


async def test_prefill_makes_ready_what_it_says(backend: Backend) -> None:
    tokens = await backend.prefill(ask())
    assert (tokens > 0) is backend.capabilities.prefill
