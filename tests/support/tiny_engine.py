"""The engine on a tiny Llama with random weights: real in all but size, in float32, so that equal means equal."""

import contextlib
import functools
import queue
import threading
from collections.abc import Iterator
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from services.llm.backends.batching.engine import Engine
from services.llm.backends.batching.key_values import KeyValues
from services.llm.backends.batching.llama import LlamaForward
from services.llm.backends.batching.packed import PackedModel, PackedTransformer, Step, pool_shape
from services.llm.backends.batching.sampling import Sampler
from services.llm.backends.batching.sequence import Entered, Failed, Prefilled, Sequence, SequenceEvent, Token
from services.llm.backends.generation_options import plan
from services.llm.domain import Sampling

VOCABULARY = 300
WAIT_S = 30.0
DEFAULTS = {"max_new_tokens": 16, "min_new_tokens": 0, "temperature": 0.0, "do_sample": False}


def tiny_model(seed: int = 0) -> Any:
    """Two layers, grouped queries, 300 tokens."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=4096,
        initializer_range=0.3,
    )
    return LlamaForCausalLM(config).eval()


def generated(prompt: list[int], count: int) -> list[int]:
    """What the library's own `generate` answers, greedily."""
    return list(_generated(tuple(prompt), count))


@functools.cache
def _reference() -> Any:
    # Threads that meet at every small step take many times as long where others want the processor.
    torch.set_num_threads(1)
    return tiny_model()


@functools.cache
def _generated(prompt: tuple[int, ...], count: int) -> tuple[int, ...]:
    with torch.inference_mode():
        ids = torch.tensor([prompt])
        answer = _reference().generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=None
        )
    return tuple(int(token) for token in answer[0, len(prompt) :])


def lean(device: str = "cpu") -> PackedModel:
    """The tiny model with the forward pass for Llama's kind."""
    model = tiny_model().to(device)
    return LlamaForward(model, pool_shape(model.config, torch.float32), device)


def as_it_is(device: str = "cpu") -> PackedModel:
    """The tiny model with the library's forward pass."""
    model = tiny_model().to(device)
    return PackedTransformer(model, pool_shape(model.config, torch.float32), device)


def prompt(length: int, seed: int) -> list[int]:
    """A context of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [int(token) for token in torch.randint(0, VOCABULARY, (length,), generator=generator)]


class Stepper:
    """A model that takes a step only when it is allowed one, and notes what each was about."""

    def __init__(self, model: PackedModel) -> None:
        self._model = model
        self.shape, self.device, self.vocabulary = model.shape, model.device, model.vocabulary
        self.steps: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
        self.error: Exception | None = None
        self._allowed = threading.Semaphore(0)
        self._free = False

    def forward(self, step: Step, pool: KeyValues, workers: int = 1) -> torch.Tensor | None:
        self.steps.put([row.count for row in step.rows])
        if not self._free:
            assert self._allowed.acquire(timeout=WAIT_S), "no step was allowed"
        error, self.error = self.error, None
        if error is not None:
            raise error
        return self._model.forward(step, pool, workers)

    def allow(self) -> list[int]:
        """Wait until a step begins, and let it go on; the new tokens of each of its sequences."""
        rows = self.steps.get(timeout=WAIT_S)
        self._allowed.release()
        return rows

    def let_go(self) -> None:
        """From now on every step goes on."""
        self._free = True
        self._allowed.release()


class Heard:
    """A sink that a test reads."""

    def __init__(self) -> None:
        self.events: queue.SimpleQueue[SequenceEvent] = queue.SimpleQueue()
        self.reused: int | None = None
        self.tokens: list[int] = []

    def put(self, event: SequenceEvent) -> None:
        """From the engine."""
        self.events.put(event)

    def next(self) -> SequenceEvent:
        """The next event."""
        event = self.events.get(timeout=WAIT_S)
        if isinstance(event, Entered):
            self.reused = event.reused
        if isinstance(event, Token):
            self.tokens.append(event.id)
        return event

    def answer(self) -> list[int]:
        """The tokens up to the last; raises what the sequence failed with."""
        while True:
            event = self.next()
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Prefilled) or (isinstance(event, Token) and event.last):
                return self.tokens


def sequence(
    tokens: list[int],
    count: int,
    sampling: Sampling | None = None,
    *,
    ends: frozenset[int] = frozenset(),
    session: str = "",
    **options: Any,
) -> tuple[Sequence, Heard]:
    """A sequence and what will be heard of it; `count` 0 only makes its context ready."""
    heard = Heard()
    planned = plan({**DEFAULTS, "max_new_tokens": max(1, count)}, options, sampling or Sampling())
    sampler = Sampler(planned, {}, len(tokens), ends or frozenset({0}), "cpu")
    return Sequence(list(tokens), count, ends, sampler, heard, session=session), heard


@contextlib.contextmanager
def running(
    model: PackedModel, capacity: int = 4096, max_batch: int = 16, max_tokens: int = 0, **options: Any
) -> Iterator[Engine]:
    """An engine, closed at the end."""
    engine = Engine(model, capacity, max_batch, max_tokens or capacity, **options)
    engine.start()
    try:
        yield engine
    finally:
        if isinstance(model, Stepper):
            model.let_go()
        engine.close()


def ask(engine: Engine, tokens: list[int], count: int, sampling: Sampling | None = None, **options: Any) -> Heard:
    """Submit a sequence."""
    asked, heard = sequence(tokens, count, sampling, **options)
    engine.submit(asked)
    return heard
