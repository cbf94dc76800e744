"""What callers ask, and who they say they are."""

import asyncio
import atexit
import os
import tempfile
from collections.abc import Mapping
from functools import cache

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
from orchestrator.realtime.session_config import response_config, session_config, session_json
from orchestrator.realtime.session_object import Session
from services.common import tracing
from services.common.access.signed_tokens import SignedTokens
from services.common.access.token_file import Tokens
from services.common.errors import InvalidArgumentError, ParleyError, UnauthenticatedError
from services.llm.backends.base import Capabilities
from services.llm.checks import check_messages, check_turn
from services.stt.domain import ModelInfo
from services.stt.endpointing import EndpointingConfig
from tests.fuzz.targets.registry import Target, check, target
from tests.support.signing import AUDIENCE, ISSUER, Signer


@target("r")
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


@target("m")
def messages(data: bytes) -> None:
    """A message of the contract, by its first byte, and the checks that it meets first."""
    if not data:
        return
    convert = list(_MESSAGES.values())[data[0] % len(_MESSAGES)]
    try:
        convert(data[1:])
    except DecodeError:
        return
    except InvalidArgumentError as error:
        check(bool(error.field), "names no field")
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


@target("h")
def trace_header(data: bytes) -> None:
    """What a caller says of its trace."""
    tracing.send_to(_ignore)
    try:
        tracing.from_metadata([("traceparent", data.decode("latin-1"))])
    finally:
        tracing.send_to(None)


def _ignore(span: tracing.RecordedSpan) -> None:
    """Where spans go."""


@target("b")
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
