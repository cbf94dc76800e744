"""One response, from the model's first token to the settled history."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from parley.common.v1 import chat_pb2
from prometheus_client import CollectorRegistry

from orchestrator import clock
from orchestrator.apology import Apology
from orchestrator.domain import (
    AudioDelta,
    Failure,
    FunctionCall,
    ResponseCreated,
    ResponseDone,
    ResponseStatus,
    ServerEvent,
    SessionConfig,
    TextDelta,
)
from orchestrator.metrics import TurnMetrics
from orchestrator.outbox import Outbox
from orchestrator.speech import together
from orchestrator.stages.language_model import GenerationStarted, Prompt, SpeechSegment, ToolCallFailed
from orchestrator.turn import Heard, Turn, TurnOptions
from services.common.audio_format import AudioFormat, Encoding
from services.common.errors import UpstreamError
from services.common.turn_stages import STAGES, stage_seconds
from tests.support.scripted_stages import ScriptedLlm, ScriptedStages, ScriptedTts, answer


@dataclass
class Client:
    """A turn and the client that it talks to."""

    stages: Any
    text_only: bool = False
    conversation: str = "c"
    paced: bool = True
    speculative: bool = False
    apology: Apology = field(default_factory=lambda: Apology(""))
    turn: Turn = field(init=False)
    events: list[ServerEvent] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    """When each event was taken, in seconds from the beginning."""

    def __post_init__(self) -> None:
        self.begun = clock.now()
        self.outbox = Outbox(lambda event: self.turn.output.audio_left(event))
        config = SessionConfig(text_only=self.text_only)
        options = TurnOptions(60.0, paced=self.paced, apology=self.apology)
        metrics = TurnMetrics(CollectorRegistry())
        self.turn = Turn(self.stages, config, self.outbox, "r", Prompt((), self.conversation), options, metrics)
        if not self.speculative:
            self.turn.confirm(Heard(self.begun))

    async def read(self) -> None:
        async for event in self.outbox:
            self.events.append(event)
            self.at.append(clock.now() - self.begun)

    async def until(self, kind: type) -> Any:
        while not any(isinstance(event, kind) for event in self.events):
            await asyncio.sleep(0.001)
        return next(event for event in self.events if isinstance(event, kind))

    async def run(self) -> list[ServerEvent]:
        async with self:
            pass
        return self.events

    async def __aenter__(self) -> "Client":
        self.running = asyncio.create_task(self.turn.run())
        self.reading = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self.turn.cancel()
        await self.running
        self.outbox.close()
        await self.reading

    def audio(self) -> list[AudioDelta]:
        return [event for event in self.events if isinstance(event, AudioDelta)]


async def run(stages: Any, **options: Any) -> list[ServerEvent]:
    return await Client(stages, **options).run()


def done(events: list[ServerEvent]) -> ResponseDone:
    ends = [event for event in events if isinstance(event, ResponseDone)]
    assert len(ends) == 1
    assert events[-1] is ends[0]
    return ends[0]


def failures(events: list[ServerEvent]) -> list[str]:
    """What the client was told of failures."""
    return [event.error.message for event in events if isinstance(event, Failure)]


def stages_that_say(*sentences: str, tts: ScriptedTts | None = None, **options: Any) -> ScriptedStages:
    llm = ScriptedLlm()
    llm.scripts.append(answer(*sentences, **options))
    return ScriptedStages(llm=llm, tts=tts or ScriptedTts())


async def test_the_stages_of_a_turn_add_up_to_its_response_time() -> None:
    timings = done(await run(stages_that_say("One.", "Two."))).timings
    spent = stage_seconds(vars(timings))
    assert list(spent) == list(STAGES)[2:]  # nobody spoke
    assert sum(spent.values()) == pytest.approx(timings.first_audio)
    assert min(spent.values()) >= 0


async def test_audio_of_all_segments_comes_in_order_with_offsets_that_add_up() -> None:
    stages = stages_that_say("One.", "Two.", "Three.")
    events = await run(stages)
    assert isinstance(events[0], ResponseCreated)
    offsets = [event.offset_s for event in events if isinstance(event, AudioDelta)]
    assert offsets == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two.", "Three."]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "One. Two. Three."


async def test_a_whole_response_is_committed_whole_and_says_so() -> None:
    stages = stages_that_say("One.", "Two.")
    end = done(await run(stages))
    assert end.status is ResponseStatus.COMPLETED
    assert end.transcript == "One. Two."
    assert end.usage is not None
    assert stages.llm.commits == [("c", "held", None)]
    spans = [end.timings.first_token, end.timings.first_segment, end.timings.first_audio, end.timings.total]
    assert None not in spans
    assert spans == sorted(spans)  # type: ignore[type-var]


async def test_a_response_cut_by_a_limit_is_incomplete() -> None:
    assert done(await run(stages_that_say("One", cut_short=True))).status is ResponseStatus.INCOMPLETE


async def test_without_a_conversation_nothing_is_committed() -> None:
    stages = stages_that_say("One.")
    await run(stages, conversation="")
    assert stages.llm.commits == []


async def test_text_comes_with_the_audio_that_says_it() -> None:
    events = await run(stages_that_say("One two three four.", "Five."))
    shown = [(event.text, event.offset_s) for event in events if isinstance(event, TextDelta)]
    assert shown == [("One two", 0.0), (" three four.", 0.5), (" Five.", 1.0)]
    kinds = [type(event) for event in events[1:7]]
    assert kinds == [TextDelta, AudioDelta, TextDelta, AudioDelta, TextDelta, AudioDelta]


async def test_text_that_is_never_said_comes_at_the_end() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0].insert(-1, " *")
    events = await run(stages)
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["One.", " *"]


async def test_text_only_calls_no_text_to_speech() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [step for step in stages.llm.scripts[0] if not isinstance(step, SpeechSegment)]
    end = done(await run(stages, text_only=True))
    assert stages.tts.begun == []
    assert end.timings.first_audio is None
    assert end.transcript == "One."


async def test_the_next_segment_is_synthesized_when_the_audio_of_the_first_is_there() -> None:
    gate = asyncio.Event()
    stages = stages_that_say("One.", "Two.", "Three.", tts=ScriptedTts(gate=gate))
    async with Client(stages) as client:
        await client.until(AudioDelta)
        assert stages.llm.closed == 1
        assert [synthesis.text for synthesis in stages.tts.begun] == ["One."]
        gate.set()
        await client.until(ResponseDone)
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two. Three."]


@pytest.mark.parametrize(
    ("character_s", "spoken"),
    [
        (0.001, ["One.", "Two. Three. Four. Five."]),  # at once, however much it is
        (0.04, ["One.", "Two. Three.", "Four. Five."]),  # half of the second that is left is enough for 12 characters
        (0.2, ["One.", "Two.", "Three.", "Four.", "Five."]),
    ],
)
async def test_what_waits_is_spoken_in_one_piece_where_so_much_audio_is_left_to_play(
    character_s: float, spoken: list[str]
) -> None:
    tts = ScriptedTts(character_s=character_s)
    client = Client(stages_that_say("One.", "Two.", "Three.", "Four.", "Five.", tts=tts))
    end = done(await client.run())
    assert [synthesis.text for synthesis in tts.begun] == spoken
    assert end.transcript == "One. Two. Three. Four. Five."
    assert [event.offset_s for event in client.audio()] == [number / 2 for number in range(10)]


async def test_of_what_was_spoken_in_one_piece_the_history_keeps_what_was_heard() -> None:
    tts = ScriptedTts(character_s=0.001)
    async with Client(stages_that_say("One.", "Two.", "Three.", "Four.", tts=tts)) as client:
        await client.until(AudioDelta)
        await asyncio.sleep(2.3)
        client.turn.cancel()
    assert [synthesis.text for synthesis in tts.begun] == ["One.", "Two. Three. Four."]
    assert done(client.events).transcript == "One. Two."


async def test_a_client_that_takes_audio_as_it_comes_gets_each_segment_at_once() -> None:
    stages = stages_that_say("One.", "Two.", "Three.")
    await run(stages, paced=False)
    assert [synthesis.text for synthesis in stages.tts.begun] == ["One.", "Two.", "Three."]


def test_a_piece_is_in_one_language_and_not_longer_than_there_is_room_for() -> None:
    waiting = deque([SpeechSegment("Eins.", "de"), SpeechSegment("Zwei.", "de"), SpeechSegment("Three.", "en")])
    assert together(deque(waiting), 10) == SpeechSegment("Eins.", "de")
    assert together(deque(waiting), 11) == SpeechSegment("Eins. Zwei.", "de")
    assert together(waiting, 100) == SpeechSegment("Eins. Zwei.", "de")
    assert together(waiting, 0) == SpeechSegment("Three.", "en")
    assert not waiting


async def test_audio_is_at_most_two_seconds_ahead_of_playback() -> None:
    client = Client(stages_that_say(*(["A sentence of one second."] * 10)))
    await client.run()
    ahead = [
        event.offset_s + 0.5 - at
        for event, at in zip(client.events, client.at, strict=True)
        if isinstance(event, AudioDelta)
    ]
    assert max(ahead) == pytest.approx(2.0 + 0.5, abs=0.2)  # a chunk is half a second
    assert len(client.audio()) == 20


async def test_a_client_that_only_reads_is_not_made_to_wait() -> None:
    client = Client(stages_that_say(*(["A sentence of one second."] * 10)), paced=False)
    await client.run()
    assert client.at[-1] < 0.1


async def test_the_end_comes_when_all_has_been_played() -> None:
    client = Client(stages_that_say("One."))
    await client.run()
    assert client.at[-1] == pytest.approx(1.0, abs=0.01)


async def test_a_client_that_takes_nothing_stops_the_synthesis() -> None:
    stages = stages_that_say(*(["A sentence of one second."] * 10))
    client = Client(stages)
    running = asyncio.create_task(client.turn.run())
    await asyncio.sleep(30)
    assert stages.tts.spoken <= 5
    client.turn.cancel()
    await running


async def test_an_answer_may_take_longer_than_the_timeout_as_long_as_it_goes_on() -> None:
    client = Client(stages_that_say(*(["A sentence of one second."] * 90)))
    assert done(await client.run()).status is ResponseStatus.COMPLETED
    assert client.at[-1] == pytest.approx(90, abs=0.5)


async def test_an_answer_that_stalls_fails_and_names_who_stalls() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0].insert(1, asyncio.Event())
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert failures(events) == ["the language model service did not go on in time"]
    assert stages.llm.closed == 1


async def test_speech_that_stalls_fails_the_answer_and_names_who_stalls() -> None:
    stages = stages_that_say("One.", tts=ScriptedTts(gate=asyncio.Event()))
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert failures(events) == ["the text-to-speech service did not go on in time"]


async def test_cancelling_stops_both_stages_and_commits_what_was_heard() -> None:
    gate = asyncio.Event()
    stages = stages_that_say("One two three four.", "Five.", tts=ScriptedTts(gate=gate))
    stages.llm.scripts[0].insert(-1, asyncio.Event())  # the model would write on
    async with Client(stages) as client:
        await client.until(AudioDelta)
        gate.set()
        await asyncio.sleep(0.5)
        client.turn.cancel()
    end = done(client.events)
    assert end.status is ResponseStatus.CANCELLED
    assert end.transcript == "One two"
    assert stages.llm.commits == [("c", "held", end.transcript)]
    assert stages.llm.closed == 1


async def test_cancelling_stops_a_synthesis() -> None:
    stages = stages_that_say("One two three four.", tts=ScriptedTts(gate=asyncio.Event()))
    async with Client(stages) as client:
        await client.until(AudioDelta)
        client.turn.cancel()
    assert stages.tts.begun[0].cancelled


async def test_the_client_knows_better_what_was_heard() -> None:
    async with Client(stages_that_say("One two three four.")) as client:
        await client.until(AudioDelta)
        client.turn.truncate(0.25)
        await asyncio.sleep(0.9)
        client.turn.cancel()
    assert done(client.events).transcript == "One"


async def test_cancelling_before_anything_was_heard_commits_nothing_heard() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [GenerationStarted("held"), asyncio.Event()]
    async with Client(stages) as client:
        await asyncio.sleep(0.1)
        client.turn.cancel()
        client.turn.cancel()
    end = done(client.events)
    assert (end.status, end.transcript) == (ResponseStatus.CANCELLED, "")
    assert stages.llm.commits == [("c", "held", "")]


async def test_cancelling_before_the_task_ran_still_ends_with_one_done() -> None:
    client = Client(stages_that_say("One."))
    client.turn.cancel()
    assert done(await client.run()).status is ResponseStatus.CANCELLED


async def test_no_audio_follows_a_cancel() -> None:
    stages = stages_that_say("One.", "Two.", "Three.", "Four.")
    async with Client(stages) as client:
        await client.until(AudioDelta)
        client.turn.cancel()
        before = len(client.audio())
    assert len(client.audio()) == before


# Held


async def test_a_held_response_goes_on_from_where_the_client_stopped() -> None:
    async with Client(stages_that_say("One two three four.", "Five.")) as client:
        await client.until(AudioDelta)
        await asyncio.sleep(0.7)
        client.turn.output.hold()
        before = len(client.audio())
        await asyncio.sleep(10)
        assert len(client.audio()) == before
        client.turn.output.resume()
        await asyncio.sleep(0.001)
        assert client.audio()[before].offset_s == pytest.approx(0.7, abs=0.01)
    end = done(client.events)
    assert end.status is ResponseStatus.COMPLETED
    assert client.at[-1] == pytest.approx(12.0, abs=0.01)
    again = b"".join(event.audio for event in client.audio()[before:])
    assert len(again) == pytest.approx(1.3 * 48_000, abs=0.01 * 48_000)


async def test_a_response_cut_while_it_is_held_was_heard_up_to_there() -> None:
    async with Client(stages_that_say("One two three four.", "Five.")) as client:
        await client.until(AudioDelta)
        await asyncio.sleep(0.5)
        client.turn.output.hold()
        await asyncio.sleep(5)
        client.turn.cancel()
    assert done(client.events).transcript == "One two"


async def test_edge_12_a_call_that_cannot_be_made_is_told_and_the_response_goes_on() -> None:
    stages = stages_that_say("One.", "Two.")
    stages.llm.scripts[0].insert(-1, ToolCallFailed("get_weather", "the arguments are not valid JSON"))
    async with Client(stages) as client:
        await client.until(ResponseDone)
    (failure,) = [event for event in client.events if isinstance(event, Failure)]
    assert failure.error.message == "the model called a tool get_weather wrongly: the arguments are not valid JSON"
    assert done(client.events).status is ResponseStatus.COMPLETED


# Speculative


async def test_nothing_of_a_speculation_is_sent_before_it_is_confirmed() -> None:
    stages = stages_that_say("One.", "Two.", "Three.")
    call = chat_pb2.ToolCall(id="call_1", name="tool")
    stages.llm.scripts[0].insert(-1, call)
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(10)
        assert client.events == []
        assert [synthesis.text for synthesis in stages.tts.begun] == ["One."]
        client.turn.confirm(Heard(clock.now() - 0.5, endpointing=0.4, final_transcript=0.5))
        await asyncio.sleep(0.001)
        assert isinstance(client.events[0], ResponseCreated)
        assert any(isinstance(event, FunctionCall) for event in client.events)
        assert client.audio()[0].offset_s == 0.0
    end = done(client.events)
    assert end.status is ResponseStatus.COMPLETED
    assert end.timings.first_audio == pytest.approx(0.5, abs=0.01)
    assert end.timings.endpointing == 0.4
    assert stages.llm.commits == [("c", "held", None)]


async def test_a_discarded_speculation_leaves_no_trace() -> None:
    stages = stages_that_say("One.", "Two.")
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(1)
        client.turn.discard()
    assert client.events == []
    assert stages.llm.discards == ["held"]
    assert stages.llm.commits == []


async def test_a_speculation_that_is_discarded_early_stops_both_stages() -> None:
    stages = stages_that_say("One.", tts=ScriptedTts(gate=asyncio.Event()))
    stages.llm.scripts[0].insert(-1, asyncio.Event())
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(1)
        client.turn.discard()
    assert stages.llm.closed == 1
    assert stages.tts.begun[0].cancelled


async def test_a_speculation_that_fails_says_so_only_once_it_is_confirmed() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [UpstreamError("the language model service is not reachable")]
    async with Client(stages, speculative=True) as client:
        await asyncio.sleep(1)
        assert client.events == []
        client.turn.confirm(Heard(clock.now()))
    assert done(client.events).status is ResponseStatus.FAILED


# Failures


async def test_a_failing_language_model_fails_the_response_and_says_why_first() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0] = [GenerationStarted("held"), UpstreamError("the language model service is not reachable")]
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert isinstance(events[-2], Failure)
    assert "language model" in events[-2].error.message


async def test_a_failing_text_to_speech_stops_the_language_model() -> None:
    tts = ScriptedTts(error=UpstreamError("the text-to-speech service is not reachable"))
    stages = stages_that_say("One.", tts=tts)
    stages.llm.scripts[0].insert(-1, asyncio.Event())
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    assert stages.llm.closed == 1


@contextlib.asynccontextmanager
async def apologizing(tts: ScriptedTts | None = None) -> AsyncIterator[Apology]:
    apology = Apology("Sorry.")
    preparing = asyncio.create_task(apology.prepare(tts or ScriptedTts()))  # type: ignore[arg-type]
    try:
        await asyncio.sleep(1)
        yield apology
    finally:
        preparing.cancel()


async def test_a_failure_is_apologised_for_after_what_was_said_and_leaves_no_trace_in_the_history() -> None:
    stages = stages_that_say("One two.")
    stages.llm.scripts[0].insert(-1, UpstreamError("the language model service is not reachable"))
    async with apologizing() as apology:
        client = Client(stages, apology=apology)
        events = await client.run()
    end = done(events)
    assert end.status is ResponseStatus.FAILED
    assert [type(event) for event in events if isinstance(event, Failure)] == [Failure]
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert texts[-1] == "Sorry."
    failed = next(number for number, event in enumerate(events) if isinstance(event, Failure))
    said = [event for event in events[failed:] if isinstance(event, AudioDelta)]
    assert sum(len(event.audio) for event in said) == 48_000
    assert "Sorry" not in (stages.llm.commits[0][2] or "")
    assert client.at[-1] >= 1.0  # it has been played


async def test_an_apology_comes_in_the_format_of_the_session() -> None:
    tts = ScriptedTts()
    telephone = AudioFormat(Encoding.MULAW, 8000)
    async with apologizing(tts) as apology:
        assert not list(apology.audio(telephone))
        apology.want(telephone)
        await asyncio.sleep(1)
        assert b"".join(apology.audio(telephone))
        apology.want(telephone)
        await asyncio.sleep(1)
        assert len(tts.begun) == 2  # each format once


async def test_the_formats_that_were_used_last_are_those_whose_apology_is_kept() -> None:
    async with apologizing() as apology:
        rates = [8000 + 1000 * step for step in range(9)]
        for rate in rates:
            apology.want(AudioFormat(Encoding.PCM_S16LE, rate))
            await asyncio.sleep(1)
        kept = [rate for rate in rates if list(apology.audio(AudioFormat(Encoding.PCM_S16LE, rate)))]
        assert kept == rates[1:]


async def test_nothing_is_said_before_the_apology_could_be_synthesized() -> None:
    tts = ScriptedTts(error=UpstreamError("not reachable"))
    async with apologizing(tts) as apology:
        await asyncio.sleep(10)
        assert list(apology.audio(SessionConfig().output_format)) == []
        tts.error = None
        await asyncio.sleep(10)
        assert list(apology.audio(SessionConfig().output_format))


async def test_an_answer_that_ends_without_its_end_is_a_failure() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts[0].pop()
    assert done(await run(stages)).status is ResponseStatus.FAILED


async def test_a_defect_in_a_stage_fails_the_response_without_telling_internals() -> None:
    stages = stages_that_say("One.")
    stages.llm.scripts.clear()  # an IndexError inside the stage
    events = await run(stages)
    assert done(events).status is ResponseStatus.FAILED
    failure = events[-2]
    assert isinstance(failure, Failure)
    assert "deque" not in failure.error.message


@pytest.mark.parametrize("written", ["🎉 😀", "…"])
async def test_an_answer_without_a_word_to_say_is_no_silence_but_an_error(written: str) -> None:
    stages = stages_that_say()
    stages.llm.scripts[0].insert(1, written)  # the language model service makes no segment of it
    events = await run(stages)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == written
    assert failures(events) == ["the model's answer has nothing that can be spoken"]
    assert done(events).status is ResponseStatus.FAILED


async def test_an_answer_without_a_word_to_say_may_be_read_or_be_a_call() -> None:
    stages = stages_that_say()
    stages.llm.scripts[0].insert(1, "🎉")
    assert done(await run(stages, text_only=True)).status is ResponseStatus.COMPLETED
    stages = stages_that_say()
    stages.llm.scripts[0][1:1] = ["🎉", chat_pb2.ToolCall(id="c", name="ring")]
    assert done(await run(stages)).status is ResponseStatus.COMPLETED
