"""What turns leave in the metrics."""

import asyncio
import contextlib
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.common.errors import ModelNotFoundError, UpstreamError
from services.llm.conversation.conversations import Conversations
from services.llm.conversation.memory import MemoryStore
from services.llm.domain import (
    Admitted,
    Finished,
    FinishReason,
    Message,
    Role,
    Started,
    TextDelta,
    TextPart,
    TurnRequest,
    Usage,
)
from services.llm.metrics import GenerationMetrics
from services.llm.turns import TurnDefaults, Turns
from tests.support.scripted_backend import ScriptedBackend

ASKED = TurnRequest((Message(Role.USER, (TextPart("secret words"),)),), speech_segments=True)
LABELS = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "scripted",
    "gen_ai_request_model": "model",
}


class Served:
    """Turns on a scripted backend, and their metrics."""

    def __init__(self) -> None:
        self.backend = ScriptedBackend()
        self.registry = CollectorRegistry()
        self.metrics = GenerationMetrics(self.registry)
        conversations = Conversations(MemoryStore(100.0, 10), chat_size=30, held_ttl_s=50.0)
        defaults = TurnDefaults("", 1, 0, 0.0, 3, False, 1000, 1)
        self.turns = Turns(self.backend, conversations, defaults, metrics=self.metrics)

    async def run(self, asked: TurnRequest = ASKED) -> None:
        async with contextlib.aclosing(self.turns.run(asked)) as events:
            async for _ in events:
                pass

    def value(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0

    def at_work(self) -> tuple[float, float]:
        return self.value("parley_llm_requests_running"), self.value("parley_llm_requests_waiting")


@pytest.fixture
async def served() -> Served:
    return Served()


async def test_a_turn_that_goes_well_is_timed_and_its_tokens_counted(served: Served) -> None:
    usage = Usage(100, 20, cached_input_tokens=60, reasoning_output_tokens=5)
    served.backend.script = [TextDelta("Hello. "), TextDelta("Bye."), Finished(FinishReason.STOP, usage)]
    await served.run()
    for name in (
        "gen_ai_server_time_to_first_token_seconds_count",
        "gen_ai_server_time_per_output_token_seconds_count",
    ):
        assert served.value(name, **LABELS) == 1, name
    assert served.value("gen_ai_server_request_duration_seconds_count", **LABELS, error_type="") == 1
    for kind, tokens in (("input", 100), ("output", 20)):
        assert served.value("gen_ai_client_token_usage_sum", **LABELS, gen_ai_token_type=kind) == tokens
        assert served.value("parley_llm_tokens_total", type=kind) == tokens
    assert served.value("parley_llm_tokens_total", type="cached_input") == 60
    assert served.value("parley_llm_tokens_total", type="reasoning") == 5
    assert served.value("parley_llm_inter_token_seconds_count") == 1
    assert served.value("parley_llm_time_to_first_segment_seconds_count") == 1
    assert served.value("parley_llm_queue_seconds_count") == 1
    assert served.at_work() == (0, 0)


@pytest.mark.parametrize(("in_process", "hits"), [(True, 60), (False, 0)])
async def test_only_what_a_local_model_had_read_are_hits_of_the_prefix_cache(
    served: Served, in_process: bool, hits: int
) -> None:
    served.backend.able = replace(served.backend.able, in_process=in_process)
    served.backend.script = [TextDelta("Hello."), Finished(FinishReason.STOP, Usage(100, 2, cached_input_tokens=60))]
    await served.run()
    assert served.value("parley_llm_prefix_cache_hit_tokens_total") == hits


async def test_a_failure_is_told_by_its_reason(served: Served) -> None:
    served.backend.script = [TextDelta("Hel"), UpstreamError("the provider broke off")]
    with pytest.raises(UpstreamError):
        await served.run()
    reason = UpstreamError("").reason
    assert served.value("gen_ai_server_request_duration_seconds_count", **LABELS, error_type=reason) == 1
    assert served.value("parley_llm_cancelled_total") == 0
    assert served.at_work() == (0, 0)


async def test_a_cancelled_turn_is_no_error(served: Served) -> None:
    served.backend.script = [TextDelta("Hello. "), asyncio.Event()]
    turn = served.turns.run(ASKED)
    assert isinstance(await anext(turn), Started)
    await anext(turn)
    assert served.at_work() == (1, 0)
    await turn.aclose()
    assert served.at_work() == (0, 0)
    assert served.value("parley_llm_cancelled_total") == 1
    # What the user heard of it was as soon as any other.
    assert served.value("gen_ai_server_time_to_first_token_seconds_count", **LABELS) == 1
    assert served.value("parley_llm_time_to_first_segment_seconds_count") == 1
    assert served.value("parley_llm_queue_seconds_count") == 1
    counts = [
        s.value for m in served.registry.collect() for s in m.samples if s.name.endswith("duration_seconds_count")
    ]
    assert sum(counts) == 0


async def test_who_waits_for_the_model_is_waiting_and_not_running(served: Served) -> None:
    done = asyncio.Event()
    served.backend.script = [done, TextDelta("Hello."), Finished(FinishReason.STOP)]
    one, other = asyncio.create_task(served.run()), asyncio.create_task(served.run())
    while served.at_work() != (1, 1):
        await asyncio.sleep(0)
    done.set()
    await asyncio.gather(one, other)
    assert served.at_work() == (0, 0)


async def test_a_backend_that_lets_requests_in_itself_keeps_them_waiting(served: Served) -> None:
    entered, done = asyncio.Event(), asyncio.Event()
    served.backend.able = replace(served.backend.able, admits=True)
    served.backend.script = [entered, Admitted(0.0), done, TextDelta("Hello."), Finished(FinishReason.STOP)]
    running = asyncio.create_task(served.run())
    while not served.backend.requests:
        await asyncio.sleep(0)
    assert served.at_work() == (0, 1)
    entered.set()
    while served.at_work() != (1, 0):
        await asyncio.sleep(0)
    done.set()
    await running


async def test_no_label_carries_what_the_client_sent(served: Served) -> None:
    with pytest.raises(ModelNotFoundError):
        await served.run(replace(ASKED, model="secret words"))
    await served.run(replace(ASKED, model="model"))
    labels = {value for m in served.registry.collect() for s in m.samples for value in s.labels.values()}
    assert "model" in labels
    assert not any("secret" in value for value in labels)


async def test_the_bytes_of_the_prefix_cache_are_asked_for_when_metrics_are_read(served: Served) -> None:
    size = [0]
    served.metrics.watch_prefix_cache(lambda: size[0])
    size[0] = 4096
    assert served.value("parley_llm_prefix_cache_bytes") == 4096
