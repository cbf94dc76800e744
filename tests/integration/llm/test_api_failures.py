"""What API backends make of a provider that fails: statuses, retries, answers that break off."""

import contextlib
import datetime
import email.utils
from typing import Any

import pytest
from prometheus_client import REGISTRY

from services.common.errors import (
    ContentFilteredError,
    ContextLengthError,
    InvalidArgumentError,
    ModelNotFoundError,
    ParleyError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamUnauthenticatedError,
)
from services.llm.domain import TextDelta
from tests.support.api_backends import ASKED, KEY, Make, failure, run, text_of
from tests.support.dialects import DIALECTS, Dialect, sse
from tests.support.fault_server import FaultServer, Script, answering, streaming

STATUSES: list[tuple[int, Any, dict[str, str], type[ParleyError], float | None, int]] = [
    (401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}, {}, UpstreamUnauthenticatedError, None, 1),
    (403, {"error": {"message": "no"}}, {}, UpstreamUnauthenticatedError, None, 1),
    (402, {"error": {"message": "pay"}}, {}, UpstreamRateLimitedError, None, 1),
    (404, {"error": {"code": "model_not_found", "message": "no such model"}}, {}, ModelNotFoundError, None, 1),
    (404, {"detail": "Not Found"}, {}, UpstreamError, None, 1),
    (429, {"error": {"message": "slow down"}}, {"retry_after": "30"}, UpstreamRateLimitedError, 30.0, 1),
    (429, {"error": {"message": "slow down"}}, {"retry_after_ms": "10"}, UpstreamRateLimitedError, 0.01, 3),
    (429, {"error": {"code": "insufficient_quota"}}, {}, UpstreamRateLimitedError, None, 1),
    (500, {"error": {"message": "oops"}}, {"retry_after_ms": "1"}, UpstreamError, 0.001, 3),
    (502, "<html>Bad gateway</html>", {"retry_after_ms": "1"}, UpstreamError, 0.001, 3),
    (503, {"error": {"message": "Loading model"}}, {"retry_after": "0"}, UpstreamError, 0.0, 3),
    (504, "", {"retry_after": "0"}, UpstreamTimeoutError, 0.0, 3),
    (413, "", {}, ContextLengthError, None, 1),
    (400, {"error": {"code": "context_length_exceeded"}}, {}, ContextLengthError, None, 1),
    (
        400,
        {"error": {"message": "the request exceeds the available context size (4096 tokens)"}},
        {},
        ContextLengthError,
        None,
        1,
    ),
    (400, {"error": {"code": "content_filter", "message": "no"}}, {}, ContentFilteredError, None, 1),
    (400, {"error": {"message": "bad", "param": "temperature"}}, {}, InvalidArgumentError, None, 1),
    (422, {"detail": [{"msg": "bad"}]}, {}, InvalidArgumentError, None, 1),
]


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "retry_after_s", "tries"),
    STATUSES,
    ids=[f"{status}-{number}" for number, (status, *_) in enumerate(STATUSES)],
)
async def test_edge_21_each_http_status_has_its_error(
    api: Dialect,
    provider: FaultServer,
    made: Make,
    status: int,
    body: Any,
    headers: dict[str, str],
    kind: type[ParleyError],
    retry_after_s: float | None,
    tries: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    content_type = "text/html" if isinstance(body, str) else "application/json"
    provider.play(answering(status, body, content_type, **headers))
    async with made() as backend:
        error = await failure(backend)
        assert type(error) is kind
        assert error.retry_after_s == retry_after_s
        assert len(provider.posts) == tries
        if body and "param" in str(body):
            assert error.field == "sampling.temperature"
        provider.play(streaming(api.answer("Back.")))
        assert text_of(await run(backend)) == "Back."
    assert KEY not in caplog.text
    assert KEY not in str([vars(record) for record in caplog.records])


async def test_retry_after_may_be_a_date(api: Dialect, provider: FaultServer, made: Make) -> None:
    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=100)
    provider.play(answering(429, {"error": {}}, retry_after=email.utils.format_datetime(later, usegmt=True)))
    async with made() as backend:
        error = await failure(backend)
    assert error.retry_after_s is not None
    assert 90 < error.retry_after_s <= 100
    assert len(provider.posts) == 1


async def test_edge_21_a_failure_that_passes_is_not_seen(api: Dialect, provider: FaultServer, made: Make) -> None:
    provider.play(
        answering(503, {"error": {}}, retry_after="0"),
        streaming(sse(api.error("overloaded", "later")), ends=True),
        streaming(api.answer("Hello.")),
    )
    before, tried = failures_counted(), [tries_timed(error) for error in ("UPSTREAM_ERROR", "")]
    async with made() as backend:
        assert text_of(await run(backend)) == "Hello."
    assert len(provider.posts) == 3
    assert failures_counted() == before + 2
    assert [tries_timed(error) for error in ("UPSTREAM_ERROR", "")] == [tried[0] + 2, tried[1] + 1]


def failures_counted() -> float:
    """Failures of the provider that a retry followed, as the metrics have them."""
    labels = {"reason": "UPSTREAM_ERROR", "retried": "true"}
    return REGISTRY.get_sample_value("parley_llm_provider_failures_total", labels) or 0.0


def tries_timed(error_type: str) -> float:
    """Requests to the provider that ended so; no error is ""."""
    samples = [sample for family in REGISTRY.collect() for sample in family.samples]
    return sum(
        sample.value
        for sample in samples
        if sample.name == "gen_ai_client_operation_duration_seconds_count"
        and sample.labels["error_type"] == error_type
        and sample.labels["gen_ai_provider_name"] == "openai_compatible"
    )


async def test_edge_21_no_connection_is_unavailable(made: Make, provider: FaultServer) -> None:
    async with made(responses_api_max_retries=1) as backend:
        await provider.aclose()
        error = await failure(backend)
    assert isinstance(error, UpstreamError)
    assert error.retry_after_s is not None


def cut(api: Dialect) -> dict[str, Script]:
    """Answers that break off once some of the text has come."""
    first, second = sse(api.text("Hello"), api.text("world"))
    return {
        "in the middle of JSON": streaming([first, second[:30]]),
        "by hanging up": streaming([first, second[:30]], ends=False),
        "at the end of an event": streaming([first, second]),
        "with an error": streaming([first, *sse(api.error("server_error", "it broke"))]),
        "with what is no JSON": streaming([first, "data: oops\n\n"]),
        "with JSON that is no object": streaming([first, "data: [1]\n\n"]),
    }


@pytest.mark.parametrize("how", list(cut(DIALECTS[0])))
async def test_edge_21_an_answer_that_breaks_off_is_an_error_and_never_tried_again(
    api: Dialect, provider: FaultServer, made: Make, how: str
) -> None:
    provider.play(cut(api)[how])
    async with made() as backend:
        async with contextlib.aclosing(backend.generate(ASKED)) as events:
            assert await anext(events) == TextDelta("Hello")
            with pytest.raises(UpstreamError):
                assert [event async for event in events] == []
        assert len(provider.posts) == 1
        provider.play(streaming(api.answer("Back.")))
        assert text_of(await run(backend)) == "Back."


@pytest.mark.parametrize(
    "script",
    [
        answering(200, "<html>Log in</html>", "text/html; charset=utf-8"),
        answering(200, "[]"),
        answering(200, {}),
        answering(200, "hello", "text/plain"),
    ],
)
async def test_edge_21_what_is_no_answer_is_an_error(provider: FaultServer, made: Make, script: Script) -> None:
    provider.play(script)
    async with made(responses_api_max_retries=0) as backend:
        assert isinstance(await failure(backend), UpstreamError)


async def test_edge_21_an_error_inside_the_answer_keeps_its_meaning(
    api: Dialect, provider: FaultServer, made: Make
) -> None:
    known: list[tuple[str, str, type[ParleyError]]] = [
        ("rate_limit_exceeded", "slow down", UpstreamRateLimitedError),
        ("context_length_exceeded", "too long", ContextLengthError),
        ("server_error", "maximum context length is 4096", ContextLengthError),
        ("400", "the request exceeds the available context size", ContextLengthError),
        ("server_error", "oops", UpstreamError),
    ]
    async with made(responses_api_max_retries=0) as backend:
        for code, message, kind in known:
            provider.play(streaming(sse(api.error(code, message))))
            assert type(await failure(backend)) is kind
