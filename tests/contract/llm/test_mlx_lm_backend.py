"""The mlx-lm backend: what is its own. On a tiny model with random weights, so that nothing waits for its answers."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.common.errors import ContextLengthError, InvalidArgumentError, StartupError
from services.common.model_thread import Stop
from services.llm.backends.generation_options import MLX_PARAMETERS, plan
from services.llm.backends.mlx_lm import MlxLmBackend
from services.llm.domain import Finished, FinishReason, GenerationRequest, Message, Role, Sampling, TextDelta, TextPart
from services.llm.settings import LlmSettings
from services.llm.weights import EMBEDDED
from tests.support.tiny_model import save_tiny_model

pytestmark = pytest.mark.models

SHORT = Sampling(max_output_tokens=4)
SEA = (Message(Role.USER, (TextPart("Tell me a story about the sea."),)),)


@pytest.fixture(scope="module")
def tiny(embedded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(embedded, tmp_path_factory.mktemp("tiny"))


def made(folder: Path | str, **flags: Any) -> MlxLmBackend:
    return MlxLmBackend(LlmSettings(llm_backend="mlx-lm", model_name=str(folder), **flags))


@contextlib.asynccontextmanager
async def loaded(folder: Path | str, **flags: Any) -> AsyncIterator[MlxLmBackend]:
    backend = made(folder, **flags)
    try:
        await backend.load()
        yield backend
    finally:
        await backend.aclose()


@pytest.fixture(scope="module")
def backend(tiny: Path) -> Iterator[MlxLmBackend]:
    backend = made(tiny)
    asyncio.run(backend.load())
    yield backend
    asyncio.run(backend.aclose())


@pytest.fixture(scope="module")
def cold(tiny: Path) -> Iterator[MlxLmBackend]:
    """It keeps nothing."""
    backend = made(tiny, llm_cache_bytes=0)
    asyncio.run(backend.load())
    yield backend
    asyncio.run(backend.aclose())


async def answer(backend: MlxLmBackend, request: GenerationRequest) -> tuple[str, Finished]:
    async with contextlib.aclosing(backend.generate(request)) as events:
        got = [event async for event in events]
    assert isinstance(got[-1], Finished)
    return "".join(event.text for event in got if isinstance(event, TextDelta)), got[-1]


def ask(sampling: Sampling = Sampling(), **options: Any) -> GenerationRequest:  # noqa: B008  it is frozen
    return GenerationRequest(
        SEA, replace(sampling, max_output_tokens=sampling.max_output_tokens or 16), options=options
    )


def cached(finished: Finished) -> int:
    assert finished.usage is not None
    return finished.usage.cached_input_tokens or 0


def said(*texts: str) -> tuple[Message, ...]:
    """A conversation: instructions, then user and assistant in turn."""
    roles = (Role.SYSTEM, *(Role.USER, Role.ASSISTANT) * len(texts))
    return tuple(Message(role, (TextPart(text),)) for role, text in zip(roles, texts, strict=False))


async def test_the_embedded_model_knows_the_capital_of_france() -> None:
    async with loaded(EMBEDDED) as backend:
        request = GenerationRequest(said("", "What is the capital of France?")[1:], Sampling(max_output_tokens=12))
        assert "Paris" in (await answer(backend, request))[0]


@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.7}])
async def test_a_conversation_answers_warm_as_it_does_cold(
    backend: MlxLmBackend, cold: MlxLmBackend, options: dict[str, Any]
) -> None:
    texts = ["You are a parrot.", "Say something about the sea."]
    before = 0
    for turn in range(4):
        request = GenerationRequest(
            said(*texts), Sampling(max_output_tokens=12, frequency_penalty=1.0), options=options
        )
        text, finished = await answer(backend, request)
        plain, unread = await answer(cold, request)
        assert (text, cached(unread)) == (plain, 0)
        assert finished.usage is not None
        # All of the turn before it, and its answer as it was written, whatever tokens the tokenizer makes of that.
        assert cached(finished) >= before
        before = finished.usage.input_tokens + finished.usage.output_tokens - 1
        texts += [text, f"And what about number {turn}?"]


async def test_another_conversation_reads_the_same_instructions_once(backend: MlxLmBackend, cold: MlxLmBackend) -> None:
    first = GenerationRequest(said("You are a pirate. " * 20, "Who are you?"), Sampling(max_output_tokens=4))
    other = GenerationRequest(said("You are a pirate. " * 20, "What is your ship called?"), first.sampling)
    text, _ = await answer(backend, first)
    assert cached((await answer(backend, other))[1]) > 80
    # Who branched off has left the first one's state as it was.
    again, finished = await answer(backend, first)
    assert again == text == (await answer(cold, first))[0]
    assert finished.usage is not None
    assert cached(finished) == finished.usage.input_tokens - 1


async def test_what_is_read_ahead_is_not_read_again(backend: MlxLmBackend, cold: MlxLmBackend) -> None:
    request = GenerationRequest(
        said("You are a lighthouse keeper.", "Is there a light?"), Sampling(max_output_tokens=6)
    )
    tokens = await backend.prefill(request)
    text, finished = await answer(backend, request)
    assert finished.usage is not None
    assert (finished.usage.input_tokens, cached(finished)) == (tokens, tokens - 1)
    assert text == (await answer(cold, request))[0]
    assert await cold.prefill(request) == 0
    assert not cold.capabilities.prefill


async def test_memory_for_contexts_is_bounded(tiny: Path) -> None:
    async with loaded(tiny, llm_cache_bytes=300_000) as backend:
        assert backend._model is not None
        for number in range(6):
            await answer(backend, GenerationRequest(said(f"{number} is your number. ", "Which?"), SHORT))
            assert backend._model._cache.size <= 300_000
        assert 1 <= len(backend._model._cache) < 6


async def test_a_seed_repeats_an_answer_and_another_one_does_not(backend: MlxLmBackend) -> None:
    sampled = Sampling(temperature=1.0, seed=7)
    first, _ = await answer(backend, ask(sampled))
    assert (await answer(backend, ask(sampled)))[0] == first
    assert (await answer(backend, ask(replace(sampled, seed=8))))[0] != first
    assert len({(await answer(backend, ask(Sampling(temperature=1.5))))[0] for _ in range(3)}) > 1


@pytest.mark.parametrize(
    ("sampling", "options"),
    [
        (Sampling(temperature=1.0, top_k=1), {}),
        (Sampling(temperature=1.0, top_p=1e-6), {}),
        (Sampling(temperature=1.0), {"min_p": 1.0}),
    ],
)
async def test_sampling_from_one_candidate_is_greedy(
    backend: MlxLmBackend, sampling: Sampling, options: dict[str, Any]
) -> None:
    assert (await answer(backend, ask(sampling, **options)))[0] == (await answer(backend, ask()))[0]


@pytest.mark.parametrize(
    ("sampling", "options"),
    [
        (Sampling(frequency_penalty=2.0), {}),
        (Sampling(presence_penalty=2.0), {}),
        (Sampling(), {"repetition_penalty": 5.0}),
        (Sampling(temperature=1.0, seed=3), {"xtc_probability": 1.0, "xtc_threshold": 0.01}),
        (Sampling(temperature=1.0, seed=3), {"top_k": 2}),
    ],
)
async def test_parameters_are_honoured(backend: MlxLmBackend, sampling: Sampling, options: dict[str, Any]) -> None:
    plain, _ = await answer(
        backend, ask(Sampling(max_output_tokens=64, temperature=sampling.temperature, seed=sampling.seed))
    )
    text, _ = await answer(backend, ask(replace(sampling, max_output_tokens=64), **options))
    assert text.strip()
    assert text != plain


async def test_a_suppressed_token_is_never_written(backend: MlxLmBackend) -> None:
    assert backend._model is not None
    text, _ = await answer(backend, ask())
    token = backend._model._tokenizer.encode(text, add_special_tokens=False)[0]
    other, _ = await answer(backend, ask(suppress_tokens=[token]))
    assert token not in backend._model._tokenizer.encode(other, add_special_tokens=False)


async def test_the_least_number_of_tokens_is_kept(tiny: Path) -> None:
    """The model is made to want the end at once."""
    async with loaded(tiny) as backend:
        assert backend._model is not None
        text, _ = await answer(backend, ask())
        first = backend._model._tokenizer.encode(text, add_special_tokens=False)[0]
        backend._model._ends = frozenset({first})
        backend._model._tokenizer.eos_token_ids = {first}
        assert (await answer(backend, ask()))[1].reason is FinishReason.STOP
        _, finished = await answer(backend, ask(Sampling(max_output_tokens=9, min_output_tokens=9)))
    assert finished.reason is FinishReason.LENGTH
    assert finished.usage is not None
    assert finished.usage.output_tokens == 9


@pytest.mark.parametrize("name", ["no_repeat_ngram_size", "typical_p", "num_beams"])
async def test_edge_23_a_parameter_that_it_lacks_is_refused_by_name(
    backend: MlxLmBackend, tiny: Path, name: str
) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        backend.check(ask(**{name: 2}))
    assert caught.value.field == f"backend_options.{name}"
    with pytest.raises(StartupError, match=f"--llm_gen_{name}"):
        async with loaded(tiny, generation_options={name: 2}):
            pass


async def test_edge_18_a_stop_during_a_long_prefill_ends_it_at_its_next_part_and_keeps_what_was_read(
    backend: MlxLmBackend,
) -> None:
    model, events = backend._model, list[Any]()
    assert model is not None
    long = GenerationRequest((Message(Role.USER, (TextPart("All work and no play. " * 300),)),))

    class StopAfter(Stop):
        looks = 0

        def __bool__(self) -> bool:
            self.looks += 1
            return self.looks > 1

    stop = StopAfter()
    planned = plan(backend._defaults, {}, Sampling(), MLX_PARAMETERS)
    await backend._thread.run(model.generate, long, planned, stop, events.append)
    assert (stop.looks, events) == (2, [])
    _, finished = await answer(backend, replace(long, sampling=Sampling(max_output_tokens=1)))
    assert 512 <= cached(finished) < 530


async def test_edge_18_who_wants_no_more_gets_no_more_tokens(backend: MlxLmBackend) -> None:
    model, events = backend._model, list[Any]()
    assert model is not None

    def emit(event: Any) -> bool:
        events.append(event)
        return len(events) < 2

    planned = plan(backend._defaults, {}, Sampling(min_output_tokens=100), MLX_PARAMETERS)
    stop = Stop()
    await backend._thread.run(model.generate, ask(), planned, stop, emit)
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert len(deltas) == 2


async def test_edge_22_a_model_that_raises_fails_its_request_alone(
    backend: MlxLmBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tokens: Any) -> str:
        raise RuntimeError("out of order")

    assert backend._model is not None
    before, _ = await answer(backend, ask())
    with monkeypatch.context() as patch:
        patch.setattr(backend._model._template, "decode", broken)
        with pytest.raises(RuntimeError, match="out of order"):
            await answer(backend, ask())
    assert (await answer(backend, ask()))[0] == before


async def test_edge_24_an_answer_ends_where_the_context_does(backend: MlxLmBackend) -> None:
    assert backend._model is not None
    full = GenerationRequest((Message(Role.USER, (TextPart("word " * 2020),)),), Sampling(max_output_tokens=500))
    _, finished = await answer(backend, full)
    assert finished.usage is not None
    assert finished.reason is FinishReason.LENGTH
    assert finished.usage.input_tokens + finished.usage.output_tokens == 2048
    with pytest.raises(ContextLengthError):
        await answer(backend, GenerationRequest((Message(Role.USER, (TextPart("word " * 2100),)),)))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"model_name": "/no/such/folder"}, "no such folder"),
        ({"generation_options": {"topk": 3}}, "did you mean top_k"),
        ({"llm_device": "cuda:99"}, "no such device"),
        ({"llm_quantization": "int8"}, "--llm_quantization"),
        ({"llm_threads": 2}, "--llm_threads"),
    ],
)
async def test_a_start_that_cannot_work_fails_with_one_line(tiny: Path, flags: dict[str, Any], words: str) -> None:
    backend = MlxLmBackend(LlmSettings(**{"llm_backend": "mlx-lm", "model_name": str(tiny), **flags}))
    try:
        with pytest.raises(StartupError, match=words) as caught:
            await backend.load()
    finally:
        await backend.aclose()
    assert "\n" not in str(caught.value)


async def test_a_machine_without_mlx_is_told_what_to_install(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlx_lm", None)
    with pytest.raises(StartupError, match=r"pip install 'parley-voice\[llm-mlx\]'"):
        async with loaded(tiny):
            pass


async def test_a_model_without_a_chat_template_is_refused(embedded: Path, tmp_path: Path) -> None:
    with pytest.raises(StartupError, match="no chat template"):
        async with loaded(save_tiny_model(embedded, tmp_path, template="")):
            pass


@pytest.fixture
def strange(tiny: Path, tmp_path: Path) -> Path:
    """The tiny model, said to be of a kind that nobody knows."""
    for file in tiny.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((tiny / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "no_such_type"}))
    return tmp_path


async def test_a_kind_of_model_that_mlx_lacks_is_refused(strange: Path) -> None:
    with pytest.raises(StartupError, match=r"cannot load the model: .*no_such_type"):
        async with loaded(strange):
            pass
