"""What every server counts."""

import asyncio
import contextlib
import urllib.request

import pytest
from prometheus_client import CollectorRegistry

from services.common.metrics import ServerMetrics, watch_event_loop

METHOD = "/parley.tts.v1.TextToSpeechService/Synthesize"


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_calls_are_counted_by_method_and_code(registry: CollectorRegistry) -> None:
    metrics = ServerMetrics("tts", registry)
    running = {"method": METHOD}
    metrics.call_started(METHOD)
    assert registry.get_sample_value("parley_rpc_server_running", running) == 1
    metrics.call_ended(METHOD, "RESOURCE_EXHAUSTED", 0.5)
    assert registry.get_sample_value("parley_rpc_server_running", running) == 0
    labels = {"method": METHOD, "code": "RESOURCE_EXHAUSTED"}
    assert registry.get_sample_value("parley_rpc_server_duration_seconds_count", labels) == 1
    assert registry.get_sample_value("parley_rpc_server_duration_seconds_sum", labels) == 0.5
    assert registry.get_sample_value("parley_rpc_server_refused_total", running) == 1


def test_the_endpoint_serves_them_and_ends(registry: CollectorRegistry) -> None:
    server = ServerMetrics("tts", registry).expose("127.0.0.1", 0)
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as response:
        assert b"parley_event_loop_lag_seconds" in response.read()
    server.close()
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30)


def test_no_endpoint_is_opened_unless_asked_for(registry: CollectorRegistry) -> None:
    server = ServerMetrics("tts", registry).expose("127.0.0.1", -1)
    assert server.port == -1
    server.close()


async def test_a_late_event_loop_is_seen(registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    now, seen = [100.0], asyncio.Event()
    metrics = ServerMetrics("tts", registry)
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now[0])

    async def late(seconds: float) -> None:
        if seen.is_set():
            await asyncio.Future()
        now[0] += seconds + 0.25
        seen.set()

    monkeypatch.setattr("services.common.metrics.asyncio.sleep", late)
    watch = asyncio.ensure_future(watch_event_loop(metrics))
    await seen.wait()
    watch.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watch
    assert registry.get_sample_value("parley_event_loop_lag_seconds_count") == 1
    assert registry.get_sample_value("parley_event_loop_lag_seconds_sum") == pytest.approx(0.25)
