"""The batching engine with its thread, on a tiny model: the same tokens whoever else is there, and nobody harmed."""

import functools
import gc
from collections.abc import Callable

import psutil
import pytest
import torch

from services.common.errors import ContextLengthError, ServerDrainingError, UpstreamError
from services.llm.backends.batching import engine as engine_module
from services.llm.backends.batching.packed import PackedModel
from services.llm.backends.batching.sequence import Entered, Prefilled, Token
from services.llm.domain import Sampling
from tests.support.tiny_engine import (
    VOCABULARY,
    Stepper,
    as_it_is,
    ask,
    generated,
    lean,
    prompt,
    running,
    sequence,
)

PROMPTS = [prompt(length, seed) for seed, length in enumerate((5, 40, 130, 17, 64, 200))]
ON_A_GPU = (pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"))
MODELS = pytest.mark.parametrize(
    "make",
    [
        lean,
        as_it_is,
        pytest.param(functools.partial(lean, "cuda"), id="lean on a GPU", marks=ON_A_GPU),
        pytest.param(functools.partial(as_it_is, "cuda"), id="as_it_is on a GPU", marks=ON_A_GPU),
    ],
)


@MODELS
def test_warm_cold_alone_and_in_a_batch_are_the_same_tokens_as_the_librarys(make: Callable[[], PackedModel]) -> None:
    expected = [generated(tokens, 24) for tokens in PROMPTS]
    with running(make()) as engine:
        cold = [ask(engine, tokens, 24).answer() for tokens in PROMPTS]
        warm = [ask(engine, tokens, 24) for tokens in PROMPTS]
        assert [heard.answer() for heard in warm] == cold == expected
        assert all(heard.reused == len(tokens) - 1 for heard, tokens in zip(warm, PROMPTS, strict=True))
    with running(make()) as engine:
        batch = [ask(engine, tokens, 24) for tokens in PROMPTS]
        assert [heard.answer() for heard in batch] == expected


@MODELS
def test_a_conversation_goes_on_from_what_was_read_and_generated(make: Callable[[], PackedModel]) -> None:
    history = prompt(50, 1)
    with running(make()) as engine:
        for turn in range(4):
            heard = ask(engine, history, 20)
            answer = heard.answer()
            assert answer == generated(history, 20)
            if turn:
                assert heard.reused == len(history) - 10 - 1  # but for the last token, which was not computed
            history = [*history, *answer, *prompt(10, turn)]


def test_sequences_join_and_leave_at_every_step() -> None:
    model = Stepper(lean())
    with running(model) as engine:
        first = ask(engine, prompt(8, 1), 6)
        assert model.allow() == [8]
        second = ask(engine, prompt(5, 2), 2)
        assert isinstance(first.next(), Entered)
        assert isinstance(first.next(), Token)
        assert sorted(model.allow()) in ([1, 5], [1])
        model.let_go()
        assert (len(first.answer()), len(second.answer())) == (6, 2)


def test_edge_18_a_cancelled_sequence_is_in_no_step_after_the_one_in_progress() -> None:
    model = Stepper(lean())
    with running(model) as engine:
        asked, heard = sequence(prompt(8, 1), 1000)
        engine.submit(asked)
        other = ask(engine, prompt(9, 2), 6)
        while len(heard.tokens) < 2:
            model.allow()
            while len(heard.tokens) < 2 and not heard.events.empty():
                heard.next()
        rows = model.steps.get(timeout=30)
        assert len(rows) == 2
        asked.cancelled = True
        model._allowed.release()
        assert len(model.allow()) == 1
        model.let_go()
        assert other.answer() == generated(prompt(9, 2), 6)
        assert engine.working == 0


def test_edge_18_a_cancelled_prompt_is_left_between_two_slices_and_what_was_read_of_it_stays() -> None:
    model = Stepper(lean())
    tokens = prompt(3000, 3)
    with running(model, capacity=8192) as engine:
        asked, _ = sequence(tokens, 4)
        engine.submit(asked)
        slices = [model.allow()[0]]
        rows = model.steps.get(timeout=30)
        asked.cancelled = True
        slices.append(rows[0])
        model.let_go()
        again = ask(engine, tokens, 4)
        answer = again.answer()
    assert sum(slices) < len(tokens)
    assert again.reused == sum(slices)
    assert answer == generated(tokens, 4)


def test_a_long_prompt_joins_in_slices_while_others_go_on() -> None:
    model = Stepper(lean())
    with running(model, capacity=8192) as engine:
        ask(engine, prompt(8, 1), 400)
        model.allow()
        model.allow()
        long = ask(engine, prompt(3000, 2), 3)
        steps = [rows for rows in (model.allow() for _ in range(8)) if len(rows) == 2]
        assert steps, "the long prompt had no part in eight steps"
        assert all(1 in rows for rows in steps)
        assert all(max(rows) < 3000 for rows in steps)
        model.let_go()
        assert long.answer() == generated(prompt(3000, 2), 3)


def test_edge_22_a_step_that_raises_ends_its_sequences_and_the_next_request_works() -> None:
    model = Stepper(lean())
    with running(model) as engine:
        heard = ask(engine, prompt(20, 1), 8)
        model.error = RuntimeError("/secret/path/of/the/model")
        model.let_go()
        with pytest.raises(UpstreamError) as raised:
            heard.answer()
        assert "secret" not in str(raised.value)
        assert ask(engine, prompt(20, 1), 8).answer() == generated(prompt(20, 1), 8)


def test_an_exception_in_one_sequence_leaves_the_others_unharmed() -> None:
    class Broken:
        greedy, key, samples = False, None, False

        def hold_back_ends(self, logits: torch.Tensor, tokens: int) -> None: ...

        def choose(self, logits: torch.Tensor, tokens: list[int]) -> torch.Tensor:
            raise ValueError("no token for you")

    model = Stepper(lean())
    with running(model) as engine:
        asked, broken = sequence(prompt(12, 1), 8)
        asked.sampler = Broken()
        engine.submit(asked)
        others = [ask(engine, prompt(12, seed), 8) for seed in (2, 3)]
        model.let_go()
        with pytest.raises(UpstreamError):
            broken.answer()
        assert [heard.answer() for heard in others] == [generated(prompt(12, seed), 8) for seed in (2, 3)]


def test_each_sequence_has_its_own_sampling() -> None:
    tokens = prompt(30, 1)
    hot = Sampling(temperature=1.5, seed=7)
    greedy = generated(tokens, 16)
    with running(lean()) as engine:
        alone = ask(engine, tokens, 16, hot).answer()
        together = [
            ask(engine, tokens, 16, hot),
            ask(engine, tokens, 16),
            ask(engine, tokens, 16, Sampling(temperature=1.5, seed=8)),
            ask(engine, tokens, 16, Sampling(temperature=0.8)),
            ask(engine, tokens, 16, Sampling(temperature=0.8)),
            ask(engine, tokens, 16, Sampling(temperature=2.0, top_k=1)),
            ask(engine, tokens, 16, Sampling(), no_repeat_ngram_size=1),
        ]
        answers = [heard.answer() for heard in together]
    assert answers[0] == alone != greedy
    assert answers[1] == answers[5] == greedy
    assert answers[2] != alone
    assert all(0 <= token < VOCABULARY for token in answers[3] + answers[4])
    assert not set(answers[6]) & set(tokens)
    assert len(set(answers[6])) == 16


def test_end_tokens_end_an_answer_but_not_before_its_least_number_of_tokens() -> None:
    tokens = prompt(25, 4)
    expected = generated(tokens, 12)
    end = frozenset({expected[3]})
    with running(lean()) as engine:
        assert ask(engine, tokens, 12, ends=end).answer() == expected[: expected.index(expected[3]) + 1]
        longer = ask(engine, tokens, 12, Sampling(min_output_tokens=10), ends=end).answer()
    assert len(longer) >= 10
    assert expected[3] not in longer[:10]


def test_eviction_under_pressure_changes_no_answer() -> None:
    prompts = [prompt(150, seed) for seed in range(8)]
    with running(lean(), capacity=1024, max_batch=4) as engine:
        for _ in range(2):
            heard = [ask(engine, tokens, 20) for tokens in prompts]
            assert [one.answer() for one in heard] == [generated(tokens, 20) for tokens in prompts]
            assert engine.cached_tokens <= 1024


def test_those_that_outgrow_the_pool_together_step_back_and_all_end_well() -> None:
    prompts = [prompt(40, seed) for seed in range(2)]
    with running(lean(), capacity=640, max_batch=4) as engine:
        heard = [ask(engine, tokens, 330) for tokens in prompts]
        assert [one.answer() for one in heard] == [generated(tokens, 330) for tokens in prompts]


def test_a_context_that_the_pool_cannot_hold_is_refused() -> None:
    with running(lean(), capacity=256) as engine, pytest.raises(ContextLengthError):
        ask(engine, prompt(300, 1), 4).answer()


def test_tokens_in_flight_bound_who_is_let_in() -> None:
    model = Stepper(lean())
    with running(model, max_tokens=250) as engine:
        first, second = ask(engine, prompt(100, 1), 20), ask(engine, prompt(101, 2), 20)
        third = ask(engine, prompt(102, 3), 20)
        while first.events.empty() and second.events.empty():
            model.allow()
        assert third.events.empty()
        model.let_go()
        assert len(third.answer()) == 20
        assert len(first.answer()) == len(second.answer()) == 20


def test_a_prepared_context_is_reused_and_one_in_preparation_is_taken_over() -> None:
    tokens = prompt(400, 5)
    with running(lean()) as engine:
        heard = ask(engine, tokens, 0)
        assert heard.answer() == []
        warm = ask(engine, [*tokens, 7, 8], 6)
        assert warm.answer() == generated([*tokens, 7, 8], 6)
        assert warm.reused == 400
    model = Stepper(lean())
    with running(model, capacity=8192) as engine:
        tokens = prompt(3000, 6)
        prepared = ask(engine, tokens, 0)
        done = model.allow()[0]
        rows = model.steps.get(timeout=30)
        asked = ask(engine, [*tokens, 9], 4)
        model.let_go()
        answer = asked.answer()
        while not isinstance(event := prepared.next(), Prefilled):
            assert isinstance(event, Entered)
        assert event.tokens == asked.reused == done + rows[0] < 3000
        assert answer == generated([*tokens, 9], 4)


def test_closing_tells_those_that_wait_and_refuses_newcomers() -> None:
    model = Stepper(lean())
    with running(model) as engine:
        heard = ask(engine, prompt(10, 1), 1000)
        model.allow()
        model.let_go()
    with pytest.raises(ServerDrainingError):
        heard.answer()
    with pytest.raises(ServerDrainingError):
        ask(engine, prompt(10, 1), 4)


def test_free_memory_is_given_back_while_answers_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(engine_module, "_TIDY_S", 0.0)
    with running(lean()) as engine:
        monkeypatch.setattr(engine_module, "give_back_memory", lambda: given.append(engine.working))
        ask(engine, prompt(10, 1), 4).answer()
    assert 1 in given


def test_1000_turns_over_50_conversations_leave_memory_flat() -> None:
    process = psutil.Process()
    histories = [prompt(20, seed) for seed in range(50)]
    with running(lean(), capacity=8192, max_batch=10) as engine:

        def turns(count: int) -> None:
            for first in range(0, count, 10):
                indices = [(first + offset) % 50 for offset in range(10)]
                heard = [ask(engine, histories[index], 12) for index in indices]
                for index, one in zip(indices, heard, strict=True):
                    longer = [*histories[index], *one.answer(), *prompt(8, first + index)]
                    # A window of turns: the beginning stays, what follows it moves on.
                    histories[index] = longer if len(longer) < 400 else [*longer[:20], *longer[-100:]]

        turns(300)
        gc.collect()
        before = process.memory_info().rss
        turns(1000)
        gc.collect()
        assert process.memory_info().rss < before * 1.05
        assert engine.cached_tokens <= 8192
