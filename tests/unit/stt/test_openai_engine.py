"""Recognition through an API: what is sent, what is made of the answer, and of failures. The server is a double."""

import contextlib
import json
import threading
import wave
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import numpy as np
import pytest

from services.common import errors
from services.common.settings import load
from services.stt import engines
from services.stt.domain import Recognition, RecognitionRequest
from services.stt.engines import openai_api
from services.stt.schedule import Schedule
from services.stt.settings import SttSettings

SECOND = np.zeros(16_000, np.float32)


@dataclass
class Provider:
    """Answers with `status` and `body`; keeps what it was sent."""

    status: int = 200
    content_type: str = "application/json"
    body: Any = field(default_factory=lambda: {"text": " Hello."})
    requests: list[bytes] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""


@contextlib.contextmanager
def providing() -> Iterator[Provider]:
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            provider.requests.append(self.rfile.read(int(self.headers["content-length"])))
            provider.keys.append(self.headers.get("authorization", ""))
            body = provider.body if isinstance(provider.body, bytes) else json.dumps(provider.body).encode()
            self.send_response(provider.status)
            self.send_header("content-type", provider.content_type)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    provider.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as started:
        yield started


async def recognize(
    provider: Provider, request: RecognitionRequest, *flags: str, heard: list[str] | None = None
) -> Recognition:
    argv = ["--stt", "openai-api", "--stt_api_base_url", provider.url, "--stt_api_max_retries", "0", *flags]
    engine = engines.create(load(SttSettings, "parley-stt", argv))
    await engine.load()
    try:
        if heard is None:
            return await engine.recognize(SECOND, request)
        return await engine.recognize_aloud(SECOND, request, lambda early: heard.append(early.text))
    finally:
        await engine.aclose()


async def test_an_utterance_is_sent_as_a_wav_file_with_all_that_was_asked_for(provider: Provider) -> None:
    heard = await recognize(provider, RecognitionRequest("de", hints=("Elinor",)), "--stt_api_key", "secret")
    assert (heard.text, heard.language) == ("Hello.", "de")
    sent = provider.requests[0]
    for part in (b'name="model"\r\n\r\ngpt-4o-mini-transcribe', b'name="language"\r\n\r\nde', b"Elinor."):
        assert part in sent
    assert provider.keys == ["Bearer secret"]
    with wave.open(BytesIO(openai_api.wav(SECOND))) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 16_000)


async def test_the_servers_own_doubts_and_words_are_heard(provider: Provider) -> None:
    segment = {"text": " Thank you.", "avg_logprob": -1.5, "no_speech_prob": 0.9}
    provider.body = {"text": " Thank you.", "language": "english", "segments": [segment]}
    assert (await recognize(provider, RecognitionRequest(None), "--stt_model_name", "whisper-1")).text == ""
    sure = {"text": " Hi there.", "avg_logprob": -0.2, "no_speech_prob": 0.0}
    words = [{"word": "Hi", "start": 0.0, "end": 0.4}, {"word": "there", "start": 0.4, "end": 0.9}]
    provider.body = {"text": " Hi there.", "language": "german", "segments": [sure], "words": words}
    asked = RecognitionRequest(None, word_timings=True)
    heard = await recognize(provider, asked, "--stt_model_name", "whisper-1")
    assert (heard.text, heard.language) == ("Hi there.", "de")
    assert [(word.text, word.end_s) for word in heard.words] == [("Hi", 0.4), ("there", 0.9)]


def events(*sent: dict[str, str]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in sent)


DELTAS = ({"type": "transcript.text.delta", "delta": delta} for delta in ("He was", " not", " an ill"))
STREAMED = events(*DELTAS)
DONE = events({"type": "transcript.text.done", "text": "He was not an ill man."})


async def test_text_is_heard_while_the_server_writes_it(provider: Provider) -> None:
    provider.content_type, provider.body = "text/event-stream", STREAMED + DONE + b"data: [DONE]\n\n"
    heard: list[str] = []
    final = await recognize(provider, RecognitionRequest("en"), heard=heard)
    assert b'name="stream"\r\n\r\ntrue' in provider.requests[0]
    assert heard == ["He was", "He was not", "He was not an ill"]
    assert (final.text, final.quick) == ("He was not an ill man.", False)


async def test_whisper_models_are_not_asked_to_stream(provider: Provider) -> None:
    await recognize(provider, RecognitionRequest("en"), "--stt_model_name", "whisper-1")
    assert b"stream" not in provider.requests[0]


@pytest.mark.parametrize("body", [STREAMED, STREAMED + b'data: {"type": "transcript.te', b""])
async def test_edge_21_a_streamed_answer_without_its_end_is_no_transcript(provider: Provider, body: bytes) -> None:
    provider.content_type, provider.body = "text/event-stream", body
    with pytest.raises(errors.UpstreamError):
        await recognize(provider, RecognitionRequest("en"))


@pytest.mark.parametrize("body", [b"<html>", b"[1]"])
async def test_edge_21_an_answer_that_is_no_transcription_is_a_failure_of_the_provider(
    provider: Provider, body: bytes
) -> None:
    provider.body = body
    with pytest.raises(errors.UpstreamError):
        await recognize(provider, RecognitionRequest("en"))


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.UpstreamUnauthenticatedError),
        (403, errors.UpstreamUnauthenticatedError),
        (404, errors.ModelNotFoundError),
        (429, errors.UpstreamRateLimitedError),
        (400, errors.InvalidArgumentError),
        (500, errors.UpstreamError),
    ],
)
async def test_a_failure_is_told_in_words_of_ours(
    provider: Provider, status: int, kind: type[errors.ParleyError]
) -> None:
    provider.status, provider.body = status, {"error": {"message": "key sk-secret of account 7 is wrong"}}
    with pytest.raises(errors.ParleyError) as failed:
        await recognize(provider, RecognitionRequest("en"))
    assert type(failed.value) is kind
    assert "secret" not in failed.value.message
    assert "127.0.0.1" not in failed.value.message


async def test_a_provider_that_is_not_there_is_unavailable(provider: Provider) -> None:
    with providing() as gone:
        pass
    with pytest.raises(errors.UpstreamError, match="not reachable"):
        await recognize(gone, RecognitionRequest("en"))


async def test_without_a_key_openai_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    engine = engines.create(load(SttSettings, "parley-stt", ["--stt", "openai-api"]))
    with pytest.raises(errors.StartupError, match="OPENAI_API_KEY"):
        await engine.load()


def test_interim_transcripts_cost_requests_and_are_off_unless_asked_for() -> None:
    def can(*flags: str) -> tuple[bool, bool]:
        info = engines.create(load(SttSettings, "parley-stt", ["--stt", "openai-api", *flags])).info
        return info.supports_interim_results, info.recognizes_meanwhile

    assert can("--stt_model_name", "whisper-1") == (False, False)
    assert can("--stt_model_name", "whisper-1", "--stt_api_interim", "true") == (True, True)
    assert can() == (True, False), "it streams: the words of a pause come as they are written"


async def test_a_server_that_does_one_at_a_time_may_be_asked_so_and_be_away_at_the_start() -> None:
    argv = ["--stt", "openai-api", "--stt_api_base_url", "http://127.0.0.1:9/v1", "--stt_api_max_retries", "0"]
    assert engines.create(load(SttSettings, "parley-stt", argv)).parallel is None
    engine = engines.create(load(SttSettings, "parley-stt", [*argv, "--stt_workers", "1"]))
    assert engine.parallel == 1
    await engine.load()
    schedule = Schedule(engine)
    await schedule.measure()
    assert schedule.fits(1_000)
    await engine.aclose()
