"""The spans of turns, of a live session over scripted services."""

from orchestrator.domain import (
    ResponseDone,
    SpeechPaused,
    SpeechStarted,
    SpeechStopped,
    TranscriptCompleted,
    TranscriptUpdated,
)
from services.common import tracing
from services.common.errors import UpstreamError
from tests.support.live_client import SECOND, Client
from tests.support.scripted_stages import answer
from tests.support.spans import recorded


def named(spans: list[tracing.RecordedSpan], name: str) -> list[tracing.RecordedSpan]:
    return [span for span in spans if span.name == name]


async def test_each_spoken_turn_is_the_trace_of_its_utterance() -> None:
    with recorded() as spans, tracing.begin("session") as session:
        async with Client(answer("One."), answer("Two.")) as client:
            for _ in range(2):
                await client.say("hi")
                await client.until(ResponseDone)
        first, second = named(spans, "turn")
        assert first.context == second.context == tracing.of_utterance("u"), "the scripted service has one id for all"
        assert first.links == (session.context,)
        assert first.attributes["parley.turn.outcome"] == "completed"
        assert [span.parent for span in named(spans, "response")] == [first.context, second.context]


async def test_a_request_is_a_turn_with_a_trace_of_its_own() -> None:
    with recorded() as spans:
        async with Client(answer("One.")) as client:
            client.session.create_response()
            await client.until(ResponseDone)
        (turn,) = named(spans, "turn")
        assert turn.parent is None
        assert {span.context.trace_id for span in spans} == {turn.context.trace_id}


async def test_words_that_nobody_answers_are_a_turn_too() -> None:
    with recorded() as spans:
        async with Client() as client:
            await client.say("")
            await client.until(TranscriptCompleted)
            assert [span.name for span in spans] == ["turn"], "it has ended with the words, not with the session"


async def test_an_answer_begun_for_nothing_is_beside_the_one_that_is_heard() -> None:
    with recorded() as spans:
        async with Client(answer("One."), answer("Two.")) as client:
            await client.session.append_audio(SECOND)
            client.hear(
                SpeechStarted("u", 0.1), SpeechPaused("u", 0.5), TranscriptUpdated("u", "hi", "en", at_pause=True)
            )
            await client.until(TranscriptUpdated)
            client.hear(SpeechStopped("u", 0.9), TranscriptCompleted("u", "hi you", "en"))
            await client.until(ResponseDone)
        (turn,) = named(spans, "turn")
        outcomes = {str(span.attributes["parley.response.outcome"]) for span in named(spans, "response")}
        assert outcomes == {"discarded", "completed"}
        assert {span.parent for span in named(spans, "response")} == {turn.context}


async def test_a_turn_that_fails_names_the_reason() -> None:
    with recorded() as spans:
        async with Client([UpstreamError("down")]) as client:
            await client.say("hi")
            await client.until(ResponseDone)
        assert [span.error_type for span in spans if span.name in ("turn", "response")] == [UpstreamError.reason] * 2
