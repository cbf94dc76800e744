"""One trace a turn, through the four programs and a real collector."""

import itertools
from typing import Any

import grpc
import pytest
import pytest_asyncio
from parley.agent.v1 import agent_service_pb2 as pb
from parley.agent.v1 import agent_service_pb2_grpc
from parley.tts.v1 import tts_service_pb2, tts_service_pb2_grpc

from services.common.turn_stages import STAGES
from tests.support.otlp import Receiver, SpanSeen, needs_rotel, otlp_receiver, rotel
from tests.support.redis_server import free_port
from tests.support.servers import running
from tests.support.stack import SPEECH, fake_stack
from tests.support.talking import converse

TRANSCRIPT, ANSWER, TEXT = (
    "What nobody else asks",
    "Something nobody else answers. And so on.",
    "Written by nobody else",
)
CLIENT_TRACE, CLIENT_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CLOCKS_S = 0.02
"""Each span is put on the wall clock by itself."""
PROGRAMS = {"parley-orchestrator", "parley-stt", "parley-llm", "parley-tts"}

pytestmark = [needs_rotel, pytest.mark.asyncio(loop_scope="module")]


class Told:
    """What the collector was told, and what the programs have logged, of one conversation and one single turn."""

    def __init__(self, receiver: Receiver, logs: list[dict[str, object]]) -> None:
        self.receiver, self.logs = receiver, logs
        roots = [span for span in receiver.spans if span.name == "turn"]
        self.turns = [receiver.of_trace(root.trace_id) for root in sorted(roots, key=lambda root: root.begun_s)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def told() -> Any:
    async with otlp_receiver() as receiver:
        async with rotel(receiver) as endpoint:
            on = (f"--otlp_endpoint={endpoint}", "--log_level=debug")
            long_answer = (*on, "--fake_tts_ms_per_character=200")
            async with fake_stack(
                orchestrator=on,
                stt=(*on, f"--fake_transcript={TRANSCRIPT}"),
                llm=(*on, f"--fake_answer={ANSWER}"),
                tts=long_answer,
            ) as stack:
                address = stack["orchestrator"].address
                await converse(address)
                await respond(address)
        yield Told(receiver, [entry for server in stack.values() for entry in server.logs])


async def respond(address: str) -> None:
    """A single turn of a client that traces its calls."""
    session = pb.SessionConfig(input_audio_format=SPEECH)
    metadata = (("traceparent", f"00-{CLIENT_TRACE}-{CLIENT_SPAN}-01"),)
    async with grpc.aio.insecure_channel(address) as channel:
        call: Any = agent_service_pb2_grpc.VoiceAgentServiceStub(channel).Respond(
            pb.RespondRequest(session=session, text=TEXT), metadata=metadata
        )
        _ = [response async for response in call]


def named(spans: list[SpanSeen], name: str) -> SpanSeen:
    (span,) = [span for span in spans if span.name == name]
    return span


async def test_each_turn_is_one_connected_trace_of_all_programs(told: Told) -> None:
    interrupted, answered, single = told.turns
    for turn in (interrupted, answered):
        root = named(turn, "turn")
        assert {span.span_id: span for span in turn}.keys() >= {span.parent_id for span in turn} - {""}
        assert [span.name for span in turn if not span.parent_id] == ["turn"]
        assert {span.service for span in turn} == PROGRAMS
        (session_trace,) = root.links
        assert {"parley.agent.v1.VoiceAgentService/Converse"} < {
            span.name for span in told.receiver.of_trace(session_trace)
        }
    assert {span.service for span in single} == PROGRAMS - {"parley-stt"}
    lengths = ", ".join(f"{len(turn)} of {len({span.service for span in turn})} programs" for turn in told.turns)
    print(f"{len(told.turns)} traces with spans: {lengths}")  # noqa: T201  shown by pytest -rP


async def test_a_client_that_traces_its_call_finds_the_turn_in_its_own_trace(told: Told) -> None:
    single = told.turns[-1]
    (called,) = [span for span in single if span.parent_id == CLIENT_SPAN]
    assert called.trace_id == CLIENT_TRACE
    assert (called.service, called.name) == ("parley-orchestrator", "parley.agent.v1.VoiceAgentService/Respond")
    assert named(single, "turn").parent_id == called.span_id


async def test_the_stages_of_a_turn_follow_each_other_from_the_end_of_speech(told: Told) -> None:
    turn = told.turns[0]
    stages = [named(turn, stage) for stage in (*STAGES, "speaking")]
    for stage, following in itertools.pairwise(stages):
        assert stage.ended_s == pytest.approx(following.begun_s, abs=CLOCKS_S)
    waited = stages[-1].begun_s - stages[0].begun_s
    assert named(turn, "turn").attributes["parley.turn.response_s"] == pytest.approx(waited, abs=CLOCKS_S)


async def test_the_model_s_span_speaks_the_conventions_of_generative_ai(told: Told) -> None:
    chat = named(told.turns[0], "chat fake")
    assert chat.attributes["gen_ai.operation.name"] == "chat"
    assert chat.attributes["gen_ai.provider.name"] == chat.attributes["gen_ai.request.model"] == "fake"
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert chat.attributes["gen_ai.usage.output_tokens"] == len(ANSWER.split())
    assert chat.attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert chat.events == ("model began", "first token", "first speech segment")


async def test_the_work_of_every_model_is_told_in_those_conventions(told: Told) -> None:
    names = {(span.service, span.attributes.get("gen_ai.operation.name")) for span in told.turns[0]}
    assert {work for work in names if work[1]} == {
        ("parley-stt", "speech_to_text"),
        ("parley-llm", "chat"),
        ("parley-tts", "text_to_speech"),
    }


async def test_speech_in_and_out_and_the_interruption_are_there(told: Told) -> None:
    interrupted, answered, _ = told.turns
    assert {"first interim transcript", "end of speech"} <= set(named(interrupted, "utterance").events)
    assert "recognize" in {span.name for span in interrupted}
    assert named(interrupted, "barge-in").ended_s <= named(interrupted, "turn").ended_s
    assert named(interrupted, "turn").attributes["parley.turn.outcome"] == "cancelled"
    outcomes = [span.attributes["parley.response.outcome"] for span in answered if span.name == "response"]
    assert outcomes == ["discarded", "cancelled"], "one begun at a pause for nothing, one that its client left"
    synthesized = [span for span in interrupted if span.service == "parley-tts"]
    assert {"engine began", "first audio", "first audible sample"} <= set(synthesized[0].events)
    assert not [span for span in told.receiver.spans if span.failed]


async def test_log_lines_carry_the_ids_of_their_trace(told: Told) -> None:
    completed = [entry for entry in told.logs if entry["message"] in ("turn completed", "response done")]
    assert {entry["trace_id"] for entry in completed} == {turn[0].trace_id for turn in told.turns}


async def test_nothing_said_or_written_is_in_spans_or_logs(told: Told) -> None:
    everything = b"".join(told.receiver.raw) + repr(told.logs).encode()
    for text in (TRANSCRIPT, ANSWER, TEXT):
        assert not [word for word in (text, text.split(".")[0]) if word.encode() in everything]


async def test_a_receiver_that_is_down_disturbs_no_call_nor_the_end() -> None:
    down = f"--otlp_endpoint=http://127.0.0.1:{free_port()}"
    async with (
        running("tts", "--tts=fake", down) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        request = tts_service_pb2.SynthesizeRequest(text="hello")
        call: Any = tts_service_pb2_grpc.TextToSpeechServiceStub(channel).Synthesize(request)
        assert [response async for response in call]
    assert server.process.returncode == 0
    assert server.logs[-1]["message"] == "stopped"
