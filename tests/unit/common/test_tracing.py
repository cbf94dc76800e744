"""Spans, how they are joined across programs, and what all of it is while tracing is off."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator

import pytest

from services.common import server, tracing
from services.common.errors import OverloadedError, StartupError
from services.common.otlp import OtlpSink
from services.common.settings import ServerSettings, SettingsError, load
from tests.support.otlp import otlp_receiver
from tests.support.servers import ROOT
from tests.support.spans import recorded

HEADER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def ended() -> Iterator[list[tracing.RecordedSpan]]:
    """The spans that have ended, tracing being on."""
    with recorded() as spans:
        yield spans


def test_a_span_begun_inside_another_is_a_part_of_it(ended: list[tracing.RecordedSpan]) -> None:
    with tracing.begin("outer") as outer:
        tracing.begin("inner").end()
        ids = outer.context
        assert ids is not None
        assert tracing.log_ids() == {"trace_id": f"{ids.trace_id:032x}", "span_id": f"{ids.span_id:016x}"}
    tracing.begin("other").end()
    inner, outside, other = ended
    assert (inner.parent, outside.parent, other.parent) == (outside.context, None, None)
    assert inner.context.trace_id == outside.context.trace_id != other.context.trace_id
    assert tracing.log_ids() == {}


def test_ids_go_to_another_program_and_back_as_w3c_has_them(ended: list[tracing.RecordedSpan]) -> None:
    caller = tracing.from_metadata((("other", "x"), (tracing.HEADER, HEADER)))
    assert caller is not None
    assert caller.header == HEADER
    tracing.begin_call("/parley.tts.v1.TextToSpeechService/Synthesize", tracing.Kind.SERVER, caller).end()
    (span,) = ended
    assert span.context.header.startswith(HEADER[:36])
    assert span.parent == caller
    assert span.name == "parley.tts.v1.TextToSpeechService/Synthesize"


@pytest.mark.parametrize(
    "header",
    ["", "00-abc", HEADER.replace("00-", "ff-"), HEADER.upper(), f"00-{'0' * 32}-b7ad6b7169203331-01", HEADER + "x"],
)
def test_a_header_that_is_none_begins_a_trace(ended: list[tracing.RecordedSpan], header: str) -> None:
    assert tracing.from_metadata(((tracing.HEADER, header),)) is None


def test_what_a_caller_does_not_record_is_recorded_nowhere(ended: list[tracing.RecordedSpan]) -> None:
    caller = tracing.from_metadata(((tracing.HEADER, HEADER[:-2] + "00"),))
    with tracing.begin("served", parent=caller) as span:
        assert span.context is not None
        assert span.context.header.endswith("-00")
        tracing.begin("part").end()
        tracing.begin("turn", context=tracing.of_utterance("utt_1")).end()
    assert ended == []


def test_both_ends_know_the_trace_of_an_utterance(ended: list[tracing.RecordedSpan]) -> None:
    with tracing.begin("session") as session:
        root = tracing.begin("turn", context=tracing.of_utterance("utt_1"))
    tracing.begin("utterance", parent=tracing.of_utterance("utt_1")).end()
    root.end()
    _, utterance, turn = ended
    assert turn.links == (session.context,)
    assert utterance.parent == turn.context
    assert turn.parent is None
    assert tracing.of_utterance("utt_2") != turn.context


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OverloadedError("too many"), "OVERLOADED"),
        (asyncio.CancelledError(), ""),
        (ValueError("a text"), "ValueError"),
    ],
)
def test_a_failure_is_named_and_cancelling_is_none(
    ended: list[tracing.RecordedSpan], error: BaseException, told: str
) -> None:
    with pytest.raises(type(error)), tracing.begin("work"):
        raise error
    assert ended[0].error_type == told


def test_only_the_first_end_counts(ended: list[tracing.RecordedSpan]) -> None:
    span = tracing.begin("work", at=5.0)
    span.end(at=6.0)
    span.end("late", at=7.0)
    assert [(each.begun_at, each.ended_at, each.error_type) for each in ended] == [(5.0, 6.0, "")]


async def test_the_exporter_sends_what_a_span_holds() -> None:
    async with otlp_receiver() as receiver:
        sink = OtlpSink("tts", receiver.endpoint)
        tracing.send_to(sink, content=True)
        assert tracing.content()
        span = tracing.begin("work", {"parley.a": 1, "parley.none": None})
        span.event("something")
        span.end("INTERNAL")
        await asyncio.to_thread(sink.close)
    (seen,) = receiver.spans
    assert (seen.service, seen.name, seen.failed, seen.events) == ("parley-tts", "work", True, ("something",))
    assert seen.attributes == {"parley.a": 1, "error.type": "INTERNAL"}
    assert tracing.begin("later") is tracing.OFF
    assert not tracing.content()


def test_off_nothing_is_recorded_and_opentelemetry_is_not_loaded() -> None:
    assert tracing.begin("work") is tracing.OFF
    assert tracing.begin_call("/a.B/C", tracing.Kind.SERVER) is tracing.OFF
    assert tracing.of_utterance("utt_1") is tracing.new_trace() is None
    assert tracing.from_metadata(((tracing.HEADER, HEADER),)) is None
    assert tracing.log_ids() == {}
    check = "import sys, orchestrator.__main__; print([name for name in sys.modules if 'opentelemetry' in name])"
    done = subprocess.run((sys.executable, "-c", check), cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_the_extra_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "services.common.otlp")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(StartupError, match=r"--otlp_endpoint .* pip install 'parley-voice\[otlp\]'"):
        server.open_tracing("tts", ServerSettings(otlp_endpoint="http://localhost:4317"))


@pytest.mark.parametrize(
    "endpoint", ["localhost:4317", "http://localhost", "ftp://a:1", "http://user@a:1", "http://a:1/v1/traces"]
)
def test_a_wrong_endpoint_is_refused_by_its_flag(endpoint: str) -> None:
    with pytest.raises(SettingsError, match=r"--otlp_endpoint: must be http://"):
        load(ServerSettings, "parley-tts", ["--otlp_endpoint", endpoint])
