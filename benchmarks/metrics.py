"""What a metric costs, and a span: microseconds for each event that is measured, the labels looked up every time.

python -m benchmarks.metrics
"""

import time
import timeit
from collections.abc import Callable

import grpc
import numpy as np
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.report import save, show
from orchestrator.domain import ResponseStatus, TurnTimings
from orchestrator.metrics import TurnMetrics
from services.common import tracing
from services.common.metrics import ClientMetrics, ServerMetrics
from services.common.otlp import OtlpSink
from services.llm.backends.base import Capabilities
from services.llm.domain import Timings, Usage
from services.llm.metrics import GenerationMetrics
from services.llm.turn_meter import TurnMeter
from services.stt.domain import ModelInfo
from services.stt.metrics import SttMetrics
from services.tts.metrics import Onset, TtsMetrics

EVENTS, REPEATS = 5_000, 7
LIMIT_US = 20.0
METHOD = "/parley.tts.v1.TextToSpeechService/Synthesize"


def events() -> dict[str, Callable[[], object]]:
    """Each event, as a call that records it. A turn or a call is several observations; they count as one event."""
    registry = CollectorRegistry()
    server, client, turns = ServerMetrics("tts", registry), ClientMetrics(registry), TurnMetrics(registry)
    stt, tts, llm = SttMetrics(registry), TtsMetrics(registry), GenerationMetrics(registry)
    whisper = ModelInfo("whisper", "faster-whisper", ("en",), supports_word_timings=True)
    able = Capabilities("model", "transformers", in_process=True)
    meter, onset, block = TurnMeter(llm, able), Onset(tts, 24_000), np.zeros(2_400, np.float32)
    usage, timings = Usage(500, 40, 400, 0), Timings(0.001, 0.15, 0.2, 0.9)
    steps, ok = TurnTimings(0.4, 0.5, 0.65, 0.7, 0.8, 4.0), grpc.StatusCode.OK.name

    def call() -> None:
        server.call_started(METHOD)
        server.call_ended(METHOD, ok, 0.3)

    return {
        "gRPC call served": call,
        "gRPC call made": lambda: client.call_ended(METHOD, ok, 0.3),
        "event-loop lag": lambda: server.loop_lag(0.001),
        "first token of an answer": lambda: meter.first_token(0.15),
        "token of an answer": meter.piece,
        "turn of the model": lambda: meter.completed(usage, timings),
        "turn of a session": lambda: turns.responded(ResponseStatus.COMPLETED, steps),
        "audio message heard": lambda: stt.received(0.032),
        "recognition": lambda: stt.recognized(whisper, 0.2, 2.0, interim=False),
        "block of silence spoken": lambda: onset.made(block),
        "chunk of audio sent": onset.sent,
    }


def spans() -> dict[str, Callable[[], object]]:
    """A span of a call as the code makes it: while tracing is off, and on, up to the queue of those to be sent."""
    sink = OtlpSink("tts", "http://127.0.0.1:1")
    sink.close()  # nothing is sent, nothing is kept

    def call() -> None:
        span = tracing.begin_call(METHOD, tracing.Kind.SERVER)
        with span:
            tracing.end_call(span, "OK")

    def recorded() -> None:
        tracing.send_to(sink)
        call()
        tracing.send_to(None)

    return {"span, tracing off": call, "span, tracing on": recorded}


def measure(event: Callable[[], object]) -> float:
    """Microseconds of the processor for one event: the best of several rounds, since what disturbs only ever adds."""
    return min(timeit.repeat(event, timer=time.process_time, number=EVENTS, repeat=REPEATS)) / EVENTS * 1e6


def main() -> None:
    """Print the table; fails where an event costs more than its limit."""
    spent = {name: measure(event) for name, event in (events() | spans()).items()}
    registry = CollectorRegistry()
    GenerationMetrics(registry)
    page_ms = min(timeit.repeat(lambda: generate_latest(registry), number=50, repeat=3)) / 50 * 1e3
    show("What a metric costs", ("event", "µs"), list(spent.items()))
    print(f"a page of the language model's metrics, without values: {page_ms:.2f} ms")
    rounded = {name: round(microseconds, 2) for name, microseconds in spent.items()}
    save("metrics", {"events_us": rounded, "limit_us": LIMIT_US})
    too_dear = [name for name, microseconds in spent.items() if microseconds > LIMIT_US]
    if too_dear:
        raise SystemExit(f"more than {LIMIT_US:g} µs: {', '.join(too_dear)}")


if __name__ == "__main__":
    main()
