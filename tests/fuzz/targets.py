"""What takes bytes from outside, each as a function that raises where a rule is broken.

The rules: no exception but the one that the function promises, no text lost or doubled, the same result whatever the
chunking. An input's first byte says which target it is for, so that one fuzzer shares its time among all.
"""

import asyncio
import atexit
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any

import numpy as np
import orjson
from google.protobuf.message import DecodeError
from parley.agent.v1 import agent_service_pb2
from parley.llm.v1 import conversation_service_pb2, llm_service_pb2
from parley.stt.v1 import stt_service_pb2
from parley.tts.v1 import tts_service_pb2

import orchestrator.convert
import services.llm.convert
import services.stt.convert
import services.tts.convert
from orchestrator import domain
from orchestrator.realtime.client_events import ItemCreate, ResponseCreate, SessionUpdate, parse_event
from orchestrator.realtime.event_json import read_json
from orchestrator.realtime.items import message as item_message
from orchestrator.realtime.session_config import Session, response_config, session_config, session_json
from orchestrator.settings import OrchestratorSettings
from services.common import settings, tracing
from services.common.access.signed_tokens import SignedTokens
from services.common.access.token_file import Tokens
from services.common.audio import Decoder, decode, encode, resample
from services.common.audio_format import MAX_CHANNELS, MAX_RATE_HZ, MIN_RATE_HZ, AudioFormat, Encoding
from services.common.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    ParleyError,
    UnauthenticatedError,
    UpstreamError,
)
from services.llm.backends.api.chat_reader import ChatReader
from services.llm.backends.api.failures import ProviderFailure
from services.llm.backends.api.reader import AnswerReader
from services.llm.backends.api.responses_reader import ResponsesReader
from services.llm.backends.api.sse import SseDecoder
from services.llm.backends.api.tool_ids import ToolIds
from services.llm.backends.base import Capabilities
from services.llm.backends.local_answer import LocalAnswer
from services.llm.checks import check_messages, check_turn
from services.llm.context import compose
from services.llm.conversation import codec, summary
from services.llm.domain import Finished, FinishReason, Message, ReasoningDelta, Role, TextDelta, TextPart, Tool
from services.llm.images.content import inspect
from services.llm.images.limits import ImageError, ImageLimits
from services.llm.settings import LlmSettings
from services.llm.speech.segments import Segmenter
from services.llm.speech.thinking import CLOSINGS, OPENINGS, Kind, ThinkingFilter
from services.llm.tools.formats import FORMATS, with_marks
from services.llm.tools.parser import BadCall, Call, Found, ToolCallParser
from services.llm.turn import Turn
from services.stt.domain import ModelInfo
from services.stt.endpointing import EndpointingConfig
from services.stt.settings import SttSettings
from services.tts import text as tts_text
from services.tts.settings import TtsSettings
from services.tts.wav_stream import WavStream
from tests.support.signing import AUDIENCE, ISSUER, Signer

Target = Callable[[bytes], None]
TARGETS: dict[str, Target] = {}
"""By the letter that an input begins with."""

_TOOLS = {
    "f": '{"properties": {"a": {"type": "integer"}, "b": true, "c": {"type": ["string", "null"]}}}',
    "get_time": "",
}


def run(data: bytes) -> None:
    """Give an input to its target; one that names none is nothing."""
    target = TARGETS.get(data[:1].decode("latin-1"))
    if target is not None:
        target(data[1:])


def _target(letter: str) -> Callable[[Target], Target]:
    def add(target: Target) -> Target:
        assert letter not in TARGETS
        TARGETS[letter] = target
        return target

    return add


def _chunks(data: Any) -> Iterable[Any]:
    """The input in small pieces, whose sizes follow from its first byte or letter."""
    size = 1 + (data[0] if isinstance(data, bytes) else ord(data[0])) % 5 if data else 1
    return (data[at : at + size] for at in range(0, len(data), size))


@_target("s")
def sse(data: bytes) -> None:
    """Server-sent events: the same in any chunking."""

    def events(chunks: Iterable[bytes]) -> list[bytes]:
        decoder = SseDecoder()
        return [event for chunk in chunks for event in decoder.feed(chunk)] + decoder.finish()

    assert events([data]) == events(_chunks(data))


@_target("c")
def tool_calls(data: bytes) -> None:
    """Tool calls in a model's text: the same in any chunking; the text around them is the model's, in its order."""
    known = [*FORMATS, None][data[0] % (len(FORMATS) + 1)] if data else None
    text = data[1:].decode(errors="ignore")

    def found(chunks: Iterable[str]) -> list[Found]:
        parser, joined = ToolCallParser(with_marks(known), _TOOLS), list[Found]()
        for item in [item for chunk in chunks for item in parser.feed(chunk)] + parser.finish():
            if isinstance(item, str) and joined and isinstance(joined[-1], str):
                joined[-1] += item
            elif isinstance(item, str | Call | BadCall):
                joined.append(item)
        return joined

    whole = found([text])
    assert whole == found(_chunks(text))
    _in_order("".join(item for item in whole if isinstance(item, str)), text)
    for item in whole:
        if isinstance(item, Call):
            assert isinstance(orjson.loads(item.arguments_json), dict)
        elif isinstance(item, BadCall):
            (item.name + item.text + item.error).encode()
    if not any(isinstance(item, Call | BadCall) for item in whole) and not _STRAY.search(text):
        assert "".join(item for item in whole if isinstance(item, str)).strip() == text.strip()


_STRAY = re.compile("</tool_call>|<tool_response>|</tool_response>")
_THINKING = re.compile("|".join(map(re.escape, OPENINGS + CLOSINGS)))


@_target("t")
def thinking(data: bytes) -> None:
    """Thinking: all text but the tags, in its order, the same in any chunking."""
    text = data.decode(errors="ignore")

    def sorted_out(chunks: Iterable[str]) -> list[tuple[Kind, str]]:
        thoughts, joined = ThinkingFilter(), list[tuple[Kind, str]]()
        for part in [part for chunk in chunks for part in thoughts.feed(chunk)] + thoughts.finish():
            if joined and joined[-1][0] is part.kind and part.text:
                joined[-1] = (part.kind, joined[-1][1] + part.text)
            else:
                joined.append((part.kind, part.text))
        return joined

    whole = sorted_out([text])
    assert whole == sorted_out(_chunks(text))
    assert "".join(said for _, said in whole) == _THINKING.sub("", text)


@_target("a")
def answer(data: bytes) -> None:
    """A whole answer to deltas, thoughts, calls and speech segments."""
    text = data.decode(errors="ignore")
    tools = tuple(Tool(name, "", schema) for name, schema in _TOOLS.items())

    def said(chunks: Iterable[str], *, deadlines: bool = False) -> tuple[str, str]:
        turn = Turn(Segmenter(1, 2, 20), tools)
        outputs = []
        try:
            for chunk in chunks:
                outputs += turn.feed(TextDelta(chunk))
                outputs += turn.flush_deadline() if deadlines else ()
            outputs += turn.feed(Finished(FinishReason.STOP))
        except UpstreamError:
            pass  # the answer is empty
        kinds = (TextDelta, ReasoningDelta)
        texts = tuple("".join(o.text for o in outputs if isinstance(o, kind)) for kind in kinds)
        return texts[0], texts[1]

    whole = said([text])
    assert whole == said(_chunks(text)) == said(_chunks(text), deadlines=True)
    local = LocalAnswer(FORMATS[len(text) % len(FORMATS)], tools)
    for chunk in _chunks(text):
        local.feed(chunk)
    local.finish()


@_target("u")
def audio(data: bytes) -> None:
    """Samples of any kind: finite, within limits, the same in any chunking, and able to be any other kind."""
    if len(data) < 4:
        return
    kinds, rate_hz = list(Encoding), MIN_RATE_HZ + int.from_bytes(data[1:3]) * (MAX_RATE_HZ - MIN_RATE_HZ) // 65535
    one = AudioFormat(kinds[data[0] % 4], rate_hz, 1 + data[3] % MAX_CHANNELS)
    other = AudioFormat(kinds[data[0] // 4 % 4], MIN_RATE_HZ + 1, 1 + data[3] // MAX_CHANNELS % MAX_CHANNELS)
    one.validate("audio")
    data = data[4:]
    try:
        samples = decode(data, one)
    except InvalidArgumentError as error:
        _check(error.field == "audio", "names no field")
        return
    decoder = Decoder(one)
    pieces = [decoder.feed(chunk) for chunk in _chunks(data)]
    assert np.array_equal(np.concatenate([*pieces, np.zeros(0, np.float32)]), samples)
    assert np.isfinite(samples).all()
    assert not len(samples) or float(np.abs(samples).max()) <= 1.0
    resampled = resample(samples, one.sample_rate_hz, other.sample_rate_hz)
    assert len(encode(resampled, other)) == len(resampled) * other.frame_bytes
    raw = np.frombuffer(data[: len(data) // 4 * 4], "<f4")  # what a model may compute
    encode(raw, other)


@_target("w")
def wav_stream(data: bytes) -> None:
    """A provider's WAV file, in any chunking."""

    def samples(chunks: Iterable[bytes]) -> Any:
        stream = WavStream("the provider")
        try:
            parts = [stream.feed(chunk) for chunk in chunks]
            stream.finish()
        except ParleyError:
            return None
        return np.concatenate([*parts, np.zeros(0, np.float32)]).tolist()

    whole = samples([data])
    assert whole == samples(_chunks(data))


@_target("y")
def settings_file(data: bytes) -> None:
    """A YAML file: settings, or one line that says what is wrong."""
    kinds: tuple[type[settings.ServerSettings], ...] = (OrchestratorSettings, SttSettings, LlmSettings, TtsSettings)
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(data)
        file.flush()
        try:
            settings.load(kinds[len(data) % 4], "program", ["--config", file.name])
        except settings.SettingsError as error:
            _check("\n" not in str(error), "is more than a line")


@_target("r")
def realtime_event(data: bytes) -> None:
    """A frame of a Realtime client."""
    session = Session()
    try:
        event = parse_event(read_json(data.decode(errors="replace")))
        if isinstance(event, SessionUpdate):
            orjson.dumps(session_json(event.session, "session_1"))
            session_config(event.session).tools  # noqa: B018
        elif isinstance(event, ItemCreate):
            item_message(event.item, "item_1").SerializeToString()
        elif isinstance(event, ResponseCreate) and event.response is not None:
            response_config(event.response, session)
    except ParleyError as error:
        error.message.encode()


_MODEL = Capabilities("m", "b", 1000, tools=True, images=True)


@_target("m")
def messages(data: bytes) -> None:
    """A message of the contract, by its first byte, and the checks that it meets first."""
    if not data:
        return
    check = list(_MESSAGES.values())[data[0] % len(_MESSAGES)]
    try:
        check(data[1:])
    except DecodeError:
        return
    except InvalidArgumentError as error:
        _check(bool(error.field), "names no field")
    except ParleyError:
        return


def _generate(data: bytes) -> None:
    turn = services.llm.convert.turn_request(llm_service_pb2.GenerateRequest.FromString(data))
    check_turn(turn, _MODEL, 10_000)
    orjson.dumps(turn.options)


def _create_conversation(data: bytes) -> None:
    request = conversation_service_pb2.CreateConversationRequest.FromString(data)
    services.llm.convert.conversation_config(request.config)


def _append_messages(data: bytes) -> None:
    request = conversation_service_pb2.AppendMessagesRequest.FromString(data)
    check_messages(services.llm.convert.messages(request.messages), _MODEL)


_STT = ModelInfo("m", "e", ("en", "de"), True)


def _transcribe(data: bytes) -> None:
    services.stt.convert.transcription_options(
        stt_service_pb2.TranscribeRequest.FromString(data).config, "config", _STT, "auto"
    )


def _streaming_transcribe(data: bytes) -> None:
    request = stt_service_pb2.StreamingTranscribeRequest.FromString(data)
    services.stt.convert.stream_options(request.config, "config", _STT, "auto", EndpointingConfig())


def _synthesize(data: bytes) -> None:
    services.tts.convert.request(tts_service_pb2.SynthesizeRequest.FromString(data))


def _converse(data: bytes) -> None:
    request = agent_service_pb2.ConverseRequest.FromString(data)
    config = orchestrator.convert.merge_config(domain.SessionConfig(), request.session_update.session)
    orchestrator.convert.config_message(config)


def _respond(data: bytes) -> None:
    orchestrator.convert.respond_request(agent_service_pb2.RespondRequest.FromString(data))


_MESSAGES: Mapping[str, Target] = {
    "Generate": _generate,
    "CreateConversation": _create_conversation,
    "AppendMessages": _append_messages,
    "Transcribe": _transcribe,
    "StreamingTranscribe": _streaming_transcribe,
    "Synthesize": _synthesize,
    "Converse": _converse,
    "Respond": _respond,
}


@_target("v")
def stored_conversation(data: bytes) -> None:
    """What a store holds of a conversation."""
    try:
        conversation = codec.load(data)
    except FailedPreconditionError as error:
        _check(error.field == "conversation_id", "names no field")
        return
    assert codec.load(codec.dump(conversation)) == conversation
    services.llm.convert.conversation_message(conversation, 60.0)
    try:
        changed = conversation.append((Message(Role.USER, (TextPart("hi"),)),))
        codec.dump(changed)
        compose(changed.messages, changed.config.instructions, "", changed.summary)
    except ParleyError:
        return


@_target("i")
def image(data: bytes) -> None:
    """An encoded image."""
    try:
        inspect(data, ImageLimits(1 << 20, 1 << 20, 64, 1, 0, 1.0))
    except ImageError:
        return


@_target("z")
def summary_text(data: bytes) -> None:
    """A model's answer to the request for a summary."""
    try:
        summary.parse(data.decode(errors="ignore"), cut_short=bool(data) and data[0] % 2 == 0)
    except UpstreamError:
        return


@_target("p")
def provider(data: bytes) -> None:
    """A provider's events, a JSON object a line, and the same as a whole answer."""
    readers: tuple[Callable[[], AnswerReader], ...] = (
        lambda: ChatReader(ToolIds(())),
        lambda: ResponsesReader(ToolIds(()), 9),
    )
    for make in readers:
        for whole in (False, True):
            reader, events = make(), []
            try:
                for line in data.split(b"\n"):
                    value = orjson.loads(line)
                    if isinstance(value, dict):
                        events += reader.whole(value) if whole else reader.feed(value)
                    if reader.ended:
                        break
                if not whole:
                    events += reader.end()
            except (orjson.JSONDecodeError, ProviderFailure):
                pass
            turn = Turn(Segmenter(1, 2), (Tool("f", "", ""),))
            try:
                for event in events:
                    turn.feed(event)
            except UpstreamError:
                continue


@_target("x")
def spoken_text(data: bytes) -> None:
    """Text for a TTS: sentences and pieces hold all that is to be read, once."""
    text = tts_text.clean(data.decode(errors="ignore"))
    pieces = [piece for sentence in tts_text.sentences(text) for piece in tts_text.cut(sentence, 40)]
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(len(piece) <= 40 for piece in pieces)


@_target("h")
def trace_header(data: bytes) -> None:
    """What a caller says of its trace."""
    tracing.send_to(_ignore)
    try:
        tracing.from_metadata([("traceparent", data.decode("latin-1"))])
    finally:
        tracing.send_to(None)


@_target("b")
def bearer(data: bytes) -> None:
    """What a caller shows as its token, signed or not: a caller, or UNAUTHENTICATED."""
    token = data.decode("latin-1")  # as headers are
    Tokens(b"tokens: []").holder(token)
    try:
        asyncio.run(_signed_tokens().subject(token))
    except UnauthenticatedError:
        return
    raise AssertionError("a stranger is let in")


@cache
def _signed_tokens() -> SignedTokens:
    with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as file:
        file.write(Signer().keys)
    atexit.register(os.unlink, file.name)
    return SignedTokens(file.name, ISSUER, AUDIENCE)


@_target("k")
def token_file(data: bytes) -> None:
    """The file of tokens: read, or refused without a word of what is in it."""
    try:
        Tokens(data)
    except ValueError:
        return


def _ignore(span: tracing.RecordedSpan) -> None:
    """Where spans go."""


def _check(rule: bool, problem: str) -> None:
    if not rule:
        raise AssertionError(problem)


def _in_order(part: str, whole: str) -> None:
    """Check that all of a text stands in another, in its order."""
    at = 0
    for character in part:
        at = whole.find(character, at) + 1
        assert at, f"{character!r} is not the model's, or out of order"
