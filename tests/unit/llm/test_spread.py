"""Whether a step goes in parts is a matter of what was faster."""

import time
from collections.abc import Iterator

import pytest
import torch

from services.llm.backends.batching.key_values import KeyValues, PoolShape
from services.llm.backends.batching.packed import Step
from services.llm.backends.batching.spread import Spread

THREADS = 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Timed:
    """A model whose steps take what it is told, by a clock of its own: seconds where threads meet, and in parts."""

    shape = PoolShape(1, 1, 1, torch.float32)
    vocabulary = 1

    def __init__(
        self, met_s: dict[int, float], apart_s: dict[int, float], device: str = "cpu", first_s: float = 0.0
    ) -> None:
        self.device = device
        self.now = 0.0
        self.steps: list[tuple[int, int, int]] = []
        self._met_s, self._apart_s, self._first_s = met_s, apart_s, first_s

    def forward(self, step: Step, pool: KeyValues, workers: int = 1) -> torch.Tensor | None:
        count = len(step.tokens)
        how = count, torch.get_num_threads(), workers
        self.now += (self._met_s if workers == 1 else self._apart_s)[count] + self._first_s * (how not in self.steps)
        self.steps.append(how)
        return None


def learned(model: Timed, monkeypatch: pytest.MonkeyPatch, threads: int = THREADS) -> Spread:
    monkeypatch.setattr(time, "perf_counter", lambda: model.now)
    learning = Spread(threads)
    learning.learn(model, KeyValues(model.shape, 100, "cpu"))
    return learning


def how(learned: Spread, tokens: int) -> tuple[int, int]:
    """The threads of an operation, and among how many a step of so many tokens is divided."""
    with learned.workers(tokens) as workers:
        return torch.get_num_threads(), workers


def test_the_faster_way_is_taken_for_steps_of_about_that_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed({1: 0.02, 8: 0.05, 64: 0.1}, {1: 0.03, 8: 0.04, 64: 0.09})
    spreading = learned(model, monkeypatch)
    apart, met = (1, THREADS), (THREADS, 1)
    assert [how(spreading, tokens) for tokens in (1, 7, 8, 63, 64, 2000)] == [met, met, apart, apart, apart, apart]
    assert torch.get_num_threads() == 1
    assert {(threads, workers) for _, threads, workers in model.steps} == {apart, met}


def test_threads_meet_in_large_models_and_nothing_else_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed({1: 0.6, 8: 0.7, 64: 1.0}, {})
    spreading = learned(model, monkeypatch)
    assert how(spreading, 8) == (THREADS, 1)
    assert model.steps == [(count, THREADS, 1) for count in (1, 8, 64) for _ in range(2)]


def test_what_is_prepared_in_a_first_step_counts_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed({1: 0.02, 8: 0.05, 64: 0.1}, {1: 0.01, 8: 0.04, 64: 0.09}, first_s=9.0)
    assert how(learned(model, monkeypatch), 64) == (1, THREADS)


@pytest.mark.parametrize(("device", "threads"), [("cpu", 1), ("cuda", 3)])
def test_nothing_is_tried_where_there_is_no_choice(device: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Timed({}, {}, device)
    assert how(learned(model, monkeypatch, threads), 8) == (1, threads if device == "cpu" else 1)
    assert not model.steps
